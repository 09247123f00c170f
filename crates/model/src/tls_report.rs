//! Reports on TLS to the domains that mail goes to (RFC 8460): what is counted, and who asks for it. Pure.

mod counts;
mod record;

use std::net::IpAddr;

use minicbor::{Decode, Encode};

pub use counts::{DayCounts, FailureCount, FailureKey, PolicyCount};
pub use record::{Destination, parse_record};

/// A UTC day, in days since 1970-01-01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Day(#[n(0)] pub u32);

/// Of one policy as a report tells it: an MTA-STS policy has a line for each MX host, a TLSA set a text for each record.
pub const POLICY_STRINGS_MAX: usize = 68;
/// Of a line of a policy or a TLSA record: a full digest has 128 digits, and what is longer is a whole certificate.
pub const POLICY_STRING_BYTES_MAX: usize = 512;

/// What a session's TLS went by (RFC 8460 4.4, `policy-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum PolicyKind {
    #[n(0)]
    Tlsa,
    #[n(1)]
    Sts,
    #[n(2)]
    NoPolicyFound,
}

impl PolicyKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tlsa => "tlsa",
            Self::Sts => "sts",
            Self::NoPolicyFound => "no-policy-found",
        }
    }
}

/// The policy that a session went by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct AppliedPolicy {
    #[n(0)]
    pub kind: PolicyKind,
    /// The lines of the MTA-STS policy ([`StsPolicy::lines`](crate::sts::StsPolicy::lines)), or the TLSA records such as
    /// `3 0 1 1F85...`; empty with no policy.
    #[n(1)]
    pub strings: Vec<String>,
    /// The MX hosts of the MTA-STS policy, else empty.
    #[n(2)]
    pub mx: Vec<String>,
}

impl AppliedPolicy {
    pub fn none() -> Self {
        Self {
            kind: PolicyKind::NoPolicyFound,
            strings: Vec::new(),
            mx: Vec::new(),
        }
    }

    pub fn sts(policy: &crate::sts::StsPolicy) -> Self {
        Self {
            kind: PolicyKind::Sts,
            strings: policy.lines(),
            mx: policy.mx.clone(),
        }
    }

    /// `records` are the TLSA RRset of the MX host, one text for each.
    pub fn tlsa(records: Vec<String>) -> Self {
        Self {
            kind: PolicyKind::Tlsa,
            strings: records,
            mx: Vec::new(),
        }
    }
}

/// What went wrong with a session's TLS (RFC 8460 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum FailureKind {
    #[n(0)]
    StarttlsNotSupported,
    #[n(1)]
    CertificateHostMismatch,
    #[n(2)]
    CertificateExpired,
    #[n(3)]
    CertificateNotTrusted,
    #[n(4)]
    ValidationFailure,
    #[n(5)]
    TlsaInvalid,
    #[n(6)]
    DnssecInvalid,
    #[n(7)]
    DaneRequired,
    #[n(8)]
    StsPolicyFetchError,
    #[n(9)]
    StsPolicyInvalid,
    #[n(10)]
    StsWebpkiInvalid,
}

impl FailureKind {
    pub const ALL: [Self; 11] = [
        Self::StarttlsNotSupported,
        Self::CertificateHostMismatch,
        Self::CertificateExpired,
        Self::CertificateNotTrusted,
        Self::ValidationFailure,
        Self::TlsaInvalid,
        Self::DnssecInvalid,
        Self::DaneRequired,
        Self::StsPolicyFetchError,
        Self::StsPolicyInvalid,
        Self::StsWebpkiInvalid,
    ];

    /// The policy could not be had, so that it is the fault of no host (RFC 8460 4.3.2).
    pub fn is_of_policy(self) -> bool {
        matches!(
            self,
            Self::StsPolicyFetchError | Self::StsPolicyInvalid | Self::StsWebpkiInvalid
        )
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::StarttlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::DaneRequired => "dane-required",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

/// How one session with an MX host went, as far as its TLS is concerned. A session that ends before that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsResult {
    /// The recipients' domain, which the policy is of, in lower case A-labels.
    pub domain: String,
    pub policy: AppliedPolicy,
    /// The name of the MX host.
    pub mx_host: String,
    pub receiving_ip: Option<IpAddr>,
    /// Ours, as the receiver sees it.
    pub sending_ip: Option<IpAddr>,
    /// None: TLS was negotiated, and met the policy.
    pub failure: Option<FailureKind>,
}

/// What a sender tells of one domain and day.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Told {
    #[n(0)]
    pub domain: String,
    #[n(1)]
    pub day: Day,
    #[n(2)]
    pub counts: DayCounts,
}

/// Of one batch: with the most rows each has 16 KB, and a command stays within what one Raft entry holds.
pub const TOLD_MAX: usize = 32;

/// The same number for the same report to the same place, on every machine and in every version.
pub fn hash(day: Day, domain: &str, place: &str) -> u64 {
    let mut hash = crate::id::Fnv::new();
    hash.write(&day.0.to_be_bytes());
    hash.write(domain.as_bytes());
    hash.write(&[0]);
    hash.write(place.as_bytes());
    hash.mixed()
}
