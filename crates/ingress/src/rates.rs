//! How much mail may come in: what is counted, and what clients are told that hand in more.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use skein_policy::{IntakeRates, Policy};
use skein_smtp::reply::Reply;

use crate::accounts::Owner;

/// What is counted of mail that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Messages,
    Recipients,
}

/// A message or recipient that counts. Whoever takes it says what became of it; dropped, it counts as used.
pub trait Token: Send + Sync {
    fn used(self: Box<Self>);
    /// It did not come in after all.
    fn cancel(self: Box<Self>);
}

/// A limit that lets nothing more in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverRate {
    /// `tenant` or `credential`, and its name.
    pub whose: String,
    pub counted: Counted,
    pub count: u64,
    pub per: Duration,
    /// None: it is not known, but within `per`.
    pub opens_in: Option<Duration>,
}

/// A token, none where there is no limit, or the limit.
pub type Taken = Result<Option<Box<dyn Token>>, OverRate>;

/// Takes tokens of limits that hold for all nodes together.
pub type TakeToken =
    Arc<dyn Fn(Owner, Counted) -> Pin<Box<dyn Future<Output = Taken> + Send>> + Send + Sync>;

/// Tokens of one transaction.
#[derive(Default)]
pub struct Tokens(Vec<Box<dyn Token>>);

impl Tokens {
    pub fn push(&mut self, token: Option<Box<dyn Token>>) {
        self.0.extend(token);
    }

    /// The message is in.
    pub fn used(&mut self) {
        for token in self.0.drain(..) {
            token.used();
        }
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        for token in self.0.drain(..) {
            token.cancel();
        }
    }
}

/// What holds for somebody: the rates of the tenant, and of the credential.
pub fn rates_of<'p>(policy: &'p Policy, owner: &Owner) -> impl Iterator<Item = &'p IntakeRates> {
    let tenant = policy.tenant(&owner.tenant).map(|one| &one.rates);
    let credential = owner.credential.as_ref();
    let credential = credential.and_then(|name| policy.credential(name));
    let credential = credential.map(|one| &one.rates);
    tenant.into_iter().chain(credential)
}

/// What a client is told that is over a rate.
pub fn over_rate(over: &OverRate) -> Reply {
    let what = match over.counted {
        Counted::Messages => "messages",
        Counted::Recipients => "recipients",
    };
    let when = match over.opens_in {
        Some(opens_in) => opens_in.as_millis().div_ceil(1000).to_string() + " s",
        None => format!("at most {} s", over.per.as_secs()),
    };
    let text = format!(
        "The {} may hand in {} {what} in {}: try again in {when}",
        over.whose,
        over.count,
        skein_policy::Span(over.per.into())
    );
    Reply::new(450, (4, 7, 1), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_over_a_rate_is_told_which_and_when() {
        let over = |opens_in: Option<u64>| OverRate {
            whose: "tenant acme".into(),
            counted: Counted::Recipients,
            count: 100,
            per: Duration::from_secs(60),
            opens_in: opens_in.map(Duration::from_millis),
        };
        let told = |over: &OverRate| {
            let mut out = Vec::new();
            over_rate(over).write(&mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(
            told(&over(Some(1001))),
            "450 4.7.1 The tenant acme may hand in 100 recipients in 1m: try again in 2 s\r\n"
        );
        let unknown = told(&over(None));
        assert!(
            unknown.ends_with("try again in at most 60 s\r\n"),
            "{unknown}"
        );
    }
}
