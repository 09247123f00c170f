//! Source addresses: their names, and the SPF records of EHLO names.

use std::net::IpAddr;

use super::Check;
use crate::dns::{Question, RecordType, Source};
use crate::finding::{Finding, Id};

/// The name under which an address has its PTR record (RFC 1035 3.5, RFC 3596 2.5).
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            let digits = octets
                .iter()
                .rev()
                .flat_map(|octet| [octet & 15, octet >> 4]);
            let labels: String = digits.map(|digit| format!("{digit:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

impl Check<'_> {
    pub fn addresses(&mut self) {
        for (address, ehlo) in &self.operator.sources {
            self.ptr(*address, ehlo);
            self.ehlo(*address, ehlo);
        }
    }

    fn ptr(&mut self, address: IpAddr, ehlo: &str) {
        let name = reverse_name(address);
        let Some(answer) = self.lookups.resolver(&name, RecordType::Ptr) else {
            return;
        };
        let names = answer.records();
        let record_type = address_type(address);
        let (mut forward, mut leads_back) = (Vec::new(), false);
        // A host may have several names; more than three are looked up by nobody.
        for host in names.iter().take(3) {
            let Some(answer) = self.lookups.resolver(host, record_type) else {
                return;
            };
            let back = answer.records().iter();
            leads_back |= back.clone().any(|text| text.parse() == Ok(address));
            forward.extend(back.map(|text| format!("{host} {record_type} {text}")));
            if answer.records().is_empty() {
                forward.push(format!("{host} has no {record_type}"));
            }
        }
        let found = match names {
            [] => Some((Id::PtrNone, Vec::new())),
            _ if leads_back => None,
            _ => Some((Id::PtrForward, forward)),
        };
        if let Some((id, found)) = found {
            self.findings.push(Finding {
                id,
                asked: Question::new(Source::Resolver, &name, RecordType::Ptr).to_string(),
                found,
                expected: format!("{ehlo}, and {ehlo} {record_type} {address}"),
                paste: Some(format!("{name}. 3600 IN PTR {ehlo}.")),
            });
        }
    }

    fn ehlo(&mut self, address: IpAddr, ehlo: &str) {
        let Some(answer) = self.lookups.resolver(ehlo, RecordType::Txt) else {
            return;
        };
        let has_spf = answer.records().iter().any(|text| super::spf::is_spf(text));
        if !has_spf {
            let expected = "v=spf1 a -all".to_owned();
            self.findings.push(Finding {
                id: Id::EhloNoSpf,
                asked: Question::new(Source::Resolver, ehlo, RecordType::Txt).to_string(),
                found: answer.records().to_vec(),
                paste: Some(format!("{ehlo}. 3600 IN TXT \"{expected}\"")),
                expected: format!("{expected}, for {address}"),
            });
        }
    }
}

fn address_type(address: IpAddr) -> RecordType {
    match address {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::Aaaa,
    }
}
