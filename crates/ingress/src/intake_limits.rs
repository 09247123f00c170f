//! What the policy says of how much a tenant or a credential may hand in, asked for with each message and recipient.

use skein_policy::{Held, IntakeRates, Size};
use skein_smtp::reply::Reply;

use crate::accounts::Owner;
use crate::intake::Intake;
use crate::rates::{Counted, over_rate, rates_of};

impl Intake<'_> {
    /// Counts one more of the transaction. The reply if that is one too many.
    pub async fn count(&mut self, counted: Counted) -> Option<Reply> {
        let owner = self
            .owner
            .as_ref()
            .filter(|owner| self.has_rates(owner, counted))?;
        match (self.shared.take_token)(owner.clone(), counted).await {
            Ok(token) => {
                self.tokens.push(token);
                None
            }
            Err(over) => {
                self.shared.metrics.over_rate.inc();
                tracing::warn!(
                    client = %self.address, whose = over.whose, count = over.count, per_s = over.per.as_secs(),
                    counted = ?over.counted, "mail over a rate is refused"
                );
                Some(over_rate(&over))
            }
        }
    }

    /// Most have none, and need not ask.
    fn has_rates(&self, owner: &Owner, counted: Counted) -> bool {
        let policy = self.shared.policy();
        let is_counted = |rates: &IntakeRates| match counted {
            Counted::Messages => !rates.messages.is_empty(),
            Counted::Recipients => !rates.recipients.is_empty(),
        };
        rates_of(&policy, owner).any(is_counted)
    }

    /// What a client is told whose tenant has as much mail waiting as it may.
    pub fn check_quota(&self) -> Option<Reply> {
        let tenant = &self.owner.as_ref()?.tenant;
        let told = self.shared.spools.state().full_quota(tenant)?;
        // Leaders of an older version count nothing else.
        let held = Held::of_name(&told).unwrap_or(Held::Tasks);
        // It may have been taken back since the leader counted.
        let policy = self.shared.policy();
        let most = policy.tenant(tenant)?.quota.most(held)?;
        self.shared.metrics.over_quota.inc();
        let what = held.name();
        tracing::warn!(client = %self.address, tenant = &**tenant, what, most, "mail over a quota is refused");
        Some(over_quota(tenant, held, most))
    }

    /// What a client is told whose tenant or credential takes no further recipient in one message.
    pub fn check_recipients(&self, recipients: usize) -> Option<Reply> {
        let owner = self.owner.as_ref()?;
        let policy = self.shared.policy();
        let most =
            rates_of(&policy, owner).filter_map(|rates| rates.recipients_per_message.as_ref());
        let most = most.map(|at| at.value).min()?;
        (recipients >= most as usize).then(|| {
            let text = format!(
                "A message of {:?} has at most {most} recipients: send it to the others in another",
                owner.tenant
            );
            Reply::new(452, (4, 5, 3), text)
        })
    }
}

fn over_quota(tenant: &str, held: Held, most: u64) -> Reply {
    let has = match held {
        Held::Tasks | Held::Recipients => {
            let what = held.name();
            format!("{most} {what} waiting, as many as it may")
        }
        Held::Bytes => {
            let size = Size(most).to_string();
            let unit = if size.ends_with('B') { "" } else { " bytes" };
            format!("mail of {size}{unit} waiting, as much as it may")
        }
    };
    let text = format!("Tenant {tenant:?} has {has}: try again later");
    Reply::new(452, (4, 3, 1), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_what_there_is_too_much_of() {
        for (held, most, told) in [
            (Held::Tasks, 5, "has 5 tasks waiting, as many as it may"),
            (
                Held::Recipients,
                70,
                "has 70 recipients waiting, as many as it may",
            ),
            (
                Held::Bytes,
                2_000_000,
                "has mail of 2MB waiting, as much as it may",
            ),
            (Held::Bytes, 1001, "has mail of 1001 bytes waiting"),
        ] {
            let reply = over_quota("acme", held, most);
            assert_eq!(reply, Reply::new(452, (4, 3, 1), reply.text.clone()));
            assert!(reply.text.contains(told), "{reply:?}");
        }
    }
}
