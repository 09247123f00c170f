//! Limits of mail that comes in. They hold for all nodes together, so each node has a part of them, as of those of mail that goes out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skein_model::DurationMs;
use skein_model::throttle::{Counted, Limit, LimitId, LimitRequest, Rate, Scope, SharedLimit};
use skein_policy::{At, IntakeRates, Policy};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::limits::limiters::LocalLimiters;
use crate::limits::path_policy;
use crate::limits::token::Token;
use crate::limits::waiters::Waiter;

/// The leader answers within some tens of milliseconds, and one is elected within three seconds. A client waits no longer than
/// this for tokens that may not come.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks of those that find no place in the queue of waiters.
const LOOK: Duration = Duration::from_millis(100);

/// Whose mail comes in.
#[derive(Debug, Clone, Copy)]
pub struct IntakeOf<'a> {
    pub tenant: &'a str,
    /// None: of no credential of the policy.
    pub credential: Option<&'a str>,
}

/// A limit that lets nothing more in now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeClosed {
    /// `tenant` or `credential`, and its name.
    pub whose: String,
    pub counts: Counted,
    pub rate: Rate,
    /// None: when the window has moved on, and nobody can say by how much.
    pub opens_in: Option<Duration>,
}

/// The limits of mail that comes in, as one node keeps them; clones share them.
#[derive(Clone)]
pub struct IntakeLimits(Arc<LocalLimiters>);

impl std::fmt::Debug for IntakeLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntakeLimits")
    }
}

impl IntakeLimits {
    pub(crate) fn new(limiters: Arc<LocalLimiters>) -> Self {
        Self(limiters)
    }

    /// Takes a token for a message or a recipient, of each limit that there is; waits a little for what the leader may grant.
    /// None: there is no limit. A token that is not used is to be cancelled.
    ///
    /// # Errors
    /// The limit that lets nothing pass.
    pub async fn take(
        &self,
        of: IntakeOf<'_>,
        counts: Counted,
    ) -> Result<Option<Token>, IntakeClosed> {
        let (until, wakes) = (Instant::now() + PATIENCE, Arc::new(Notify::new()));
        let number = self.0.intake_waiters.fetch_add(1, Ordering::Relaxed);
        loop {
            let closed = match self.try_take(of, counts, number, &wakes) {
                Ok(token) => return Ok(token),
                Err(closed) => closed,
            };
            let is_over = closed.opens_in.is_some() || Instant::now() >= until;
            if is_over {
                return Err(closed);
            }
            let look = until.min(Instant::now() + LOOK);
            // Whether it was woken or it was time, it looks.
            let _ = timeout_at(look, wakes.notified()).await;
        }
    }

    fn try_take(
        &self,
        of: IntakeOf<'_>,
        counts: Counted,
        number: u64,
        wakes: &Arc<Notify>,
    ) -> Result<Option<Token>, IntakeClosed> {
        let limiters = &self.0;
        let mut state = limiters.state.lock();
        let wants = requests(&state.policy, of, counts);
        if wants.is_empty() {
            return Ok(None);
        }
        let now = limiters.now();
        limiters.renew(&mut state);
        let throttled = match state.limiters.try_take(now, &wants) {
            Ok(permit) => {
                let ids = wants.into_iter().map(|want| want.id).collect();
                return Ok(Some(Token::new(limiters.clone(), permit, ids, true)));
            }
            Err(throttled) => throttled,
        };
        let due = state.limiters.refused(now, &wants, &throttled, 1);
        if due.is_some_and(|due| state.plan(due)) {
            limiters.hurry.notify_one();
        }
        let closed = closed(&wants, &throttled.limit);
        if let Some(opens_at) = throttled.until {
            let opens_in = Duration::from_millis(opens_at.0.saturating_sub(now.0).max(1));
            return Err(IntakeClosed {
                opens_in: Some(opens_in),
                ..closed
            });
        }
        let (there, wakes) = (Arc::downgrade(wakes), wakes.clone());
        let waiter = Waiter {
            number,
            // The queue has one of its own.
            lives: Box::new(move || there.strong_count() > 1),
            wake: Box::new(move || {
                wakes.notify_one();
                Arc::strong_count(&wakes) > 1
            }),
        };
        state.waiters.wait(false, throttled.limit, waiter, 1);
        Err(closed)
    }
}

fn closed(wants: &[LimitRequest], limit: &LimitId) -> IntakeClosed {
    let want = wants.iter().find(|want| want.id == *limit);
    let rate = match want.map(|want| want.limit) {
        Some(Limit::Shared {
            limit: SharedLimit::Rate(rate),
            ..
        }) => rate,
        _ => Rate {
            count: 0,
            per: DurationMs(0),
            burst: None,
        },
    };
    IntakeClosed {
        whose: limit.key.to_string(),
        counts: limit.counts,
        rate,
        opens_in: None,
    }
}

/// A token of each limit that counts this. Without any it costs two look-ups.
fn requests(policy: &Policy, of: IntakeOf<'_>, counts: Counted) -> Vec<LimitRequest> {
    let tenant = policy.tenant(of.tenant).map(|tenant| &tenant.rates);
    let credential = of.credential.and_then(|name| policy.credential(name));
    let credential = credential.map(|credential| &credential.rates);
    let mut wants = Vec::new();
    for (kind, name, rates) in [
        ("tenant", of.tenant, tenant),
        ("credential", of.credential.unwrap_or_default(), credential),
    ] {
        let rates = rates.map_or(&[][..], |rates| counted(rates, counts));
        let key: Option<Arc<str>> = (!rates.is_empty()).then(|| format!("{kind} {name}").into());
        for (nth, rate) in (0..).zip(rates) {
            wants.extend(key.clone().map(|key| LimitRequest {
                id: LimitId {
                    scope: Scope::Intake,
                    key,
                    counts,
                    nth,
                },
                limit: Limit::Shared {
                    limit: SharedLimit::Rate(path_policy::rate(rate.value)),
                    is_by_owner: false,
                },
                is_inherited: false,
                gone_since: DurationMs(0),
            }));
        }
    }
    wants
}

fn counted(rates: &IntakeRates, counts: Counted) -> &[At<skein_policy::Rate>] {
    match counts {
        Counted::Recipients => &rates.recipients,
        _ => &rates.messages,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_policy::Source;

    use super::*;

    const POLICY: &str = "
kind: tenant
name: acme
rates: {messages: [10/s, 1000/day], recipients: 50/min}
---
kind: credential
name: app
tenant: acme
networks: [192.0.2.1]
rates: {messages: 5/s}
";

    #[test]
    fn each_limit_of_tenant_and_credential_is_asked_for() {
        let name = "p";
        let policy = Policy::parse(&[Source { name, text: POLICY }]).unwrap();
        let asked = |tenant, credential, counts| {
            let wants = requests(&policy, IntakeOf { tenant, credential }, counts);
            let wants = wants.into_iter().map(|want| match want.limit {
                Limit::Shared { limit, .. } => {
                    (want.id.key.to_string(), want.id.nth, limit.count())
                }
                other => panic!("{other:?}"),
            });
            wants.collect::<Vec<_>>()
        };
        let acme = |nth, count| ("tenant acme".to_owned(), nth, count);
        let app = ("credential app".to_owned(), 0, 5);
        for (tenant, credential, counts, expected) in [
            (
                "acme",
                None,
                Counted::Messages,
                vec![acme(0, 10), acme(1, 1000)],
            ),
            (
                "acme",
                Some("app"),
                Counted::Messages,
                vec![acme(0, 10), acme(1, 1000), app],
            ),
            ("acme", Some("app"), Counted::Recipients, vec![acme(0, 50)]),
            (
                "acme",
                Some("other"),
                Counted::Recipients,
                vec![acme(0, 50)],
            ),
            ("other", None, Counted::Messages, Vec::new()),
        ] {
            let found = asked(tenant, credential, counts);
            assert_eq!(found, expected, "{tenant} {credential:?} {counts:?}");
        }
    }
}
