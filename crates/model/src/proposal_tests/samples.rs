//! Every command of both machines as the product makes it, once or more.

use std::collections::BTreeMap;

use minicbor::Encode;

use crate::automation::{
    self, Action, Match, MatchCount, Rate as Slow, Rule, RuleAt, ScopeKind, Selector,
};
use crate::event::{AttemptFacts, Event, EventKind};
use crate::mail::{BodyRef, Client};
use crate::meta::{
    Addresses, AuditCommand, AuditEnd, AuditEntry, ClusterRow, Command as Meta, Import as Whole,
    IpCheck, Join, Made, PolicyChange, Put, PutTokenKey, Spread, TokenKeyRow, limits,
};
use crate::meta::{domains, sts, suppressions, tls_reports};
use crate::preflight::{Check, Fault};
use crate::rotation::{self, KeyId, Observation, Schedule, SlotAnswers};
use crate::rows::MemoryRows;
use crate::spool::tests::envelope;
use crate::spool::{
    Accept, Command, FlushScope, Import, ImportStep, ImportedMessage, MessageRow, NewTask,
    OpenSlots, Outcome, Refile, Report, StateRow, TaskRow, Told, Verdict,
};
use crate::sts::{StsMode, StsPolicy};
use crate::suppression::{self, Entry, Key, NewEntry, Reason, ScopeFilter, Subject};
use crate::throttle::{
    Before, Counted, LimitId, LimitReport, Rate, Said, Scope, ShareReport, SharedLimit,
    TokenLeaseReport,
};
use crate::tls_report;
use crate::warmup::{self, Ask, Counts, Order, Phase, Plan, Row, Target};
use crate::{
    Domain, DurationMs, Envelope, Epoch, GroupId, LimitMs, MessageId, NodeId, Notify, QueueId,
    Recipient, Reply, SessionId, Slot, TaskId, TraceContext, UnixMs, codec,
};

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const A: SessionId = SessionId(7);
const B: SessionId = SessionId(8);
const CREATED_IN: TraceContext = TraceContext {
    trace_id: [3; 16],
    span_id: [4; 8],
    flags: 1,
};

fn encoded<T: Encode<()>>(commands: Vec<T>) -> Vec<Vec<u8>> {
    commands.iter().map(codec::encode).collect()
}

fn order() -> Order {
    Order {
        who: "ann".into(),
        why: "a reason".into(),
    }
}

fn target() -> Target {
    Target {
        ip: [192, 0, 2, 1].into(),
        provider: "google".into(),
    }
}

fn open(session: SessionId, sender: &str, order: u64) -> Meta {
    Meta::OpenSession {
        session,
        sender: sender.into(),
        order,
    }
}

fn open_egress(session: SessionId, node: &str, order: u64) -> Meta {
    Meta::OpenEgress {
        session,
        node: node.into(),
        order,
    }
}

fn report(scope: Scope, key: &str, limit: SharedLimit, said: Said) -> LimitReport {
    LimitReport {
        id: LimitId {
            scope,
            key: key.into(),
            counts: Counted::Messages,
            nth: 0,
        },
        limit,
        policy: 1,
        said,
        is_last: false,
        is_by_owner: scope == Scope::Site,
        before: Before { ended: 3, out: 1 },
    }
}

fn limits_told(session: SessionId, number: u64) -> Meta {
    let share = Said::Share(ShareReport {
        seen: 0,
        counted: 2,
        wants: 5,
    });
    let token_lease = Said::TokenLease(TokenLeaseReport {
        token_lease: 1,
        ended: 1,
        returned: 0,
        unused: 1,
        seen: 2,
        wants: 9,
    });
    let long = SharedLimit::Rate(Rate {
        count: 100,
        per: DurationMs::from_secs(3600),
        burst: Some(3),
    });
    let told = limits::SessionReports {
        session,
        number,
        shared: 1,
        reports: vec![
            report(Scope::Tenant, "acme", SharedLimit::Connections(4), share),
            report(Scope::Site, "google", SharedLimit::Connections(4), share),
            report(Scope::Site, "google", long, token_lease),
            report(Scope::Pool, "google", long, token_lease),
            report(Scope::Intake, "tenant acme", long, token_lease),
        ],
        alone: vec![limits::KeptAlone {
            site: "google".into(),
            epoch: Epoch(1),
            others_gone: Some(DurationMs(5)),
        }],
    };
    Meta::ReportLimits {
        at: LimitMs(1_000 * number),
        told: vec![told],
    }
}

fn rules() -> automation::Rules {
    let rule = |action| Rule {
        threshold: 1,
        window: DurationMs::from_secs(3600),
        action,
        scope: ScopeKind::IpSite,
        lasts: DurationMs::from_secs(600),
    };
    let per = DurationMs::from_secs(60);
    let actions = [
        Action::Suspend,
        Action::Rate(Slow { count: 10, per }),
        Action::Connections(2),
        Action::Bounce,
        Action::RestIp,
    ];
    [("google".to_owned(), actions.map(rule).to_vec())].into()
}

fn told(rule: u16) -> Vec<MatchCount> {
    let matched = Match {
        provider: "google".into(),
        rule,
        ip: [192, 0, 2, 1].into(),
        site: "google".into(),
        tenant: "acme".into(),
        pool: "main".into(),
        reply: "421 4.7.28 later".into(),
    };
    vec![MatchCount { matched, count: 3 }]
}

fn operators() -> Vec<Meta> {
    let selector = Selector {
        campaign: Some("big".into()),
        ..Selector::default()
    };
    let orders = [
        automation::Command::Suspend {
            selector: selector.clone(),
            lasts: DurationMs::from_secs(60),
            order: order(),
            gives_up: false,
        },
        automation::Command::Resume {
            selector,
            order: order(),
        },
        automation::Command::Lift {
            at: RuleAt {
                scope: automation::Scope::IpSite {
                    ip: [192, 0, 2, 1].into(),
                    site: "google".into(),
                },
                provider: "google".into(),
                rule: 0,
            },
            order: order(),
        },
        automation::Command::Tick,
        automation::Command::Taken(3),
        automation::Command::MatchCount(told(1)),
    ];
    let said = orders.map(|order| Meta::Automation(Box::new(order)));
    said.into_iter().collect()
}

fn warmups() -> Vec<Meta> {
    let one = |order| Meta::Warmup(vec![order]);
    let start = warmup::Command::Start {
        target: target(),
        plan: Plan::standard(10),
        stage: 0,
        order: order(),
    };
    let ask = Ask {
        target: target(),
        want: 5,
        reports: vec![warmup::Report {
            day: warmup::Day(NOW.0 / 86_400_000),
            delivered: 1,
            deferred: 1,
            bounced: 0,
        }],
    };
    vec![
        one(start),
        one(warmup::Command::Replan {
            target: target(),
            plan: Plan::standard(20),
            order: order(),
        }),
        one(warmup::Command::Skip {
            target: target(),
            stage: 3,
            order: order(),
        }),
        Meta::GrantWarmup {
            session: A,
            batch: 1,
            asks: vec![ask],
        },
    ]
}

fn members() -> Vec<Meta> {
    let at = |host: &str| format!("{host}.example:7000");
    vec![
        Meta::Found {
            cluster: ClusterRow {
                id: 1,
                spool_groups: 4,
            },
            nodes: vec![(NodeId(1), at("a")), (NodeId(2), at("b"))],
        },
        Meta::Invite(at("c")),
        Meta::Withdraw(at("c")),
        Meta::Join(Join {
            node: NodeId(3),
            address: at("c"),
            version: "0.1.0".into(),
            spool_groups: 4,
        }),
        Meta::RemoveNode(NodeId(2)),
    ]
}

fn whole() -> Meta {
    let plan = Plan::standard(10);
    let row = Row {
        day: plan.calendar.day(NOW),
        plan,
        phase: Phase::Running,
        stage: 2,
        counts: Counts::default(),
        spread: None,
        held_days: 0,
        active: None,
        judged: None,
        changes: Default::default(),
        now: NOW,
    };
    Meta::Import(Whole {
        epochs: vec![(Slot(3), Epoch(5))],
        drained: vec!["old".into()],
        removed: vec![NodeId(9)],
        weights: vec![("acme".into(), 3)],
        spreads: vec![(
            "google".into(),
            Spread {
                slots: 4,
                is_policy: true,
            },
        )],
        policy: vec![("ip/a".into(), "kind: ip".into())],
        warmups: vec![(target(), row)],
        active_actions: Vec::new(),
        suspensions: Vec::new(),
        ips: vec![("a".into(), Epoch(2))],
        sources: vec![("ip/a".into(), "git".into())],
        domains: a_domain(),
        sts: a_policy(),
        token_keys: vec![a_token_key()],
        suppressions: vec![(suppressed(), a_suppression())],
    })
}

/// A domain of a backup, with a key.
fn a_domain() -> Vec<(String, domains::DomainRow)> {
    let mut rows = MemoryRows::default();
    for command in of_domains().iter().take(3) {
        crate::meta::apply(&mut rows, NOW, command);
    }
    domains::domains(&rows, "", 9)
}

/// A policy of a backup.
fn a_token_key() -> PutTokenKey {
    PutTokenKey {
        id: 7,
        key: TokenKeyRow {
            signs_from: NOW,
            wrapped: b"wrapped".to_vec(),
        },
    }
}

fn a_policy() -> Vec<(String, sts::StsRow)> {
    let mut rows = MemoryRows::default();
    crate::meta::apply(&mut rows, NOW, &of_tls()[0]);
    sts::policies(&rows, "", 9)
}

fn suppressed() -> Key {
    Key {
        scope: suppression::Scope::Stream {
            tenant: "acme".into(),
            stream: "news".into(),
        },
        subject: Subject::Address("ann@example.com".into()),
    }
}

fn a_suppression() -> suppressions::Suppressed {
    let mut rows = MemoryRows::default();
    crate::meta::apply(&mut rows, NOW, &of_suppressions()[0]);
    suppressions::entries(&rows, &suppressed()).unwrap_or_default()
}

fn of_suppressions() -> Vec<Meta> {
    let added = |reason| NewEntry {
        key: suppressed(),
        spelling: Some("Ann@example.com".into()),
        entry: Entry {
            reason,
            source: "01HF7YAT3V00000000000000AB".into(),
            created: NOW,
            expires: Some(UnixMs(NOW.0 + 5_000)),
            note: "a note".into(),
        },
    };
    let removal = suppressions::Removal {
        key: suppressed(),
        reason: Some(Reason::HardBounce),
    };
    let all = [
        suppressions::Command::Add {
            items: vec![added(Reason::HardBounce), added(Reason::Complaint)],
            by: "ann".into(),
        },
        suppressions::Command::Remove {
            items: vec![removal],
            may_remove_complaints: true,
            note: "a note".into(),
            by: "ann".into(),
        },
        suppressions::Command::Undo(suppressions::Undo {
            reason: Reason::Complaint,
            from: UnixMs(1),
            to: UnixMs(NOW.0 * 2),
            scopes: ScopeFilter::Tenant("acme".into()),
            limit: 7,
            after: Some(suppressions::Cursor(vec![0; 8])),
            may_remove_complaints: true,
            note: "a note".into(),
            by: "ann".into(),
        }),
        suppressions::Command::Expire {
            before: UnixMs(NOW.0 * 2),
            limit: 7,
        },
    ];
    all.into_iter()
        .map(|command| Meta::Suppression(Box::new(command)))
        .collect()
}

fn of_tls() -> Vec<Meta> {
    let domain = || "example.com".to_owned();
    let policy = StsPolicy {
        id: "1".into(),
        mode: StsMode::Enforce,
        mx: vec!["*.example.com".into()],
        max_age_s: 86_400,
    };
    let policies = [
        sts::Command::Keep {
            domain: domain(),
            policy: policy.clone(),
            asked_at: NOW,
        },
        sts::Command::GoOn {
            domain: domain(),
            asked_at: NOW,
            fault: Some("no answer".into()),
        },
        sts::Command::Flush {
            domain: domain(),
            by: "ann".into(),
        },
    ];
    let day = tls_report::Day::of(NOW);
    let told = || {
        let mut counts = tls_report::DayCounts::default();
        for failure in [None, Some(tls_report::FailureKind::CertificateExpired)] {
            counts.count(tls_report::TlsResult {
                domain: domain(),
                policy: tls_report::AppliedPolicy::sts(&policy),
                mx_host: "mx.example.com".into(),
                receiving_ip: Some([192, 0, 2, 1].into()),
                sending_ip: None,
                failure,
            });
        }
        let domain = domain();
        vec![tls_report::Told {
            domain,
            day,
            counts,
        }]
    };
    let reports = [
        tls_reports::Command::Tell {
            session: A,
            batch: 1,
            told: told(),
        },
        tls_reports::Command::Count(told()),
        tls_reports::Command::Reach {
            day,
            domain: domain(),
            place: "mailto:tls@example.com".into(),
            fault: Some("refused".into()),
        },
        tls_reports::Command::Finish {
            day,
            domain: domain(),
        },
        tls_reports::Command::Hurry {
            day,
            by: "ann".into(),
        },
    ];
    let policies = policies
        .into_iter()
        .map(|command| Meta::Sts(Box::new(command)));
    let reports = reports
        .into_iter()
        .map(|command| Meta::TlsReport(Box::new(command)));
    policies.chain(reports).collect()
}

fn of_domains() -> Vec<Meta> {
    let name = || "example.com".to_owned();
    let key = || domains::NewKey {
        algorithm: domains::Algorithm::Rsa,
        record: "v=DKIM1; k=rsa; p=AAAA".into(),
        wrapped: vec![1; 100],
    };
    let seen = |answer| domains::Seen {
        label: "d1".into(),
        observation: Observation {
            slots: vec![SlotAnswers {
                selector: "sk1".into(),
                key: KeyId(1),
                answers: vec![
                    (rotation::Source::Authoritative, answer),
                    (rotation::Source::Resolver, answer),
                ],
            }],
        },
        is_owned: true,
        findings: vec!["dmarc.missing".into()],
        schedule: Schedule::default(),
        jitter: 7,
    };
    let all = [
        domains::Command::Add {
            name: name(),
            new: domains::NewDomain {
                tenant: "acme".into(),
                label: "d1".into(),
                token: "t1".into(),
                is_delegated: true,
                is_operator: false,
                has_ed25519: true,
            },
            schedule: Schedule::default(),
            by: "ann".into(),
        },
        domains::Command::InstallKey {
            name: name(),
            selector: "sk1".into(),
            key: key(),
        },
        domains::Command::Observe {
            name: name(),
            seen: seen(rotation::Answer::Shows),
        },
        domains::Command::Observe {
            name: name(),
            seen: seen(rotation::Answer::Differs),
        },
        domains::Command::Rotate {
            name: name(),
            is_compromised: true,
            by: "ann".into(),
        },
        domains::Command::Rewrap {
            name: name(),
            keys: vec![domains::Rewrapped {
                key: KeyId(1),
                wrapped: vec![2; 100],
            }],
            by: "ann".into(),
        },
        domains::Command::Remove {
            name: name(),
            by: "ann".into(),
        },
    ];
    all.into_iter()
        .map(|command| Meta::Domain(Box::new(command)))
        .collect()
}

pub fn meta() -> Vec<Vec<u8>> {
    let addresses = Addresses {
        local: [[192, 0, 2, 1].into()].into(),
        egress: Some("10.0.0.1:7003".into()),
    };
    let check = IpCheck {
        at: NOW,
        faults: vec![Fault {
            check: Check::Ptr,
            text: "no name".into(),
        }],
    };
    let rest = [
        open(A, "s1", 1),
        open(B, "s2", 1),
        open(SessionId(9), "s1", 2),
        open_egress(SessionId(10), "e1", 1),
        Meta::CloseSession(B),
        Meta::Release {
            session: A,
            slots: vec![(Slot(1), Epoch(1)), (Slot(2), Epoch(2))],
        },
        Meta::SetFit {
            session: A,
            fit: false,
        },
        Meta::Retire(A),
        Meta::SetDrained {
            sender: "s1".into(),
            drained: true,
        },
        Meta::MoveSlot {
            slot: Slot(1),
            to: B,
        },
        Meta::SetWeight {
            tenant: "acme".into(),
            weight: 3,
        },
        Meta::SetSpread {
            site: "google".into(),
            spread: Some(Spread {
                slots: 8,
                is_policy: false,
            }),
        },
        Meta::SetPolicy {
            base: None,
            put: vec![("ip/a".into(), "kind: ip".into())],
            delete: vec!["ip/b".into()],
        },
        Meta::ChangePolicy(Box::new(PolicyChange {
            base: None,
            put: vec![Put {
                key: "ip/a".into(),
                text: "kind: ip".into(),
                source: Some("git".into()),
            }],
            delete: vec!["ip/b".into()],
            by: "ops".into(),
            made: Made::RolledBack(1),
        })),
        Meta::TakeEvents(1),
        Meta::PutTokenKey(a_token_key()),
        Meta::KnownClients(vec![("ann".into(), vec!["192.0.2.9/32".into()])]),
        Meta::Audit(Box::new(AuditCommand::Note(AuditEntry {
            id: 7,
            at: NOW,
            who: "ann".into(),
            from: "192.0.2.1:4".into(),
            call: "Suspend".into(),
            asked: "{}".into(),
            ended: Some(AuditEnd {
                code: 7,
                message: "no".into(),
            }),
        }))),
        Meta::Audit(Box::new(AuditCommand::End {
            id: 7,
            end: AuditEnd {
                code: 0,
                message: String::new(),
            },
        })),
        Meta::SetAddresses {
            session: A,
            addresses,
        },
        Meta::MoveIps(vec![("a".into(), A), ("b".into(), B)]),
        Meta::ReleaseIps {
            session: A,
            ips: vec![("a".into(), Epoch(1))],
        },
        Meta::SetRules(rules()),
        Meta::TellReplies {
            session: A,
            batch: 1,
            told: told(0),
        },
        Meta::SetIpChecks {
            session: A,
            checks: [("a".to_owned(), check)].into(),
        },
        limits_told(A, 1),
        limits_told(A, 2),
        limits_told(B, 1),
        Meta::TendLimits {
            at: LimitMs(9_000),
            limits: vec![LimitId {
                scope: Scope::Site,
                key: "google".into(),
                counts: Counted::Messages,
                nth: 0,
            }],
        },
        whole(),
    ];
    let all = [
        members(),
        operators(),
        warmups(),
        of_domains(),
        of_tls(),
        of_suppressions(),
        rest.into(),
    ];
    encoded(all.into_iter().flatten().collect())
}

fn accept(group: GroupId, n: u64) -> Accept {
    let recipient = |name: &str| {
        let recipient = Recipient {
            address: format!("{name}@d.test"),
            notify: Notify::default(),
            orcpt: Some(format!("rfc822;{name}@d.test")),
        };
        (Domain::new("d.test"), recipient)
    };
    let client = Client::new("c.test".into(), [192, 0, 2, 9].into(), Some("shop".into()));
    let all = ["a", "b", "c"].map(recipient);
    let mut tasks = NewTask::plan(all, 2, &BTreeMap::new(), |site| Slot::of(site, 0));
    tasks[0].created_in = Some(CREATED_IN);
    Accept {
        id: MessageId::new(UnixMs(n), group, n),
        envelope: Envelope {
            client: Some(client),
            envid: Some("e1".into()),
            campaign: Some("big".into()),
            tls_optional: false,
            ..envelope()
        },
        body: BodyRef {
            bytes: 10,
            crc32c: 1,
            acks: vec![NodeId(1)],
            prefix_bytes: None,
        },
        tasks,
        about: None,
    }
}

fn task(group: GroupId) -> TaskId {
    TaskId {
        message: accept(group, 1).id,
        number: 0,
    }
}

fn result(group: GroupId, verdict: Verdict, number: u32) -> Command {
    let outcome = |recipient| Outcome {
        recipient,
        verdict,
        reply: Reply::ours((4, 0, 0), "later"),
    };
    Command::Report(Box::new(Report {
        task: task(group),
        session: A,
        epoch: Epoch(1),
        facts: AttemptFacts {
            number,
            queue: QueueId(1),
            domain: Domain::new("d.test"),
            site: "d.test".into(),
            source: Some("192.0.2.1".into()),
            peer: Some("mx.d.test [192.0.2.2]".into()),
            tls: None,
            duration: DurationMs(5),
        },
        outcomes: vec![outcome(0), outcome(1)],
        retry_after: DurationMs::from_secs(300),
        dsn: (verdict == Verdict::Failed).then(|| accept(group, 3)),
        delay_notified: false,
        away_for: None,
    }))
}

fn imports(group: GroupId) -> Vec<Command> {
    let taken = accept(group, 5);
    let row = MessageRow {
        envelope: taken.envelope.clone(),
        body: taken.body.clone(),
        accepted_at: NOW,
        open_tasks: 1,
        finished_at: None,
        is_counted: None,
    };
    let first = &taken.tasks[0];
    let open = TaskRow {
        domain: first.domain.clone(),
        slot: first.slot,
        recipients: (0..).zip(first.recipients.iter().cloned()).collect(),
        attempts: 2,
        due: NOW,
        created: NOW,
        last_reply: Some(Reply::ours((4, 0, 0), "later")),
        delay_notified: false,
        site: Some("google".into()),
        moves: 1,
        pool: Some("main".into()),
        absences: 1,
        awaits_host: false,
        return_path: None,
        created_in: Some(CREATED_IN),
    };
    let event = Event {
        seq: 4,
        at: NOW,
        message: taken.id,
        sender: "a@b.test".into(),
        tenant: "acme".into(),
        kind: EventKind::Deleted {
            recipient: "a@d.test".into(),
            by: "ann".into(),
        },
    };
    let message = ImportedMessage {
        id: taken.id,
        row,
        tasks: vec![(0, open)],
        history: vec![event],
    };
    let begin = ImportStep::Begin {
        state: StateRow {
            now: NOW,
            next_seq: 9,
            open_messages: 1,
            open_tasks: 1,
            open_body_bytes: 10,
            first_seq: 3,
            counts_held: None,
            keeps: None,
        },
        slots: vec![(Slot(3), Epoch(4))],
    };
    let steps = [
        begin,
        ImportStep::Events(vec![(4, taken.id)]),
        ImportStep::Messages(vec![message]),
        ImportStep::End,
    ];
    let import = |step| Command::Import(Box::new(Import { backup: 77, step }));
    steps.into_iter().map(import).collect()
}

pub fn spool(group: GroupId) -> Vec<Vec<u8>> {
    let own = task(group);
    let queue = QueueId(1);
    let mut commands = imports(group);
    commands.extend([
        Command::CountHeld,
        Command::Keep(5),
        Command::Told(Box::new(Told {
            message: own.message,
            sender: "a@here.test".into(),
            tenant: "acme".into(),
            recipient: Some(0),
            news: vec![
                EventKind::OutOfBandBounce {
                    recipient: "b@there.test".into(),
                    reply: Reply::ours((5, 1, 1), "no such user"),
                    told_by: own.message,
                },
                EventKind::Complained {
                    recipient: String::new(),
                    feedback: "abuse".into(),
                    reporter: "there.test".into(),
                    told_by: own.message,
                },
            ],
        })),
        Command::Accept(Box::new(accept(group, 1))),
        Command::Accept(Box::new(accept(group, 2))),
        result(group, Verdict::Deferred, 1),
        result(group, Verdict::Delivered, 2),
        result(group, Verdict::Failed, 2),
        Command::OpenSlots(OpenSlots {
            session: A,
            slots: Slot::all().map(|slot| (slot, Epoch(1))).collect(),
        }),
        Command::Delete {
            message: own.message,
            by: "ann".into(),
        },
        Command::Flush(FlushScope::Queue(queue)),
        Command::Flush(FlushScope::Message(own.message)),
        Command::Trim {
            events_before: 3,
            finished_before: NOW,
            limit: 1000,
        },
        Command::Refile(Box::new(Refile {
            task: own,
            session: A,
            epoch: Epoch(1),
            site: Some("google".into()),
            slot: Slot(7),
            moves: 0,
        })),
        Command::MoveTasks {
            queue,
            pool: "other".into(),
        },
    ]);
    encoded(commands)
}
