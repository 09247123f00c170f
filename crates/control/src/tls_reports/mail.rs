//! Reports that go by mail (RFC 8460 5.3): made, signed and handed in as DSNs are.

use bytes::Bytes;
use skein_client::signing::{MailSigning, Signing};
use skein_client::{SpoolError, Spools};
use skein_dkim::Signer;
use skein_mail::tls_report::TlsReportMail;
use skein_model::mail::BodyType;
use skein_model::meta::tls_reports::sent_at;
use skein_model::spool::Accept;
use skein_model::tls_report::Day;
use skein_model::{Domain, Envelope, GroupId, MessageId, Notify, Priority, Recipient};
use skein_policy::DEFAULT_POOL;

use super::Reporter;

/// As clients without a login are, unless they are somebody's.
const DEFAULT_TENANT: &str = "default";
const RECIPIENTS_PER_TASK: usize = 1;

/// A report on its way to one address.
pub struct Outgoing<'r> {
    pub reporter: &'r Reporter,
    pub to: &'r str,
    pub day: Day,
    pub domain: &'r str,
    pub report_id: &'r str,
    pub gzip: &'r [u8],
}

impl Outgoing<'_> {
    /// Hands it in, once: the same report has the same message.
    ///
    /// # Errors
    /// It cannot be signed, or no spool group takes it.
    pub async fn hand_in(&self, spools: &Spools, signing: &Signing) -> Result<(), SpoolError> {
        let (at, id) = (sent_at(self.day, self.domain), self.message(spools)?);
        let submitter = self.reporter.submitter();
        let text = format!(
            "This is a report on TLS in mail from {submitter} to {}.\nThe attachment is for programs (RFC 8460).",
            self.domain
        );
        let mail = TlsReportMail {
            from: &self.reporter.from,
            to: self.to,
            domain: self.domain,
            submitter,
            report_id: self.report_id,
            message_id: &skein_mail::trace::message_id(&id.to_string(), &self.reporter.hostname),
            at_ms: at.0,
            begins_s: self.day.begins_at().0 / 1000,
            ends_s: self.day.ends_at().0 / 1000 - 1,
            text: &text,
            gzip: self.gzip,
        };
        let found = signing.of(&[submitter.to_ascii_lowercase()]).await?;
        let signed = skein_dkim::sign_whole(&signers(&found, submitter)?, mail.build(), at);
        let signed = signed.map_err(|error| SpoolError::Unavailable(error.to_string()))?;
        let spool = spools.get(id.group());
        let mut upload = spool.begin_as(id)?;
        for part in signed.chunks(256 << 10) {
            upload.write(Bytes::copy_from_slice(part)).await?;
        }
        let body = upload.finish(None).await?;
        let recipient = Recipient {
            address: self.to.to_owned(),
            notify: Notify {
                success: false,
                failure: false,
                delay: false,
                given: true,
            },
            orcpt: None,
        };
        let (_, domain) = self.to.rsplit_once('@').unwrap_or_default();
        let recipient = (Domain::new(domain), recipient);
        let accept = Accept {
            id,
            envelope: envelope(tenant_of(&found)),
            body,
            tasks: spool.plan(id, [recipient], RECIPIENTS_PER_TASK, &Default::default()),
            about: None,
        };
        spool.accept(&accept).await
    }

    /// Follows from the domain, the day and the address, and the number of spool groups.
    fn message(&self, spools: &Spools) -> Result<MessageId, SpoolError> {
        let view = spools.cluster().view();
        let groups = view.keys().filter(|group| **group != GroupId::META);
        let groups: Vec<GroupId> = groups.copied().collect();
        let of = skein_model::tls_report::hash(self.day, self.domain, self.to);
        let place = of.checked_rem(groups.len() as u64);
        let group = place.and_then(|place| groups.get(usize::try_from(place).ok()?));
        let group =
            group.ok_or_else(|| SpoolError::Unavailable("no spool group is known".into()))?;
        Ok(MessageId::new(sent_at(self.day, self.domain), *group, of))
    }
}

fn envelope(tenant: &str) -> Envelope {
    Envelope {
        // Nobody waits for what becomes of it.
        return_path: String::new(),
        body_type: BodyType::SevenBit,
        smtputf8: false,
        require_tls: false,
        // RFC 8460 5.3: a report on TLS that does not work is to arrive all the same.
        tls_optional: true,
        ret: None,
        envid: None,
        tenant: tenant.to_owned(),
        pool: DEFAULT_POOL.to_owned(),
        client: None,
        traceparent: None,
        campaign: None,
        priority: Priority::Bulk,
    }
}

/// Whose the domain is that reports are from.
fn tenant_of(found: &MailSigning) -> &str {
    let mut known = found.domains.iter().flatten();
    known
        .find(|domain| !domain.tenant.is_empty())
        .map_or(DEFAULT_TENANT, |domain| &domain.tenant)
}

/// The keys of the domain that reports are from, and the operator's.
fn signers(found: &MailSigning, submitter: &str) -> Result<Vec<Signer>, SpoolError> {
    let unsigned =
        |why: String| SpoolError::Unavailable(format!("a report cannot be signed: {why}"));
    let mut signers = Vec::new();
    for domain in found.domains.iter().flatten() {
        let own = domain.signers.as_ref();
        signers.extend_from_slice(own.map_err(|why| unsigned(why.to_string()))?);
    }
    match &*found.operator {
        Ok(operator) => signers.extend_from_slice(operator),
        Err(why) => return Err(unsigned(why.to_string())),
    }
    match signers.is_empty() {
        true => Err(unsigned(format!(
            "{submitter} has no key; add it with `skeinctl domain add {submitter} --operator`"
        ))),
        false => Ok(signers),
    }
}
