//! Asks the DNS what a message proves.

use std::net::IpAddr;
use std::time::Duration;

use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimError;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, AuthenticationResults, DkimOutput, DkimResult, DmarcOutput,
    DmarcResult, DnsError, Error, IprevResult, MessageAuthenticator, SpfOutput, SpfResult,
};
use skein_dkim::{ArcSeal, Signer};
use skein_dns::CheckResolver;
use tokio::time::{Instant, timeout_at};

use crate::findings::{DkimFinding, DmarcFinding, DmarcPolicy, Findings, Word};
use crate::hashes::MessageHashes;

/// Signatures of one message that are looked at: more are none of a message that means well, and each asks the DNS.
const SIGNATURES_MAX: usize = 8;
/// What is not known by then is a temporary error: the client waits for the reply to its dot.
const WAIT: Duration = Duration::from_secs(10);
/// Of which the policy of the author, which is asked for last, has this much.
const WAIT_DMARC: Duration = Duration::from_secs(3);

/// Asks the DNS. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(MessageAuthenticator);

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator")
    }
}

/// Who sent a message.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub client: IpAddr,
    pub helo: &'a str,
    /// Its domain as A-labels; empty for a report.
    pub mail_from: &'a str,
    /// Our name.
    pub host: &'a str,
    /// What seals the message, if it is to be.
    pub sealer: Option<&'a Signer>,
}

/// A message that has no seal.
#[derive(Debug, thiserror::Error)]
#[error("the message cannot be sealed: {0}")]
pub struct SealError(String);

/// What was found, and the ARC set.
#[derive(Debug)]
pub struct Answer {
    pub findings: Findings,
    /// None: none was asked for.
    pub seal: Option<Result<Vec<u8>, SealError>>,
}

impl Authenticator {
    pub fn new(resolver: CheckResolver) -> Self {
        Self(MessageAuthenticator(resolver.0))
    }

    /// All that a message proves. It takes ten seconds at most; what is not known by then is a temporary error.
    pub async fn check(&self, message: MessageHashes, question: Question<'_>) -> Answer {
        let seen = message.finish();
        let end = Instant::now() + WAIT;
        let first = end - WAIT_DMARC;
        let Question {
            client,
            helo,
            mail_from,
            host,
            ..
        } = question;
        let parsed = seen.message(SIGNATURES_MAX);
        let (message, weak) = match &parsed {
            Some((message, weak)) => (Some(message), *weak),
            None => (None, 0),
        };
        let iprev = timeout_at(first, self.0.verify_iprev(client));
        let spf_helo = self
            .0
            .verify_spf(SpfParameters::verify_ehlo(client, helo, host));
        let spf_helo = timeout_at(first, spf_helo);
        let spf_from = async {
            match mail_from {
                "" => None,
                from => {
                    let from = SpfParameters::verify_mail_from(client, helo, host, from);
                    Some(timeout_at(first, self.0.verify_spf(from)).await.ok())
                }
            }
        };
        let dkim = async {
            match message {
                Some(message) => timeout_at(first, self.0.verify_dkim(message)).await.ok(),
                None => Some(Vec::new()),
            }
        };
        let arc = async {
            let message = message.filter(|message| !message.as_headers.is_empty())?;
            Some(timeout_at(first, self.0.verify_arc(message)).await.ok())
        };
        let (iprev, spf_helo, spf_from, dkim, arc) =
            tokio::join!(iprev, spf_helo, spf_from, dkim, arc);
        let late =
            |domain: &str| SpfOutput::new(domain.to_owned()).with_result(SpfResult::TempError);
        let spf_helo = spf_helo.unwrap_or_else(|_| late(helo));
        let spf_from = match spf_from {
            Some(found) => found.unwrap_or_else(|| late(mail_from)),
            None => spf_helo.clone(),
        };
        let is_late = dkim.is_none();
        let dkim = dkim.unwrap_or_default();
        let domain = mail_from
            .rsplit_once('@')
            .map_or(helo, |(_, domain)| domain);
        let dmarc = match message {
            Some(message) => {
                let asked = DmarcParameters::new(message, &dkim, domain, &spf_from);
                timeout_at(end, self.0.verify_dmarc(asked)).await.ok()
            }
            None => Some(DmarcOutput::default()),
        };
        let findings = Findings {
            client,
            helo: helo.to_owned(),
            mail_from: mail_from.to_owned(),
            iprev: match iprev {
                Ok(found) => iprev_word(found.result()),
                Err(_) => Word::TempError,
            },
            spf_helo: spf_word(spf_helo.result()),
            spf_mail_from: spf_word(spf_from.result()),
            dkim: match (message, is_late) {
                (Some(message), true) => late_signatures(message),
                _ => signatures(&dkim, weak),
            },
            dmarc: dmarc.as_ref().map_or_else(late_dmarc, dmarc_finding),
            arc: arc.as_ref().map(|found| match found {
                Some(found) => dkim_word(found.result()).0,
                None => Word::TempError,
            }),
        };
        let seal = question.sealer.map(|sealer| {
            let message = message.ok_or_else(|| SealError("it has no header".into()))?;
            let chain = arc.flatten().unwrap_or_default();
            let results = AuthenticationResults::new(host)
                .with_spf_mailfrom_result(&spf_from, client, mail_from, helo)
                .with_dkim_results(&dkim, "");
            let results = match &dmarc {
                Some(dmarc) => results.with_dmarc_result(dmarc),
                None => results,
            };
            seal(sealer, message, &results, &chain)
        });
        Answer { findings, seal }
    }
}

fn seal(
    sealer: &Signer,
    message: &AuthenticatedMessage<'_>,
    results: &AuthenticationResults<'_>,
    chain: &ArcOutput<'_>,
) -> Result<Vec<u8>, SealError> {
    let set = ArcSeal::new(sealer).seal(message, results, chain);
    let set = set.map_err(|error| SealError(error.to_string()))?;
    Ok(set.to_header().into_bytes())
}

fn iprev_word(result: &IprevResult) -> Word {
    match result {
        IprevResult::Pass => Word::Pass,
        IprevResult::Fail(_) => Word::Fail,
        IprevResult::TempError(_) => Word::TempError,
        IprevResult::PermError(_) => Word::PermError,
        IprevResult::None => Word::None,
    }
}

fn spf_word(result: SpfResult) -> Word {
    match result {
        SpfResult::Pass => Word::Pass,
        SpfResult::Fail => Word::Fail,
        SpfResult::SoftFail => Word::SoftFail,
        SpfResult::Neutral => Word::Neutral,
        SpfResult::TempError => Word::TempError,
        SpfResult::PermError => Word::PermError,
        SpfResult::None => Word::None,
    }
}

/// With the reason, where it helps.
fn dkim_word(result: &DkimResult) -> (Word, &'static str) {
    let why = |error: &Error| match error {
        Error::Dkim(DkimError::FailedBodyHashMatch) => "body hash",
        Error::Dkim(DkimError::SignatureExpired) => "expired",
        Error::Dkim(DkimError::SignatureLength) => "length limit",
        Error::Dkim(DkimError::RevokedPublicKey) => "revoked",
        Error::Dns(DnsError::RecordNotFound(_)) => "no key",
        _ => "",
    };
    match result {
        DkimResult::Pass => (Word::Pass, ""),
        // RFC 6376 3.9 and 6.1.3 have this as a failure as well.
        DkimResult::Neutral(error @ Error::Dkim(DkimError::FailedBodyHashMatch)) => {
            (Word::Fail, why(error))
        }
        DkimResult::Neutral(error) => (Word::Neutral, why(error)),
        DkimResult::Fail(error) => (Word::Fail, why(error)),
        DkimResult::PermError(error) => (Word::PermError, why(error)),
        DkimResult::TempError(error) => (Word::TempError, why(error)),
        DkimResult::None => (Word::None, ""),
    }
}

/// The beginning of b= tells signatures of one domain apart (RFC 6008).
fn begin(signature: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in signature.chunks_exact(3).take(2) {
        let bits = group
            .iter()
            .fold(0, |bits, octet| bits << 8 | usize::from(*octet));
        for shift in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[bits >> shift & 63]));
        }
    }
    text
}

fn signatures(found: &[DkimOutput<'_>], weak: usize) -> Vec<DkimFinding> {
    let found = found.iter().take(SIGNATURES_MAX).map(|one| {
        let (result, why) = dkim_word(one.result());
        let signature = one.signature();
        DkimFinding {
            result,
            domain: signature.map(|one| one.d.to_string()).unwrap_or_default(),
            selector: signature.map(|one| one.s.to_string()).unwrap_or_default(),
            begin: signature.map(|one| begin(&one.b)).unwrap_or_default(),
            why,
        }
    });
    let weak = (0..weak.min(SIGNATURES_MAX)).map(|_| DkimFinding {
        result: Word::Policy,
        domain: String::new(),
        selector: String::new(),
        begin: String::new(),
        why: "rsa-sha1",
    });
    found.chain(weak).collect()
}

/// Of a message whose signatures were not looked at in time.
fn late_signatures(message: &AuthenticatedMessage<'_>) -> Vec<DkimFinding> {
    let signatures = message.dkim_headers.iter();
    let late = signatures.map(|one| DkimFinding {
        result: Word::TempError,
        domain: one.header.d.to_string(),
        selector: one.header.s.to_string(),
        begin: begin(&one.header.b),
        why: "too late",
    });
    late.collect()
}

/// The DNS gave no answer in time.
fn late_dmarc() -> DmarcFinding {
    DmarcFinding {
        result: Word::TempError,
        domain: String::new(),
        policy: DmarcPolicy::None,
    }
}

fn dmarc_finding(found: &DmarcOutput) -> DmarcFinding {
    DmarcFinding {
        result: match found.result() {
            DmarcResult::Pass => Word::Pass,
            DmarcResult::Fail(_) => Word::Fail,
            DmarcResult::TempError(_) => Word::TempError,
            DmarcResult::PermError(_) => Word::PermError,
            DmarcResult::None => Word::None,
        },
        domain: found.domain().to_owned(),
        policy: match found.policy() {
            Policy::Reject => DmarcPolicy::Reject,
            Policy::Quarantine => DmarcPolicy::Quarantine,
            Policy::None | Policy::Unspecified => DmarcPolicy::None,
        },
    }
}
