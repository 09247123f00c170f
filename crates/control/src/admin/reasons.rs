//! Why mail waits: everything that is known of it in one place, gathered once for each question.

use std::collections::BTreeMap;
use std::net::IpAddr;

use skein_model::automation::{
    self, ActiveAction, ActiveActions, Phase, Scope, Suspension, Suspensions, TaskFacts,
};
use skein_model::spool::{QueueRow, TaskRow};
use skein_model::throttle::{self as limits, Counted, LimitId};
use skein_model::{SessionId, Slot, UnixMs, meta, warmup};
use skein_store::Reader;
use skein_wire::internal::{GetWaitsReply, Wait};
use skein_wire::v1::{Reason, ReasonKind};

/// Rules on IPs and waits of one site that are named; more of the same kind say nothing new.
const NAMED_MAX: usize = 8;
/// Limits that are looked through for one answer: all that a cluster of usual size shares.
const SHARED_MAX: usize = 8192;

/// What may hold mail up, at one moment.
pub struct Causes {
    now: UnixMs,
    words: Suspensions,
    active_actions: ActiveActions,
    waits: GetWaitsReply,
    /// Of each slot: its owner, and the sender that is to get it.
    owners: BTreeMap<Slot, (String, Option<String>)>,
    /// Limits that senders share, with who has which part.
    shared: Vec<(LimitId, String)>,
    /// What is said of IPs that warm up.
    warmups: Vec<(IpAddr, String)>,
}

fn reason(kind: ReasonKind, text: String, until: Option<UnixMs>) -> Reason {
    Reason {
        kind: kind.into(),
        text,
        until_ms: until.map_or(0, |until| until.0),
    }
}

impl Causes {
    pub fn new(rows: &Reader, now: UnixMs, waits: GetWaitsReply) -> Self {
        let sessions = meta::sessions(rows);
        let name = |id: SessionId| sessions.get(&id).map(|row| row.sender.clone());
        let assigned = meta::assignments(rows).into_iter();
        let owners = assigned.filter_map(|(slot, held)| {
            let to = held.moving_to.and_then(name);
            Some((slot, (name(held.session)?, to)))
        });
        Self {
            now,
            words: automation::suspensions(rows),
            active_actions: automation::active_actions(rows),
            waits,
            owners: owners.collect(),
            shared: shared(rows, &name),
            warmups: warmups(rows, now),
        }
    }

    /// What holds a queue up, the strongest first; nothing if it only waits for its tasks to be due.
    pub fn of_queue(&self, row: &QueueRow) -> Vec<Reason> {
        let facts = row.facts();
        let mut reasons: Vec<Reason> = self.of_slot(row.slot).into_iter().collect();
        reasons.extend(self.of_operators(&facts));
        let pool = (facts.tenant, facts.pool);
        reasons.extend(self.of_rules(facts.site, Some(pool)));
        reasons.extend(self.of_senders(|wait| {
            let is_theirs = wait.pool.is_empty() || (&*wait.tenant, &*wait.pool) == pool;
            wait.site == facts.site && is_theirs
        }));
        reasons.extend(self.of_tls(facts.site));
        reasons.extend(self.of_shared(|id| match id.scope {
            limits::Scope::Tenant => &*id.key == facts.tenant,
            limits::Scope::Pool => &*id.key == facts.pool,
            // It holds up no mail that is there.
            limits::Scope::Intake => false,
            _ => id.site() == Some(facts.site),
        }));
        reasons
    }

    /// The owners of a site's slots, and what holds up mail of any tenant there.
    pub fn of_site(&self, site: &str, slots: &[Slot]) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for slot in slots {
            reasons.push(match self.owners.get(slot) {
                Some((owner, _)) => reason(
                    ReasonKind::Slot,
                    format!("slot {slot} is with {owner}"),
                    None,
                ),
                None => no_owner(*slot),
            });
        }
        reasons.extend(self.of_rules(site, None));
        reasons.extend(self.of_senders(|wait| wait.site == site));
        reasons.extend(self.of_tls(site));
        reasons.extend(self.of_shared(|id| id.site() == Some(site)));
        reasons
    }

    /// What holds up mail from an IP, by its name and the address that the world sees.
    pub fn of_ip(&self, name: &str, public: &str) -> Vec<Reason> {
        let of_ip = self
            .active_actions
            .iter()
            .filter(|(at, _)| match &at.scope {
                Scope::IpSite { ip, .. } => ip.to_string() == public,
                Scope::Tenant { .. } | Scope::Pool { .. } => false,
            });
        let by_rules = of_ip.filter_map(|(at, force)| self.by_rule(&at.scope, force));
        let mut reasons: Vec<Reason> = by_rules.take(NAMED_MAX).collect();
        reasons.extend(self.of_senders(|wait| wait.ip == name));
        reasons.extend(self.of_shared(|id| id.ip() == Some(name)));
        let warming = self.warmups.iter();
        let warming = warming.filter(|(ip, _)| ip.to_string() == public);
        reasons.extend(warming.map(|(_, text)| reason(ReasonKind::Warmup, text.clone(), None)));
        reasons
    }

    fn of_slot(&self, slot: Slot) -> Option<Reason> {
        let Some((owner, to)) = self.owners.get(&slot) else {
            return Some(no_owner(slot));
        };
        let to = to.as_ref()?;
        let text = format!("its slot {slot} moves from {owner} to {to}");
        Some(reason(ReasonKind::Slot, text, None))
    }

    fn of_operators(&self, facts: &TaskFacts<'_>) -> Option<Reason> {
        let said = |kind: ReasonKind, what: &str, one: &Suspension| {
            let by = match one.who.is_empty() {
                true => String::new(),
                false => format!(" by {}", one.who),
            };
            let why = match one.why.is_empty() {
                true => String::new(),
                false => format!(": {}", one.why),
            };
            let text = format!("{what}{by} ({}){why}", one.selector);
            reason(kind, text, Some(one.until))
        };
        if let Some(one) = self.words.is_given_up(facts, self.now) {
            return Some(said(ReasonKind::GivenUp, "given up", one));
        }
        let held = self.words.is_held(facts, self.now)?;
        Some(said(ReasonKind::Suspended, "held back", held))
    }

    /// Rules at a site; those of other tenants and pools only if none is named.
    fn of_rules(&self, site: &str, of: Option<(&str, &str)>) -> Vec<Reason> {
        let concerns = |scope: &Scope| match scope {
            Scope::IpSite { site: at, .. } => at == site,
            Scope::Tenant { tenant, site: at } => {
                at == site && of.is_none_or(|(name, _)| tenant == name)
            }
            Scope::Pool { pool, site: at } => at == site && of.is_none_or(|(_, name)| pool == name),
        };
        let all = self
            .active_actions
            .iter()
            .filter(|(at, _)| concerns(&at.scope));
        let reasons = all.filter_map(|(at, force)| self.by_rule(&at.scope, force));
        reasons.take(NAMED_MAX).collect()
    }

    fn by_rule(&self, scope: &Scope, force: &ActiveAction) -> Option<Reason> {
        let phase = match force.phase(self.now) {
            Phase::InForce => String::new(),
            Phase::Climbing(step) => format!(", which ends step by step ({step})"),
            Phase::Over => return None,
        };
        let text = format!("{} for {scope}{phase}, after: {}", force.action, force.why);
        Some(reason(ReasonKind::Rule, text, Some(force.until)))
    }

    /// Hosts of a site that are not asked for TLS now.
    fn of_tls(&self, site: &str) -> Vec<Reason> {
        let of_site = self.waits.broken_tls.iter().filter(|one| one.site == site);
        let reasons = of_site.map(|one| {
            let text = format!(
                "TLS with {} [{}] does not work, so mail that may go in the clear does: {}",
                one.host, one.address, one.reason
            );
            reason(ReasonKind::Tls, text, Some(UnixMs(one.until_ms)))
        });
        reasons.take(NAMED_MAX).collect()
    }

    fn of_shared(&self, concerns: impl Fn(&LimitId) -> bool) -> Vec<Reason> {
        let concerned = self.shared.iter().filter(|(id, _)| concerns(id));
        let reasons = concerned.map(|(_, text)| reason(ReasonKind::Shared, text.clone(), None));
        reasons.take(NAMED_MAX).collect()
    }

    fn of_senders(&self, concerns: impl Fn(&Wait) -> bool) -> Vec<Reason> {
        let all = self.waits.senders.iter().flat_map(|one| {
            let waits = one.waits.iter();
            waits.map(|wait| (&one.sender, wait))
        });
        let concerned = all.filter(|(_, wait)| concerns(wait));
        let reasons = concerned.map(|(sender, wait)| {
            let kind = match (wait.scope.is_empty(), wait.pool.is_empty()) {
                (false, _) => ReasonKind::Limit,
                (true, true) => ReasonKind::Blocked,
                (true, false) => ReasonKind::Sender,
            };
            let from = match wait.ip.is_empty() {
                true => String::new(),
                false => format!(", from {}", wait.ip),
            };
            let tasks = match wait.tasks {
                0 => String::new(),
                tasks => format!("; {tasks} tasks wait there"),
            };
            let text = format!("at {sender}{from}: {}{tasks}", wait.text);
            let until = (wait.for_ms > 0).then_some(UnixMs(self.now.0 + wait.for_ms));
            reason(kind, text, until)
        });
        reasons.take(NAMED_MAX).collect()
    }
}

fn shared(rows: &Reader, name: &impl Fn(SessionId) -> Option<String>) -> Vec<(LimitId, String)> {
    let at = meta::limits::time(rows).unwrap_or_default();
    let all = meta::limits::limits(rows, None, SHARED_MAX).into_iter();
    let shown = all.map(|(id, row)| {
        let parts = row
            .parts()
            .into_iter()
            .filter(|part| part.held + part.wants > 0);
        let parts = parts.map(|part| {
            let who = name(part.session).unwrap_or_else(|| "a sender that is gone".to_owned());
            match part.wants > part.may {
                true => format!("{who} has {} and could use {}", part.held, part.wants),
                false => format!("{who} has {}", part.held),
            }
        });
        let parts: Vec<String> = parts.collect();
        let (count, seconds) = (row.limit().count(), row.limit().per().0 / 1000);
        let what = match id.counts {
            Counted::Connections => format!("{count} connections"),
            Counted::ConnectionAttempts => format!("{count} new connections in {seconds} s"),
            Counted::Messages => format!("{count} messages in {seconds} s"),
            Counted::Recipients => format!("{count} recipients in {seconds} s"),
        };
        let text = format!(
            "{what} for {} {}, {} of them used: {}",
            id.scope.name(),
            id.key,
            row.used(at),
            match parts.is_empty() {
                true => "nobody has a part now".to_owned(),
                false => parts.join(", "),
            }
        );
        (id, text)
    });
    shown.collect()
}

fn warmups(rows: &Reader, now: UnixMs) -> Vec<(IpAddr, String)> {
    let all = warmup::rows(rows).into_iter();
    let shown = all.map(|(target, row)| {
        let status = warmup::status(&row, now);
        let budget = status.budget.map_or_else(
            || "no budget applies".to_owned(),
            |budget| format!("{} of {budget} granted today", status.counts.granted),
        );
        let text = format!(
            "at {}: stage {} of {}, {budget}; {}",
            target.provider, status.stage, status.stages, status.outlook
        );
        (target.ip, text)
    });
    shown.collect()
}

fn no_owner(slot: Slot) -> Reason {
    let text = format!("no sender has slot {slot}; `skeinctl node list` shows who is there");
    reason(ReasonKind::Slot, text, None)
}

/// When the next task is due, and what its last attempt came to.
pub fn retry(row: &TaskRow, last_reply: &str, now: UnixMs) -> Option<Reason> {
    let (due, attempts) = (row.due, row.attempts);
    if row.awaits_host {
        let text = format!(
            "it goes out as soon as a host of its destination gives a connection; {} of {attempts} attempts met none, the \
             last one: {last_reply}",
            row.absences
        );
        return Some(reason(ReasonKind::Away, text, None));
    }
    if due <= now {
        return None;
    }
    let text = match (attempts, last_reply.is_empty()) {
        (0, _) => "it is for later".to_owned(),
        (attempts, true) => format!("{attempts} attempts so far"),
        (attempts, false) => format!("{attempts} attempts so far, the last one: {last_reply}"),
    };
    Some(reason(ReasonKind::Retry, text, Some(due)))
}

pub fn nothing() -> Reason {
    let text = "nothing holds it up: it goes out with its turn, or is on its way".to_owned();
    reason(ReasonKind::None, text, None)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_wire::internal::{BrokenTls, SenderWaits};

    use super::ReasonKind::{Blocked, Limit, Shared, Tls};
    use super::*;

    fn limit(key: &str) -> LimitId {
        let scope = match key {
            "news" => limits::Scope::Pool,
            "a1" => limits::Scope::Ip,
            _ => limits::Scope::IpSite,
        };
        LimitId {
            scope,
            key: key.into(),
            counts: Counted::Connections,
            nth: 0,
        }
    }

    fn causes() -> Causes {
        let wait = |site: &str, pool: &str, scope: &str, text: &str| Wait {
            site: site.into(),
            ip: "a1".into(),
            pool: pool.into(),
            tenant: "default".into(),
            tasks: 7,
            scope: scope.into(),
            text: text.into(),
            for_ms: 5_000,
        };
        let waits = vec![
            wait("google", "news", "ip_site", "a limit lets nothing begin"),
            wait("google", "other", "pool", "another pool's"),
            Wait {
                pool: String::new(),
                ..wait("yahoo", "", "", "its hosts give no connection")
            },
        ];
        let sender = "s1".to_owned();
        let broken_tls = BrokenTls {
            address: "192.0.2.9:25".into(),
            host: "mx.apple.test".into(),
            site: "apple".into(),
            reason: "no common version".into(),
            until_ms: 9_000,
        };
        Causes {
            now: UnixMs(1_000),
            words: Suspensions::default(),
            active_actions: ActiveActions::default(),
            waits: GetWaitsReply {
                senders: vec![SenderWaits {
                    sender,
                    waits,
                    ..SenderWaits::default()
                }],
                broken_tls: vec![broken_tls],
                ..GetWaitsReply::default()
            },
            owners: BTreeMap::from([(Slot(3), ("s1".to_owned(), None))]),
            shared: ["a1 google", "a1", "news"]
                .map(|key| (limit(key), "in parts".to_owned()))
                .into(),
            warmups: vec![([192, 0, 2, 1].into(), "at google: stage 1 of 9".to_owned())],
        }
    }

    fn queue(site: &str, slot: Slot) -> QueueRow {
        QueueRow {
            domain: skein_model::Domain::new("b.test"),
            tenant: "default".into(),
            pool: "news".into(),
            slot,
            tasks: 1,
            priority: skein_model::Priority::Bulk,
            site: Some(site.into()),
            campaign: None,
        }
    }

    #[test]
    fn a_queue_hears_of_its_own_limits_and_of_its_site() {
        let causes = causes();
        let kinds = |row: &QueueRow| -> Vec<ReasonKind> {
            let reasons = causes.of_queue(row).into_iter();
            reasons.map(|reason| reason.kind()).collect()
        };
        let (google, yahoo, apple) = (
            queue("google", Slot(3)),
            queue("yahoo", Slot(3)),
            queue("apple", Slot(4)),
        );
        assert_eq!(kinds(&google), [Limit, Shared, Shared]);
        assert_eq!(kinds(&yahoo), [Blocked, Shared]);
        assert_eq!(kinds(&apple), [ReasonKind::Slot, Tls, Shared]);
        let tls = causes.of_site("apple", &[Slot(3)]).remove(1);
        assert_eq!(tls.until_ms, 9_000);
        assert!(tls.text.contains("mx.apple.test") && tls.text.contains("no common version"));
        let limit = causes.of_queue(&queue("google", Slot(3))).remove(0);
        assert_eq!(limit.until_ms, 6_000);
        let said = "at s1, from a1: a limit lets nothing begin; 7 tasks wait there";
        assert_eq!(limit.text, said);
        assert_eq!(causes.of_site("google", &[Slot(3)]).len(), 4);
        assert_eq!(causes.of_ip("a1", "192.0.2.1").len(), 6);
    }

    #[test]
    fn a_task_that_is_due_waits_for_no_time() {
        let task = |due, attempts, awaits_host| TaskRow {
            domain: skein_model::Domain::new("b.test"),
            slot: Slot(3),
            recipients: Vec::new(),
            attempts,
            due: UnixMs(due),
            created: UnixMs(0),
            last_reply: None,
            delay_notified: false,
            site: None,
            moves: 0,
            pool: None,
            absences: 1,
            awaits_host,
            created_in: None,
            return_path: None,
        };
        assert_eq!(retry(&task(5, 1, false), "no", UnixMs(5)), None);
        let later = retry(&task(9, 2, false), "451 later", UnixMs(5)).unwrap();
        assert_eq!(later.until_ms, 9);
        assert_eq!(later.text, "2 attempts so far, the last one: 451 later");
        let away = retry(&task(9, 2, true), "4.4.1 refused", UnixMs(5)).unwrap();
        assert_eq!((away.kind(), away.until_ms), (ReasonKind::Away, 0));
        assert!(
            away.text.contains("1 of 2 attempts met none"),
            "{}",
            away.text
        );
    }
}
