//! Why a queue waits, in one word: what decides when its next task goes.

use std::collections::{BTreeMap, BTreeSet};

use skein_model::automation::{self, Suspension, Suspensions, held_by_rules};
use skein_model::spool::{QueueRow, TaskRow};
use skein_model::{SessionId, Slot, UnixMs, meta};
use skein_wire::internal::{SenderWaits, Wait};
use tonic::Status;

use super::AdminService;
use super::reasons::retry;
use crate::policy::pools;

/// What [`State::word`] may be.
pub(super) const WORDS: [&str; 10] = [
    "due",
    "retry",
    "suspended",
    "bounced",
    "rule",
    "limit",
    "blocked",
    "unplaced",
    "no sender",
    "moving",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub word: &'static str,
    pub reason: String,
    /// When it is over, as far as anybody knows.
    pub until: Option<UnixMs>,
}

impl State {
    fn new(word: &'static str, reason: impl Into<String>, until: Option<UnixMs>) -> Self {
        Self {
            word,
            reason: reason.into(),
            until,
        }
    }
}

/// All that decides about queues, at one moment.
#[derive(Debug, Default)]
pub(super) struct States {
    now: UnixMs,
    by_hand: Suspensions,
    by_rules: Suspensions,
    /// Who has each slot, and who is to get it.
    owners: BTreeMap<Slot, (String, Option<String>)>,
    /// The source IPs of each pool that may be used, by name, and of those the ones that no node has.
    pools: BTreeMap<String, BTreeSet<String>>,
    unplaced: BTreeSet<String>,
    waits: Vec<Wait>,
}

impl AdminService {
    /// As this node and the senders know it now.
    pub(super) async fn states(&self) -> Result<States, Status> {
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
        let mut states = States {
            now,
            by_hand: automation::suspensions(&self.meta),
            by_rules: Suspensions::default().with(by_rules),
            owners: owners.collect(),
            waits: waits(self.heard_from_senders("").await.senders),
            ..States::default()
        };
        for ip in self.source_ips()? {
            if ip.state == "suspended" {
                continue;
            }
            if ip.state == "unplaced" {
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

impl States {
    /// What decides about a queue, by its next task: the first of these that is so.
    pub fn of(&self, row: &QueueRow, head: Option<&(UnixMs, TaskRow)>) -> State {
        self.of_operators(row)
            .or_else(|| self.of_slot(row.slot))
            .or_else(|| self.of_pool(row))
            .or_else(|| self.of_time(head))
            .or_else(|| self.of_hosts(row))
            .or_else(|| self.of_limits(row))
            .unwrap_or_else(|| {
                State::new("due", "it goes out with its turn, or is on its way", None)
            })
    }

    fn of_operators(&self, row: &QueueRow) -> Option<State> {
        let facts = row.facts();
        if let Some(one) = self.by_hand.is_given_up(&facts, self.now) {
            return Some(State::new(
                "bounced",
                said("given up", one),
                Some(one.until),
            ));
        }
        if let Some(one) = self.by_hand.is_held(&facts, self.now) {
            return Some(State::new(
                "suspended",
                said("held back", one),
                Some(one.until),
            ));
        }
        let one = self.by_rules.is_held(&facts, self.now)?;
        let reason = format!("a rule holds {} back after: {}", one.selector, one.why);
        Some(State::new("rule", reason, Some(one.until)))
    }

    fn of_slot(&self, slot: Slot) -> Option<State> {
        match self.owners.get(&slot) {
            None => Some(State::new(
                "no sender",
                format!("no sender has slot {slot}"),
                None,
            )),
            Some((from, Some(to))) => {
                let reason = format!("its slot {slot} moves from {from} to {to}");
                Some(State::new("moving", reason, None))
            }
            Some((_, None)) => None,
        }
    }

    /// A pool that has no resource sends from the node's own address.
    fn of_pool(&self, row: &QueueRow) -> Option<State> {
        let ips = self.pools.get(&row.pool)?;
        if ips.is_empty() || !ips.iter().all(|ip| self.unplaced.contains(ip)) {
            return None;
        }
        let reason = format!("no node has any IP of pool {}", row.pool);
        Some(State::new("unplaced", reason, None))
    }

    fn of_time(&self, head: Option<&(UnixMs, TaskRow)>) -> Option<State> {
        let (due, task) = head?;
        let reply = task.last_reply.as_ref().map(ToString::to_string);
        let waits = retry(task, &reply.unwrap_or_default(), self.now)?;
        Some(match task.awaits_host {
            true => State::new("blocked", waits.text, None),
            false => State::new("retry", waits.text, Some(*due)),
        })
    }

    /// A site gives no connection when it gives none to any IP of the pool.
    fn of_hosts(&self, row: &QueueRow) -> Option<State> {
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
        Some(State::new("blocked", first.text.clone(), self.after(first)))
    }

    fn of_limits(&self, row: &QueueRow) -> Option<State> {
        let held = self.waits.iter().filter(|wait| {
            wait.site == row.site()
                && !wait.scope.is_empty()
                && (&wait.tenant, &wait.pool) == (&row.tenant, &row.pool)
        });
        let first = held.min_by_key(|wait| wait.for_ms)?;
        Some(State::new("limit", first.text.clone(), self.after(first)))
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

    fn calm() -> States {
        States {
            now: NOW,
            owners: [(Slot(3), ("s1".to_owned(), None))].into(),
            pools: [("news".to_owned(), ["a1".to_owned(), "a2".to_owned()].into())].into(),
            ..States::default()
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
        let mut look = |change: &dyn Fn(&mut States), head: &(UnixMs, TaskRow)| {
            change(&mut states);
            let state = states.of(&queue(), Some(head));
            assert!(WORDS.contains(&state.word));
            (state.word, state.until.map(|until| until.0))
        };
        assert_eq!(look(&|_| {}, &due), ("due", None));
        let limits = |states: &mut States| {
            states.waits = vec![wait("ip_site", "news", "a1"), wait("pool", "other", "a1")];
        };
        assert_eq!(look(&limits, &due), ("limit", Some(15_000)));
        let one_blocked = |states: &mut States| states.waits.push(wait("", "", "a1"));
        assert_eq!(
            look(&one_blocked, &due),
            ("limit", Some(15_000)),
            "a2 is free"
        );
        let both_blocked = |states: &mut States| states.waits.push(wait("", "", "a2"));
        assert_eq!(look(&both_blocked, &due), ("blocked", Some(15_000)));
        assert_eq!(look(&|_| {}, &later), ("retry", Some(20_000)));
        let unplaced =
            |states: &mut States| states.unplaced = ["a1".to_owned(), "a2".to_owned()].into();
        assert_eq!(look(&unplaced, &later), ("unplaced", None));
        let moving = |states: &mut States| {
            states.owners = [(Slot(3), ("s1".to_owned(), Some("s2".to_owned())))].into();
        };
        assert_eq!(look(&moving, &later), ("moving", None));
        assert_eq!(
            look(&|states| states.owners.clear(), &later),
            ("no sender", None)
        );
        let by_rule = |states: &mut States| states.by_rules = held(suspension("may", false));
        assert_eq!(look(&by_rule, &later), ("rule", Some(99_000)));
        let other = |states: &mut States| states.by_hand = held(suspension("june", false));
        assert_eq!(look(&other, &later), ("rule", Some(99_000)));
        let by_hand = |states: &mut States| states.by_hand = held(suspension("may", false));
        assert_eq!(look(&by_hand, &later), ("suspended", Some(99_000)));
        let given_up = |states: &mut States| states.by_hand = held(suspension("may", true));
        assert_eq!(look(&given_up, &later), ("bounced", Some(99_000)));
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
        }
    }
}
