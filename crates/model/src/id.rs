//! Names of things. Each is its own type, so one cannot stand where another belongs.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::time::UnixMs;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A Raft group. 0 is meta; spool groups count from 1.
    GroupId(u16)
);
number_id!(
    /// A control node: a random number made on its first start, never used again.
    NodeId(u64)
);
number_id!(
    /// A sender's registration with the control plane.
    SessionId(u64)
);
number_id!(
    /// Grows each time a slot changes hands.
    Epoch(u64)
);
number_id!(
    /// A shard of queues, 0 to 1023.
    Slot(u16)
);

impl GroupId {
    pub const META: Self = Self(0);
    /// The spool group of a cluster that has one.
    pub const FIRST_SPOOL: Self = Self(1);

    /// The spool group that stands for this one in a cluster that has so many: the same, where there is one.
    #[must_use]
    pub fn among(self, spool_groups: u16) -> Self {
        match self.0.checked_sub(spool_groups.max(1) + 1) {
            Some(_) if self != Self::META => Self((self.0 - 1) % spool_groups.max(1) + 1),
            _ => self,
        }
    }
}

impl SessionId {
    /// Stands for no session.
    pub const NONE: Self = Self(0);
}

impl Slot {
    pub const COUNT: u16 = 1024;

    /// The slot of a site: `hash(site, nth) % 1024`.
    pub fn of(site: &str, nth: u16) -> Self {
        let mut hash = Fnv::new();
        hash.write(site.as_bytes());
        hash.write(&nth.to_be_bytes());
        Self((hash.mixed() % u64::from(Self::COUNT)) as u16)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

/// A queue: the tasks of one domain, tenant and pool, apart by priority and slot.
///
/// The id is a 64-bit hash of these. Should two queues ever meet in one id (one chance in 30
/// million with a million queues), they share their place in line and nothing else: a task carries its own domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct QueueId(#[n(0)] pub u64);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// FNV-1a with a final mix: stable across versions and machines, which a hasher of the standard library is not.
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    pub(crate) fn mixed(&self) -> u64 {
        mix(self.0)
    }
}

/// Spreads the bits of a number (the finaliser of SplitMix64).
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A message's id: 48 bits of milliseconds, 16 bits of spool group, 64 random bits.
///
/// It sorts by age, says where the message is kept, and prints as 26 Crockford base-32 digits like a ULID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct MessageId(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

impl MessageId {
    pub fn new(at: UnixMs, group: GroupId, random: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&at.0.to_be_bytes()[2..]);
        bytes[6..8].copy_from_slice(&group.0.to_be_bytes());
        bytes[8..].copy_from_slice(&random.to_be_bytes());
        Self(bytes)
    }

    pub fn group(&self) -> GroupId {
        GroupId(u16::from_be_bytes([self.0[6], self.0[7]]))
    }

    /// The id of this message in a cluster that has so many spool groups, into which a backup was restored.
    #[must_use]
    pub fn among(self, spool_groups: u16) -> Self {
        Self::new(self.at(), self.group().among(spool_groups), self.entropy())
    }

    /// The time its intake began, to the millisecond.
    pub fn at(&self) -> UnixMs {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0[..6]);
        UnixMs(u64::from_be_bytes(bytes))
    }

    /// The random half, for decisions that must differ between messages and repeat for one.
    pub fn entropy(&self) -> u64 {
        u64::from_be_bytes(self.0[8..].try_into().expect("eight of sixteen bytes"))
    }
}

const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        let mut text = [0u8; 26];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = BASE32[(value >> (5 * place)) as usize & 31];
        }
        f.write_str(std::str::from_utf8(&text).expect("base-32 digits are ASCII"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a message id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message id has 26 digits of 0-9 and A-Z without I, L, O and U")]
pub struct NotAMessageId;

impl FromStr for MessageId {
    type Err = NotAMessageId;

    fn from_str(text: &str) -> Result<Self, NotAMessageId> {
        if text.len() != 26 {
            return Err(NotAMessageId);
        }
        let mut value: u128 = 0;
        for byte in text.bytes() {
            let upper = byte.to_ascii_uppercase();
            let digit = BASE32
                .iter()
                .position(|d| *d == upper)
                .ok_or(NotAMessageId)?;
            if value >> 123 != 0 {
                return Err(NotAMessageId);
            }
            value = (value << 5) | digit as u128;
        }
        Ok(Self(value.to_be_bytes()))
    }
}

/// The n-th task of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TaskId {
    #[n(0)]
    pub message: MessageId,
    #[n(1)]
    pub number: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.message, self.number)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_message_id_prints_parses_and_remembers() {
        let id = MessageId::new(UnixMs(1_700_000_000_123), GroupId(3), 0xdead_beef_0bad_cafe);
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        assert_eq!(
            id.to_string().to_lowercase().parse::<MessageId>().unwrap(),
            id
        );
        assert_eq!((id.group(), id.at().0), (GroupId(3), 1_700_000_000_123));
        for bad in [
            "",
            "0",
            "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "01HF7YAT3VILOU000000000000",
            "01HF7YAT3V01HF7YAT3V01HF7YAT",
        ] {
            assert_eq!(bad.parse::<MessageId>(), Err(NotAMessageId), "{bad}");
        }
    }

    #[test]
    fn slots_are_spread_evenly_and_never_change() {
        let mut counts = vec![0u32; usize::from(Slot::COUNT)];
        for n in 0..100_000 {
            counts[usize::from(Slot::of(&format!("domain{n}.test"), 0).0)] += 1;
        }
        assert!(counts.iter().all(|n| (50..160).contains(n)), "{counts:?}");
        assert_eq!(
            Slot::of("example.com", 0),
            Slot(247),
            "stored slots depend on this hash"
        );
        assert_ne!(Slot::of("example.com", 0), Slot::of("example.com", 1));
    }
}
