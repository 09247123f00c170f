//! The head of a request: the envelope in fields, and the signature of Standard Webhooks 1.0. Pure.

use skein_client::LeasedTask;
use skein_policy::{SigningSecret, Webhook};
use skein_webhook::signature::Signatures;

/// One request: a task, at a time.
#[derive(Debug)]
pub struct Request<'a> {
    pub webhook: &'a Webhook,
    /// Of the webhook, or of the file that it names.
    pub secrets: &'a [SigningSecret],
    pub task: &'a LeasedTask,
    /// Addresses of those that this destination is for.
    pub recipients: Vec<&'a str>,
    /// In seconds since 1970.
    pub at: u64,
}

impl Request<'_> {
    /// The same at each attempt, so that a receiver knows a message that it has.
    pub fn id(&self) -> String {
        let id = self.task.id;
        format!("msg_{}_{}", id.message, id.number)
    }

    pub fn sign(&self) -> Signatures {
        Signatures::begin(self.secrets, &self.id(), self.at)
    }

    /// All that comes before a body of this length.
    pub fn head(&self, body_bytes: u64, signatures: Signatures) -> Vec<u8> {
        let url = &self.webhook.url;
        let (task, envelope) = (&self.task.task, &self.task.message.envelope);
        let mut fields = vec![
            ("Host", url.host_field()),
            ("User-Agent", "Skein".to_owned()),
            ("Content-Type", "message/rfc822".to_owned()),
            ("Content-Length", body_bytes.to_string()),
            ("Webhook-Id", self.id()),
            ("Webhook-Timestamp", self.at.to_string()),
        ];
        fields.extend(signatures.finish().map(|all| ("Webhook-Signature", all)));
        fields.push(("X-Skein-Message-Id", self.task.id.message.to_string()));
        fields.push(("X-Skein-Attempt", (task.attempts + 1).to_string()));
        fields.push(("X-Skein-Tenant", encoded(&envelope.tenant)));
        fields.push(("X-Skein-Mail-From", encoded(&envelope.return_path)));
        let recipients = self.recipients.iter();
        fields.extend(recipients.map(|to| ("X-Skein-Rcpt-To", encoded(to))));
        let own = self.webhook.headers.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.clone()));
        let mut head = format!("POST {} HTTP/1.1\r\n", url.path);
        for (name, value) in fields.into_iter().chain(own) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// An address as a field has it: octets that are not of visible ASCII, and percent signs, as `%XX` (RFC 3986 2.1).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
pub use tests::webhook as webhook_of;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_policy::{Destination, Hosted, Policy, Source};

    use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::task::test_tasks::task;

    /// As the policy has it with these keys.
    pub fn webhook(more: &str) -> Webhook {
        let text = format!(
            "kind: inbound\nname: x\ndomains: [there.test]\naddresses: [{{address: x, http: 'https://h.test/in?a=1'{more}}}]\n"
        );
        let policy = Policy::parse(&[Source {
            name: "p",
            text: &text,
        }])
        .unwrap();
        match policy.hosted("there.test", "x") {
            Hosted::Known(_, destination) => match &**destination {
                Destination::Http(webhook) => webhook.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_head_names_the_envelope_and_never_breaks_a_line() {
        let webhook = webhook(", headers: ['Authorization: Bearer x']");
        let mut task = task(&["x@there.test", "é%\r\nX: y@there.test"]);
        task.message.envelope.return_path = String::new();
        let recipients = task.task.recipients.iter();
        let recipients = recipients.map(|(_, one)| one.address.as_str()).collect();
        let request = Request {
            webhook: &webhook,
            secrets: &webhook.secrets,
            task: &task,
            recipients,
            at: 7,
        };
        let head = String::from_utf8(request.head(10, request.sign())).unwrap();
        let expected = format!(
            "POST /in?a=1 HTTP/1.1\r\nHost: h.test\r\nUser-Agent: Skein\r\nContent-Type: message/rfc822\r\nContent-Length: 10\r\n\
             Webhook-Id: msg_{0}_0\r\nWebhook-Timestamp: 7\r\nX-Skein-Message-Id: {0}\r\nX-Skein-Attempt: 1\r\n\
             X-Skein-Tenant: default\r\nX-Skein-Mail-From: \r\nX-Skein-Rcpt-To: x@there.test\r\n\
             X-Skein-Rcpt-To: %C3%A9%25%0D%0AX:%20y@there.test\r\nAuthorization: Bearer x\r\n\r\n",
            task.id.message
        );
        assert_eq!(head, expected);
    }

    /// The example of the specification, whose signature its reference implementations make, too.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let webhook = webhook(
            ", signing_secret: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA]",
        );
        let key = Key::new(HMAC_SHA256, webhook.secrets[0].key());
        let mut context = Context::with_key(&key);
        context.update(br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#);
        assert_eq!(
            STANDARD.encode(context.sign()),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        let task = task(&["x@there.test"]);
        let request = Request {
            webhook: &webhook,
            secrets: &webhook.secrets,
            task: &task,
            recipients: vec![],
            at: 7,
        };
        let mut signatures = request.sign();
        signatures.push(b"bo");
        signatures.push(b"dy");
        let found = signatures.finish().unwrap();
        let mut context = Context::with_key(&key);
        context.update(format!("{}.7.body", request.id()).as_bytes());
        let first = format!("v1,{}", STANDARD.encode(context.sign()));
        assert_eq!(found.split(' ').next(), Some(first.as_str()));
        assert_eq!(found.split(' ').count(), 2);
    }
}
