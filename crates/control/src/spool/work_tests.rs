#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skein_model::event::AttemptFacts;
use skein_model::mail::{BodyRef, BodyType};
use skein_model::spool::{Accept, Command, NewTask, Outcome, Refile, Report, TaskRow, Verdict};
use skein_model::{
    Domain, DurationMs, Envelope, Epoch, GroupId, MessageId, Notify, Priority, QueueId, Recipient,
    Reply, SessionId, Slot, TaskId, codec, meta,
};
use skein_wire::convert;
use skein_wire::internal::spool_client::SpoolClient;
use skein_wire::internal::{
    OpenWork, RefileTask, Refiles, Reports, Task, TaskRef, WorkReply, WorkRequest,
    work_request::Request,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Config, Control};

pub const GROUP: GroupId = GroupId(1);
const SLOT: Slot = Slot(9);
const SESSION: SessionId = SessionId(7);
const OTHER: SessionId = SessionId(8);
const TASK: TaskId = TaskId {
    // Of GROUP.
    message: MessageId([1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    number: 0,
};
/// On a busy machine.
const SOON: Duration = Duration::from_secs(20);

pub async fn alone(dir: &std::path::Path) -> Control {
    let config = Config {
        data_dir: dir.to_owned(),
        version: String::new(),
        role: crate::NodeRole::All,
        address: String::new(),
        founders: Vec::new(),
        peers: Vec::new(),
        joins_uninvited: false,
        spool_groups: 1,
        spool_groups_by_default: true,
        connect: Arc::new(|_| unreachable!("a node that is alone connects to nobody")),
        store: crate::StoreOptions::default(),
        pull_bytes_per_second: 1 << 20,
        find_mx: Arc::new(|_| unreachable!("nobody asks for MX hosts")),
        domains: crate::config::DomainSettings::of_nobody(),
        tls_policies: Config::tls_of_nobody().0,
        tls_reports: Config::tls_of_nobody().1,
    };
    Control::start(config).await.unwrap()
}

/// Gives the slot to a session under this epoch, unless it was given on since.
async fn give_slot(control: &Control, session: SessionId, epoch: Epoch) {
    let held = |control: &Control| meta::assignments(&control.meta_reader).get(&SLOT).copied();
    if held(control).is_some_and(|held| held.epoch > epoch) {
        return;
    }
    let propose = async |command: meta::Command| {
        let command = codec::encode(&command);
        let proposed = control.groups[&GroupId::META].propose(command).await;
        proposed.unwrap();
    };
    for other in meta::sessions(&control.meta_reader).into_keys() {
        if other != session {
            propose(meta::Command::CloseSession(other)).await;
        }
    }
    propose(meta::Command::OpenSession {
        session,
        sender: format!("s{session}"),
        order: 1,
    })
    .await;
    if held(control).is_none_or(|held| held.epoch < epoch) {
        let epochs = vec![(SLOT, Epoch(epoch.0 - 1))];
        let import = meta::Import {
            epochs,
            ..meta::Import::default()
        };
        propose(meta::Command::Import(import)).await;
    }
    let held = held(control).unwrap();
    assert_eq!((held.session, held.epoch), (session, epoch));
}

/// One task, whose body nobody has.
async fn accept_task(control: &Control) {
    let domain = Domain::new("b.test");
    let recipient = Recipient {
        address: "u@b.test".into(),
        notify: Notify::default(),
        orcpt: None,
    };
    let accept = Accept {
        id: TASK.message,
        envelope: Envelope {
            return_path: String::new(),
            body_type: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            ret: None,
            envid: None,
            tenant: "default".into(),
            pool: "default".into(),
            client: None,
            traceparent: None,
            campaign: None,
            tls_optional: false,
            priority: Priority::default(),
        },
        body: BodyRef {
            bytes: 10,
            crc32c: 0,
            acks: Vec::new(),
            prefix_bytes: None,
        },
        tasks: NewTask::plan([(domain, recipient)], 1, &BTreeMap::new(), |_| SLOT),
        about: None,
    };
    let command = codec::encode(&Command::Accept(Box::new(accept)));
    control.spools[&GROUP].group.propose(command).await.unwrap();
}

/// An attempt that came to nothing, under this epoch.
fn deferred(session: SessionId, epoch: Epoch) -> Bytes {
    let report = Report {
        task: TASK,
        session,
        epoch,
        facts: AttemptFacts {
            number: 1,
            queue: QueueId(0),
            domain: Domain::new("b.test"),
            site: String::new(),
            source: None,
            peer: None,
            tls: None,
            duration: DurationMs(1),
        },
        outcomes: vec![Outcome {
            recipient: 0,
            verdict: Verdict::Deferred,
            reply: Reply::ours((4, 4, 2), "no"),
        }],
        retry_after: DurationMs::from_secs(60),
        dsn: None,
        delay_notified: false,
        away_for: None,
    };
    codec::encode(&report).into()
}

/// The other end of a work stream.
struct Sender {
    requests: mpsc::Sender<WorkRequest>,
    replies: Streaming<WorkReply>,
}

impl Sender {
    async fn open(
        control: &Control,
        session: SessionId,
        epoch: Epoch,
        held: &[TaskId],
    ) -> Result<Self, Status> {
        give_slot(control, session, epoch).await;
        let held = held.iter().map(|task| TaskRef {
            message_id: convert::message_id_bytes(task.message),
            number: task.number,
            ..TaskRef::default()
        });
        let open = OpenWork {
            session: session.0,
            slots: convert::owned_slots(&[(SLOT, epoch)]),
            window: 10,
            group: GROUP.0.into(),
            held: held.collect(),
        };
        let (requests, outgoing) = mpsc::channel(1);
        let request = Some(Request::Open(open));
        requests.send(WorkRequest { request }).await.unwrap();
        let mut client = SpoolClient::new(skein_client::in_process(control.internal_router()));
        let work = client.work(ReceiverStream::new(outgoing)).await;
        let replies = work?.into_inner();
        Ok(Self { requests, replies })
    }

    async fn report(&self, report: Bytes) {
        let reports = vec![report];
        let request = Some(Request::Reports(Reports { reports }));
        self.requests.send(WorkRequest { request }).await.unwrap();
    }

    async fn refile(&self, site: &str, slot: Slot, moves: u32) {
        let refile = Refile {
            task: TASK,
            session: SESSION,
            epoch: Epoch(5),
            site: Some(site.to_owned()),
            slot,
            moves,
        };
        let refiles = vec![RefileTask {
            refile: codec::encode(&refile).into(),
            attempt: 1,
        }];
        let request = Some(Request::Refiles(Refiles { refiles }));
        self.requests.send(WorkRequest { request }).await.unwrap();
    }

    /// The next reply, or none when the stream has ended.
    async fn reply(&mut self) -> Option<WorkReply> {
        let reply = tokio::time::timeout(SOON, self.replies.message());
        let reply = reply.await.expect("the stream brings nothing, and goes on");
        reply.ok().flatten()
    }

    async fn task(&mut self) -> Task {
        let mut reply = self.reply().await.unwrap();
        assert_eq!(reply.tasks.len(), 1);
        reply.tasks.remove(0)
    }
}

/// A sender that goes on listening to a node that has forgotten it would wait for tasks for ever: the slots that it is to
/// let go of, too, wait for the stream to conform.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_leader_leads_anew() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    let mut sender = Sender::open(&control, SESSION, Epoch(1), &[])
        .await
        .unwrap();

    let dispatch = &control.spools[&GROUP].dispatch;
    dispatch.follow();
    dispatch.lead([SESSION].into());
    while sender.reply().await.is_some() {}
}

/// The sender takes a task for one that it has until it has heard of the refusal, and does nothing about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_report_was_refused_comes_again_after_the_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    accept_task(&control).await;
    let mut sender = Sender::open(&control, SESSION, Epoch(5), &[])
        .await
        .unwrap();
    let task = sender.task().await;
    let row: TaskRow = convert::row(&task.task).unwrap();
    assert_eq!((row.attempts, task.epoch), (0, 5));

    // As after a move of the slot away and back.
    for _ in 0..20 {
        sender.report(deferred(SESSION, Epoch(4))).await;
        let reply = sender.reply().await.unwrap();
        let refusals: Vec<bool> = reply.recorded.iter().map(|r| r.problem.is_some()).collect();
        assert_eq!((refusals, reply.tasks.len()), (vec![true], 0));
        sender.task().await;
    }
    sender.report(deferred(SESSION, Epoch(5))).await;
    let reply = sender.reply().await.unwrap();
    assert!(reply.recorded[0].problem.is_none());
}

/// It is the same task with as many attempts before: the sender tells it from the one that it had by the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_filed_anew_comes_again_after_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    accept_task(&control).await;
    let mut sender = Sender::open(&control, SESSION, Epoch(5), &[])
        .await
        .unwrap();
    sender.task().await;
    let long = "x".repeat(256);
    let wishes = [
        ("provider", SLOT, 1),
        ("other", SLOT, 2),
        ("", SLOT, 2),
        (&long, SLOT, 2),
        ("third", Slot(Slot::COUNT), 2),
        ("third", SLOT, 3),
        ("fourth", SLOT, 3),
    ];
    let mut moves = 0;
    for (site, slot, moves_then) in wishes {
        sender.refile(site, slot, moves).await;
        let reply = sender.reply().await.unwrap();
        let refusals: Vec<bool> = reply.recorded.iter().map(|r| r.problem.is_some()).collect();
        let is_moved = moves_then > moves;
        assert_eq!(
            (refusals, reply.tasks.len()),
            (vec![!is_moved], 0),
            "{site}"
        );
        let row: TaskRow = convert::row(&sender.task().await.task).unwrap();
        assert_eq!((row.moves, row.attempts), (moves_then, 0));
        assert_eq!(row.site() == site, is_moved);
        moves = moves_then;
    }
    sender.report(deferred(SESSION, Epoch(5))).await;
    let reply = sender.reply().await.unwrap();
    assert!(reply.recorded[0].problem.is_none());
}

/// It said what it holds, and then came to nothing: its session is as gone as one whose stream broke.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_holds_goes_elsewhere_when_its_stream_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    accept_task(&control).await;
    let mut first = Sender::open(&control, SESSION, Epoch(1), &[])
        .await
        .unwrap();
    first.task().await;
    let mut second = Sender::open(&control, OTHER, Epoch(2), &[]).await.unwrap();

    let again = Sender::open(&control, SESSION, Epoch(1), &[TASK]).await;
    assert!(again.is_err(), "the slot is another's");
    drop(first);
    second.task().await;
}

/// Of an earlier stream: the session has been given the task anew since.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_back_over_an_earlier_stream_is_not_given_back_again() {
    let dir = tempfile::tempdir().unwrap();
    let control = alone(dir.path()).await;
    accept_task(&control).await;
    let dispatch = &control.spools[&GROUP].dispatch;
    let lives = |_| true;
    let before = dispatch.stream_opened(SESSION, &[].into(), lives);
    let now = dispatch.stream_opened(SESSION, &[(TASK, 0)].into(), lives);
    dispatch.give_back(SESSION, before, &[(TASK, DurationMs(0))]);
    assert_eq!(dispatch.in_flight(), 1);
    dispatch.give_back(SESSION, now, &[(TASK, DurationMs(0))]);
    assert_eq!(dispatch.in_flight(), 0);
}
