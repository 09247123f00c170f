//! Envelopes and replies as facts that are kept (RFC 5321, RFC 3461).

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use minicbor::{Decode, Encode};

use crate::bounce::Class;
use crate::id::NodeId;
use crate::priority::Priority;

/// A recipient's domain in lower case and as A-labels, or an address literal in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Domain(#[n(0)] String);

impl Domain {
    /// Takes a domain that SMTP's address parser has already turned into A-labels.
    pub fn new(routing_domain: &str) -> Self {
        Self(routing_domain.trim_end_matches('.').to_ascii_lowercase())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a host answered, or what we say when no host did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// Three digits; 0 when no host answered.
    #[n(0)]
    pub code: u16,
    /// Class, subject, detail (RFC 3463).
    #[n(1)]
    pub enhanced: Option<(u8, u16, u16)>,
    /// At most [`Reply::TEXT_MAX`] bytes: it is kept in every copy of the state.
    #[n(2)]
    pub text: String,
    /// The host that answered, `name [address]`.
    #[n(3)]
    pub host: Option<String>,
    /// What it is about; none of a positive reply, and of what older nodes have kept.
    #[n(4)]
    pub class: Option<Class>,
}

/// The class of a reply by its code (RFC 5321 4.2.1), as labels of metrics and traces have it; `none` where no host answered.
pub fn reply_class(code: u16) -> &'static str {
    match code / 100 {
        2 => "2xx",
        4 => "4xx",
        5 => "5xx",
        _ => "none",
    }
}

impl Reply {
    /// Enough for the longest replies of the big providers, and a bound on what a hostile host can make us keep.
    pub const TEXT_MAX: usize = 1024;

    /// Our own words, with no host behind them.
    pub fn ours(enhanced: (u8, u16, u16), text: impl Into<String>) -> Self {
        Self {
            code: 0,
            enhanced: Some(enhanced),
            text: text.into(),
            host: None,
            class: None,
        }
    }

    /// The status for a DSN: the enhanced code, else one that the reply code stands for (RFC 3463).
    pub fn status(&self) -> (u8, u16, u16) {
        self.enhanced
            .unwrap_or(((self.code / 100).clamp(2, 5) as u8, 0, 0))
    }

    #[must_use]
    pub fn bounded(mut self) -> Self {
        if self.text.len() > Self::TEXT_MAX {
            let end = (0..=Self::TEXT_MAX)
                .rev()
                .find(|n| self.text.is_char_boundary(*n))
                .unwrap_or(0);
            self.text.truncate(end);
        }
        self
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code != 0 {
            write!(f, "{} ", self.code)?;
        }
        if let Some((class, subject, detail)) = self.enhanced {
            write!(f, "{class}.{subject}.{detail} ")?;
        }
        f.write_str(&self.text)
    }
}

/// RET of MAIL FROM (RFC 3461 4.3): how much of the message a failure DSN returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Ret {
    #[n(0)]
    Full,
    #[n(1)]
    Headers,
}

/// NOTIFY of RCPT TO (RFC 3461 4.1). Without one, failures are reported and delays may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Notify {
    #[n(0)]
    pub success: bool,
    #[n(1)]
    pub failure: bool,
    #[n(2)]
    pub delay: bool,
    /// False when the client gave no NOTIFY, so none is passed on either.
    #[n(3)]
    pub given: bool,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            success: false,
            failure: true,
            delay: true,
            given: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recipient {
    /// The address as it is sent on, without angle brackets.
    #[n(0)]
    pub address: String,
    #[n(1)]
    pub notify: Notify,
    /// ORCPT with its type, decoded: `rfc822;user@example.com`.
    #[n(2)]
    pub orcpt: Option<String>,
}

/// BODY of MAIL FROM (RFC 6152).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum BodyType {
    #[n(0)]
    SevenBit,
    #[n(1)]
    EightBit,
}

/// Everything of a message but its recipients and its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Envelope {
    /// Without angle brackets; empty is the null return path, which no DSN is ever sent to.
    #[n(0)]
    pub return_path: String,
    #[n(1)]
    pub body_type: BodyType,
    #[n(2)]
    pub smtputf8: bool,
    #[n(3)]
    pub require_tls: bool,
    #[n(4)]
    pub ret: Option<Ret>,
    /// Decoded from xtext.
    #[n(5)]
    pub envid: Option<String>,
    #[n(6)]
    pub tenant: String,
    #[n(7)]
    pub pool: String,
    /// The client that handed it in; none for mail that the system made itself.
    #[n(8)]
    pub client: Option<Client>,
    /// W3C trace context of the intake, so that a delivery hours later links to it.
    #[n(9)]
    pub traceparent: Option<String>,
    #[n(10)]
    #[cbor(default)]
    pub priority: Priority,
    /// What the tenant calls the mailing that it is of.
    #[n(11)]
    pub campaign: Option<String>,
    /// Its sender would rather have it arrive than have it encrypted (RFC 8689 5, `TLS-Required: No`): what the recipients' domain
    /// publishes of TLS is passed over. Nothing under `require_tls`.
    #[n(12)]
    #[cbor(default)]
    pub tls_optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Client {
    #[n(0)]
    pub helo: String,
    #[n(1)]
    pub address: String,
    /// The login, if there was one.
    #[n(2)]
    pub user: Option<String>,
}

impl Client {
    pub fn new(helo: String, address: IpAddr, user: Option<String>) -> Self {
        Self {
            helo,
            address: address.to_string(),
            user,
        }
    }
}

/// A body that is on disk, and who says so. `bytes` and `crc32c` are those of all that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BodyRef {
    #[n(0)]
    pub bytes: u64,
    #[n(1)]
    pub crc32c: u32,
    /// The nodes that answered that they have fsynced it.
    #[n(2)]
    pub acks: Vec<NodeId>,
    /// So many of the last octets go out first: signatures, which are known when all else is stored. None: as it is stored.
    #[n(3)]
    pub prefix_bytes: Option<u32>,
}

impl BodyRef {
    /// At most this much goes out first: two signatures of RSA-4096 with a hundred names in h= have 6 KiB.
    pub const PREFIX_BYTES_MAX: u32 = 8 << 10;

    /// The stored octets that are these of what goes out: two ranges, one after the other, each of which may be empty. What is
    /// beyond the end is left out.
    pub fn outgoing(&self, offset: u64, length: u64) -> [Range<u64>; 2] {
        let prefix = u64::from(self.prefix_bytes.unwrap_or(0)).min(self.bytes);
        let rest = self.bytes - prefix;
        let offset = offset.min(self.bytes);
        let end = offset.saturating_add(length).min(self.bytes);
        let of_prefix = offset.min(prefix)..end.min(prefix);
        let of_rest = offset.max(prefix)..end.max(prefix);
        [
            of_prefix.start + rest..of_prefix.end + rest,
            of_rest.start - prefix..of_rest.end - prefix,
        ]
    }

    /// Whether most of these voters have it (promise 2).
    pub fn is_on_majority_of(&self, voters: &[NodeId]) -> bool {
        let acks = voters.iter().filter(|voter| self.acks.contains(voter));
        acks.count() * 2 > voters.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_voters_count_for_a_majority() {
        for (acks, voters, expected) in [
            (vec![1, 2], vec![1, 2, 3], true),
            (vec![1, 9, 8], vec![1, 2, 3], false),
            (vec![1, 2], vec![1, 2, 3, 4], false),
            (vec![1], vec![1], true),
            (vec![], vec![], false),
        ] {
            let ids = |ids: Vec<u64>| ids.into_iter().map(NodeId).collect::<Vec<_>>();
            let body = BodyRef {
                bytes: 1,
                crc32c: 0,
                acks: ids(acks),
                prefix_bytes: None,
            };
            assert_eq!(body.is_on_majority_of(&ids(voters)), expected);
        }
    }

    proptest! {
        #[test]
        fn what_goes_out_is_the_prefix_and_then_the_rest(
            stored in prop::collection::vec(any::<u8>(), 0..40),
            prefix_bytes in prop::option::of(0_u32..50),
            offset in 0_u64..50,
            length in prop_oneof![0_u64..50, Just(u64::MAX)],
        ) {
            let body = BodyRef {
                bytes: stored.len() as u64,
                crc32c: 0,
                acks: Vec::new(),
                prefix_bytes,
            };
            let prefix = stored.len().min(prefix_bytes.unwrap_or(0) as usize);
            let (rest, first) = stored.split_at(stored.len() - prefix);
            let whole = [first, rest].concat();
            let from = whole.len().min(offset as usize);
            let to = whole.len().min(from.saturating_add(length as usize));
            let read = body.outgoing(offset, length).map(|range| {
                stored[range.start as usize..range.end as usize].to_vec()
            });
            prop_assert_eq!(read.concat(), &whole[from..to]);
        }
    }
}
