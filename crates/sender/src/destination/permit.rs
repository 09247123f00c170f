//! The permit to have a connection at a site.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::limits::limiters::{Ask, LocalLimiters};
use crate::limits::path_policy::LimitRequests;
use crate::limits::policy_use::UnderPolicy;
use crate::limits::token::Token;

/// Tokens of all limits on connections, for as long as the site is this sender's. Each connection but the first takes tokens
/// of its own.
pub struct ConnectionPermit {
    token: Option<Token>,
    /// The first task was not in the slot of its site.
    is_elsewhere: bool,
    /// The token was taken for a connection that is not tried yet.
    is_fresh: bool,
    /// The site is to be another sender's, which may have as many connections then.
    stop: CancellationToken,
    /// The policy that the connection goes by, and those that follow it.
    under: UnderPolicy,
}

impl ConnectionPermit {
    pub fn new(token: Token, stop: CancellationToken, under: UnderPolicy) -> Self {
        Self {
            is_elsewhere: token.is_elsewhere,
            token: Some(token),
            is_fresh: true,
            stop,
            under,
        }
    }

    /// Takes the tokens of another connection, unless those of the first are still unused. None are waited for beyond `within`
    /// and after `drain`.
    pub async fn renew(
        &mut self,
        limiters: &Arc<LocalLimiters>,
        (wants, site): (&LimitRequests, &str),
        within: Duration,
        drain: &CancellationToken,
    ) -> bool {
        if std::mem::take(&mut self.is_fresh) {
            return true;
        }
        self.token = None;
        let ask = Ask {
            wants,
            site,
            is_elsewhere: self.is_elsewhere,
            gone_since: None,
            demand: 1,
        };
        self.token = limiters.take_within(&ask, within, drain).await;
        self.token.is_some()
    }

    /// A connection stands: what counts attempts has ended.
    pub fn opened(&mut self) {
        if let Some(token) = &mut self.token {
            token.opened();
        }
    }

    /// Completes when nothing is to begin on the connection any more: the site is to be another sender's, or the policy has
    /// changed in what concerns the connection.
    pub async fn stopped(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.under.outdated() => {}
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled() || self.under.is_outdated()
    }

    /// Completes when there is no place for the connection any more.
    pub async fn ended(&self) {
        let to_end = async {
            match &self.token {
                Some(token) => token.to_end().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = to_end => {}
            () = self.stopped() => {}
        }
    }

    /// Whether there are more connections than this sender may have.
    pub fn must_leave(&self) -> bool {
        self.token.as_ref().is_some_and(Token::must_leave)
    }

    /// Whether another destination than that of this number waits for the connection's tokens.
    pub fn is_wanted(&self, own: u64) -> bool {
        self.token
            .as_ref()
            .is_some_and(|token| token.is_wanted(own))
    }

    /// The connection has nothing to do, or has again.
    pub fn set_idle(&self, is_idle: bool) {
        if let Some(token) = &self.token {
            token.set_idle(is_idle);
        }
    }
}
