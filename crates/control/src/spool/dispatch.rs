//! The dispenser of this node's group, kept in step with what is committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use skein_model::automation::Suspensions;
use skein_model::dispense::{Dispenser, Standings, Weights};
use skein_model::history::Horizon;
use skein_model::rows::ReadRows;
use skein_model::spool::{Effect, MessageRow, SlotRow, TaskRow, key, query};
use skein_model::{BodyRef, DurationMs, SessionId, Slot, TaskId, UnixMs, codec};
use skein_store::{Bodies, Reader};
use skein_wire::convert;
use skein_wire::internal::{OpenSite, Task};
use tokio::sync::{Notify, watch};

use super::bodies::BodiesNeeded;
use crate::clock;

/// A body up to this size travels with its task: one trip instead of two for nearly all mail.
const INLINE_BODY_BYTES: u64 = 64 << 10;
/// Tasks of one frame, whose bodies together stay below the size limit of a gRPC message.
const FRAME_TASKS: usize = 64;

pub struct Dispatch {
    reader: Reader,
    bodies: Bodies,
    /// None while another node leads the group.
    dispenser: Mutex<Option<Dispenser>>,
    /// Of tenants, as last told.
    weights: Mutex<BTreeMap<String, u32>>,
    /// What operators hold back, as last told.
    suspensions: Mutex<Suspensions>,
    bodies_needed: BodiesNeeded,
    streams: Mutex<Streams>,
    changed: Notify,
    events: watch::Sender<u64>,
    horizon: Mutex<Horizon>,
    /// What the horizon is counted from.
    started: Instant,
}

/// All of a body in the order in which it goes out.
pub(super) fn as_it_goes_out(body: &BodyRef, stored: Bytes) -> Bytes {
    if body.prefix_bytes.is_none() {
        return stored;
    }
    let parts = body.outgoing(0, body.bytes).map(|range| {
        let place = |at| usize::try_from(at).unwrap_or(usize::MAX).min(stored.len());
        &stored[place(range.start)..place(range.end)]
    });
    Bytes::from(parts.concat())
}

/// The latest work stream of each session.
#[derive(Default)]
struct Streams {
    last: u64,
    open: HashMap<SessionId, u64>,
}

impl Dispatch {
    pub fn new(reader: Reader, bodies: Bodies, bodies_needed: BodiesNeeded) -> Self {
        Self {
            reader,
            bodies,
            dispenser: Mutex::default(),
            weights: Mutex::default(),
            suspensions: Mutex::default(),
            bodies_needed,
            streams: Mutex::default(),
            changed: Notify::new(),
            events: watch::channel(0).0,
            horizon: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// This node leads: reads the queues from the rows. What changes meanwhile waits for the lock.
    ///
    /// Nothing goes out before each of these sessions has opened a stream or is gone.
    pub fn lead(&self, absent: BTreeSet<SessionId>) {
        let mut dispenser = self.dispenser.lock();
        self.streams.lock().open.clear();
        *self.horizon.lock() = Horizon::default();
        let mut loaded = Dispenser::load(&self.reader, absent);
        loaded.set_weights(weights(&self.weights.lock()));
        loaded.set_suspensions(self.suspensions.lock().clone());
        *dispenser = Some(loaded);
        drop(dispenser);
        self.changed.notify_waiters();
    }

    /// Tenants have these weights from now on.
    pub fn set_weights(&self, given: BTreeMap<String, u32>) {
        let mut dispenser = self.dispenser.lock();
        if let Some(dispenser) = dispenser.as_mut() {
            dispenser.set_weights(weights(&given));
        }
        *self.weights.lock() = given;
    }

    /// From now on this mail is held back.
    pub fn set_suspensions(&self, given: Suspensions) {
        let mut dispenser = self.dispenser.lock();
        if let Some(dispenser) = dispenser.as_mut() {
            dispenser.set_suspensions(given.clone());
        }
        *self.suspensions.lock() = given;
        drop(dispenser);
        self.changed.notify_waiters();
    }

    /// Sessions that may hold tasks from an earlier leader and have not said which.
    pub fn absent(&self) -> BTreeSet<SessionId> {
        let dispenser = self.dispenser.lock();
        dispenser
            .as_ref()
            .map(|dispenser| dispenser.absent().clone())
            .unwrap_or_default()
    }

    /// Tasks that are out at senders.
    pub fn in_flight(&self) -> usize {
        let dispenser = self.dispenser.lock();
        dispenser.as_ref().map_or(0, Dispenser::in_flight)
    }

    /// When the first task came due that nothing holds back and that no sender has; looked for while none is out.
    pub fn ready_since(&self) -> Option<UnixMs> {
        let dispenser = self.dispenser.lock();
        let dispenser = dispenser.as_ref().filter(|one| one.in_flight() == 0)?;
        dispenser.ready_since(&self.reader, clock::now())
    }

    /// The queues that may have due tasks, and what operators hold back; none while another node leads.
    pub fn standings(&self, now: UnixMs) -> Option<(Standings, Suspensions)> {
        let standings = self.dispenser.lock().as_ref()?.standings(now);
        Some((standings, self.suspensions.lock().clone()))
    }

    /// Another node leads, or none.
    pub fn follow(&self) {
        *self.dispenser.lock() = None;
        self.changed.notify_waiters();
    }

    /// What finished before this time may be forgotten if it is to be known for `keep`.
    pub fn forget_before(&self, keep: DurationMs) -> UnixMs {
        let group_now = query::state(&self.reader).now;
        let elapsed = self.started.elapsed().into();
        let mut horizon = self.horizon.lock();
        horizon.forget_before(elapsed, clock::now(), group_now, keep)
    }

    /// Hosts of a site answer again.
    pub fn site_answers(&self, site: &str, slot: Slot) {
        if let Some(dispenser) = self.dispenser.lock().as_mut() {
            dispenser.site_answers(site, slot);
        }
        self.changed.notify_waiters();
    }

    pub fn leads(&self) -> bool {
        self.dispenser.lock().is_some()
    }

    pub fn on_effects(&self, effects: &[Effect]) {
        clock::observe(query::state(&self.reader).now);
        let mut dispenser = self.dispenser.lock();
        for effect in effects {
            if let Some(dispenser) = dispenser.as_mut() {
                dispenser.on_effect(effect);
            }
            match effect {
                Effect::BodyNeeded { message, body } => self.bodies_needed.add(*message, body),
                Effect::BodyFree { message } => {
                    self.bodies_needed.remove(*message);
                    self.bodies.free(*message);
                }
                Effect::EventsUntil(seq) => {
                    self.events.send_replace(*seq);
                }
                Effect::Due { .. }
                | Effect::Moved { .. }
                | Effect::Awaits { .. }
                | Effect::Answered { .. }
                | Effect::Ended { .. }
                | Effect::SlotsOpened => {}
            }
        }
        drop(dispenser);
        self.changed.notify_waiters();
    }

    /// Tells the highest event number after each change.
    pub fn events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    /// Takes due tasks for a session that may have `free` more of its `window`, and reads what their sender needs. A stream
    /// that is not the session's latest gets none: the sender has left it, and would not know of them.
    ///
    /// The rows of one frame are read under the lock: some tens of point reads, nearly all from memory.
    pub async fn take(
        &self,
        session: SessionId,
        stream: u64,
        owned: &OwnedSlots,
        free: usize,
        window: usize,
    ) -> Vec<Task> {
        let taken = match self.dispenser.lock().as_mut() {
            Some(dispenser) if self.stream_of(session) == Some(stream) => dispenser.take(
                &self.reader,
                clock::now(),
                session,
                |slot| owned.epoch(slot).is_some(),
                free.min(FRAME_TASKS),
                window,
            ),
            _ => Vec::new(),
        };
        let read = taken.into_iter().map(|id| self.read_task(id, owned));
        join_all(read).await.into_iter().flatten().collect()
    }

    async fn read_task(&self, id: TaskId, owned: &OwnedSlots) -> Option<Task> {
        // A task that was deleted meanwhile is no longer there; its Ended effect takes it back.
        let task = self.reader.get(&key::task(id))?;
        let message = self.reader.get(&key::message(id.message))?;
        let row: TaskRow = codec::decode(&task).ok()?;
        let of = codec::decode::<MessageRow>(&message).ok()?.body;
        let body = if of.bytes <= INLINE_BODY_BYTES {
            let max = INLINE_BODY_BYTES as usize;
            let read = self
                .bodies_needed
                .read(&self.bodies, id.message, &of, 0, max);
            // Without it the sender asks this node and then the others for the bytes.
            read.await.ok().map(|stored| as_it_goes_out(&of, stored))
        } else {
            None
        };
        Some(Task {
            message_id: convert::message_id_bytes(id.message),
            number: id.number,
            epoch: owned.epoch(row.slot)?,
            message: Bytes::from(message),
            task: Bytes::from(task),
            body,
        })
    }

    pub fn session_gone(&self, session: SessionId) {
        if let Some(dispenser) = self.dispenser.lock().as_mut() {
            dispenser.session_gone(session);
        }
        self.streams.lock().open.remove(&session);
        self.changed.notify_waiters();
    }

    /// A session opened a stream, and these tasks it still has. Returns the number of the stream.
    pub fn stream_opened(
        &self,
        session: SessionId,
        held: &HashMap<TaskId, u32>,
        lives: impl Fn(SessionId) -> bool,
    ) -> u64 {
        let mut dispenser = self.dispenser.lock();
        let mut streams = self.streams.lock();
        streams.last += 1;
        let number = streams.last;
        streams.open.insert(session, number);
        if let Some(dispenser) = dispenser.as_mut() {
            dispenser.session_back(&self.reader, session, held, lives);
        }
        drop((streams, dispenser));
        self.changed.notify_waiters();
        number
    }

    /// The latest stream of a session.
    pub fn stream_of(&self, session: SessionId) -> Option<u64> {
        self.streams.lock().open.get(&session).copied()
    }

    /// A session has come to an end with these attempts, over this stream. Where one was not counted, the task waits where
    /// it did.
    pub fn end_attempts(&self, session: SessionId, stream: u64, attempts: &[(TaskId, u32)]) {
        let uncounted = attempts
            .iter()
            .filter(|(task, attempt)| query::is_before_attempt(&self.reader, *task, *attempt));
        let uncounted: Vec<_> = uncounted.map(|(task, _)| (*task, DurationMs(0))).collect();
        if !uncounted.is_empty() {
            self.give_back(session, stream, &uncounted);
        }
    }

    /// Tasks that a session does nothing about are anybody's again. Over a stream that has a successor it says nothing new:
    /// it told what it holds when it opened the next one, and may have been given the tasks again. With each task, for how
    /// long a limit lets none of its queue go.
    pub fn give_back(&self, session: SessionId, stream: u64, tasks: &[(TaskId, DurationMs)]) {
        if let Some(dispenser) = self.dispenser.lock().as_mut() {
            if self.stream_of(session) != Some(stream) {
                return;
            }
            for (task, closed_for) in tasks {
                match closed_for.0 {
                    0 => dispenser.give_back(session, *task),
                    _ => dispenser.postpone(session, *task, clock::now() + *closed_for),
                }
            }
        }
        self.changed.notify_waiters();
    }

    /// Limits let mail of these sites go again.
    pub fn open_queues(&self, sites: &[OpenSite]) {
        if sites.is_empty() {
            return;
        }
        if let Some(dispenser) = self.dispenser.lock().as_mut() {
            for site in sites {
                if let Ok(slot) = u16::try_from(site.slot) {
                    dispenser.open_site(&site.site, Slot(slot));
                }
            }
        }
        self.changed.notify_waiters();
    }

    /// Completes when a queue changed. Made before looking, so that no change is missed.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    pub fn next_due(&self) -> Option<UnixMs> {
        self.dispenser.lock().as_ref()?.next_due()
    }

    /// Whether the committed owner of these slots is still this session.
    pub fn still_owns(&self, session: SessionId, owned: &OwnedSlots) -> bool {
        owned.slots().all(|(slot, epoch)| {
            query::slot(&self.reader, slot).is_some_and(
                |SlotRow {
                     session: held,
                     epoch: at,
                 }| held == session && at.0 == epoch,
            )
        })
    }
}

fn weights(given: &BTreeMap<String, u32>) -> Weights {
    let given = given.iter();
    given
        .map(|(name, weight)| (name.as_str(), *weight))
        .collect()
}

/// The slots of one work stream with their epochs; 8 KiB.
#[derive(Debug)]
pub struct OwnedSlots(Box<[u64]>);

impl OwnedSlots {
    /// Epochs begin at 1, so 0 stands for a slot that is not owned.
    pub fn new(slots: &[(Slot, skein_model::Epoch)]) -> Self {
        let mut epochs = vec![0; usize::from(Slot::COUNT)];
        for (slot, epoch) in slots {
            epochs[usize::from(slot.0)] = epoch.0;
        }
        Self(epochs.into())
    }

    pub fn epoch(&self, slot: Slot) -> Option<u64> {
        self.0
            .get(usize::from(slot.0))
            .copied()
            .filter(|epoch| *epoch != 0)
    }

    fn slots(&self) -> impl Iterator<Item = (Slot, u64)> {
        Slot::all().filter_map(|slot| Some((slot, self.epoch(slot)?)))
    }
}
