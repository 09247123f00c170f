//! Committing what a backup holds: bodies to a majority first, then the messages in bounded batches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use skein_client::{SpoolError, Upload};
use skein_model::automation::{ActiveAction, Phase};
use skein_model::spool::{
    self, Command, EventSpan, Import, ImportStep, ImportedMessage, MessageRow, Place, Response,
    StateRow, TaskRow, query,
};
use skein_model::{Epoch, GroupId, MessageId, Slot, codec, meta};
use skein_wire::convert;
use skein_wire::internal::backup_part::Part;
use skein_wire::internal::{
    BackupBody, BackupEvents, BackupGroup, BackupHead, BackupMessage, BackupPart, BackupRows,
    RestoreReply,
};
use tonic::{Status, Streaming};

use super::{BackupService, FORMAT};

/// Bodies on their way at once: enough that one fsync serves many.
const BODIES_AT_ONCE: usize = 64;
/// A command stays far below what one Raft entry holds, so that others share it.
const BATCH_BYTES: usize = 64 << 10;
/// A new cluster finds its leaders by then.
const LEADERS_WITHIN: Duration = Duration::from_secs(20);
/// A replica that is up has within a heartbeat what its leader has.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const TRY_AGAIN: Duration = Duration::from_millis(200);

pub async fn run(
    service: &BackupService,
    mut parts: Streaming<BackupPart>,
) -> Result<RestoreReply, Status> {
    let Some(Part::Head(head)) = next(&mut parts).await? else {
        return Err(bad("a backup begins with its head"));
    };
    check(service, &head)?;
    tracing::info!(
        backup = head.backup,
        made_at_ms = head.made_at_ms,
        version = head.version,
        "restoring"
    );
    let mut restore = Restore {
        service,
        backup: head.backup,
        places: places(service, &head)?,
        to: None,
        seen: BTreeSet::new(),
        upload: None,
        arriving: FuturesOrdered::new(),
        batch: Vec::new(),
        batch_bytes: 0,
        reply: RestoreReply::default(),
    };
    loop {
        match next(&mut parts).await? {
            Some(Part::Meta(rows)) => restore.meta(&rows).await?,
            Some(Part::Group(group)) => restore.group(group).await?,
            Some(Part::Events(events)) => restore.events(events).await?,
            Some(Part::Body(body)) => restore.body(body).await?,
            Some(Part::Message(message)) => restore.message(&message).await?,
            Some(Part::End(_)) => break,
            Some(Part::Head(_)) | None => {
                return Err(bad(
                    "it ended before its end part. Nothing that came is lost: restore the same backup again, and it \
                     goes on",
                ));
            }
        }
    }
    restore.end().await
}

async fn next(parts: &mut Streaming<BackupPart>) -> Result<Option<Part>, Status> {
    Ok(parts.message().await?.and_then(|part| part.part))
}

fn bad(text: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("backup: {text}"))
}

fn row<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &Bytes) -> Result<T, Status> {
    convert::row(bytes).map_err(bad)
}

/// What can be known before anything changes.
fn check(service: &BackupService, head: &BackupHead) -> Result<(), Status> {
    if head.format != FORMAT {
        return Err(bad(format!(
            "its format is {}, and this version reads {FORMAT}; restore it with version {}",
            head.format, head.version
        )));
    }
    let here = u32::from(service.config.spool_groups);
    if head.spool_groups > here && head.kept.len() != head.spool_groups as usize {
        return Err(Status::failed_precondition(format!(
            "the backup has {} spool groups and this cluster {here}, and version {} did not write what fewer need: make \
             the cluster with cluster.spool_groups = {}",
            head.spool_groups, head.version, head.spool_groups
        )));
    }
    let mut groups = service.groups.values();
    if !groups.all(|spool| query::is_empty_but_for(&spool.reader, head.backup)) {
        return Err(Status::failed_precondition(
            "this cluster has messages of its own, or of another backup; restore into a new one with empty data \
             directories",
        ));
    }
    Ok(())
}

/// Where each group goes that says before what it keeps.
fn places(service: &BackupService, head: &BackupHead) -> Result<BTreeMap<GroupId, Place>, Status> {
    let kept = head.kept.iter().map(|kept| {
        let span = EventSpan {
            first_seq: kept.first_seq,
            next_seq: kept.next_seq,
        };
        Ok((group_id(kept.group)?, span))
    });
    let kept = kept.collect::<Result<_, Status>>()?;
    Ok(spool::places(&kept, service.config.spool_groups))
}

fn group_id(number: u32) -> Result<GroupId, Status> {
    u16::try_from(number).map(GroupId).map_err(bad)
}

type Arriving<'s> = BoxFuture<'s, Result<ImportedMessage, Status>>;

struct Restore<'s> {
    service: &'s BackupService,
    backup: u64,
    places: BTreeMap<GroupId, Place>,
    /// Where messages go that come.
    to: Option<Place>,
    /// Groups of this cluster that got some.
    seen: BTreeSet<GroupId>,
    /// The body that comes.
    upload: Option<(MessageId, Upload)>,
    /// Messages whose bodies are being fsynced.
    arriving: FuturesOrdered<Arriving<'s>>,
    batch: Vec<ImportedMessage>,
    batch_bytes: usize,
    reply: RestoreReply,
}

impl<'s> Restore<'s> {
    async fn meta(&mut self, rows: &BackupRows) -> Result<(), Status> {
        let mut import = meta::Import::default();
        for row in &rows.rows {
            import.add(&row.key, &row.value);
        }
        let now = crate::clock::now();
        let held = import.suspensions.iter().filter(|one| one.until > now);
        self.reply.suspensions = held.count() as u32;
        let is_left = |force: &ActiveAction| force.phase(now) != Phase::Over;
        let rules = import
            .active_actions
            .iter()
            .filter(|(_, force)| is_left(force));
        self.reply.rules = rules.count() as u32;
        for part in import.in_parts() {
            let command = meta::Command::Import(part);
            self.service.forward.commit_meta(&command).await?;
        }
        everybody_knows(self.service).await
    }

    async fn commit(&mut self, group: GroupId, step: ImportStep) -> Result<u64, Status> {
        let import = Import {
            backup: self.backup,
            step,
        };
        let command = codec::encode(&Command::Import(Box::new(import)));
        let reply = self.service.forward.propose(group, command).await?;
        match codec::decode(&reply).map_err(|error| Status::internal(error.to_string()))? {
            Response::Done => Ok(0),
            Response::Count(count) => Ok(count),
            Response::Refused(refusal) => Err(Status::failed_precondition(refusal.to_string())),
        }
    }

    fn current(&self) -> Result<Place, Status> {
        self.to.ok_or_else(|| bad("a group begins with its row"))
    }

    /// The id of the message here.
    fn id(&self, bytes: &Bytes) -> Result<MessageId, Status> {
        let id = convert::message_id(bytes).map_err(bad)?;
        Ok(id.among(self.service.config.spool_groups))
    }

    async fn group(&mut self, group: BackupGroup) -> Result<(), Status> {
        self.wait_for_bodies(0).await?;
        self.flush().await?;
        let from = group_id(group.group)?;
        let mut state: StateRow = row(&group.state)?;
        let spool_groups = self.service.config.spool_groups;
        let place = self.places.get(&from).copied().unwrap_or(Place {
            group: from,
            spool_groups,
            shift: 0,
            events: EventSpan {
                first_seq: state.first_seq,
                next_seq: state.next_seq,
            },
        });
        if !self.service.groups.contains_key(&place.group) {
            return Err(bad(format!("there is no spool group {}", place.group)));
        }
        (state.first_seq, state.next_seq) = (place.events.first_seq, place.events.next_seq);
        let slots = group.slots.iter().map(|one| {
            let slot = u16::try_from(one.slot)
                .ok()
                .filter(|slot| *slot < Slot::COUNT);
            let slot = slot.ok_or_else(|| bad("a slot is below 1024"))?;
            Ok((Slot(slot), Epoch(one.epoch)))
        });
        let step = ImportStep::Begin {
            state,
            slots: slots.collect::<Result<_, Status>>()?,
        };
        self.commit(place.group, step).await?;
        self.to = Some(place);
        self.seen.insert(place.group);
        Ok(())
    }

    async fn events(&mut self, events: BackupEvents) -> Result<(), Status> {
        let to = self.current()?;
        let events = events.events.iter().map(|event| {
            let seq = event.seq.saturating_add(to.shift);
            Ok((seq, self.id(&event.message_id)?))
        });
        let events = events.collect::<Result<_, Status>>()?;
        self.commit(to.group, ImportStep::Events(events))
            .await
            .map(|_| ())
    }

    async fn body(&mut self, body: BackupBody) -> Result<(), Status> {
        let id = self.id(&body.message_id)?;
        if self.is_here(id) {
            return Ok(());
        }
        let mut upload = match self.upload.take() {
            Some((of, upload)) if of == id => upload,
            _ => self.begin(id).await?,
        };
        upload.write(body.data).await.map_err(refused)?;
        self.upload = Some((id, upload));
        Ok(())
    }

    /// Whether an earlier run brought the message.
    fn is_here(&self, id: MessageId) -> bool {
        let spool = self.service.groups.get(&id.group());
        spool.is_some_and(|spool| query::message(&spool.reader, id).is_some())
    }

    async fn begin(&mut self, id: MessageId) -> Result<Upload, Status> {
        if id.group() != self.current()?.group {
            return Err(bad(format!("{id} is of another group")));
        }
        let spool = self.service.spools.get(id.group());
        let until = Instant::now() + LEADERS_WITHIN;
        loop {
            match spool.begin_as(id) {
                Err(SpoolError::Unavailable(_)) if Instant::now() < until => {
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                begun => return begun.map_err(refused),
            }
        }
    }

    async fn message(&mut self, message: &BackupMessage) -> Result<(), Status> {
        let id = self.id(&message.id)?;
        let upload = self.upload.take();
        if self.is_here(id) {
            return Ok(());
        }
        let tasks = message.tasks.iter();
        let tasks = tasks.map(|task| Ok((task.number, row::<TaskRow>(&task.row)?)));
        let mut imported = self.current()?.take(ImportedMessage {
            id,
            row: row::<MessageRow>(&message.row)?,
            tasks: tasks.collect::<Result<_, Status>>()?,
            history: message
                .history
                .iter()
                .map(row)
                .collect::<Result<_, Status>>()?,
        });
        if imported.tasks.is_empty() {
            self.arriving.push_back(Box::pin(async { Ok(imported) }));
        } else {
            let upload = match upload {
                Some((of, upload)) if of == id => upload,
                // It has no byte.
                _ => self.begin(id).await?,
            };
            self.arriving.push_back(Box::pin(async move {
                let stored = upload.finish(None).await.map_err(refused)?;
                let body = &mut imported.row.body;
                if (body.bytes, body.crc32c) != (stored.bytes, stored.crc32c) {
                    return Err(bad(format!(
                        "the body of {id} is not the one that was taken"
                    )));
                }
                body.acks = stored.acks;
                Ok(imported)
            }));
        }
        self.wait_for_bodies(BODIES_AT_ONCE).await
    }

    /// Waits until no more than so many bodies are on their way.
    async fn wait_for_bodies(&mut self, at_once: usize) -> Result<(), Status> {
        while self.arriving.len() > at_once {
            let Some(message) = self.arriving.next().await else {
                return Ok(());
            };
            let message = message?;
            self.reply.open_messages += u64::from(!message.tasks.is_empty());
            self.batch_bytes += codec::encode(&message).len();
            self.batch.push(message);
            if self.batch_bytes >= BATCH_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Status> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let messages = std::mem::take(&mut self.batch);
        let group = self.current()?.group;
        let step = ImportStep::Messages(messages);
        self.reply.messages += self.commit(group, step).await?;
        Ok(())
    }

    async fn end(mut self) -> Result<RestoreReply, Status> {
        self.wait_for_bodies(0).await?;
        self.flush().await?;
        let begun: BTreeSet<GroupId> = self.places.values().map(|place| place.group).collect();
        if self.seen.is_empty() || !begun.is_subset(&self.seen) {
            return Err(bad("it lacks a spool group"));
        }
        for group in std::mem::take(&mut self.seen) {
            self.commit(group, ImportStep::End).await?;
        }
        tracing::info!(messages = self.reply.messages, "restored");
        Ok(self.reply)
    }
}

/// Waits until every node that may lead a spool group has applied what the meta group has: the leader that hands
/// the first message out must have heard what holds it back. A node that does not answer leads nothing.
async fn everybody_knows(service: &BackupService) -> Result<(), Status> {
    let meta = &service.forward.groups[&GroupId::META];
    super::create::catch_up(service, meta).await?;
    let wanted = meta.view().applied;
    let until = Instant::now() + KNOWN_WITHIN;
    for (_, address) in meta.others() {
        loop {
            let hello = service.forward.peers.hello(&address).await;
            let Some(hello) = hello else { break };
            let mut views = hello.groups.iter();
            let view = views.find(|view| view.group == u32::from(GroupId::META.0));
            if view.is_none_or(|view| view.applied >= wanted) {
                break;
            }
            if Instant::now() > until {
                return Err(Status::unavailable(format!(
                    "{address} is behind, and would send what is held back; nothing was restored but policy and \
                     rules. Restore again when `skeinctl cluster status` shows it up to date"
                )));
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
    Ok(())
}

fn refused(error: SpoolError) -> Status {
    let text =
        format!("{error}; the same backup can be restored again, and goes on where it stopped");
    match error {
        SpoolError::Full(_) => Status::resource_exhausted(text),
        _ => Status::unavailable(text),
    }
}
