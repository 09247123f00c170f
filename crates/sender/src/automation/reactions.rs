//! Replies of hosts that match rules of the policy, on their way to the meta group, which counts them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skein_client::KeptSession;
use skein_model::Reply;
use skein_model::automation::{MATCH_COUNTS_MAX, Match, MatchCount, RuleAt, Scope};
use skein_policy::{ActionScope, Ip, Matched, Policy};
use skein_smtp::client::{RecipientOutcome, TransactionOutcome};
use skein_smtp::reply_class::Stage;
use tokio::sync::Notify;

use crate::automation::active_actions::{Going, address_of};
use crate::outcome::fact;

/// Rules and scopes that wait to be told. In an hour without a leader a sender meets hardly more; what is beyond is not
/// counted.
const PENDING_MAX: usize = 1024;
/// One batch at once, then one in this time.
const TELL_EVERY: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_millis(300);

/// What is to be told, by rule and scope.
#[derive(Debug, Default)]
pub struct Reactions {
    pending: Mutex<BTreeMap<RuleAt, MatchCount>>,
    wake: Notify,
}

impl Reactions {
    /// A host refused a connection, or a login, or said something before any mail.
    pub fn session(&self, policy: &Policy, ip: Option<&Ip>, going: Going<'_>, reply: &Reply) {
        self.note(policy, ip, going, reply);
    }

    /// The replies of a transaction. Each RCPT has a reply of its own; any other counts once, however many recipients it
    /// decided about.
    pub fn transaction(
        &self,
        policy: &Policy,
        ip: Option<&Ip>,
        going: Going<'_>,
        outcome: &TransactionOutcome,
    ) {
        let mut last: Option<&RecipientOutcome> = None;
        for one in &outcome.recipients {
            let is_same = one.stage != Stage::Rcpt
                && last.is_some_and(|last| last.stage == one.stage && last.reply == one.reply);
            last = Some(one);
            if one.from_peer && !is_same {
                self.note(policy, ip, going, &fact(&one.reply));
            }
        }
    }

    fn note(&self, policy: &Policy, ip: Option<&Ip>, going: Going<'_>, reply: &Reply) {
        // Only failures are looked at; a code of 0 is our own words.
        if !(400..600).contains(&reply.code) {
            return;
        }
        let text = reply.to_string();
        let Some(matched) = policy.reaction_of(going.site, &text) else {
            return;
        };
        let Some(at) = at(&matched, ip, going) else {
            return;
        };
        let mut pending = self.pending.lock();
        let is_full = pending.len() >= PENDING_MAX;
        match pending.entry(at) {
            Entry::Occupied(mut known) => known.get_mut().count += 1,
            Entry::Vacant(place) if !is_full => {
                let matched = Match {
                    provider: matched.provider.to_string(),
                    rule: matched.nth,
                    ip: address_of(ip),
                    site: going.site.to_owned(),
                    tenant: going.tenant.to_owned(),
                    pool: going.pool.to_owned(),
                    reply: text,
                };
                place.insert(MatchCount { matched, count: 1 });
            }
            Entry::Vacant(_) => return,
        }
        drop(pending);
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<MatchCount> {
        let mut pending = self.pending.lock();
        let count = pending.len().min(MATCH_COUNTS_MAX);
        let taken = std::iter::from_fn(|| pending.pop_first()).take(count);
        taken.map(|(_, told)| told).collect()
    }

    /// Tells what was heard, until the process ends. Nothing that was taken is lost before it is counted.
    pub async fn tell(self: Arc<Self>, session: Arc<KeptSession>) {
        let mut number = 0;
        loop {
            let told = self.take();
            if told.is_empty() {
                self.wake.notified().await;
                continue;
            }
            number += 1;
            while let Err(error) = session.tell_replies(number, &told).await {
                tracing::info!(%error, "replies are told again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
            tokio::time::sleep(TELL_EVERY).await;
        }
    }
}

/// What is counted together. Before any mail it may not be known whose it is.
fn at(matched: &Matched<'_>, ip: Option<&Ip>, going: Going<'_>) -> Option<RuleAt> {
    let site = going.site.to_owned();
    let scope = match matched.rule.scope {
        ActionScope::Site => Scope::IpSite {
            ip: address_of(ip),
            site,
        },
        ActionScope::Tenant if going.tenant.is_empty() => return None,
        ActionScope::Tenant => Scope::Tenant {
            tenant: going.tenant.to_owned(),
            site,
        },
        ActionScope::Pool if going.pool.is_empty() => return None,
        ActionScope::Pool => Scope::Pool {
            pool: going.pool.to_owned(),
            site,
        },
    };
    Some(RuleAt {
        scope,
        provider: matched.provider.to_string(),
        rule: matched.nth,
    })
}

#[cfg(test)]
mod tests {
    use skein_smtp::reply;
    use skein_smtp::reply_class::{ReplyClass, Scope as Within};

    use super::*;

    const GOING: Going<'_> = Going {
        site: "yahoo",
        tenant: "shop",
        pool: "main",
    };

    fn outcome(stage: Stage, texts: &[&str]) -> TransactionOutcome {
        let recipients = texts.iter().map(|text| RecipientOutcome {
            class: ReplyClass::Deferred(Within::Recipient),
            reply: reply::Reply::new(421, (4, 7, 0), (*text).to_owned()),
            stage,
            from_peer: true,
        });
        TransactionOutcome {
            recipients: recipients.collect(),
            needs_reset: false,
            connection_usable: false,
            dot_sent: false,
            is_ambiguous: false,
        }
    }

    #[test]
    fn one_reply_counts_once_however_many_recipients_it_was_about() {
        let (policy, reactions) = (Policy::built_in(), Reactions::default());
        let text = "[TSS04] Messages from 192.0.2.1 temporarily deferred";
        for (stage, count) in [(Stage::Mail, 1), (Stage::Rcpt, 3), (Stage::Body, 1)] {
            let outcome = outcome(stage, &[text, text, text]);
            reactions.transaction(&policy, None, GOING, &outcome);
            let told = reactions.take();
            assert_eq!((told.len(), told[0].count), (1, count), "{stage:?}");
            let MatchCount { matched, .. } = &told[0];
            assert_eq!(matched.reply, format!("421 4.7.0 {text}"));
            assert_eq!((&*matched.provider, &*matched.site), ("yahoo", "yahoo"));
        }
        let other = outcome(Stage::Mail, &["nothing that a rule is about"]);
        reactions.transaction(&policy, None, GOING, &other);
        let mut ours = outcome(Stage::Mail, &[text]);
        ours.recipients[0].from_peer = false;
        reactions.transaction(&policy, None, GOING, &ours);
        assert!(reactions.take().is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_told_in_parts() {
        let (policy, reactions) = (Policy::built_in(), Reactions::default());
        let reply = Reply {
            code: 421,
            enhanced: Some((4, 2, 0)),
            text: "Throttled - RL000010".to_owned(),
            host: None,
            class: None,
        };
        for n in 0..PENDING_MAX + 50 {
            let tenant = format!("t{n}");
            let going = Going {
                site: "comcast",
                tenant: &tenant,
                pool: "main",
            };
            reactions.session(&policy, None, going, &reply);
        }
        let nobodys = Going {
            tenant: "",
            site: "comcast",
            ..GOING
        };
        reactions.session(&policy, None, nobodys, &reply);
        let mut all = 0;
        loop {
            let told = reactions.take();
            if told.is_empty() {
                break;
            }
            assert!(told.len() <= MATCH_COUNTS_MAX);
            all += told.len();
        }
        assert_eq!(all, PENDING_MAX);
    }
}
