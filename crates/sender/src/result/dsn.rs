//! Which DSNs an attempt calls for (RFC 3461 4 and 6.2), and making them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use skein_client::signing::Signing;
use skein_client::{LeasedTask, Spool, SpoolError};
use skein_mail::dsn::{Action, Diagnostic, Dsn, DsnRecipient, OriginalContent};
use skein_model::mail::{BodyType, Ret};
use skein_model::spool::{Accept, Report, Verdict};
use skein_model::{Domain, DurationMs, Envelope, Notify, Recipient, UnixMs};
use skein_policy::{DsnPolicy, Policy};
use skein_smtp::address::Address;
use tokio::sync::watch;
use tokio_stream::StreamExt;

use super::dsn_signing::signed;
use crate::config::current::CurrentConfig;
use crate::route::sites::Sites;

/// A failure DSN returns a whole message up to this size when RET=FULL asks for it, else its headers.
const RETURNED_BYTES_MAX: u64 = 256 << 10;
const RECIPIENTS_PER_TASK: usize = 100;

/// What a DSN is to say about each recipient; empty when none is due. `policy`: of the tenant.
pub fn due(
    policy: DsnPolicy,
    task: &LeasedTask,
    report: &Report,
    passes_dsn: bool,
    delay_due: bool,
) -> Vec<(usize, Action)> {
    if task.message.envelope.return_path.is_empty() {
        // A DSN or another automatic reply: answering it could go round for ever.
        return Vec::new();
    }
    let recipients = &task.task.recipients;
    report
        .outcomes
        .iter()
        .enumerate()
        .filter_map(|(place, outcome)| {
            let (_, recipient) = recipients
                .iter()
                .find(|(number, _)| *number == outcome.recipient)?;
            let action = action(&recipient.notify, outcome.verdict, passes_dsn, delay_due)?;
            allows(policy, action).then_some((place, action))
        })
        .collect()
}

fn action(notify: &Notify, verdict: Verdict, passes_dsn: bool, delay_due: bool) -> Option<Action> {
    match verdict {
        Verdict::Failed | Verdict::Expired if notify.failure => Some(Action::Failed),
        Verdict::Deferred if notify.delay && delay_due => Some(Action::Delayed),
        // The next host either reports success itself, or does not know DSN: then "relayed" is all we can say.
        Verdict::Delivered if notify.success && !passes_dsn => Some(Action::Relayed),
        _ => None,
    }
}

fn allows(policy: DsnPolicy, action: Action) -> bool {
    match policy {
        DsnPolicy::Normal => true,
        DsnPolicy::Failures => matches!(action, Action::Failed),
        DsnPolicy::Never => false,
    }
}

/// Makes DSNs and stores their bodies.
pub struct DsnWriter {
    /// For the reporting MTA, and for how long mail is tried.
    pub config: CurrentConfig,
    pub sites: Sites,
    /// Which of them each tenant wants.
    pub policy: watch::Receiver<Arc<Policy>>,
    pub signing: Signing,
}

impl DsnWriter {
    /// What a DSN is to say about each recipient; empty when none is due, or the tenant wants none.
    pub fn due(
        &self,
        task: &LeasedTask,
        report: &Report,
        passes_dsn: bool,
        delay_due: bool,
    ) -> Vec<(usize, Action)> {
        let policy = self.policy.borrow();
        let tenant = policy.tenant(&task.message.envelope.tenant);
        let wanted = tenant.map(|tenant| tenant.dsn).unwrap_or_default();
        due(wanted, task, report, passes_dsn, delay_due)
    }

    /// Makes the DSN that is due for a report, however often its body must be offered until it is stored. None: none is due,
    /// or none can be made.
    pub async fn store(
        &self,
        spool: &Spool,
        task: &LeasedTask,
        report: &Report,
        due: &[(usize, Action)],
        now: UnixMs,
    ) -> Option<Accept> {
        let mut wait = Duration::from_millis(50);
        while !due.is_empty() {
            match self.make(spool, task, report, due, now).await {
                Ok(accept) => return Some(accept),
                Err(SpoolError::Refused(reason)) => {
                    tracing::warn!(task = %task.id, reason, "no DSN can be made");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(task = %task.id, %error, "a DSN could not be stored");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
        None
    }

    /// Makes the DSN, stores its body, and returns the Accept that goes with the report.
    async fn make(
        &self,
        spool: &Spool,
        task: &LeasedTask,
        report: &Report,
        due: &[(usize, Action)],
        now: UnixMs,
    ) -> Result<Accept, SpoolError> {
        let is_failure = due
            .iter()
            .any(|(_, action)| matches!(action, Action::Failed));
        let original = original(task, &beginning(spool, task).await?, is_failure);
        let mut upload = spool.begin(now, rand::random())?;
        let id = upload.id();
        let envelope = &task.message.envelope;
        let recipient = return_recipient(&envelope.return_path)?;
        let config = self.config.get();
        let (hostname, max_age) = (&config.hostname, config.retry.max_age);
        let dsn = Dsn {
            host: hostname.clone(),
            to: recipient.1.address.clone(),
            message_id: skein_mail::trace::message_id(&id.to_string(), hostname),
            at_ms: now.0,
            reporting_mta: hostname.clone(),
            received_from_mta: envelope.client.as_ref().map(|client| client.helo.clone()),
            arrival_ms: Some(task.message.accepted_at.0),
            envelope_id: envelope.envid.clone(),
            recipients: due
                .iter()
                .map(|(place, action)| entry(max_age, task, report, *place, *action, now))
                .collect(),
            original,
            boundary_seed: id.entropy(),
        };
        let bytes = signed(&self.signing, hostname, dsn.build(), now).await?;
        for part in Bytes::from(bytes).chunks(256 << 10) {
            upload.write(Bytes::copy_from_slice(part)).await?;
        }
        let body = upload.finish(None).await?;
        let site = self.sites.soon(recipient.0.as_str()).await;
        let sites = site.map(|site| (recipient.0.clone(), site));
        Ok(Accept {
            id,
            envelope: Envelope {
                return_path: String::new(),
                // A report is 7bit data, so that every host takes it.
                body_type: BodyType::SevenBit,
                smtputf8: dsn.needs_smtputf8(),
                require_tls: false,
                ret: None,
                envid: None,
                tenant: envelope.tenant.clone(),
                pool: envelope.pool.clone(),
                client: None,
                traceparent: None,
                campaign: None,
                tls_optional: false,
                // A mailing that bounces makes thousands of reports: they must not go before mail that a user waits for.
                priority: envelope.priority,
            },
            body,
            tasks: spool.plan(
                id,
                [recipient],
                RECIPIENTS_PER_TASK,
                &sites.into_iter().collect(),
            ),
            about: Some(task.id.message),
        })
    }
}

/// The address that reports go to, in the form that most hosts take: A-labels, where its local part is ASCII.
fn return_recipient(return_path: &str) -> Result<(Domain, Recipient), SpoolError> {
    let address = Address::parse(return_path, true).map_err(|error| {
        SpoolError::Refused(format!("the return path {return_path:?}: {error}"))
    })?;
    let notify = Notify {
        success: false,
        failure: false,
        delay: false,
        given: true,
    };
    let ascii = address.to_ascii();
    let recipient = Recipient {
        address: ascii.as_ref().unwrap_or(&address).to_string(),
        notify,
        orcpt: None,
    };
    Ok((Domain::new(&address.routing_domain()), recipient))
}

fn entry(
    max_age: DurationMs,
    task: &LeasedTask,
    report: &Report,
    place: usize,
    action: Action,
    now: UnixMs,
) -> DsnRecipient {
    let outcome = &report.outcomes[place];
    let recipient = task
        .task
        .recipients
        .iter()
        .find(|(number, _)| *number == outcome.recipient)
        .map(|(_, recipient)| recipient)
        .expect("due() found it by the same number");
    let reply = &outcome.reply;
    let until = task.task.created + max_age;
    let (_, subject, detail) = reply.status();
    let class = match action {
        // An expired message might have been delivered later (RFC 3463 3.5).
        Action::Failed if outcome.verdict == Verdict::Expired => 4,
        Action::Failed => 5,
        Action::Delayed => 4,
        Action::Delivered | Action::Relayed | Action::Expanded => 2,
    };
    DsnRecipient {
        final_recipient: recipient.address.clone(),
        original_recipient: recipient.orcpt.clone(),
        action,
        status: (class, subject, detail),
        remote_mta: reply
            .host
            .as_ref()
            .and_then(|host| host.split(' ').next())
            .map(str::to_owned),
        diagnostic: Some(if reply.code == 0 {
            Diagnostic::Local(reply.text.clone())
        } else {
            Diagnostic::Smtp(reply.to_string())
        }),
        last_attempt_ms: Some(now.0),
        will_retry_until_ms: matches!(action, Action::Delayed).then_some(until.0),
    }
}

/// The message, or its beginning if it is larger than what a report returns.
async fn beginning(spool: &Spool, task: &LeasedTask) -> Result<Bytes, SpoolError> {
    if let Some(body) = &task.body {
        return Ok(body.clone());
    }
    let mut head = BytesMut::new();
    let mut parts = spool
        .read_part(task.id.message, 0, RETURNED_BYTES_MAX)
        .await?;
    while let Some(part) = parts.next().await {
        head.extend_from_slice(&part?);
    }
    Ok(head.freeze())
}

/// What is returned of a message that begins with these bytes.
fn original(task: &LeasedTask, bytes: &[u8], is_failure: bool) -> OriginalContent {
    let envelope = &task.message.envelope;
    let is_whole = bytes.len() as u64 == task.message.body.bytes;
    // RFC 8689 5: the way back may lack the TLS that the content was to have.
    if is_failure && envelope.ret == Some(Ret::Full) && is_whole && !envelope.require_tls {
        return OriginalContent::Full(bytes.to_vec());
    }
    OriginalContent::Headers(skein_mail::header::header_block(bytes).to_vec())
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;
