//! A message is signed on its way to the spool: the header at once, the body in pieces, the signatures behind it.

use std::fmt;

use skein_client::signing::DOMAINS_MAX;
use skein_dkim::signer::SignError;
use skein_dkim::{MessageSigner, Signer};
use skein_mail::authors::author_domains;
use skein_model::UnixMs;
use skein_smtp::address::Address;
use skein_smtp::reply::Reply;

use crate::intake::Intake;
use crate::signatures::Signatures;
use crate::signing::{Authors, Refused, is_name};

impl Intake<'_> {
    /// Whose a message with this header is, and what is known of them; none in a cluster that signs nothing.
    pub async fn authors(&self, header: &[u8]) -> Result<Option<Authors>, Reply> {
        let signing = &self.shared.signing;
        if signing.is_off() {
            return Ok(None);
        }
        let mut domains: Vec<String> = match author_domains(header) {
            Ok(written) => written
                .into_iter()
                .map(|written| routing_domain(&written))
                .filter(|domain| is_name(domain))
                .collect(),
            // Before it is known whether the cluster signs at all, it is asked: one that does not takes any mail.
            Err(unclear) => {
                self.ask(&[]).await?;
                if signing.is_off() {
                    return Ok(None);
                }
                self.shared.metrics.senders_refused.inc();
                let text = format!("Mail is signed for its author, and {unclear}");
                return Err(Reply::new(550, (5, 7, 1), text));
            }
        };
        domains.sort();
        domains.dedup();
        if domains.len() > DOMAINS_MAX {
            let domains = domains.len();
            return Err(Refused::TooMany { domains }.reply());
        }
        let found = self.ask(&domains).await?;
        // The answer may be the first that tells it.
        Ok((!signing.is_off()).then_some(Authors {
            domains,
            signing: found,
        }))
    }

    /// Whether the tenant of the transaction has shown that this domain is its own.
    pub async fn has_shown(&self, domain: &str) -> Result<bool, Reply> {
        if self.shared.signing.is_off() || !is_name(domain) {
            return Ok(false);
        }
        let domains = vec![domain.to_owned()];
        let signing = self.ask(&domains).await?;
        Ok(Authors { domains, signing }.is_verified_of(self.tenant(), domain))
    }

    async fn ask(&self, domains: &[String]) -> Result<skein_client::signing::MailSigning, Reply> {
        let found = self.shared.signing.of(domains).await;
        found.map_err(|error| {
            self.shared.metrics.unsigned_refused.inc();
            tracing::warn!(%error, "a message is not taken: it is not known what it is signed with");
            let text = "No control node tells what the message is signed with, try again later";
            Reply::new(451, (4, 7, 5), text)
        })
    }

    /// What the message is signed with.
    pub fn signers(&self, authors: &Authors) -> Result<Vec<Signer>, Reply> {
        authors.signers(self.tenant()).map_err(|refused| {
            let (client, tenant) = (self.address, self.tenant());
            match &refused {
                Refused::Foreign { domain: what } => {
                    self.shared.metrics.senders_refused.inc();
                    tracing::warn!(%client, tenant, what, "a sender is refused");
                }
                Refused::Waits { domain, why } => {
                    self.shared.metrics.unsigned_refused.inc();
                    tracing::warn!(%client, tenant, domain, why, "a message cannot be signed and is not taken");
                }
                Refused::TooMany { .. } => {}
            }
            refused.reply()
        })
    }

    /// Begins with the header of a message, which has all that it is to have.
    pub async fn begin_signatures(
        &self,
        header: &[u8],
        signers: Vec<Signer>,
    ) -> Result<Signatures, Reply> {
        let share = self.take_memory(header.len()).await?;
        let message = MessageSigner::new(header);
        let message = message.map_err(|error| Reply::new(554, (5, 6, 0), error.to_string()))?;
        Ok(Signatures::new(message, signers, share))
    }

    /// The signatures of a message whose body was seen.
    pub async fn end_signatures(
        &self,
        signatures: Signatures,
        at: UnixMs,
    ) -> Result<Vec<u8>, Reply> {
        let count = signatures.count();
        match self.shared.signing_threads.finish(signatures, at).await {
            Ok(written) => {
                self.shared.metrics.signatures.inc_by(count);
                Ok(written)
            }
            // It would not fit at the next try either.
            Err(error @ SignError::TooLong { .. }) => Err(refused(554, (5, 6, 0), &error)),
            Err(error @ SignError::Crypto { .. }) => {
                self.shared.metrics.unsigned_refused.inc();
                tracing::error!(%error, "a message could not be signed and is not taken");
                Err(refused(451, (4, 7, 5), &error))
            }
        }
    }
}

fn refused(code: u16, enhanced: (u8, u16, u16), error: &impl fmt::Display) -> Reply {
    Reply::new(code, enhanced, error.to_string())
}

/// Its A-labels, or what cannot be any.
pub fn routing_domain(written: &str) -> String {
    let address = Address::from_parts("x", written);
    address.map_or_else(
        |_| written.to_ascii_lowercase(),
        |address| address.routing_domain(),
    )
}
