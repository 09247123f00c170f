//! What a token says, and its octets.

use skein_model::MessageId;
use skein_model::queue::TenantKey;

/// Octets before the MAC.
pub(crate) const PAYLOAD_BYTES: usize = 24;
/// In the upper half of the first octet. Another version has another one, so that both can be told apart before a key is asked.
const VERSION: u8 = 1;

/// What a token is for: it is taken for nothing else, because what follows from it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// In the local part of a return path: what comes there is about the delivery.
    ReturnPath,
    /// In Message-ID and X-Skein-Ref: what returns these is about the message.
    Reference,
    /// In the URL of List-Unsubscribe: a POST there takes the recipient off.
    Unsubscribe,
    /// In the URL of the pixel.
    Open,
    /// In the URL of a link.
    Click,
}

impl Purpose {
    pub const ALL: [Self; 5] = [
        Self::ReturnPath,
        Self::Reference,
        Self::Unsubscribe,
        Self::Open,
        Self::Click,
    ];

    /// The lower half of the first octet; a number is never given to another purpose.
    fn number(self) -> u8 {
        match self {
            Self::ReturnPath => 1,
            Self::Reference => 2,
            Self::Unsubscribe => 3,
            Self::Open => 4,
            Self::Click => 5,
        }
    }

    /// The first octet of a token.
    #[must_use]
    pub fn octet(self) -> u8 {
        VERSION << 4 | self.number()
    }

    /// None for another version, or for an octet that begins no token.
    #[must_use]
    pub fn of_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.octet() == octet)
    }
}

/// Stands for a tenant's name, so that mail attributes when its message is gone. Of 1,000 tenants two have the same one with a
/// probability of 1 in 8,600: while the message is known, it is its own tenant that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantHash(pub u32);

impl TenantHash {
    #[must_use]
    pub fn of(tenant: &str) -> Self {
        // The lower half; the hash is mixed, so that each half is as good.
        Self(TenantKey::of(tenant).0 as u32)
    }
}

/// Whom something is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    pub tenant: TenantHash,
    pub message: MessageId,
    /// Of the message's recipients, from 0.
    pub recipient: u16,
}

impl Token {
    /// ```text
    /// 1: version and purpose  1: key id  4: tenant  16: message id  2: recipient
    /// ```
    pub(crate) fn payload(&self, purpose: Purpose, key: u8) -> [u8; PAYLOAD_BYTES] {
        let mut octets = [0; PAYLOAD_BYTES];
        octets[0] = purpose.octet();
        octets[1] = key;
        octets[2..6].copy_from_slice(&self.tenant.0.to_be_bytes());
        octets[6..22].copy_from_slice(&self.message.0);
        octets[22..].copy_from_slice(&self.recipient.to_be_bytes());
        octets
    }

    pub(crate) fn of_payload(octets: &[u8; PAYLOAD_BYTES]) -> Self {
        let [_, _, tenant @ .., high, low] = octets;
        let (tenant, message) = tenant.split_at(4);
        let mut number = [0; 4];
        number.copy_from_slice(tenant);
        let mut id = [0; 16];
        id.copy_from_slice(message);
        Self {
            tenant: TenantHash(u32::from_be_bytes(number)),
            message: MessageId(id),
            recipient: u16::from_be_bytes([*high, *low]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_tenants_never_change() {
        assert_eq!(
            [TenantHash::of("acme"), TenantHash::of("")],
            [TenantHash(3_599_532_227), TenantHash(1_826_638_624)],
            "mail that is out there has tokens with this hash"
        );
    }

    #[test]
    fn a_purpose_has_an_octet_of_its_own() {
        let octets = Purpose::ALL.map(Purpose::octet);
        assert_eq!(octets, [0x11, 0x12, 0x13, 0x14, 0x15]);
        for octet in 0..=u8::MAX {
            let purpose = Purpose::of_octet(octet);
            assert_eq!(
                purpose.map(Purpose::octet),
                octets.contains(&octet).then_some(octet)
            );
        }
    }
}
