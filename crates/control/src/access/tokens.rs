//! Tokens of the policy, in place of certificates.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use skein_client::access::{Caller, Role, TokenHolder};
use skein_credential::{GeneratedSecret, SecretKind};
use skein_model::{UnixMs, meta};
use skein_policy::{Credential, Policy, TokenRole};
use skein_store::Reader;
use tonic::Status;

/// RFC 6750 2.1.
const SCHEME: &str = "Bearer ";

/// The tokens that the policy has at this moment.
#[derive(Clone)]
pub struct Tokens {
    meta: Reader,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// Of the policy that they are read from.
    version: Option<u64>,
    tokens: Vec<Arc<Credential>>,
}

impl Tokens {
    pub fn new(meta: Reader) -> Self {
        let known = Arc::default();
        Self { meta, known }
    }

    /// Who has the token in the field `authorization` of a call.
    ///
    /// # Errors
    /// It is no token, or none that is good from there now.
    pub fn caller(
        &self,
        authorization: &str,
        client: Option<IpAddr>,
        now: UnixMs,
    ) -> Result<Caller, Status> {
        let given = authorization.strip_prefix(SCHEME).ok_or_else(|| {
            Status::unauthenticated(format!("authorization: must be {SCHEME:?} and a token"))
        })?;
        // One that is mistyped is told so, and costs nothing.
        let given = GeneratedSecret::parse(given.trim())
            .map_err(|fault| Status::unauthenticated(format!("the token {fault}")))?;
        if given.kind() != SecretKind::Api {
            return Err(Status::unauthenticated(
                "the token is a password for SMTP: one for the admin API begins with skn_api_",
            ));
        }
        let holder = self.known().iter().find_map(|token| {
            let is_its =
                |secret: &skein_credential::Verifier| secret.lets_in(given.expose().as_bytes());
            token.secrets.iter().any(is_its).then(|| token.clone())
        });
        let Some(token) = holder else {
            return Err(Status::unauthenticated(format!(
                "nobody has the token {}..: was it revoked?",
                given.shown()
            )));
        };
        let name = &token.name;
        if token.has_expired(now.0) {
            return Err(Status::unauthenticated(format!(
                "the token of {name} has expired: skeinctl credential rotate makes another"
            )));
        }
        if client.is_some_and(|client| !token.is_good_from(client)) {
            return Err(Status::unauthenticated(format!(
                "the token of {name} is not good from this address"
            )));
        }
        let role = match token.role {
            Some(TokenRole::Admin) => Role::Admin,
            Some(TokenRole::Operator) => Role::Operator,
            Some(TokenRole::Viewer) => Role::Viewer,
            Some(TokenRole::Tenant) => Role::Tenant,
            None => return Err(Status::unauthenticated("it lets nobody manage")),
        };
        Ok(Caller::Token(Arc::new(TokenHolder {
            name: name.clone(),
            role,
            tenant: token.tenant.clone(),
        })))
    }

    /// As the policy of this moment has them; as the last one that could be read, if this one cannot.
    fn known(&self) -> Vec<Arc<Credential>> {
        let version = meta::policy_version(&self.meta);
        let mut known = self.known.lock();
        if known.version != Some(version) {
            match Policy::of_texts(&meta::policy(&self.meta)) {
                Ok(policy) => {
                    let tokens = policy.credentials().filter(|one| one.role.is_some());
                    known.tokens = tokens.cloned().collect();
                }
                Err(problems) => {
                    tracing::error!(
                        problems = problems.len(),
                        "the policy is not understood here; tokens stay as they are"
                    );
                }
            }
            known.version = Some(version);
        }
        known.tokens.clone()
    }
}
