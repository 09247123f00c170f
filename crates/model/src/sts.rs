//! MTA-STS (RFC 8461): what a domain's policy says, and whether one that is kept goes on. Pure.

mod decide;
mod text;

use minicbor::{Decode, Encode};

use crate::time::DurationMs;

pub use decide::{After, FetchFault, Look, after, wants_fetch};
pub use text::{InvalidPolicy, Txt, parse_policy, parse_txt};

/// RFC 8461 3.2: about a year, in seconds.
pub const MAX_AGE_S_MAX: u32 = 31_557_600;
/// Of a policy's text (RFC 8461 3.3 suggests as much).
pub const POLICY_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Hosts of one policy. The largest that are published have some thirty; with the longest names it is 16 KB.
pub const POLICY_MX_MAX: usize = 64;

/// What a policy demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum StsMode {
    /// Mail goes to hosts that match and verify, and to no others.
    #[n(0)]
    Enforce,
    /// Faults are told of, and stop nothing.
    #[n(1)]
    Testing,
    /// The domain has no policy any more.
    #[n(2)]
    None,
}

impl StsMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

/// A policy as its domain published it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StsPolicy {
    /// Of the TXT record that it was fetched for.
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub mode: StsMode,
    /// Names of MX hosts in lower case, or `*.` and what one label stands before. Empty only with [`StsMode::None`].
    #[n(2)]
    pub mx: Vec<String>,
    /// In seconds, from when it was fetched.
    #[n(3)]
    pub max_age_s: u32,
}

impl StsPolicy {
    /// Whether the policy names an MX host (RFC 8461 4.1). `*.example.com` stands for `a.example.com`, and neither for
    /// `example.com` nor for `a.b.example.com`.
    pub fn allows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.mx
            .iter()
            .any(|pattern| match pattern.strip_prefix("*.") {
                Some(parent) => host.split_once('.').is_some_and(|(label, rest)| {
                    !label.is_empty() && rest.eq_ignore_ascii_case(parent)
                }),
                None => host.eq_ignore_ascii_case(pattern),
            })
    }

    pub fn max_age(&self) -> DurationMs {
        DurationMs::from_secs(self.max_age_s.into())
    }

    /// As reports on TLS tell of it (RFC 8460 4.4, `policy-string`): one text for each line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            "version: STSv1".to_owned(),
            format!("mode: {}", self.mode.as_str()),
        ];
        lines.extend(self.mx.iter().map(|mx| format!("mx: {mx}")));
        lines.push(format!("max_age: {}", self.max_age_s));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_allowed_by_its_name_or_by_one_label_before_a_parent() {
        let policy = StsPolicy {
            id: "1".to_owned(),
            mode: StsMode::Enforce,
            mx: vec!["mx.a.example".to_owned(), "*.b.example".to_owned()],
            max_age_s: 86_400,
        };
        for (host, is_allowed) in [
            ("mx.a.example", true),
            ("MX.A.Example.", true),
            ("a.example", false),
            ("x.mx.a.example", false),
            ("mx1.b.example", true),
            ("MX1.B.EXAMPLE", true),
            ("b.example", false),
            (".b.example", false),
            ("x.mx1.b.example", false),
            ("mx1.b.example.evil.example", false),
            ("xb.example", false),
            ("", false),
        ] {
            assert_eq!(policy.allows(host), is_allowed, "{host:?}");
        }
    }
}
