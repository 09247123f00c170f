//! What this sender tells of limits that it shares with others, and what it is told.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_client::{LimitKeeper, Reports};
use skein_model::SessionId;
use skein_model::throttle::{LimitAnswer, REPORTS_MAX};
use tokio::sync::Notify;

use crate::gates::LocalGates;

impl LimitKeeper for LocalGates {
    fn begin_session(&self, session: SessionId) {
        let mut state = self.state.lock();
        state.session = session;
        state.wide.is_told = false;
        state.wide.told = 0;
        state.wide.fresh.clear();
        state.gates.begin_session(skein_model::lease::Lease::ENDED);
    }

    fn set_wide_sites(&self, version: u64, sites: BTreeSet<String>) {
        let mut state = self.state.lock();
        let new: BTreeSet<String> = sites.difference(&state.wide.sites).cloned().collect();
        let now = self.now();
        // Under the lock: what was taken alone before is told before others get a part.
        state.gates.widen(now, &new);
        state.wide.fresh.extend(new);
        state.wide.version = version;
        state.wide.sites = sites;
        state.wide.is_told = false;
        self.hurry.notify_one();
    }

    fn wide_version(&self) -> u64 {
        self.state.lock().wide.version
    }

    fn reports(&self) -> Option<Reports> {
        self.say_if_over();
        let mut state = self.state.lock();
        let now = self.now();
        let reports = state.reports(now);
        let is_told = state.wide.is_told || state.wide.version == 0;
        if reports.is_empty() && is_told {
            return None;
        }
        // What was used alone goes with the word that it is not any more, all of it.
        let wide_version = match reports.len() < REPORTS_MAX {
            true => state.wide.version,
            false => state.wide.told,
        };
        let alone = match self.slots.get() {
            Some(slots) => slots.kept_alone(&state.wide.fresh),
            None => Vec::new(),
        };
        Some(Reports {
            wide_version,
            alone,
            reports,
        })
    }

    fn due_in(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        let now = self.now();
        state.planned = state.gates.report_at(now);
        if !state.wide.is_told && state.wide.version > 0 {
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
            state.wide.told = state.wide.told.max(told.wide_version);
            if told.wide_version == state.wide.version {
                state.wide.is_told = true;
                state.wide.fresh.clear();
                state.gates.told_wide(&told.reports);
            }
            let now = self.now();
            self.renew(&mut state);
            state.gates.answered(now, &told.reports, answers)
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
