//! The trace of one attempt.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::trace::Status;
use skein_model::reply_class;
use skein_model::spool::{Outcome, Verdict};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::attributes::{self, TARGET};
use super::{remote, wall_time};
use crate::work::LeasedTask;

/// A step of a session or a transaction that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Such as `starttls`.
    pub name: &'static str,
    pub ended: Instant,
    pub time: Duration,
}

/// The span `process <site>` of an attempt at a task whose creation is recorded, and the transaction below it.
#[derive(Debug)]
pub struct AttemptTrace {
    process: Span,
    transaction: Option<Span>,
}

impl AttemptTrace {
    /// An attempt begins. None if nothing is to be recorded of it.
    pub fn begin(task: &LeasedTask, site: &str) -> Option<Self> {
        let created_in = task.task.created_in.filter(|one| one.is_sampled())?;
        let process = tracing::info_span!(
            target: TARGET,
            parent: None,
            "process",
            otel.name = format!("process {site}"),
            otel.kind = "consumer",
        );
        if process.is_disabled() {
            return None;
        }
        process.add_link(remote(created_in));
        let (row, envelope) = (&task.task, &task.message.envelope);
        process.set_attribute(attributes::SYSTEM, attributes::SYSTEM_SMTP);
        process.set_attribute(attributes::OPERATION_NAME, "process");
        process.set_attribute(attributes::OPERATION_TYPE, "process");
        process.set_attribute(attributes::DESTINATION, site.to_owned());
        process.set_attribute(attributes::MESSAGE_ID, task.id.message.to_string());
        process.set_attribute(attributes::TENANT, envelope.tenant.clone());
        process.set_attribute(attributes::POOL, row.pool(envelope).to_owned());
        process.set_attribute(attributes::SLOT, i64::from(row.slot.0));
        process.set_attribute(attributes::ATTEMPT, i64::from(row.attempts) + 1);
        let recipients = i64::try_from(row.recipients.len()).unwrap_or(i64::MAX);
        process.set_attribute(attributes::RECIPIENTS, recipients);
        Some(Self {
            process,
            transaction: None,
        })
    }

    /// A transaction with a host begins, which is to be entered while it goes on.
    pub fn transaction(&mut self, host: &str, address: String, ip: &str) -> Span {
        let transaction = tracing::info_span!(
            target: TARGET,
            parent: &self.process,
            "smtp.transaction",
            otel.kind = "client",
        );
        transaction.set_attribute(attributes::SERVER_ADDRESS, host.to_owned());
        transaction.set_attribute(attributes::PEER_ADDRESS, address);
        transaction.set_attribute(attributes::IP, ip.to_owned());
        self.transaction = Some(transaction.clone());
        transaction
    }

    /// The transaction has ended, after these steps.
    pub fn took(&self, steps: impl Iterator<Item = Step>, tls: Option<&str>) {
        let Some(transaction) = &self.transaction else {
            return;
        };
        for step in steps {
            let ms = i64::try_from(step.time.as_millis()).unwrap_or(i64::MAX);
            let facts = vec![KeyValue::new(attributes::STEP_MS, ms)];
            transaction.add_event_with_timestamp(step.name, wall_time(step.ended), facts);
        }
        transaction.set_attribute(attributes::TLS, tls.unwrap_or("none").to_owned());
    }

    /// The attempt has this result.
    pub fn ended(self, outcomes: &[Outcome]) {
        let count = |verdict| {
            let of_it = outcomes.iter().filter(|one| one.verdict == verdict);
            i64::try_from(of_it.count()).unwrap_or(i64::MAX)
        };
        for (name, verdict) in [
            (attributes::DELIVERED, Verdict::Delivered),
            (attributes::DEFERRED, Verdict::Deferred),
            (attributes::BOUNCED, Verdict::Failed),
            (attributes::EXPIRED, Verdict::Expired),
        ] {
            let count = count(verdict);
            if count > 0 {
                self.process.set_attribute(name, count);
            }
        }
        let failed = outcomes
            .iter()
            .find(|one| one.verdict != Verdict::Delivered);
        let Some(told) = failed.or(outcomes.first()) else {
            return;
        };
        let reply = &told.reply;
        self.process
            .set_attribute(attributes::REPLY_CODE, i64::from(reply.code));
        if let Some((class, subject, detail)) = reply.enhanced {
            let code = format!("{class}.{subject}.{detail}");
            self.process.set_attribute(attributes::ENHANCED_CODE, code);
        }
        if failed.is_some() {
            let class = reply_class(reply.code);
            self.process.set_attribute(attributes::ERROR_TYPE, class);
            self.process
                .set_status(Status::error("not all recipients were delivered"));
        }
    }
}
