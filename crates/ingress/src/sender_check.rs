//! What a tenant may not send: refused, counted and told.

use std::sync::Arc;

use skein_policy::Tenant;
use skein_smtp::address::Address;
use skein_smtp::reply::Reply;

use crate::intake::Intake;
use crate::sender_domains::{self, Refused};
use crate::signing::Authors;

impl Intake<'_> {
    /// What a client is told whose tenant is suspended, or may not have this return path. Domains that the tenant has shown to be
    /// its own are, whether the policy lists them or not.
    pub async fn check_sender(&self, path: Option<&Address>) -> Option<Reply> {
        let tenant = self.tenant_policy()?;
        if tenant.is_suspended {
            self.shared.metrics.senders_refused.inc();
            tracing::warn!(client = %self.address, tenant = &*tenant.name, "a suspended tenant sends");
            let text = format!(
                "Mail of tenant {:?} is not taken: it is suspended",
                tenant.name
            );
            return Some(Reply::new(550, (5, 7, 1), text));
        }
        let refused = sender_domains::check_return_path(&tenant, path).err()?;
        match self.has_shown(&refused.what).await {
            Ok(true) => None,
            Ok(false) => Some(self.refuse_sender(&tenant, refused)),
            Err(unknown) => Some(unknown),
        }
    }

    /// What a client is told whose message is from somebody else. `authors`: in a cluster that has domains.
    pub fn check_authors(&self, header: &[u8], authors: Option<&Authors>) -> Option<Reply> {
        let tenant = self.tenant_policy()?;
        let has_shown = |domain: &str| {
            authors.is_some_and(|authors| authors.is_verified_of(self.tenant(), domain))
        };
        let checked = sender_domains::check_authors(&tenant, header, has_shown);
        checked
            .err()
            .map(|refused| self.refuse_sender(&tenant, refused))
    }

    /// None: the policy says nothing of it.
    fn tenant_policy(&self) -> Option<Arc<Tenant>> {
        self.shared.policy().tenant(self.tenant()).cloned()
    }

    fn refuse_sender(&self, tenant: &Tenant, refused: Refused) -> Reply {
        let Refused { what, reply } = refused;
        self.shared.metrics.senders_refused.inc();
        let user = self.login.as_ref().map(|login| login.user());
        tracing::warn!(client = %self.address, user, tenant = &*tenant.name, what, "a sender is refused");
        reply
    }
}
