//! What a peer says in its EHLO reply.

use crate::reply::Reply;

/// The extensions a peer offers. The default is a peer that offers none, as after HELO.
///
/// Must be asked for again after STARTTLS: what was said in the clear does not count (RFC 3207 section 4.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The name the peer gives itself.
    pub name: String,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870) is offered, with or without a limit.
    pub size: bool,
    /// The largest message in octets, where the peer names one.
    pub size_max: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING, the BDAT command (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_codes: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// AUTH mechanisms in upper case, in the peer's order (RFC 4954).
    pub auth: Vec<String>,
    /// LIMITS RCPTMAX: recipients in one transaction (RFC 9422).
    pub rcpt_max: Option<u32>,
    /// It answered LHLO: after the body it says of each recipient what became of it (RFC 2033 section 4.2).
    pub lmtp: bool,
    /// LIMITS MAILMAX: transactions in one connection (RFC 9422).
    pub mail_max: Option<u32>,
}

impl Capabilities {
    /// Reads the reply to EHLO. Unknown keywords and malformed parameters are passed over.
    pub fn parse(ehlo: &Reply) -> Self {
        let mut lines = ehlo.text.split('\n');
        let name = lines.next().and_then(|line| line.split_whitespace().next());
        let mut found = Self {
            name: name.unwrap_or_default().to_owned(),
            ..Self::default()
        };
        for line in lines {
            found.keyword(line);
        }
        found
    }

    /// Whether an AUTH mechanism is offered; upper or lower case.
    pub fn has_auth(&self, mechanism: &str) -> bool {
        self.auth
            .iter()
            .any(|offered| offered.eq_ignore_ascii_case(mechanism))
    }

    fn keyword(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => {
                self.size = true;
                let limit = words.next().and_then(|word| word.parse().ok());
                self.size_max = limit.filter(|&limit| limit > 0);
            }
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_codes = true,
            "REQUIRETLS" => self.require_tls = true,
            "AUTH" => words.for_each(|word| self.mechanism(word)),
            "LIMITS" => words.for_each(|word| self.limit(word)),
            // The form of servers from before RFC 2554: `AUTH=LOGIN PLAIN`.
            other => {
                if let Some(first) = other.strip_prefix("AUTH=") {
                    self.mechanism(first);
                    words.for_each(|word| self.mechanism(word));
                }
            }
        }
    }

    fn mechanism(&mut self, word: &str) {
        if !word.is_empty() && !self.has_auth(word) {
            self.auth.push(word.to_ascii_uppercase());
        }
    }

    fn limit(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        // RFC 9422: at most six digits, never zero. Anything else is no limit.
        let value = value.parse().ok().filter(|n| (1..=999_999).contains(n));
        match name.to_ascii_uppercase().as_str() {
            "RCPTMAX" => self.rcpt_max = value,
            "MAILMAX" => self.mail_max = value,
            _ => {}
        }
    }
}
