//! What this sender tells of limits that it shares with others, and what it is told.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_client::{LimitKeeper, Reports};
use skein_model::throttle::{LimitAnswer, REPORTS_MAX};
use skein_model::{SessionId, Slot};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::limits::limiters::LocalLimiters;

/// Most connections of a site that leaves are closed by then, so that no other sender need hear of them.
const CLOSED_SOON: Duration = Duration::from_millis(100);
/// Without a leader no slot changes hands either. What it does not take by then is beyond a bound of what it keeps.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

impl LocalLimiters {
    /// Completes when slots may be others': the leader counts the connections of their sites that are still open here, as
    /// they wait for the answer to a final dot, and gives the next owner what is left beside them.
    pub async fn hand_over(&self, slots: &BTreeSet<Slot>) {
        let is_leaving = |site: &str| slots.contains(&Slot::of(site, 0));
        let left = || self.state.lock().limiters.left_open(is_leaving);
        let none_left = async || {
            while !left().is_empty() {
                sleep(LOOK).await;
            }
        };
        let leave = || {
            self.state.lock().limiters.leave(is_leaving);
            self.hurry.notify_one();
        };
        leave();
        if timeout(CLOSED_SOON, none_left()).await.is_ok() {
            return;
        }
        let sites = left();
        self.state.lock().limiters.share_sites(self.now(), &sites);
        leave();
        if timeout(HEARD_WITHIN, none_left()).await.is_err() {
            tracing::warn!(sites = ?left(), "connections go on that the next owner does not know of");
        }
    }
}

impl LimitKeeper for LocalLimiters {
    fn begin_session(&self, session: SessionId) {
        let mut state = self.state.lock();
        state.session = session;
        state.shared.is_told = false;
        state.shared.told = 0;
        state.shared.fresh.clear();
        state
            .limiters
            .begin_session(skein_model::lease::Lease::ENDED);
    }

    fn set_shared_sites(&self, version: u64, sites: BTreeSet<String>) {
        let mut state = self.state.lock();
        let new: BTreeSet<String> = sites.difference(&state.shared.sites).cloned().collect();
        let now = self.now();
        // Under the lock: what was taken alone before is told before others get a part.
        state.limiters.share_sites(now, &new);
        state.shared.fresh.extend(new);
        state.shared.version = version;
        state.shared.sites = sites;
        state.shared.is_told = false;
        self.hurry.notify_one();
    }

    fn shared_version(&self) -> u64 {
        self.state.lock().shared.version
    }

    fn reports(&self) -> Option<Reports> {
        self.say_if_over();
        let mut state = self.state.lock();
        let now = self.now();
        let reports = state.reports(now);
        let is_told = state.shared.is_told || state.shared.version == 0;
        if reports.is_empty() && is_told {
            return None;
        }
        // The use that this sender had alone goes, all of it, with the report that the site is shared.
        let shared_version = match reports.len() < REPORTS_MAX {
            true => state.shared.version,
            false => state.shared.told,
        };
        let alone = match self.slots.get() {
            Some(slots) => slots.kept_alone(&state.shared.fresh),
            None => Vec::new(),
        };
        Some(Reports {
            shared_version,
            alone,
            reports,
        })
    }

    fn due_in(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        let now = self.now();
        state.planned = state.limiters.report_at(now);
        if !state.shared.is_told && state.shared.version > 0 {
            return Some(Duration::ZERO);
        }
        let due = state.planned?;
        Some(Duration::from_millis(due.0.saturating_sub(now.0)))
    }

    fn hurry(&self) -> &Notify {
        &self.hurry
    }

    fn answered(&self, told: &Reports, answers: &[LimitAnswer]) {
        let more = {
            let mut state = self.state.lock();
            state.shared.told = state.shared.told.max(told.shared_version);
            if told.shared_version == state.shared.version {
                state.shared.is_told = true;
                state.shared.fresh.clear();
                state.limiters.told_shared(&told.reports);
            }
            let now = self.now();
            self.renew(&mut state);
            state.limiters.answered(now, &told.reports, answers)
        };
        if answers.contains(&LimitAnswer::Full) {
            tracing::warn!(
                "there are as many shared limits as there may be; mail waits for one to end"
            );
        }
        for (id, more) in more {
            self.grew(&id, more);
        }
        self.say_if_over();
    }
}
