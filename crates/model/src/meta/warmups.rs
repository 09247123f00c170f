//! Warm-ups, as operators and sessions speak of them.

use super::command::{Refusal, Response};
use super::state::{session, sessions};
use crate::id::SessionId;
use crate::rows::Rows;
use crate::time::UnixMs;
use crate::warmup::{self, Ask, Command};

/// No order changes who owns a slot.
pub(super) fn order<R: Rows>(rows: &mut R, now: UnixMs, orders: &[Command]) -> Response {
    let answers = orders.iter().map(|order| warmup::apply(rows, now, order));
    Response::Warmup(answers.collect())
}

pub(super) fn grant<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    id: SessionId,
    batch: u64,
    asks: &[Ask],
) -> Response {
    match session(rows, id) {
        Some(_) => Response::Granted(warmup::grant_once(rows, now, id.0, batch, asks)),
        None => Response::Refused(Refusal::NoSession),
    }
}

pub(super) fn forget<R: Rows>(rows: &mut R) {
    let live = sessions(rows);
    warmup::keep_answers(rows, |id| live.contains_key(&SessionId(id)));
}

#[cfg(test)]
mod tests {
    use super::super::{Command as Meta, Import, apply};
    use super::*;
    use crate::rows::MemoryRows;
    use crate::warmup::{Granted, Order, Plan, Report, Target};

    const SESSION: SessionId = SessionId(7);
    /// 23:30 of a day.
    const NOW: UnixMs = UnixMs(86_400_000 * 20_000 - 1_800_000);

    fn target() -> Target {
        Target {
            ip: [192, 0, 2, 1].into(),
            provider: "google".to_owned(),
        }
    }

    fn started() -> MemoryRows {
        let mut rows = MemoryRows::default();
        let start = Command::Start {
            target: target(),
            plan: Plan::standard(10),
            stage: 0,
            order: Order {
                who: "ann".to_owned(),
                why: String::new(),
            },
        };
        let open = Meta::OpenSession {
            session: SESSION,
            sender: "s1".to_owned(),
            order: 1,
        };
        apply(&mut rows, NOW, &open);
        let answer = apply(&mut rows, NOW, &Meta::Warmup(vec![start]));
        assert_eq!(answer, Response::Warmup(vec![warmup::Response::Done]));
        rows
    }

    fn ask(rows: &mut MemoryRows, session: SessionId, batch: u64, want: u64) -> Response {
        let day = warmup::rows(rows)[&target()].day;
        let report = Report {
            day,
            delivered: 1,
            deferred: 0,
            bounced: 0,
        };
        let asks = vec![Ask {
            target: target(),
            want,
            reports: vec![report],
        }];
        let ask = Meta::GrantWarmup {
            session,
            batch,
            asks,
        };
        apply(rows, NOW, &ask)
    }

    fn count(response: &Response) -> Option<u64> {
        let Response::Granted(granted) = response else {
            return None;
        };
        granted.first().map(|Granted { count, .. }| *count)
    }

    #[test]
    fn a_batch_that_is_told_again_is_granted_once() {
        let mut rows = started();
        let first = ask(&mut rows, SESSION, 1, 5);
        assert_eq!(count(&first), Some(5));
        assert_eq!(ask(&mut rows, SESSION, 1, 5), first);
        assert_eq!(warmup::rows(&rows)[&target()].counts.granted, 5);
        assert_eq!(count(&ask(&mut rows, SESSION, 2, 100)), Some(15));
        assert_eq!(count(&ask(&mut rows, SESSION, 1, 5)), None, "it is old");
        let row = &warmup::rows(&rows)[&target()];
        // What the first told was of nothing that was granted.
        assert_eq!((row.counts.granted, row.counts.delivered), (20, 1));
        let nobody = ask(&mut rows, SessionId(9), 1, 5);
        assert_eq!(nobody, Response::Refused(Refusal::NoSession));
        apply(&mut rows, NOW, &Meta::CloseSession(SESSION));
        assert!(!rows.0.keys().any(|key| key.starts_with(b"@W")));
    }

    #[test]
    fn a_backup_has_warm_ups_with_what_was_granted() {
        let mut rows = started();
        ask(&mut rows, SESSION, 1, 5);
        let mut import = Import::default();
        for (key, value) in &rows.0 {
            import.add(key, value);
        }
        let mut other = MemoryRows::default();
        apply(&mut other, NOW, &Meta::Import(import));
        assert_eq!(warmup::rows(&other), warmup::rows(&rows));
    }
}
