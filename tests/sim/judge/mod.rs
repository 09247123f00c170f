//! Sees everything, and says when a promise is broken.
//!
//! It keeps its own small picture of what is committed: the first node to apply an entry tells it.

mod dots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use skein_model::event::EventKind;
use skein_model::spool::{Command, Refile, Report, Verdict, query};
use skein_model::{Epoch, GroupId, MessageId, NodeId, SessionId, Slot, TaskId, meta};

use crate::raft::{Entry, What};
use crate::rows::HashedRows;
use crate::sim::Pid;

const LAST_EVENTS: usize = 40;
/// A session that was away from its group's leader for this long may have been given up: `absence::COME_BACK`, less what
/// clocks differ.
const AWAY_MS: u64 = 11_000;

/// A broken promise: its name, and what happened.
#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: &'static str,
    pub text: String,
}

/// A final dot on its way to a host.
#[derive(Debug, Clone)]
pub struct Dot {
    pub number: u64,
    pub at: u64,
    pub local_ms: u64,
    pub by: Pid,
    pub session: SessionId,
    pub slot: Slot,
    pub epoch: Epoch,
    pub task: TaskId,
    /// There is a work stream for its result.
    pub has_stream: bool,
}

#[derive(Debug)]
struct Sent {
    dot: Dot,
    was_taken: bool,
    reply_lost: bool,
    sender_died: bool,
}

#[derive(Debug)]
struct Link {
    node: NodeId,
    /// When it was lost; none while it lasts.
    lost_at: Option<u64>,
    /// Times without one.
    gaps: Vec<(u64, u64)>,
}

/// Why a recipient got a message twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    ReplyLost,
    CutOff,
    SenderDied,
}

#[derive(Debug)]
pub struct Accepted {
    pub at: u64,
    pub group: GroupId,
    tasks: Vec<(Slot, Vec<String>)>,
    /// Recipients that are open.
    pub open: BTreeSet<String>,
    delivered: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub struct Judge {
    pub violation: Option<Violation>,
    traced: bool,
    last: VecDeque<String>,
    leaders: BTreeMap<(GroupId, u64), NodeId>,
    disks: BTreeMap<NodeId, u64>,
    reused: BTreeSet<NodeId>,
    entries: BTreeMap<(GroupId, u64), (u64, u64)>,
    /// Newly committed, to be looked for on disks: by whom it was seen.
    pub commits: Vec<(GroupId, u64, u64, NodeId)>,
    pub accepts: Vec<(GroupId, MessageId, NodeId)>,
    pub new_voters: Vec<(GroupId, NodeId)>,
    sessions: BTreeSet<SessionId>,
    ended: BTreeMap<SessionId, u64>,
    /// With the first epoch since which the owner has had the slot without a break, and the present one.
    owners: BTreeMap<Slot, (SessionId, Epoch, Epoch)>,
    version: u64,
    pub moved: u64,
    renewed: BTreeMap<SessionId, u64>,
    opened: BTreeMap<(GroupId, Slot), (Epoch, SessionId)>,
    seqs: BTreeMap<GroupId, u64>,
    pub messages: BTreeMap<MessageId, Accepted>,
    /// Answered with 250.
    acknowledged: BTreeSet<MessageId>,
    sent: BTreeMap<(TaskId, u32), Vec<Sent>>,
    dispensing: BTreeMap<GroupId, (u64, NodeId)>,
    links: BTreeMap<(GroupId, SessionId), Link>,
    pub duplicates: Vec<Window>,
    pub deferred: u64,
    pub bounced: u64,
    pub delivered: u64,
}

impl Judge {
    pub fn new(traced: bool) -> Self {
        Self {
            traced,
            ..Self::default()
        }
    }

    pub fn is_traced(&self) -> bool {
        self.traced
    }

    pub fn trace(&mut self, now: u64, line: impl FnOnce() -> String) {
        let line = format!("{:>7}.{:03} {}", now / 1000, now % 1000, line());
        if self.traced {
            println!("{line}");
        }
        if self.last.len() == LAST_EVENTS {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub fn last_events(&self) -> impl Iterator<Item = &String> {
        self.last.iter()
    }

    /// The first broken promise counts; what follows from it does not.
    pub fn broken(&mut self, invariant: &'static str, text: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let text = text();
            self.violation = Some(Violation { invariant, text });
        }
    }

    pub fn started(&mut self, node: NodeId, disk: u64) {
        if *self.disks.entry(node).or_insert(disk) != disk {
            self.reused.insert(node);
        }
    }

    pub fn voted(&mut self, group: GroupId, node: NodeId) {
        if self.reused.contains(&node) {
            self.broken("I13", || {
                format!("{node} votes in group {group} with another disk than before")
            });
        }
    }

    pub fn leads(&mut self, group: GroupId, term: u64, node: NodeId) {
        let first = *self.leaders.entry((group, term)).or_insert(node);
        if first != node {
            self.broken("one leader", || {
                format!("group {group} has two leaders in term {term}: {first} and {node}")
            });
        }
    }

    pub fn applied(
        &mut self,
        now: u64,
        group: GroupId,
        entry: &Entry,
        rows: &HashedRows,
        by: NodeId,
    ) {
        let (term, hash) = (entry.term, rows.hash());
        if let Some((first_term, first_hash)) = self.entries.get(&(group, entry.index)) {
            let (first_term, first_hash) = (*first_term, *first_hash);
            if first_term != term {
                self.broken("I2", || {
                    format!(
                        "group {group} has committed two entries {}: of terms {first_term} and {term}",
                        entry.index
                    )
                });
            } else if first_hash != hash {
                self.broken("I12", || {
                    format!(
                        "replicas of group {group} differ after entry {}",
                        entry.index
                    )
                });
            }
            return;
        }
        self.entries.insert((group, entry.index), (term, hash));
        self.commits.push((group, entry.index, term, by));
        match &entry.what {
            What::Meta(..) => self.on_meta(now, rows),
            What::Spool(_, command) => self.on_spool(now, group, command, rows, by),
            What::Blank | What::Members(_) => {}
        }
    }

    fn on_meta(&mut self, now: u64, rows: &HashedRows) {
        let sessions: BTreeSet<SessionId> = meta::sessions(rows).into_keys().collect();
        for session in self.sessions.difference(&sessions) {
            self.ended.insert(*session, now);
        }
        self.sessions = sessions;
        let version = meta::assignments_version(rows);
        if version != self.version {
            self.version = version;
            for (slot, held) in meta::assignments(rows) {
                let before = self.owners.get(&slot).copied();
                let same = before.filter(|(session, ..)| *session == held.session);
                let since = same.map_or(held.epoch, |(_, since, _)| since);
                self.moved += u64::from(before.is_some() && same.is_none());
                self.owners.insert(slot, (held.session, since, held.epoch));
            }
        }
    }

    fn on_spool(
        &mut self,
        now: u64,
        group: GroupId,
        command: &Command,
        rows: &HashedRows,
        by: NodeId,
    ) {
        if let Command::Accept(accept) = command
            && !self.messages.contains_key(&accept.id)
        {
            let addresses = |recipients: &[skein_model::Recipient]| {
                recipients.iter().map(|r| r.address.clone()).collect()
            };
            let tasks = accept.tasks.iter();
            let accepted = Accepted {
                at: now,
                group,
                tasks: tasks
                    .map(|task| (task.slot, addresses(&task.recipients)))
                    .collect(),
                open: BTreeSet::new(),
                delivered: BTreeSet::new(),
            };
            self.messages.insert(accept.id, accepted);
            self.accepts.push((group, accept.id, by));
        }
        let before = match command {
            Command::Report(report) => self.open_before(report),
            _ => Vec::new(),
        };
        let seq = self.seqs.get(&group).copied().unwrap_or(0);
        let events = query::events(rows, seq, usize::MAX);
        let mut has_deferred = false;
        for event in events {
            self.seqs.insert(group, event.seq + 1);
            has_deferred |= matches!(event.kind, EventKind::Deferred { .. });
            self.on_event(event.message, event.kind);
        }
        match command {
            Command::Report(report) => self.check_report(report, &before, has_deferred),
            Command::Refile(refile) => {
                if let Some(row) = query::task(rows, refile.task) {
                    self.on_refile(refile, row.slot);
                }
            }
            Command::OpenSlots(open) => {
                for (slot, _) in &open.slots {
                    if let Some(row) = query::slot(rows, *slot) {
                        self.on_slot_opened(group, *slot, row.epoch, row.session);
                    }
                }
            }
            _ => {}
        }
    }

    /// A task that one asked to file anew is in this slot now.
    fn on_refile(&mut self, refile: &Refile, slot: Slot) {
        let task = refile.task;
        let Some(message) = self.messages.get_mut(&task.message) else {
            return;
        };
        let Some((filed, _)) = message.tasks.get_mut(task.number as usize) else {
            return;
        };
        let before = std::mem::replace(filed, slot);
        let owner = self.opened.get(&(message.group, before)).copied();
        if before != slot && owner != Some((refile.epoch, refile.session)) {
            self.broken("I6", || {
                format!("{task} was filed anew by one that does not own slot {before}: {refile:?}, owner {owner:?}")
            });
        }
    }

    fn on_slot_opened(&mut self, group: GroupId, slot: Slot, epoch: Epoch, session: SessionId) {
        let before = self.opened.insert((group, slot), (epoch, session));
        if let Some((held, by)) = before
            && (held > epoch || (held == epoch && by != session))
        {
            self.broken("I4", || {
                format!(
                    "slot {slot} of group {group} goes from session {by} under epoch {held} to session {session} under {epoch}"
                )
            });
        }
    }

    fn address(&self, task: TaskId, recipient: u32) -> Option<&String> {
        let (_, addresses) = self
            .messages
            .get(&task.message)?
            .tasks
            .get(task.number as usize)?;
        addresses.get(recipient as usize)
    }

    /// Recipients that a report ends and that were open before.
    fn open_before(&self, report: &Report) -> Vec<String> {
        let Some(message) = self.messages.get(&report.task.message) else {
            return Vec::new();
        };
        let outcomes = report.outcomes.iter();
        let terminal = outcomes.filter(|outcome| outcome.verdict != Verdict::Deferred);
        let addresses = terminal.filter_map(|outcome| self.address(report.task, outcome.recipient));
        addresses
            .filter(|a| message.open.contains(*a))
            .cloned()
            .collect()
    }

    fn check_report(&mut self, report: &Report, before: &[String], has_deferred: bool) {
        let Some(message) = self.messages.get(&report.task.message) else {
            return;
        };
        if let Some(address) = before
            .iter()
            .find(|address| message.open.contains(*address))
        {
            let address = address.clone();
            self.broken("I6", || {
                format!("a fact about {address} of {} was not taken", report.task)
            });
            return;
        }
        let Some((slot, _)) = message.tasks.get(report.task.number as usize) else {
            return;
        };
        let owner = self.opened.get(&(message.group, *slot)).copied();
        let may_act = owner.is_some_and(|owner| owner == (report.epoch, report.session));
        if has_deferred && !may_act {
            self.broken("I6", || {
                format!(
                    "a deferral of {} was taken from session {} under epoch {}, and {owner:?} has the slot",
                    report.task, report.session, report.epoch
                )
            });
        }
    }

    fn on_event(&mut self, id: MessageId, kind: EventKind) {
        let Some(message) = self.messages.get_mut(&id) else {
            return self.broken("I1", || {
                format!("an event about {id}, which is not accepted")
            });
        };
        let ended = match kind {
            EventKind::Accepted { recipients, .. } => {
                message.open.extend(recipients);
                return;
            }
            EventKind::Deferred { .. } => {
                self.deferred += 1;
                return;
            }
            EventKind::Delivered { recipient, .. } => {
                self.delivered += 1;
                message.delivered.insert(recipient.clone());
                recipient
            }
            EventKind::Bounced { recipient, .. } => {
                self.bounced += 1;
                recipient
            }
            EventKind::Expired { recipient, .. } => {
                return self.broken("I14", || {
                    format!("{recipient} of {id} expired after at most some minutes")
                });
            }
            EventKind::Deleted { recipient, .. } => recipient,
            // Nothing comes back by mail here.
            EventKind::OutOfBandBounce { .. } | EventKind::Complained { .. } => return,
        };
        if !message.open.remove(&ended) {
            self.broken("I6", || format!("{ended} of {id} ended twice"));
        }
    }

    /// A client is about to be answered 250.
    pub fn acknowledged(&mut self, id: MessageId) {
        if !self.messages.contains_key(&id) {
            self.broken("I2", || format!("{id} is answered 250 and not committed"));
        }
        self.acknowledged.insert(id);
    }

    /// When all has come to rest: what was acknowledged has ended, and what was delivered was taken by its host.
    pub fn at_the_end(&mut self) {
        let open = self
            .messages
            .iter()
            .find(|(_, message)| !message.open.is_empty());
        if let Some((id, message)) = open {
            let text = format!(
                "{id} of group {} is still open for {:?}",
                message.group, message.open
            );
            self.broken("I16", || text);
        }
        let mut untaken = None;
        for (id, message) in &self.messages {
            for (number, (_, addresses)) in (0..).zip(&message.tasks) {
                for (recipient, address) in (0..).zip(addresses) {
                    let task = TaskId {
                        message: *id,
                        number,
                    };
                    let sent = self.sent.get(&(task, recipient));
                    let was_taken = sent.is_some_and(|sent| sent.iter().any(|s| s.was_taken));
                    if message.delivered.contains(address) && !was_taken {
                        untaken = Some(format!("{address} of {id} counts as delivered and is not"));
                    }
                }
            }
        }
        if let Some(text) = untaken {
            self.broken("I1", || text);
        }
    }

    /// Messages that are kept and whose client does not know it.
    pub fn untold(&self) -> u64 {
        let kept = self.messages.keys();
        kept.filter(|id| !self.acknowledged.contains(id)).count() as u64
    }

    /// Slots without an owner.
    pub fn unowned(&self) -> usize {
        let owned = self.owners.values();
        let owned = owned.filter(|(session, ..)| self.sessions.contains(session));
        usize::from(Slot::COUNT) - owned.count()
    }
}
