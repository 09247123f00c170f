//! The trace of a message that comes in.

use std::net::IpAddr;

use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt};
use skein_model::spool::NewTask;
use skein_model::{MessageId, TraceContext, reply_class};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::attributes::{self, TARGET};
use super::{remote, sampled};

/// Tasks of one message that get a span of their own; the others refer to that of the message. A list of a thousand domains
/// would fill the queue of spans at once.
const SENDS_MAX: usize = 32;

/// The span `smtp.receive`, and what is below it.
#[derive(Debug)]
pub struct MessageTrace {
    span: Span,
    sends: Vec<Span>,
}

impl MessageTrace {
    /// Of a message that is not traced, or not yet.
    pub fn none() -> Self {
        Self {
            span: Span::none(),
            sends: Vec::new(),
        }
    }

    /// A message comes in of which there is to be a trace. `parent`: the client's span that it comes from.
    pub fn begin(
        id: MessageId,
        tenant: &str,
        client: IpAddr,
        parent: Option<TraceContext>,
    ) -> Self {
        let span = tracing::info_span!(
            target: TARGET,
            parent: None,
            "smtp.receive",
            otel.kind = "server",
        );
        if !span.is_disabled() {
            if let Some(parent) = parent {
                let parent = Context::new().with_remote_span_context(remote(parent));
                if let Err(error) = span.set_parent(parent) {
                    tracing::debug!(%error, "a trace is not continued");
                }
            }
            span.set_attribute(attributes::SYSTEM, attributes::SYSTEM_SMTP);
            span.set_attribute(attributes::TENANT, tenant.to_owned());
            span.set_attribute(attributes::MESSAGE_ID, id.to_string());
            span.set_attribute(attributes::PEER_ADDRESS, client.to_string());
        }
        Self {
            span,
            sends: Vec::new(),
        }
    }

    /// The span within which the message is handled.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Gives each task the span that it is created in, if the message is sampled.
    pub fn created(&mut self, tasks: &mut [NewTask], bytes: u64) {
        let Some(message) = sampled(&self.span) else {
            return;
        };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.span.set_attribute(attributes::BODY_SIZE, bytes);
        for (nth, task) in tasks.iter_mut().enumerate() {
            if nth >= SENDS_MAX {
                task.created_in = Some(message);
                continue;
            }
            let send = self.send(task);
            task.created_in = sampled(&send);
            self.sends.push(send);
        }
    }

    fn send(&self, task: &NewTask) -> Span {
        let site = task.site.as_deref().unwrap_or(task.domain.as_str());
        let send = tracing::info_span!(
            target: TARGET,
            parent: &self.span,
            "send",
            otel.name = format!("send {site}"),
            otel.kind = "producer",
        );
        send.set_attribute(attributes::SYSTEM, attributes::SYSTEM_SMTP);
        send.set_attribute(attributes::OPERATION_NAME, "send");
        send.set_attribute(attributes::OPERATION_TYPE, "send");
        send.set_attribute(attributes::DESTINATION, site.to_owned());
        send.set_attribute(attributes::SLOT, i64::from(task.slot.0));
        let recipients = i64::try_from(task.recipients.len()).unwrap_or(i64::MAX);
        send.set_attribute(attributes::RECIPIENTS, recipients);
        send
    }

    /// The span of the commit, which is to be entered while it is waited for.
    pub fn commit(&self, group: u16) -> Span {
        if self.span.is_disabled() {
            return Span::none();
        }
        let commit = tracing::info_span!(target: TARGET, parent: &self.span, "commit");
        commit.set_attribute(attributes::GROUP, i64::from(group));
        commit
    }
}

/// The message of this span was not taken.
pub fn refused(span: &Span, code: u16) {
    if !span.is_disabled() {
        span.set_attribute(attributes::REPLY_CODE, i64::from(code));
        span.set_attribute(attributes::ERROR_TYPE, reply_class(code));
        span.set_status(Status::error("the message was refused"));
    }
}
