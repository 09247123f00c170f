//! What TLS with the hosts of a domain must meet by the domain's own word, and telling how it went.
//!
//! MTA-STS trusts on first use, so the policies are kept by the control plane, which all senders ask. What is answered is used
//! for some minutes without asking again. Where no leader can be asked, what was answered goes on for as long as the policy
//! says; and of a domain about which nothing was answered here, nothing is known: its mail is to wait, since the cluster may
//! know a policy that it would be sent against. A sender without a leader has no session soon, and sends nothing anyway.

use std::sync::Arc;
use std::time::Duration;

use skein_model::sts::StsPolicy;
use skein_model::tls_report::{Day, TlsResult};
use skein_model::{DurationMs, codec};
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{GetStsPolicyReply, GetStsPolicyRequest};
use tokio::time::Instant;
use tonic::Code;

use crate::channel::Channel;
use crate::clock::since_boot;
use crate::error::SpoolError;
use crate::session::MetaLeader;
use crate::spool::Spools;
use crate::state::{Answered, ClusterState, Known};

/// A task waits that long at most: an election takes less, and so do most fetches of a policy. One that takes longer goes on at
/// the leader, and until it ends the domain has no policy (RFC 8461 5.1: there is none that is cached).
const ASK_WITHIN: Duration = Duration::from_secs(6);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Of a domain whose policy is still being fetched.
const PENDING_FOR: DurationMs = DurationMs::from_secs(10);
/// A leader of an older version keeps no policies.
const OLDER_FOR: DurationMs = DurationMs::from_secs(60);
const DAY_MS: u64 = 86_400_000;

/// Clones share what is known.
#[derive(Debug, Clone)]
pub struct TlsPolicies {
    leader: MetaLeader,
    state: ClusterState,
}

impl Spools {
    pub fn tls_policies(&self) -> TlsPolicies {
        TlsPolicies {
            leader: MetaLeader::new(self.cluster().clone()),
            state: self.state().clone(),
        }
    }
}

impl TlsPolicies {
    /// The MTA-STS policy of a domain, which is in lower case A-labels; none: it has none. One with
    /// [`StsMode::None`](skein_model::sts::StsMode::None) demands nothing either.
    ///
    /// # Errors
    /// It is not known here, and no leader says: mail for the domain is to wait.
    pub async fn sts_policy(&self, domain: &str) -> Result<Option<Arc<StsPolicy>>, SpoolError> {
        match self.state.sts().look_up(domain, since_boot()) {
            Known::Sure(policy) => Ok(policy),
            Known::Stale(policy) => Ok(self.ask(domain, false).await.unwrap_or(policy)),
            Known::Unknown => self.ask(domain, false).await,
        }
    }

    /// The same, fetched again: what is asked for before mail fails for good because of the policy (RFC 8461 5).
    ///
    /// # Errors
    /// No leader says: the mail is to wait.
    pub async fn sts_policy_again(
        &self,
        domain: &str,
    ) -> Result<Option<Arc<StsPolicy>>, SpoolError> {
        self.ask(domain, true).await
    }

    /// Counts a session with an MX host for the report to the domain (RFC 8460). Never waits; counts nothing in a cluster that
    /// sends no reports.
    pub fn count_tls(&self, result: TlsResult) {
        let now = self.state.active_actions().borrow().now();
        let day = u32::try_from(now.0 / DAY_MS).unwrap_or(0);
        self.state.tls_counts().count(Day(day), result);
    }

    async fn ask(&self, domain: &str, again: bool) -> Result<Option<Arc<StsPolicy>>, SpoolError> {
        let until = Instant::now() + ASK_WITHIN;
        loop {
            let asked_at = since_boot();
            let reply = self.ask_once(domain, again).await;
            let is_over = Instant::now() + ASK_AGAIN > until;
            match reply {
                Ok(reply) if !reply.pending || is_over => {
                    return self.take(domain, &reply, asked_at);
                }
                Err(error) if is_over => return Err(error),
                // The leader itself waits before it answers that.
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    async fn ask_once(&self, domain: &str, again: bool) -> Result<GetStsPolicyReply, SpoolError> {
        let request = GetStsPolicyRequest {
            domain: domain.to_owned(),
            again,
        };
        let asking = |mut client: SessionsClient<Channel>| async move {
            match client.get_sts_policy(request).await {
                Err(status) if status.code() == Code::Unimplemented => {
                    Ok(tonic::Response::new(GetStsPolicyReply {
                        for_ms: OLDER_FOR.0,
                        valid_ms: OLDER_FOR.0,
                        ..GetStsPolicyReply::default()
                    }))
                }
                other => other,
            }
        };
        let what = "asking for the MTA-STS policy of a domain";
        self.leader.call(what, asking).await
    }

    fn take(
        &self,
        domain: &str,
        reply: &GetStsPolicyReply,
        asked_at: DurationMs,
    ) -> Result<Option<Arc<StsPolicy>>, SpoolError> {
        let policy = match reply.policy.is_empty() {
            true => None,
            false => {
                let policy = codec::decode(&reply.policy);
                let policy = policy.map_err(|error| SpoolError::Refused(error.to_string()))?;
                Some(Arc::new(policy))
            }
        };
        let (for_ms, valid_ms) = match reply.pending {
            true => (PENDING_FOR.0, PENDING_FOR.0),
            false => (reply.for_ms, reply.valid_ms.max(reply.for_ms)),
        };
        let after = |ms: u64| DurationMs(asked_at.0.saturating_add(ms));
        self.state.sts().learn(
            domain,
            Answered {
                policy: policy.clone(),
                ask_again_at: after(for_ms),
                valid_until: after(valid_ms),
            },
        );
        Ok(policy)
    }
}
