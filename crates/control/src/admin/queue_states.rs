//! Why a queue waits: what decides when its next task goes.

use std::collections::{BTreeMap, BTreeSet};

use skein_model::automation::{self, Suspension, Suspensions, held_by_rules};
use skein_model::spool::{QueueRow, TaskRow};
use skein_model::{SessionId, Slot, UnixMs, meta};
use skein_wire::internal::{SenderWaits, Wait};
use skein_wire::v1::{QueueState, SourceIpState};
use tonic::Status;

use super::AdminService;
use super::reasons::retry;
use crate::policy::pools;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueStatus {
    pub kind: QueueState,
    pub reason: String,
    /// When it is over, if that is known.
    pub until: Option<UnixMs>,
}

impl QueueStatus {
    fn new(kind: QueueState, reason: impl Into<String>, until: Option<UnixMs>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            until,
        }
    }
}

/// All that decides about queues, at one moment.
#[derive(Debug, Default)]
pub(super) struct QueueConditions {
    now: UnixMs,
    by_hand: Suspensions,
    by_rules: Suspensions,
    /// The owner of each slot, and the sender that is to get it.
    owners: BTreeMap<Slot, (String, Option<String>)>,
    /// The source IPs of each pool that may be used, by name, and of those the ones that no node has.
    pools: BTreeMap<String, BTreeSet<String>>,
    unplaced: BTreeSet<String>,
    waits: Vec<Wait>,
}

impl AdminService {
    /// As this node and the senders know it now.
    pub(super) async fn states(&self) -> Result<QueueConditions, Status> {
        let now = crate::clock::now();
        let policy = self.read_policy()?;
        let by_rules = held_by_rules(
            &automation::active_actions(&self.meta),
            &pools(&policy),
            now,
        );
        let sessions = meta::sessions(&self.meta);
        let name = |id: SessionId| sessions.get(&id).map(|row| row.sender.clone());
        let owners = meta::assignments(&self.meta).into_iter();
        let owners = owners.filter_map(|(slot, held)| {
            let to = held.moving_to.and_then(name);
            Some((slot, (name(held.session)?, to)))
        });
        let mut states = QueueConditions {
            now,
            by_hand: automation::suspensions(&self.meta),
            by_rules: Suspensions::default().with(by_rules),
            owners: owners.collect(),
            waits: waits(self.heard_from_senders("").await.senders),
            ..QueueConditions::default()
        };
        for ip in self.source_ips()? {
            if ip.state() == SourceIpState::Suspended {
                continue;
            }
            if ip.state() == SourceIpState::Unplaced {
                states.unplaced.insert(ip.name.clone());
            }
            for pool in ip.pools {
                states
                    .pools
                    .entry(pool)
                    .or_default()
                    .insert(ip.name.clone());
            }
        }
        Ok(states)
    }
}

fn waits(told: Vec<SenderWaits>) -> Vec<Wait> {
    told.into_iter().flat_map(|one| one.waits).collect()
}

impl QueueConditions {
    /// What decides about a queue, by its next task: the first of these that is so.
    pub fn of(&self, row: &QueueRow, head: Option<&(UnixMs, TaskRow)>) -> QueueStatus {
        self.of_operators(row)
            .or_else(|| self.of_slot(row.slot))
            .or_else(|| self.of_pool(row))
            .or_else(|| self.of_time(head))
            .or_else(|| self.of_hosts(row))
            .or_else(|| self.of_limits(row))
            .unwrap_or_else(|| {
                QueueStatus::new(
                    QueueState::Due,
                    "it goes out with its turn, or is on its way",
                    None,
                )
            })
    }

    fn of_operators(&self, row: &QueueRow) -> Option<QueueStatus> {
        let facts = row.facts();
        if let Some(one) = self.by_hand.is_given_up(&facts, self.now) {
            return Some(QueueStatus::new(
                QueueState::Bounced,
                said("given up", one),
                Some(one.until),
            ));
        }
        if let Some(one) = self.by_hand.is_held(&facts, self.now) {
            return Some(QueueStatus::new(
                QueueState::Suspended,
                said("held back", one),
                Some(one.until),
            ));
        }
        let one = self.by_rules.is_held(&facts, self.now)?;
        let reason = format!("a rule holds {} back after: {}", one.selector, one.why);
        Some(QueueStatus::new(QueueState::Rule, reason, Some(one.until)))
    }

    fn of_slot(&self, slot: Slot) -> Option<QueueStatus> {
        match self.owners.get(&slot) {
            None => Some(QueueStatus::new(
                QueueState::NoSender,
                format!("no sender has slot {slot}"),
                None,
            )),
            Some((from, Some(to))) => {
                let reason = format!("its slot {slot} moves from {from} to {to}");
                Some(QueueStatus::new(QueueState::Moving, reason, None))
            }
            Some((_, None)) => None,
        }
    }

    /// A pool that has no resource sends from the node's own address.
    fn of_pool(&self, row: &QueueRow) -> Option<QueueStatus> {
        let ips = self.pools.get(&row.pool)?;
        if ips.is_empty() || !ips.iter().all(|ip| self.unplaced.contains(ip)) {
            return None;
        }
        let reason = format!("no node has any IP of pool {}", row.pool);
        Some(QueueStatus::new(QueueState::Unplaced, reason, None))
    }

    fn of_time(&self, head: Option<&(UnixMs, TaskRow)>) -> Option<QueueStatus> {
        let (due, task) = head?;
        let reply = task.last_reply.as_ref().map(ToString::to_string);
        let waits = retry(task, &reply.unwrap_or_default(), self.now)?;
        Some(match task.awaits_host {
            true => QueueStatus::new(QueueState::Blocked, waits.text, None),
            false => QueueStatus::new(QueueState::Retry, waits.text, Some(*due)),
        })
    }

    /// A site gives no connection when it gives none to any IP of the pool.
    fn of_hosts(&self, row: &QueueRow) -> Option<QueueStatus> {
        let site = row.site();
        let blocked = self
            .waits
            .iter()
            .filter(|wait| wait.site == site && wait.scope.is_empty() && wait.pool.is_empty());
        let in_pool = self.pools.get(&row.pool);
        let of_pool: Vec<&Wait> = blocked
            .filter(|wait| in_pool.is_none_or(|ips| ips.contains(&wait.ip)))
            .collect();
        let ips: BTreeSet<&str> = of_pool.iter().map(|wait| wait.ip.as_str()).collect();
        if in_pool.is_some_and(|all| ips.len() < all.len()) {
            return None;
        }
        let first = of_pool.into_iter().min_by_key(|wait| wait.for_ms)?;
        Some(QueueStatus::new(
            QueueState::Blocked,
            first.text.clone(),
            self.after(first),
        ))
    }

    fn of_limits(&self, row: &QueueRow) -> Option<QueueStatus> {
        let held = self.waits.iter().filter(|wait| {
            wait.site == row.site()
                && !wait.scope.is_empty()
                && (&wait.tenant, &wait.pool) == (&row.tenant, &row.pool)
        });
        let first = held.min_by_key(|wait| wait.for_ms)?;
        Some(QueueStatus::new(
            QueueState::Limit,
            first.text.clone(),
            self.after(first),
        ))
    }

    fn after(&self, wait: &Wait) -> Option<UnixMs> {
        (wait.for_ms > 0).then_some(UnixMs(self.now.0.saturating_add(wait.for_ms)))
    }
}

fn said(what: &str, one: &Suspension) -> String {
    let by = match one.who.is_empty() {
        true => String::new(),
        false => format!(" by {}", one.who),
    };
    let why = match one.why.is_empty() {
        true => String::new(),
        false => format!(": {}", one.why),
    };
    format!("{what}{by} ({}){why}", one.selector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_model::automation::Selector;
    use skein_model::{Domain, Priority};

    const NOW: UnixMs = UnixMs(10_000);

    fn queue() -> QueueRow {
        QueueRow {
            domain: Domain::new("b.test"),
            tenant: "shop".into(),
            pool: "news".into(),
            slot: Slot(3),
            tasks: 1,
            priority: Priority::Bulk,
            site: Some("google".into()),
            campaign: Some("may".into()),
        }
    }

    fn suspension(campaign: &str, gives_up: bool) -> Suspension {
        Suspension {
            selector: Selector {
                campaign: Some(campaign.into()),
                ..Selector::default()
            },
            who: "ann".into(),
            why: "wrong list".into(),
            from: UnixMs(0),
            until: UnixMs(99_000),
            gives_up,
        }
    }

    fn wait(scope: &str, pool: &str, ip: &str) -> Wait {
        Wait {
            site: "google".into(),
            ip: ip.into(),
            pool: pool.into(),
            tenant: if pool.is_empty() { "" } else { "shop" }.into(),
            tasks: 1,
            scope: scope.into(),
            text: "told by a sender".into(),
            for_ms: 5_000,
        }
    }

    fn calm() -> QueueConditions {
        QueueConditions {
            now: NOW,
            owners: [(Slot(3), ("s1".to_owned(), None))].into(),
            pools: [("news".to_owned(), ["a1".to_owned(), "a2".to_owned()].into())].into(),
            ..QueueConditions::default()
        }
    }

    fn held(one: Suspension) -> Suspensions {
        Suspensions::default().with(vec![one])
    }

    /// All that there may be at once, strongest first: each is what shows when nothing before it is so.
    #[test]
    fn a_queue_says_what_decides_about_it() {
        let later = (UnixMs(20_000), task(1, 20_000));
        let due = (UnixMs(1), task(0, 1));
        let mut states = calm();
        let mut look = |change: &dyn Fn(&mut QueueConditions), head: &(UnixMs, TaskRow)| {
            change(&mut states);
            let state = states.of(&queue(), Some(head));
            (state.kind, state.until.map(|until| until.0))
        };
        assert_eq!(look(&|_| {}, &due), (QueueState::Due, None));
        let limits = |states: &mut QueueConditions| {
            states.waits = vec![wait("ip_site", "news", "a1"), wait("pool", "other", "a1")];
        };
        assert_eq!(look(&limits, &due), (QueueState::Limit, Some(15_000)));
        let one_blocked = |states: &mut QueueConditions| states.waits.push(wait("", "", "a1"));
        assert_eq!(
            look(&one_blocked, &due),
            (QueueState::Limit, Some(15_000)),
            "a2 is free"
        );
        let both_blocked = |states: &mut QueueConditions| states.waits.push(wait("", "", "a2"));
        assert_eq!(
            look(&both_blocked, &due),
            (QueueState::Blocked, Some(15_000))
        );
        assert_eq!(look(&|_| {}, &later), (QueueState::Retry, Some(20_000)));
        let unplaced = |states: &mut QueueConditions| {
            states.unplaced = ["a1".to_owned(), "a2".to_owned()].into()
        };
        assert_eq!(look(&unplaced, &later), (QueueState::Unplaced, None));
        let moving = |states: &mut QueueConditions| {
            states.owners = [(Slot(3), ("s1".to_owned(), Some("s2".to_owned())))].into();
        };
        assert_eq!(look(&moving, &later), (QueueState::Moving, None));
        assert_eq!(
            look(&|states| states.owners.clear(), &later),
            (QueueState::NoSender, None)
        );
        let by_rule =
            |states: &mut QueueConditions| states.by_rules = held(suspension("may", false));
        assert_eq!(look(&by_rule, &later), (QueueState::Rule, Some(99_000)));
        let other = |states: &mut QueueConditions| states.by_hand = held(suspension("june", false));
        assert_eq!(look(&other, &later), (QueueState::Rule, Some(99_000)));
        let by_hand =
            |states: &mut QueueConditions| states.by_hand = held(suspension("may", false));
        assert_eq!(
            look(&by_hand, &later),
            (QueueState::Suspended, Some(99_000))
        );
        let given_up =
            |states: &mut QueueConditions| states.by_hand = held(suspension("may", true));
        assert_eq!(look(&given_up, &later), (QueueState::Bounced, Some(99_000)));
    }

    fn task(attempts: u32, due: u64) -> TaskRow {
        TaskRow {
            domain: Domain::new("b.test"),
            slot: Slot(3),
            recipients: Vec::new(),
            attempts,
            due: UnixMs(due),
            created: UnixMs(1),
            last_reply: None,
            delay_notified: false,
            site: Some("google".into()),
            moves: 0,
            pool: None,
            absences: 0,
            awaits_host: false,
            created_in: None,
            return_path: None,
        }
    }
}
