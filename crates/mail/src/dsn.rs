//! Delivery status notifications (RFC 3461, 3462, 3464; RFC 6533 when addresses are not ASCII).

use crate::trace::rfc5322_date;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Failed,
    Delayed,
    Delivered,
    Relayed,
    Expanded,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

#[derive(Debug, Clone)]
pub enum OriginalContent {
    Headers(Vec<u8>),
    Full(Vec<u8>),
}

#[derive(Debug, Clone)]
pub enum Diagnostic {
    /// A host's reply.
    Smtp(String),
    /// Our own words.
    Local(String),
}

#[derive(Debug, Clone)]
pub struct DsnRecipient {
    pub final_recipient: String,
    /// ORCPT, decoded: `rfc822;user@example.com`.
    pub original_recipient: Option<String>,
    pub action: Action,
    pub status: (u8, u16, u16),
    pub remote_mta: Option<String>,
    pub diagnostic: Option<Diagnostic>,
    pub last_attempt_ms: Option<u64>,
    pub will_retry_until_ms: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Dsn {
    pub host: String,
    /// The return path of the original.
    pub to: String,
    /// Without angle brackets.
    pub message_id: String,
    pub at_ms: u64,
    pub reporting_mta: String,
    pub received_from_mta: Option<String>,
    pub arrival_ms: Option<u64>,
    pub envelope_id: Option<String>,
    pub recipients: Vec<DsnRecipient>,
    pub original: OriginalContent,
    pub boundary_seed: u64,
}

/// Text as it may stand in a field: one line, bounded below the 998 octets of RFC 5322 2.1.1.
fn line(text: &str, global: bool) -> String {
    let printable = |c: char| {
        if c.is_control() {
            ' '
        } else if c.is_ascii() || global {
            c
        } else {
            '?'
        }
    };
    let mut line: String = text.chars().map(printable).collect();
    let end = (0..=900.min(line.len()))
        .rev()
        .find(|n| line.is_char_boundary(*n))
        .unwrap_or(0);
    line.truncate(end);
    line
}

impl Dsn {
    /// Whether the report must be sent with SMTPUTF8.
    pub fn needs_smtputf8(&self) -> bool {
        !self.to.is_ascii()
    }

    fn is_global(&self) -> bool {
        !self.to.is_ascii()
            || self
                .recipients
                .iter()
                .any(|recipient| !recipient.final_recipient.is_ascii())
    }

    /// The message with CRLF line ends; the same for the same input.
    pub fn build(&self) -> Vec<u8> {
        let boundary = self.boundary();
        let global = self.is_global();
        let mut out = String::new();
        let (subject, intro) = self.words();
        out.push_str(&format!(
            "From: Mail Delivery System <MAILER-DAEMON@{}>\r\n",
            self.host
        ));
        out.push_str(&format!("To: <{}>\r\n", line(&self.to, true)));
        out.push_str(&format!("Subject: {subject}\r\n"));
        out.push_str(&format!(
            "Date: {}\r\nMessage-ID: <{}>\r\n",
            rfc5322_date(self.at_ms),
            self.message_id
        ));
        out.push_str("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
        let report_type = if global {
            "global-delivery-status"
        } else {
            "delivery-status"
        };
        out.push_str(&format!(
            "Content-Type: multipart/report; report-type={report_type};\r\n\tboundary=\"{boundary}\"\r\n\r\n"
        ));
        out.push_str(&format!(
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        ));
        out.push_str("Content-Transfer-Encoding: 8bit\r\n\r\n");
        out.push_str(&format!(
            "This is the mail system at {}.\r\n\r\n{intro}\r\n",
            self.host
        ));
        for recipient in &self.recipients {
            out.push_str(&format!(
                "\r\n<{}>\r\n",
                line(&recipient.final_recipient, true)
            ));
            if let Some(Diagnostic::Smtp(text) | Diagnostic::Local(text)) = &recipient.diagnostic {
                let who = match (&recipient.diagnostic, &recipient.remote_mta) {
                    (Some(Diagnostic::Smtp(_)), Some(host)) => {
                        format!("{} said: ", line(host, true))
                    }
                    _ => String::new(),
                };
                out.push_str(&format!("    {who}{}\r\n", line(text, true)));
            }
        }
        out.push_str(&format!(
            "\r\n--{boundary}\r\nContent-Type: message/{report_type}\r\n\r\n"
        ));
        self.status_fields(global, &mut out);
        let (kind, original) = match &self.original {
            OriginalContent::Full(bytes) if global => ("message/global", bytes),
            OriginalContent::Full(bytes) => ("message/rfc822", bytes),
            OriginalContent::Headers(bytes) if global => ("message/global-headers", bytes),
            OriginalContent::Headers(bytes) => ("text/rfc822-headers", bytes),
        };
        out.push_str(&format!("--{boundary}\r\nContent-Type: {kind}\r\n\r\n"));
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(original);
        bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        bytes
    }

    fn status_fields(&self, global: bool, out: &mut String) {
        let mut field =
            |name: &str, value: &str| out.push_str(&format!("{name}: {}\r\n", line(value, global)));
        field("Reporting-MTA", &format!("dns; {}", self.reporting_mta));
        if let Some(envid) = &self.envelope_id {
            field("Original-Envelope-Id", envid);
        }
        if let Some(host) = &self.received_from_mta {
            field("Received-From-MTA", &format!("dns; {host}"));
        }
        if let Some(at) = self.arrival_ms {
            field("Arrival-Date", &rfc5322_date(at));
        }
        out.push_str("\r\n");
        for recipient in &self.recipients {
            let mut field = |name: &str, value: &str| {
                out.push_str(&format!("{name}: {}\r\n", line(value, global)))
            };
            if let Some(original) = &recipient.original_recipient {
                field("Original-Recipient", &original.replacen(';', "; ", 1));
            }
            let kind = if recipient.final_recipient.is_ascii() {
                "rfc822"
            } else {
                "utf-8"
            };
            field(
                "Final-Recipient",
                &format!("{kind}; {}", recipient.final_recipient),
            );
            field("Action", recipient.action.word());
            let (class, subject, detail) = recipient.status;
            field("Status", &format!("{class}.{subject}.{detail}"));
            if let Some(host) = &recipient.remote_mta {
                field("Remote-MTA", &format!("dns; {host}"));
            }
            match &recipient.diagnostic {
                Some(Diagnostic::Smtp(text)) => field("Diagnostic-Code", &format!("smtp; {text}")),
                Some(Diagnostic::Local(text)) => {
                    field("Diagnostic-Code", &format!("X-Skein; {text}"))
                }
                None => {}
            }
            if let Some(at) = recipient.last_attempt_ms {
                field("Last-Attempt-Date", &rfc5322_date(at));
            }
            if let Some(at) = recipient.will_retry_until_ms {
                field("Will-Retry-Until", &rfc5322_date(at));
            }
            out.push_str("\r\n");
        }
    }

    fn words(&self) -> (&'static str, &'static str) {
        let all = |action: Action| {
            self.recipients
                .iter()
                .all(|recipient| recipient.action == action)
        };
        if all(Action::Delayed) {
            let intro = "Your message could not be delivered yet. You need not send it again: it is tried for longer.";
            ("Delivery delayed", intro)
        } else if self
            .recipients
            .iter()
            .any(|recipient| recipient.action == Action::Failed)
        {
            let intro = "Your message could not be delivered to the recipients below. It is not tried again.";
            ("Undelivered mail returned to sender", intro)
        } else {
            (
                "Delivery report",
                "Your message was handed on for the recipients below.",
            )
        }
    }

    /// A boundary that no part contains.
    fn boundary(&self) -> String {
        let original = match &self.original {
            OriginalContent::Headers(bytes) | OriginalContent::Full(bytes) => bytes,
        };
        (0u64..)
            .map(|n| format!("=_skein_{:016x}_{n}", self.boundary_seed))
            .find(|boundary| !contains(original, boundary.as_bytes()))
            .expect("a finite text cannot hold all boundaries")
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    use super::*;

    fn dsn(text: &str, to: &str) -> Dsn {
        Dsn {
            host: "mx.test".into(),
            to: to.into(),
            message_id: "1@mx.test".into(),
            at_ms: 1_795_480_176_000,
            reporting_mta: "mx.test".into(),
            received_from_mta: Some("client.test".into()),
            arrival_ms: Some(1_795_480_000_000),
            envelope_id: Some("QQ314159".into()),
            recipients: vec![DsnRecipient {
                final_recipient: "user@example.com".into(),
                original_recipient: Some("rfc822;Other@example.com".into()),
                action: Action::Failed,
                status: (5, 1, 1),
                remote_mta: Some("mx.example.com".into()),
                diagnostic: Some(Diagnostic::Smtp(text.into())),
                last_attempt_ms: Some(1_795_480_100_000),
                will_retry_until_ms: None,
            }],
            original: OriginalContent::Headers(b"Subject: hello\r\n".to_vec()),
            boundary_seed: 7,
        }
    }

    #[test]
    fn a_report_says_who_and_why() {
        let bytes = dsn("550 5.1.1 no such user", "a@b.test").build();
        let message = MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(
            message.subject(),
            Some("Undelivered mail returned to sender")
        );
        assert_eq!(message.attachment_count(), 2);
        let text = String::from_utf8(bytes).unwrap();
        for part in [
            "report-type=delivery-status",
            "Final-Recipient: rfc822; user@example.com\r\n",
            "Original-Recipient: rfc822; Other@example.com\r\n",
            "Action: failed\r\nStatus: 5.1.1\r\n",
            "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
            "Original-Envelope-Id: QQ314159\r\n",
            "mx.example.com said: 550 5.1.1 no such user",
            "Content-Type: text/rfc822-headers\r\n\r\nSubject: hello\r\n",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_report_for_international_addresses_says_so() {
        let dsn = dsn("550 no", "\u{fc}@b.test");
        assert!(dsn.needs_smtputf8());
        assert!(
            String::from_utf8(dsn.build())
                .unwrap()
                .contains("message/global-delivery-status")
        );
    }

    proptest! {
        #[test]
        fn any_reply_gives_a_well_formed_message(text in "\\PC{0,40}[\\r\\n\\x00]{0,3}\\PC{0,2000}") {
            let bytes = dsn(&text, "a@b.test").build();
            for line in String::from_utf8(bytes).unwrap().split("\r\n") {
                prop_assert!(!line.contains(['\r', '\n', '\0']));
                prop_assert!(line.chars().count() <= 998);
            }
        }
    }
}
