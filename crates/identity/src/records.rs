//! The records that a domain is to have.

use aws_lc_rs::hmac;
use serde::Serialize;
use skein_dkim::PublicKey;

use crate::dns::RecordType;

/// A record's TTL in seconds. DKIM rotation counts with it.
pub const TTL_S: u32 = 3600;

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    Ownership,
    Dkim,
    ReturnPath,
    Dmarc,
    /// Lets the operator receive reports of another domain (RFC 9990 4).
    ReportAuthorisation,
    Tracking,
    MtaSts,
    TlsRpt,
}

impl Purpose {
    /// As JSON has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ownership => "ownership",
            Self::Dkim => "dkim",
            Self::ReturnPath => "return-path",
            Self::Dmarc => "dmarc",
            Self::ReportAuthorisation => "report-authorisation",
            Self::Tracking => "tracking",
            Self::MtaSts => "mta-sts",
            Self::TlsRpt => "tls-rpt",
        }
    }
}

/// Who publishes a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Publisher {
    /// Who owns the domain.
    Owner,
    /// Who runs Skein.
    Operator,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The full name, without a dot at its end.
    pub name: String,
    #[serde(rename = "type")]
    pub record_type: RecordType,
    /// Text of a TXT record in one line; a name without a dot at its end.
    pub value: String,
    pub ttl: u32,
    pub purpose: Purpose,
    pub publisher: Publisher,
}

/// What is the same for all domains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// The zone in which the operator publishes keys, such as `dkim.esp.example`.
    pub dkim_zone: String,
    /// The host of return paths, such as `rp.esp.example`: it has the MX and the SPF record. None: return paths are the tenants'.
    pub return_path_host: Option<String>,
    /// Where aggregate reports go, such as `dmarc@esp.example`; none: nowhere.
    pub report_address: Option<String>,
    /// The host of tracking links; none: no tracking.
    pub tracking_host: Option<String>,
    /// The host of MTA-STS policies for domains whose mail Skein takes in.
    pub mta_sts_host: Option<String>,
    /// Where TLS reports go.
    pub tls_report_address: Option<String>,
    /// Source addresses and their EHLO names.
    pub sources: Vec<(std::net::IpAddr, String)>,
}

/// A selector and the key in it, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub selector: String,
    pub key: Option<PublicKey>,
    /// Its record is to say that the key is no good any more.
    pub is_revoked: bool,
}

impl Slot {
    /// The text of its record; none if it has no key.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(match self.is_revoked {
            true => PublicKey::revoked(key.kind()),
            false => key.text(),
        })
    }
}

/// One domain of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// In ASCII and lower case, without a dot at its end.
    pub name: String,
    /// A label that stands for it in the operator's zone.
    pub id: String,
    /// See [`ownership_token`].
    pub ownership_token: String,
    pub slots: Vec<Slot>,
    /// Keys are published in the operator's zone, and the domain has CNAMEs to them.
    pub is_delegated: bool,
    /// Its MX hosts are Skein's, with this id of the MTA-STS policy.
    pub hosted_with_policy: Option<String>,
}

/// Proves that who asks for the domain as a tenant can change its zone: an HMAC-SHA-256, cut to 128 bits, in hex. Another tenant has
/// another token, so that a record that was left behind proves nothing for it.
#[must_use]
pub fn ownership_token(key: &[u8], domain: &str, tenant: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let text = format!("skein ownership\n{}\n{tenant}", domain.to_ascii_lowercase());
    let tag = hmac::sign(&key, text.as_bytes());
    let octets = tag.as_ref()[..16].iter();
    octets.map(|octet| format!("{octet:02x}")).collect()
}

/// All records of a domain, in the order in which they are best published: the owner's first, then the operator's.
#[must_use]
pub fn records(domain: &Domain, operator: &Operator) -> Vec<Record> {
    let mut all = Records {
        domain: &domain.name,
        records: Vec::new(),
    };
    let ownership = format!("skein-domain={}", domain.ownership_token);
    all.owner("_skein", RecordType::Txt, &ownership, Purpose::Ownership);
    for slot in &domain.slots {
        let name = format!("{}._domainkey", slot.selector);
        let target = delegated_name(domain, operator, &slot.selector);
        match (slot.text(), domain.is_delegated) {
            (_, true) => all.owner(&name, RecordType::Cname, &target, Purpose::Dkim),
            (Some(text), false) => all.owner(&name, RecordType::Txt, &text, Purpose::Dkim),
            (None, false) => {}
        }
    }
    if let Some(host) = &operator.return_path_host {
        all.owner("rp", RecordType::Cname, host, Purpose::ReturnPath);
    }
    let rua = operator
        .report_address
        .as_ref()
        .map(|address| format!("; rua=mailto:{address}"));
    let dmarc = format!("v=DMARC1; p=none{}", rua.unwrap_or_default());
    all.owner("_dmarc", RecordType::Txt, &dmarc, Purpose::Dmarc);
    if let Some(host) = &operator.tracking_host {
        all.owner("t", RecordType::Cname, host, Purpose::Tracking);
    }
    if let Some(id) = &domain.hosted_with_policy {
        all.owner(
            "_mta-sts",
            RecordType::Txt,
            &format!("v=STSv1; id={id}"),
            Purpose::MtaSts,
        );
        if let Some(host) = &operator.mta_sts_host {
            all.owner("mta-sts", RecordType::Cname, host, Purpose::MtaSts);
        }
        if let Some(address) = &operator.tls_report_address {
            let text = format!("v=TLSRPTv1; rua=mailto:{address}");
            all.owner("_smtp._tls", RecordType::Txt, &text, Purpose::TlsRpt);
        }
    }
    let keys = domain.slots.iter().filter(|_| domain.is_delegated);
    for slot in keys {
        if let Some(text) = slot.text() {
            let name = delegated_name(domain, operator, &slot.selector);
            all.operator(&name, &text, Purpose::Dkim);
        }
    }
    let report_host = operator
        .report_address
        .as_ref()
        .and_then(|address| address.rsplit_once('@'));
    if let Some((_, host)) = report_host {
        let name = format!("{}._report._dmarc.{host}", domain.name);
        all.operator(&name, "v=DMARC1", Purpose::ReportAuthorisation);
    }
    all.records
}

pub(crate) fn delegated_name(domain: &Domain, operator: &Operator, selector: &str) -> String {
    format!("{selector}.{}.{}", domain.id, operator.dkim_zone)
}

struct Records<'d> {
    domain: &'d str,
    records: Vec<Record>,
}

impl Records<'_> {
    fn owner(&mut self, label: &str, record_type: RecordType, value: &str, purpose: Purpose) {
        let name = format!("{label}.{}", self.domain);
        self.push(name, record_type, value, purpose, Publisher::Owner);
    }

    fn operator(&mut self, name: &str, value: &str, purpose: Purpose) {
        self.push(
            name.to_owned(),
            RecordType::Txt,
            value,
            purpose,
            Publisher::Operator,
        );
    }

    fn push(
        &mut self,
        name: String,
        record_type: RecordType,
        value: &str,
        purpose: Purpose,
        publisher: Publisher,
    ) {
        self.records.push(Record {
            name,
            record_type,
            value: value.to_owned(),
            ttl: TTL_S,
            purpose,
            publisher,
        });
    }
}
