//! Trace and identification headers (RFC 5321 4.4, RFC 5322 3.6.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// Only for a message with one recipient, since others must not learn of each other (RFC 5321 7.6). Its domain with
    /// A-labels; a local part that is not ASCII is left out with all of it, also of SMTPUTF8 mail: a field that needs no
    /// extension is readable everywhere.
    pub for_recipient: Option<&'a str>,
    pub at_ms: u64,
}

/// What a client said of itself as a name that fits into a field without quotes: its name or address literal if it is one,
/// else with `?` for each character that is neither. Always 7-bit, so the field asks no more of a message than it needs
/// already (RFC 5321 4.4, RFC 5322 3.6.7).
pub fn client_name(said: &str) -> String {
    if is_literal(said) {
        return said.to_owned();
    }
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut name = String::with_capacity(said.len());
    for c in said.chars() {
        // A dot stands between other characters (RFC 5322 3.2.3).
        let is_misplaced = c == '.' && (name.is_empty() || name.ends_with('.'));
        name.push(if keep(c) && !is_misplaced { c } else { '?' });
    }
    if name.ends_with('.') {
        name.pop();
        name.push('?');
    }
    match name.is_empty() {
        true => "unknown".to_owned(),
        false => name,
    }
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
fn is_literal(text: &str) -> bool {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    })
}

/// Text of a comment that holds nothing else than it says.
fn comment(text: &str) -> String {
    let keep = |c: char| c.is_ascii_graphic() && !matches!(c, '(' | ')' | '\\');
    text.chars()
        .map(|c| if keep(c) { c } else { '?' })
        .collect()
}

/// Whether an address can stand between angle brackets in a field for all who read it. A quoted local part is left out: there
/// are readers that see comments and dates in it.
fn is_plain_address(address: &str) -> bool {
    let is_plain =
        |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.@[]:".contains(&octet);
    address.contains('@') && address.bytes().all(is_plain)
}

/// A complete Received field with its CRLF, in ASCII whatever the client said.
pub fn received_header(fields: &ReceivedFields<'_>) -> String {
    let helo = client_name(fields.from_helo);
    let ip = match fields.from_ip {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    let from = match fields.from_rdns {
        Some(name) => format!("{} {ip}", client_name(name)),
        None => ip,
    };
    let mut header = format!(
        "Received: from {helo} ({from})\r\n\tby {} with {}",
        fields.by,
        fields.with.as_str()
    );
    if let Some((version, cipher)) = fields.tls {
        header.push_str(&format!("\r\n\t({} {})", comment(version), comment(cipher)));
    }
    header.push_str(&format!("\r\n\tid {}", fields.id));
    let recipient = fields.for_recipient;
    if let Some(recipient) = recipient.filter(|address| is_plain_address(address)) {
        header.push_str(&format!("\r\n\tfor <{recipient}>"));
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
    use proptest::prelude::*;

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
        assert!(received_header(&fields).starts_with("Received: from evil??Bcc??x?? ("));
    }

    #[test]
    fn a_client_is_called_by_its_name_if_that_is_one() {
        for (said, called) in [
            ("client.test", "client.test"),
            ("Client_1.test", "Client_1.test"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("[ipv6:::1]", "[ipv6:::1]"),
            ("[192.0.2]", "?192.0.2?"),
            ("", "unknown"),
            (".", "?"),
            ("a..b.", "a.?b?"),
            ("b\u{fc}cher.test", "b?cher.test"),
            ("\"open", "?open"),
            ("(open", "?open"),
            ("back\\", "back?"),
            ("\u{202e}txt.test", "?txt.test"),
            ("a;b,c<d>e@f:g", "a?b?c?d?e?f?g"),
        ] {
            assert_eq!(client_name(said), called, "{said}");
        }
    }

    #[test]
    fn a_recipient_stands_in_the_field_only_if_it_needs_no_extension() {
        for (recipient, shown) in [
            ("user@example.com", true),
            ("\"a (b;c\"@example.com", false),
            ("user@[192.0.2.1]", true),
            ("user@xn--bcher-kva.test", true),
            ("user@b\u{fc}cher.test", false),
            ("\u{fc}ser@example.com", false),
            ("a\r\nBcc: x@y", false),
        ] {
            let header = received_header(&from("client.test", Some(recipient)));
            assert_eq!(header.contains("\r\n\tfor <"), shown, "{recipient}");
            check(&header);
        }
    }

    fn from<'a>(helo: &'a str, recipient: Option<&'a str>) -> ReceivedFields<'a> {
        ReceivedFields {
            from_helo: helo,
            from_ip: IpAddr::from([192, 0, 2, 1]),
            from_rdns: None,
            by: "mx.test",
            with: WithProtocol::of(true, true, false, true),
            tls: Some(("TLSv1.3", "TLS13_AES_128_GCM_SHA256")),
            id: "01ABC",
            for_recipient: recipient,
            at_ms: 1_795_480_176_000,
        }
    }

    /// One field of short lines in ASCII, whose comments, quotes and brackets are closed, up to one date.
    fn check(header: &str) {
        assert!(header.is_ascii(), "{header:?}");
        let lines: Vec<&str> = header.split("\r\n").collect();
        let (last, lines) = lines.split_last().unwrap_or((&"x", &[]));
        assert_eq!(*last, "");
        for (nth, line) in lines.iter().enumerate() {
            assert!(
                line.len() < 998 && !line.contains(['\r', '\n']),
                "{header:?}"
            );
            assert_eq!(line.starts_with('\t'), nth > 0, "{header:?}");
        }
        let (mut depth, mut quoted, mut escaped, mut semicolons) = (0, false, false, 0);
        for c in header.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted || depth > 0 => escaped = true,
                '"' if depth == 0 => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                ';' if !quoted && depth == 0 => semicolons += 1,
                '\\' => panic!("a backslash outside quotes: {header:?}"),
                _ => {}
            }
            assert!((0..2).contains(&depth), "{header:?}");
        }
        assert_eq!((depth, quoted, semicolons), (0, false, 1), "{header:?}");
        let message = format!("{header}Subject: x\r\n\r\n");
        let parsed = mail_parser::MessageParser::default().parse(message.as_bytes());
        let parsed = parsed.expect("a header parses");
        let received = parsed.received().expect("it is understood");
        assert_eq!(
            received.date().map(|date| date.to_timestamp()),
            Some(1_795_480_176)
        );
        assert_eq!(received.id(), Some("01ABC"), "{header:?}");
        assert_eq!(parsed.subject(), Some("x"), "{header:?}");
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_the_field_needs_no_extension_and_can_be_read(
            helo in prop_oneof![
                any::<String>(),
                "[a-z.\\[\\]:\"()\\\\;<>@,\u{fc}\u{202e}\r\n\0 -]{0,40}",
                "\\[(IPv6:)?[0-9a-f.:]{0,20}\\]",
            ],
            recipient in prop::option::of(prop_oneof![
                any::<String>(),
                "[a-z\u{fc}.+-]{1,80}@[a-z\u{fc}.-]{1,80}",
                "\"([a-z ()<>;@,]|\\\\[\"\\\\a])*\"@[a-z]{1,8}\\.test",
            ]),
        ) {
            check(&received_header(&from(&helo, recipient.as_deref())));
        }
    }
}
