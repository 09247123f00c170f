//! Changes of the cluster by people and tools are written down, before and after.

use std::future::Future;

use serde::Serialize;
use skein_model::UnixMs;
use skein_model::meta::{
    ASKED_BYTES_MAX, AUDIT_NAME_BYTES_MAX, AuditCommand, AuditEnd, AuditEntry, Command,
};
use tonic::{Code, Request, Status};

use super::{address, caller};
use crate::raft::Forward;

/// Values of keys with these words in them are secrets, or have some.
const HIDDEN: [&str; 5] = ["secret", "password", "token", "private", "text"];

#[derive(Clone)]
pub struct Audit(Forward);

impl Audit {
    pub fn new(forward: Forward) -> Self {
        Self(forward)
    }

    /// Makes a change that was written down, and writes down what came of it. `call` is the name of the call.
    ///
    /// # Errors
    /// Those of the change; or it could not be written down, and was not made.
    pub async fn change<Q, A, F>(
        &self,
        call: &str,
        request: Request<Q>,
        change: impl FnOnce(Q) -> F,
    ) -> Result<A, Status>
    where
        Q: Serialize,
        F: Future<Output = Result<A, Status>>,
    {
        let from = address(&request);
        let request = request.into_inner();
        let id = self
            .begin(call, from.map(|from| from.to_string()), asked(&request))
            .await?;
        let answer = change(request).await;
        self.end(id, call, answer.as_ref().err()).await;
        answer
    }

    /// Before a change; gives what names it afterwards.
    ///
    /// # Errors
    /// It could not be written down.
    pub async fn begin(
        &self,
        call: &str,
        from: Option<String>,
        asked: String,
    ) -> Result<u64, Status> {
        let who = caller();
        let from = from.unwrap_or_default();
        tracing::info!(who, from, call, "the cluster is being changed");
        let entry = AuditEntry {
            id: rand::random(),
            at: UnixMs(0),
            who: bounded(&who),
            from,
            call: bounded(call),
            asked,
            ended: None,
        };
        let id = entry.id;
        self.write(AuditCommand::Note(entry)).await?;
        Ok(id)
    }

    pub async fn end(&self, id: u64, call: &str, error: Option<&Status>) {
        let result = error.map_or(Code::Ok, Status::code);
        tracing::info!(who = caller(), call, ?result, "an operator's call");
        let message = error.map(Status::message).unwrap_or_default();
        let end = AuditEnd {
            code: i32::from(result).unsigned_abs(),
            message: bounded(message),
        };
        if let Err(error) = self.write(AuditCommand::End { id, end }).await {
            tracing::warn!(call, %error, "what came of a change is not in the audit log");
        }
    }

    /// A call that was refused, as far as it can be written down.
    pub async fn refused(&self, entry: AuditEntry) {
        if let Err(error) = self.write(AuditCommand::Note(entry)).await {
            tracing::warn!(%error, "a refused call is not in the audit log");
        }
    }

    /// While some control nodes do not know the log, changes are only logged.
    async fn write(&self, command: AuditCommand) -> Result<(), Status> {
        let command = Command::Audit(Box::new(command));
        let Some(feature) = command.feature() else {
            return Ok(());
        };
        if let Err(error) = self.0.versions.pass(feature).await {
            tracing::warn!(%error, "there is no audit log yet");
            return Ok(());
        }
        self.0.commit_meta(&command).await.map(drop)
    }
}

/// A request as JSON, without what is secret or long, cut.
fn asked(request: &impl Serialize) -> String {
    let mut value = serde_json::to_value(request).unwrap_or_default();
    hide(&mut value);
    cut(&value.to_string(), ASKED_BYTES_MAX)
}

fn hide(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, value| !is_unset(value));
            for (key, value) in fields {
                match HIDDEN.iter().any(|word| key.contains(word)) && value.is_string() {
                    true => *value = "*".into(),
                    false => hide(value),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

fn is_unset(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(false) => true,
        serde_json::Value::String(text) => text.is_empty(),
        serde_json::Value::Array(items) => items.is_empty(),
        serde_json::Value::Number(number) => number.as_u64() == Some(0),
        _ => false,
    }
}

/// A name or message as an entry may have it.
pub fn bounded(text: &str) -> String {
    cut(text, AUDIT_NAME_BYTES_MAX)
}

/// Without control characters, and not longer than so many bytes.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut kept = String::new();
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if kept.len() + c.len_utf8() > bytes_max {
            break;
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_wire::v1::{ApplyPolicyRequest, PolicySource};

    #[test]
    fn what_was_asked_for_has_no_secrets_and_no_end() {
        let request = ApplyPolicyRequest {
            sources: vec![PolicySource {
                name: "ips.yaml".into(),
                text: "proxy: {password: hunter2}".into(),
            }],
            remove: vec!["pool/old\n".into()],
            ..ApplyPolicyRequest::default()
        };
        let told = asked(&request);
        assert!(
            told.contains("ips.yaml") && !told.contains("hunter2"),
            "{told}"
        );
        let long = ApplyPolicyRequest {
            remove: vec!["pool/old\n".into(); 1000],
            ..request
        };
        let told = asked(&long);
        assert!(
            told.len() <= ASKED_BYTES_MAX && !told.contains('\n'),
            "{told}"
        );
        let idle = asked(&ApplyPolicyRequest::default());
        assert_eq!(idle, "{}");
        assert_eq!(bounded("a\u{0}ü"), "a ü");
        assert!(bounded(&"ü".repeat(999)).len() <= AUDIT_NAME_BYTES_MAX);
    }
}
