//! Reading everything out: rows from a view of each group that does not move, bodies from any voter that has them.

use std::time::Duration;

use futures::StreamExt;
use skein_client::SpoolError;
use skein_model::rows::ReadRows;
use skein_model::spool::{MessageRow, key, query};
use skein_model::{GroupId, MessageId, UnixMs, codec, meta};
use skein_store::View;
use skein_wire::convert;
use skein_wire::internal::backup_part::Part;
use skein_wire::internal::{
    BackupBody, BackupEnd, BackupEvent, BackupEvents, BackupGroup, BackupHead, BackupKept,
    BackupMessage, BackupPart, BackupRow, BackupRows, BackupSlot, BackupTask,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{BackupService, FORMAT, part};
use crate::clock;
use crate::raft::Group;
use crate::spool::SpoolGroup;

/// Messages, or rows, that are read at once.
const PAGE: usize = 500;
/// A replica that is behind gets what its leader has within a heartbeat, or is cut off.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

type Parts = mpsc::Sender<Result<BackupPart, Status>>;

/// Begins a backup of everything that was committed before this call.
pub async fn start(
    service: BackupService,
) -> Result<ReceiverStream<Result<BackupPart, Status>>, Status> {
    for group in service.forward.groups.values() {
        catch_up(&service, group).await?;
    }
    let views = service.forward.groups.keys();
    let views: Vec<_> = views
        .map(|id| (*id, service.store.reader(*id).view()))
        .collect();
    let (parts, received) = mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(status) = send_all(&service, &views, &parts).await {
            tracing::warn!(reason = status.message(), "a backup was not finished");
            // If this is not received, the caller waits for it no more.
            let _ = parts.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(received))
}

/// Waits until the rows of this node hold what the group's leader has applied.
pub(super) async fn catch_up(service: &BackupService, group: &Group) -> Result<(), Status> {
    if group.leads().await {
        return Ok(());
    }
    let behind = || {
        Status::unavailable(format!(
            "group {} has no leader that this node can follow; try again, or ask another control node",
            group.id()
        ))
    };
    let address = group.leader_address().ok_or_else(behind)?;
    let hello = service.forward.peers.hello(&address).await;
    let views = hello.ok_or_else(behind)?.groups.into_iter();
    let mut views = views.filter(|view| view.group == u32::from(group.id().0));
    let applied = views.next().ok_or_else(behind)?.applied;
    match tokio::time::timeout(CATCH_UP_WITHIN, group.applies(applied)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(behind()),
    }
}

async fn send(parts: &Parts, one: Part) -> Result<(), Status> {
    let sent = parts.send(Ok(part(one))).await;
    sent.map_err(|_| Status::cancelled("nobody takes the backup"))
}

async fn send_all(
    service: &BackupService,
    views: &[(GroupId, View)],
    parts: &Parts,
) -> Result<(), Status> {
    let cluster = meta::cluster(&service.meta);
    let head = BackupHead {
        format: FORMAT,
        backup: rand::random::<u64>().max(1),
        cluster: cluster.map_or(0, |row| row.id),
        made_at_ms: clock::now().0,
        version: service.config.version.clone(),
        spool_groups: service.config.spool_groups.into(),
        kept: kept(views),
    };
    send(parts, Part::Head(head)).await?;
    let mut end = BackupEnd::default();
    for (id, view) in views {
        match service.groups.get(id) {
            Some(spool) => send_group(service, spool, view, parts, &mut end).await?,
            None => send(parts, Part::Meta(rows(view))).await?,
        }
    }
    tracing::info!(
        messages = end.messages,
        body_bytes = end.body_bytes,
        "a backup was read"
    );
    send(parts, Part::End(end)).await
}

/// The numbers of the events that each spool group keeps.
fn kept(views: &[(GroupId, View)]) -> Vec<BackupKept> {
    let spools = views.iter().filter(|(id, _)| *id != GroupId::META);
    let kept = spools.map(|(id, view)| {
        let state = query::state(view);
        BackupKept {
            group: id.0.into(),
            first_seq: state.first_seq,
            next_seq: state.next_seq,
        }
    });
    kept.collect()
}

/// All rows of the meta group, which are few: some thousand slots, sessions and nodes.
fn rows(view: &View) -> BackupRows {
    let mut found = BackupRows::default();
    ReadRows::scan(view, &[], &[], &mut |key, value| {
        found.rows.push(BackupRow {
            key: key.to_vec().into(),
            value: value.to_vec().into(),
        });
        true
    });
    found
}

async fn send_group(
    service: &BackupService,
    spool: &SpoolGroup,
    view: &View,
    parts: &Parts,
    end: &mut BackupEnd,
) -> Result<(), Status> {
    let state = query::state(view);
    let slots = query::epochs(view).into_iter();
    let group = BackupGroup {
        group: spool.group.id().0.into(),
        state: codec::encode(&state).into(),
        slots: slots
            .map(|(slot, epoch)| BackupSlot {
                slot: slot.0.into(),
                epoch: epoch.0,
            })
            .collect(),
    };
    send(parts, Part::Group(group)).await?;
    let mut from = state.first_seq;
    loop {
        let events = query::event_places(view, from, PAGE);
        let Some((last, _)) = events.last() else {
            break;
        };
        from = last + 1;
        let events = events.into_iter().map(|(seq, id)| BackupEvent {
            seq,
            message_id: convert::message_id_bytes(id),
        });
        let events = events.collect();
        send(parts, Part::Events(BackupEvents { events })).await?;
    }
    let mut after = None;
    loop {
        let (read, from) = (view.clone(), after);
        let page = skein_runtime::blocking(move || page(&read, from)).await;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.id);
        for message in page {
            send_message(service, spool, message, parts, end).await?;
        }
    }
}

struct Message {
    id: MessageId,
    row: MessageRow,
    encoded: BackupMessage,
}

/// The next messages with their tasks and history.
fn page(view: &View, after: Option<MessageId>) -> Vec<Message> {
    let from = after.map(|id| [&key::message(id)[..], &[0]].concat());
    let mut ids = Vec::new();
    ReadRows::scan(
        view,
        key::MESSAGES,
        &from.unwrap_or_default(),
        &mut |row_key, _| {
            ids.extend(key::read_message(row_key));
            ids.len() < PAGE
        },
    );
    let messages = ids.into_iter().filter_map(|id| message(view, id));
    messages.collect()
}

fn message(rows: &impl ReadRows, id: MessageId) -> Option<Message> {
    let row = query::message(rows, id)?;
    let tasks = query::tasks_of(rows, id).into_iter();
    let tasks = tasks.map(|(task, row)| BackupTask {
        number: task.number,
        row: codec::encode(&row).into(),
    });
    let history = query::history(rows, id);
    let encoded = BackupMessage {
        id: convert::message_id_bytes(id),
        row: codec::encode(&row).into(),
        tasks: tasks.collect(),
        history: history
            .iter()
            .map(|event| codec::encode(event).into())
            .collect(),
    };
    Some(Message { id, row, encoded })
}

/// The bytes of a message that is open, and then the message.
async fn send_message(
    service: &BackupService,
    spool: &SpoolGroup,
    message: Message,
    parts: &Parts,
    end: &mut BackupEnd,
) -> Result<(), Status> {
    let mut encoded = message.encoded;
    if !encoded.tasks.is_empty() {
        match send_body(service, message.id, parts).await {
            Ok(()) => {
                end.open_messages += 1;
                end.body_bytes += message.row.body.bytes;
            }
            Err(BodyFailure::Gone(status)) => return Err(status),
            Err(BodyFailure::Unreadable(error)) => {
                // It may have been delivered since the view was taken; its bytes are gone then, and not needed.
                if !ends_soon(spool, message.id).await {
                    return Err(Status::data_loss(format!(
                        "no voter can read the body of {}: {error}. Bring a node back that has it, or delete the \
                         message with `skeinctl message delete`",
                        message.id
                    )));
                }
                match self::message(&spool.reader, message.id) {
                    Some(now) => encoded = now.encoded,
                    None => return Ok(()),
                }
            }
        }
    }
    end.messages += 1;
    send(parts, Part::Message(encoded)).await
}

enum BodyFailure {
    Unreadable(SpoolError),
    /// The operator that asked for the backup.
    Gone(Status),
}

async fn send_body(
    service: &BackupService,
    id: MessageId,
    parts: &Parts,
) -> Result<(), BodyFailure> {
    let spool = service.spools.get(id.group());
    let bytes = spool.read_stored(id).await;
    let mut bytes = bytes.map_err(BodyFailure::Unreadable)?;
    while let Some(data) = bytes.next().await {
        let body = BackupBody {
            message_id: convert::message_id_bytes(id),
            data: data.map_err(BodyFailure::Unreadable)?,
        };
        send(parts, Part::Body(body))
            .await
            .map_err(BodyFailure::Gone)?;
    }
    Ok(())
}

/// Whether the message is done with, as this node learns within the time that it may be behind.
async fn ends_soon(spool: &SpoolGroup, id: MessageId) -> bool {
    let until = clock::now() + skein_model::DurationMs::from_secs(2);
    while query::needs_body(&spool.reader, id) {
        if clock::now() > UnixMs(until.0) {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}
