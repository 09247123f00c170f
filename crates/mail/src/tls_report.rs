//! Mail that carries a report on TLS (RFC 8460 5.3), all of it 7bit data.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::trace::rfc5322_date;

/// Characters of base64 in one line (RFC 2045 6.8).
const LINE_CHARS: usize = 76;

/// What the mail says. All texts are ASCII without control characters: addresses, names of domains and an id.
#[derive(Debug, Clone)]
pub struct TlsReportMail<'r> {
    pub from: &'r str,
    pub to: &'r str,
    /// Whom the report is for.
    pub domain: &'r str,
    /// Who reports.
    pub submitter: &'r str,
    pub report_id: &'r str,
    /// Without angle brackets.
    pub message_id: &'r str,
    pub at_ms: u64,
    /// The day that it is about, in seconds since 1970.
    pub begins_s: u64,
    pub ends_s: u64,
    /// What people read, in lines.
    pub text: &'r str,
    /// The report in JSON, compressed by gzip.
    pub gzip: &'r [u8],
}

impl TlsReportMail<'_> {
    /// The message with CRLF line ends; the same for the same input.
    pub fn build(&self) -> Vec<u8> {
        let Self {
            from,
            to,
            domain,
            submitter,
            report_id,
            message_id,
            begins_s,
            ends_s,
            ..
        } = self;
        // No part has it: neither base64 nor our own words have these characters in a row.
        let boundary = "=_skein_tls_report_=";
        let date = rfc5322_date(self.at_ms);
        let mut out = format!(
            "From: <{from}>\r\nTo: <{to}>\r\nSubject: Report Domain: {domain}\r\n\tSubmitter: {submitter}\r\n\t\
             Report-ID: <{report_id}>\r\nDate: {date}\r\nMessage-ID: <{message_id}>\r\n\
             TLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {submitter}\r\nTLS-Required: No\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        );
        for line in self.text.lines() {
            out.push_str(line);
            out.push_str("\r\n");
        }
        out.push_str(&format!(
            "\r\n--{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n\tfilename=\"{submitter}!{domain}!{begins_s}!{ends_s}.json.gz\"\r\n\r\n"
        ));
        let encoded = STANDARD.encode(self.gzip);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
            out.push_str(line);
            out.push_str("\r\n");
            rest = after;
        }
        out.push_str(&format!("--{boundary}--\r\n"));
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;

    #[test]
    fn another_parser_finds_the_report_and_its_fields() {
        let gzip: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mail = TlsReportMail {
            from: "tls-reports@esp.example",
            to: "tls@a.example",
            domain: "a.example",
            submitter: "esp.example",
            report_id: "2026-11-30.a.example@esp.example",
            message_id: "1@mx.esp.example",
            at_ms: 1_700_000_000_000,
            begins_s: 1_700_000_000,
            ends_s: 1_700_086_399,
            text: "A report.\nNo person need read it.",
            gzip: &gzip,
        };
        let bytes = mail.build();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.split("\r\n")
                .all(|line| line.len() <= 200 && !line.contains('\n'))
        );
        let message = MessageParser::new().parse(&bytes).unwrap();
        let header = |name: &str| {
            message
                .header_raw(name)
                .map(str::trim)
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(header("TLS-Report-Domain"), "a.example");
        assert_eq!(header("TLS-Report-Submitter"), "esp.example");
        assert_eq!(header("TLS-Required"), "No");
        assert_eq!(
            message.subject().unwrap(),
            "Report Domain: a.example Submitter: esp.example Report-ID: <2026-11-30.a.example@esp.example>"
        );
        let kind = message.content_type().unwrap();
        assert_eq!(
            (kind.ctype(), kind.subtype().unwrap()),
            ("multipart", "report")
        );
        assert_eq!(kind.attribute("report-type").unwrap(), "tlsrpt");
        let part = message.attachment(0).unwrap();
        assert_eq!(part.contents(), gzip);
        assert_eq!(
            part.content_type().unwrap().subtype().unwrap(),
            "tlsrpt+gzip"
        );
        let name = "esp.example!a.example!1700000000!1700086399.json.gz";
        assert_eq!(part.attachment_name().unwrap(), name);
    }
}
