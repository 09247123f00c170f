//! What mail of strangers proves of itself: looked at while it arrives, and told in front of it.

use skein_authentication::{Answer, Findings, MessageHashes, Question};
use skein_dkim::Signer;
use skein_policy::{Checks, Inbound};
use skein_smtp::address::Address;
use skein_smtp::reply::Reply;

use crate::inspection::{Inspected, Inspection, in_front};
use crate::intake::{Intake, Peer};

impl Intake<'_> {
    /// Begins with a header as it came, and what is there of the body; none where the policy has nothing looked at.
    pub async fn begin_inspection(
        &self,
        inbound: &Inbound,
        header: &[u8],
        rest: &[u8],
    ) -> Result<Option<Inspection>, Reply> {
        if inbound.checks == Checks::Off {
            return Ok(None);
        }
        let share = self.take_memory(header.len()).await?;
        let sealer = match self.is_sealed() {
            true => self.sealer().await,
            false => None,
        };
        let mut hashes = MessageHashes::new(header, sealer.is_some());
        hashes.body(rest);
        Ok(Some(Inspection {
            hashes,
            sealer,
            _share: share,
        }))
    }

    fn is_sealed(&self) -> bool {
        let addressees = self.addressees().iter();
        let mut destinations = addressees.filter_map(|one| one.destination.as_ref());
        destinations.any(|destination| destination.is_sealed())
    }

    /// The operator's key; without one no mail is sealed, and goes all the same.
    async fn sealer(&self) -> Option<Signer> {
        let found = self.shared.signing.of(&[]).await;
        let operator = found
            .inspect_err(|error| tracing::warn!(%error, "mail goes without an ARC seal"))
            .ok()?
            .operator;
        operator.as_ref().as_ref().ok()?.first().cloned()
    }

    /// What is written in front of a message that was seen, unless it is to be refused.
    pub async fn end_inspection(
        &self,
        inbound: &Inbound,
        inspection: Inspection,
        peer: &Peer,
    ) -> Result<Inspected, Reply> {
        let host = self.shared.config().hostname.clone();
        let mail_from = self.mail.path.address().map(proved_form);
        let question = Question {
            client: self.address,
            helo: &peer.helo,
            mail_from: mail_from.as_deref().unwrap_or_default(),
            host: &host,
            sealer: inspection.sealer.as_ref(),
        };
        let authenticator = &self.shared.authenticator;
        let Answer { findings, seal } = authenticator.check(inspection.hashes, question).await;
        self.shared.metrics.checked(&findings);
        if inbound.checks == Checks::Enforce && findings.is_to_be_rejected() {
            return Err(self.refuse_unproved(&findings));
        }
        let seal = seal.and_then(|seal| {
            seal.inspect_err(|error| tracing::warn!(%error, "mail goes without an ARC seal"))
                .ok()
        });
        Ok(Inspected {
            fields: in_front(seal.unwrap_or_default(), findings.field(&host).into_bytes()),
            is_authentic: findings.is_return_path_authentic(),
        })
    }

    fn refuse_unproved(&self, findings: &Findings) -> Reply {
        self.shared.metrics.dmarc_refused.inc();
        let author = &findings.dmarc.domain;
        tracing::info!(client = %self.address, author, "mail is refused as its author's domain has it");
        let text = format!(
            "The message does not prove that it is from {author}, whose DMARC policy has it refused"
        );
        Reply::new(550, (5, 7, 1), text)
    }
}

/// With a domain as the DNS has it.
fn proved_form(address: &Address) -> String {
    format!("{}@{}", address.local_part(), address.routing_domain())
}
