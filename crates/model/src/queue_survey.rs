//! How much waits where, and for how long: one look through the queues of a group, for metrics.

use std::collections::{BTreeMap, BTreeSet};

use crate::automation::Suspensions;
use crate::dispense::Standings;
use crate::priority::Priority;
use crate::rows::ReadRows;
use crate::spool::{QueueRow, query};
use crate::time::UnixMs;

/// What stands for all names beyond the bound of a table.
pub const OTHER: &str = "other";

/// Tasks that have something in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// That are open.
    pub tasks: u64,
    /// When the first came due of those that no sender has; none: none is due.
    pub due_since: Option<UnixMs>,
}

impl Depth {
    fn add(&mut self, other: Self) {
        self.tasks = self.tasks.saturating_add(other.tasks);
        self.due_since = earlier(self.due_since, other.due_since);
    }
}

fn earlier(one: Option<UnixMs>, other: Option<UnixMs>) -> Option<UnixMs> {
    one.into_iter().chain(other).min()
}

/// The queues of one group. There are as many names as there are queues, until [`QueueSurvey::bounded`] has folded them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueSurvey {
    pub queues: u64,
    /// When the first task came due that nothing holds back.
    pub ready_since: BTreeMap<Priority, UnixMs>,
    pub providers: BTreeMap<(String, Priority), Depth>,
    pub pools: BTreeMap<String, Depth>,
    pub tenants: BTreeMap<String, Depth>,
    pub sites: BTreeMap<String, Depth>,
}

/// How many names of a kind a survey keeps apart.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub pools: usize,
    pub tenants: usize,
    pub sites: usize,
}

impl QueueSurvey {
    /// Looks through all queues. Sites that `providers` does not have are those of [`OTHER`].
    pub fn of(
        rows: &(impl ReadRows + ?Sized),
        now: UnixMs,
        standings: &Standings,
        suspensions: &Suspensions,
        providers: &BTreeSet<String>,
    ) -> Self {
        let mut survey = Self::default();
        query::each_queue(rows, |id, row| {
            let standing = standings.get(&id);
            let due = standing.and_then(|standing| {
                let mut due = None;
                query::scan_due(rows, id, standing.from, &mut |at, _| {
                    due = Some(at);
                    false
                });
                due.filter(|at| *at <= now)
            });
            let is_held =
                || !suspensions.is_empty() && suspensions.free_at(&row.facts(), now) > now;
            let may_go = standing.is_some_and(|standing| standing.may_go);
            if let Some(due) = due.filter(|_| may_go && !is_held()) {
                let since = survey.ready_since.entry(row.priority).or_insert(due);
                *since = due.min(*since);
            }
            survey.add(&row, due, providers);
        });
        survey
    }

    fn add(&mut self, row: &QueueRow, due_since: Option<UnixMs>, providers: &BTreeSet<String>) {
        let depth = Depth {
            tasks: row.tasks,
            due_since,
        };
        self.queues += 1;
        let provider = match providers.contains(row.site()) {
            true => row.site(),
            false => OTHER,
        };
        let provider = (provider.to_owned(), row.priority);
        self.providers.entry(provider).or_default().add(depth);
        for (names, name) in [
            (&mut self.pools, row.pool.as_str()),
            (&mut self.tenants, row.tenant.as_str()),
            (&mut self.sites, row.site()),
        ] {
            match names.get_mut(name) {
                Some(known) => known.add(depth),
                None => {
                    names.insert(name.to_owned(), depth);
                }
            }
        }
    }

    /// Of each kind, the names with the most tasks, and [`OTHER`] for the rest.
    #[must_use]
    pub fn bounded(mut self, bounds: Bounds) -> Self {
        for (names, most) in [
            (&mut self.pools, bounds.pools),
            (&mut self.tenants, bounds.tenants),
            (&mut self.sites, bounds.sites),
        ] {
            fold(names, most);
        }
        self
    }
}

fn fold(names: &mut BTreeMap<String, Depth>, most: usize) {
    if names.len() <= most {
        return;
    }
    let mut all: Vec<_> = std::mem::take(names).into_iter().collect();
    all.sort_by_key(|(_, depth)| std::cmp::Reverse(depth.tasks));
    let rest = all.split_off(most);
    names.extend(all);
    let other = names.entry(OTHER.to_owned()).or_default();
    rest.into_iter().for_each(|(_, depth)| other.add(depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Slot;
    use crate::mail::Domain;

    fn row(domain: &str, site: Option<&str>, tenant: &str, tasks: u64) -> QueueRow {
        QueueRow {
            domain: Domain::new(domain),
            tenant: tenant.to_owned(),
            pool: "default".to_owned(),
            slot: Slot(0),
            tasks,
            priority: Priority::Bulk,
            site: site.map(str::to_owned),
            campaign: None,
        }
    }

    #[test]
    fn small_names_are_one_and_no_task_is_lost() {
        let mut survey = QueueSurvey::default();
        let providers = BTreeSet::from(["google".to_owned()]);
        let due = |ms| Some(UnixMs(ms));
        survey.add(
            &row("a.test", Some("google"), "one", 5),
            due(70),
            &providers,
        );
        survey.add(&row("b.test", Some("google"), "two", 7), None, &providers);
        for number in 0..9 {
            let domain = format!("c{number}.test");
            let one = row(&domain, None, "one", number + 1);
            survey.add(&one, due(100 - number), &providers);
        }
        let survey = survey.bounded(Bounds {
            pools: 3,
            tenants: 1,
            sites: 3,
        });
        let depth = |tasks, due_since| Depth { tasks, due_since };
        let of = |names: &[(&str, Depth)]| -> BTreeMap<String, Depth> {
            let names = names.iter();
            names
                .map(|(name, depth)| ((*name).to_owned(), *depth))
                .collect()
        };
        assert_eq!(
            survey.sites,
            of(&[
                ("google", depth(12, due(70))),
                ("c8.test", depth(9, due(92))),
                ("c7.test", depth(8, due(93))),
                (OTHER, depth(28, due(94))),
            ])
        );
        assert_eq!(
            survey.tenants,
            of(&[("one", depth(50, due(70))), (OTHER, depth(7, None))])
        );
        assert_eq!(survey.pools, of(&[("default", depth(57, due(70)))]));
        let of_other = (OTHER.to_owned(), Priority::Bulk);
        assert_eq!(survey.providers[&of_other], depth(45, due(92)));
        assert_eq!(survey.queues, 11);
    }
}
