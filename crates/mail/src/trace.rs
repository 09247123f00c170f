//! Trace and identification headers (RFC 5321 4.4, RFC 5322 3.6.4).

use std::net::IpAddr;

use jiff::Timestamp;

/// A message that passed more hosts than this goes in a circle (RFC 5321 6.3 asks for at least 100).
pub const MAX_RECEIVED: u32 = 100;

pub fn is_loop(received_count: u32) -> bool {
    received_count > MAX_RECEIVED
}

/// The `with` word of a Received header (RFC 3848, RFC 6531 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithProtocol {
    ehlo: bool,
    tls: bool,
    auth: bool,
    utf8: bool,
}

impl WithProtocol {
    pub fn of(ehlo: bool, tls: bool, auth: bool, utf8: bool) -> Self {
        Self {
            ehlo,
            tls,
            auth,
            utf8,
        }
    }

    pub fn as_str(self) -> &'static str {
        if !self.ehlo {
            return "SMTP";
        }
        match (self.utf8, self.tls, self.auth) {
            (false, false, false) => "ESMTP",
            (false, true, false) => "ESMTPS",
            (false, false, true) => "ESMTPA",
            (false, true, true) => "ESMTPSA",
            (true, false, false) => "UTF8SMTP",
            (true, true, false) => "UTF8SMTPS",
            (true, false, true) => "UTF8SMTPA",
            (true, true, true) => "UTF8SMTPSA",
        }
    }
}

#[derive(Debug, Clone)]
pub struct ReceivedFields<'a> {
    pub from_helo: &'a str,
    pub from_ip: IpAddr,
    pub from_rdns: Option<&'a str>,
    pub by: &'a str,
    pub with: WithProtocol,
    /// Version and cipher.
    pub tls: Option<(&'a str, &'a str)>,
    pub id: &'a str,
    /// Only for a message with one recipient, since others must not learn of each other (RFC 5321 7.6).
    pub for_recipient: Option<&'a str>,
    pub at_ms: u64,
}

/// What a client said, without anything that could end the field or open a comment.
fn neutral(text: &str) -> String {
    let keep = |c: char| !c.is_control() && !matches!(c, '(' | ')' | '\\' | ';' | '<' | '>');
    text.chars()
        .map(|c| if keep(c) { c } else { '?' })
        .collect()
}

/// A complete Received field with its CRLF.
pub fn received_header(fields: &ReceivedFields<'_>) -> String {
    let helo = neutral(fields.from_helo);
    let helo = if helo.is_empty() {
        "unknown".to_owned()
    } else {
        helo
    };
    let ip = match fields.from_ip {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    let from = match fields.from_rdns {
        Some(name) => format!("{} {ip}", neutral(name)),
        None => ip,
    };
    let mut header = format!(
        "Received: from {helo} ({from})\r\n\tby {} with {}",
        fields.by,
        fields.with.as_str()
    );
    if let Some((version, cipher)) = fields.tls {
        header.push_str(&format!("\r\n\t({} {})", neutral(version), neutral(cipher)));
    }
    header.push_str(&format!("\r\n\tid {}", fields.id));
    if let Some(recipient) = fields.for_recipient {
        header.push_str(&format!(
            "\r\n\tfor <{}>",
            recipient.replace(|c: char| c.is_control(), "?")
        ));
    }
    header.push_str(&format!(";\r\n\t{}\r\n", rfc5322_date(fields.at_ms)));
    header
}

/// `Tue, 24 Nov 2026 00:29:36 +0000`
pub fn rfc5322_date(at_ms: u64) -> String {
    let at = i64::try_from(at_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX);
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

pub fn message_id(id: &str, hostname: &str) -> String {
    format!("{id}@{hostname}")
}

pub fn message_id_header(id: &str, hostname: &str) -> String {
    format!("Message-ID: <{}>\r\n", message_id(id, hostname))
}

pub fn date_header(at_ms: u64) -> String {
    format!("Date: {}\r\n", rfc5322_date(at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_header_says_where_from_and_cannot_be_broken_out_of() {
        let mut fields = ReceivedFields {
            from_helo: "client.test",
            from_ip: IpAddr::from([192, 0, 2, 1]),
            from_rdns: None,
            by: "mx.test",
            with: WithProtocol::of(true, true, true, false),
            tls: Some(("TLSv1.3", "TLS13_AES_128_GCM_SHA256")),
            id: "01ABC",
            for_recipient: Some("user@example.com"),
            at_ms: 1_795_480_176_000,
        };
        assert_eq!(
            received_header(&fields),
            "Received: from client.test ([192.0.2.1])\r\n\tby mx.test with ESMTPSA\
             \r\n\t(TLSv1.3 TLS13_AES_128_GCM_SHA256)\r\n\tid 01ABC\r\n\tfor <user@example.com>;\
             \r\n\tTue, 24 Nov 2026 00:29:36 +0000\r\n"
        );
        fields.from_helo = "evil\r\nBcc: x (";
        assert!(received_header(&fields).starts_with("Received: from evil??Bcc: x ? ("));
    }
}
