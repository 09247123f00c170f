//! A host's reply, as it is printed and as it is written in JSON.

use std::fmt;

use serde::Serialize;
use smtp_proto::Response;

/// Octets of one reply that are shown. Hosts explain themselves in less; a terminal has no use for more.
const SHOWN_MAX: usize = 2000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reply {
    pub code: u16,
    /// Such as `5.7.1`; empty if the host gave none (RFC 3463).
    pub enhanced: String,
    /// The text of all lines, without control characters.
    pub lines: Vec<String>,
}

impl Reply {
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    pub fn text(&self) -> String {
        self.lines.join(" | ")
    }
}

impl From<Response<String>> for Reply {
    fn from(response: Response<String>) -> Self {
        let [class, subject, detail] = response.esc;
        let enhanced = match class {
            0 => String::new(),
            _ => format!("{class}.{subject}.{detail}"),
        };
        Self {
            code: response.code,
            enhanced,
            lines: response.message.lines().map(printable).collect(),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.to_string();
        let text = self.text();
        let parts = [code.as_str(), &self.enhanced, &text];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        f.write_str(&parts.join(" "))
    }
}

/// What a stranger says, without what would move the cursor of a terminal.
pub fn printable(text: &str) -> String {
    let shown = text.trim().chars().take(SHOWN_MAX);
    shown
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use smtp_proto::response::parser::ResponseReceiver;

    use super::*;

    fn parsed(bytes: &str) -> Reply {
        let mut receiver = ResponseReceiver::default();
        receiver.parse(&mut bytes.as_bytes().iter()).unwrap().into()
    }

    #[test]
    fn replies_are_shown_as_they_came() {
        for (bytes, expected) in [
            ("250 2.1.0 ok\r\n", "250 2.1.0 ok"),
            ("220 mx.example.test ESMTP\r\n", "220 mx.example.test ESMTP"),
            ("354\r\n", "354"),
            ("550-5.7.1 one\r\n550 5.7.1 two\r\n", "550 5.7.1 one | two"),
            (
                "250-mx.test\r\n250-8BITMIME\r\n250-SIZE 10\r\n250 LIMITS RCPTMAX=5\r\n",
                "250 mx.test | 8BITMIME | SIZE 10 | LIMITS RCPTMAX=5",
            ),
            ("250 \u{1b}[2Jgone\r\n", "250 ?[2Jgone"),
        ] {
            assert_eq!(parsed(bytes).to_string(), expected);
        }
    }
}
