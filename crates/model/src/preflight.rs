//! Whether a source IP is fit to send mail: what was looked up about it, and what that means. Pure.

use std::net::IpAddr;

use minicbor::{Decode, Encode};

/// Bytes of what is said about one fault. Names are shorter than the 253 that they may have.
const TEXT_BYTES_MAX: usize = 255;
/// Faults of one IP that are kept: all kinds, and several zones that list it.
pub const FAULTS_MAX: usize = 8;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Check {
    /// The node has the address.
    #[n(0)]
    Address,
    /// The public address has a name.
    #[n(1)]
    Ptr,
    /// That name has the address (RFC 8601 2.7.3, FCrDNS).
    #[n(2)]
    Forward,
    /// The EHLO name has the address (RFC 5321 4.1.4).
    #[n(3)]
    Ehlo,
    /// No DNSBL has the address (RFC 5782).
    #[n(4)]
    Dnsbl,
}

impl Check {
    pub const ALL: [Self; 5] = [
        Self::Address,
        Self::Ptr,
        Self::Forward,
        Self::Ehlo,
        Self::Dnsbl,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Ptr => "ptr",
            Self::Forward => "forward",
            Self::Ehlo => "ehlo",
            Self::Dnsbl => "dnsbl",
        }
    }
}

/// What is wrong with an IP, or could not be found out.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Fault {
    #[n(0)]
    pub check: Check,
    #[n(1)]
    pub text: String,
}

impl Fault {
    fn new(check: Check, mut text: String) -> Self {
        let cut = (0..=TEXT_BYTES_MAX).rfind(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        Self { check, text }
    }
}

/// What a name server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    Is(T),
    None,
    /// It did not say; with the reason.
    Unknown(String),
}

/// The IP that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub bind: IpAddr,
    pub public: IpAddr,
    pub ehlo: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// None: it is on no node.
    pub is_present: Option<bool>,
    pub ptr: Answer<String>,
    /// Of the name that `ptr` gave.
    pub forward: Answer<Vec<IpAddr>>,
    pub ehlo: Answer<Vec<IpAddr>>,
    /// By zone.
    pub lists: Vec<(String, Answer<Vec<IpAddr>>)>,
}

/// What is wrong, [`FAULTS_MAX`] at most.
pub fn judge(subject: Subject<'_>, looked: &Looked) -> Vec<Fault> {
    let Subject { bind, public, ehlo } = subject;
    let mut faults = Vec::new();
    if looked.is_present == Some(false) {
        let text = format!("{bind} is not an address of the node");
        faults.push(Fault::new(Check::Address, text));
    }
    match &looked.ptr {
        Answer::Is(name) => {
            faults.extend(names_address(Check::Forward, name, public, &looked.forward))
        }
        Answer::None => {
            let text = format!("{public} has no name: add a PTR record");
            faults.push(Fault::new(Check::Ptr, text));
        }
        Answer::Unknown(reason) => {
            let text = format!("the name of {public} is not known: {reason}");
            faults.push(Fault::new(Check::Ptr, text));
        }
    }
    faults.extend(names_address(Check::Ehlo, ehlo, public, &looked.ehlo));
    let lists = looked.lists.iter();
    faults.extend(lists.filter_map(|(zone, answer)| listed(public, zone, answer)));
    faults.truncate(FAULTS_MAX);
    faults
}

fn names_address(
    check: Check,
    name: &str,
    public: IpAddr,
    answer: &Answer<Vec<IpAddr>>,
) -> Option<Fault> {
    let what = match check {
        Check::Ehlo => "the EHLO name",
        _ => "the PTR name",
    };
    let text = match answer {
        Answer::Is(addresses) if addresses.contains(&public) => return None,
        Answer::Is(_) => format!("{what} {name} has other addresses than {public}"),
        Answer::None => format!("{what} {name} has no address: it should have {public}"),
        Answer::Unknown(reason) => format!("the addresses of {name} are not known: {reason}"),
    };
    Some(Fault::new(check, text))
}

/// The name under which a DNSBL lists an address (RFC 5782 2.1 and 2.4): reversed, by bytes or by half bytes.
pub fn dnsbl_name(address: IpAddr, zone: &str) -> String {
    let zone = zone.trim_end_matches('.');
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.{zone}.")
        }
        IpAddr::V6(v6) => {
            let mut name = String::with_capacity(64 + zone.len() + 1);
            for byte in v6.octets().into_iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            format!("{name}{zone}.")
        }
    }
}

/// A list answers with addresses of 127.0.0.0/8 (RFC 5782 2.1). Those of 127.255.255.0/24 say that it does not want to be
/// asked by whoever asks, and all others are of somebody who answers every question, such as for a zone that is gone.
fn listed(public: IpAddr, zone: &str, answer: &Answer<Vec<IpAddr>>) -> Option<Fault> {
    let text = match answer {
        Answer::None => return None,
        Answer::Unknown(reason) => {
            format!("{zone} does not say whether it lists {public}: {reason}")
        }
        Answer::Is(addresses) => {
            let codes = addresses.iter().filter_map(|address| match address {
                IpAddr::V4(v4) if v4.is_loopback() => Some(*v4),
                _ => None,
            });
            let is_refusal = |code: &std::net::Ipv4Addr| code.octets()[..3] == [127, 255, 255];
            let (refusals, listings): (Vec<_>, Vec<_>) = codes.partition(is_refusal);
            let shown = |codes: &[std::net::Ipv4Addr]| {
                let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
                codes.join(", ")
            };
            match (listings.is_empty(), refusals.is_empty()) {
                (false, _) => format!("{zone} lists {public} ({})", shown(&listings)),
                (true, false) => format!("{zone} does not answer us ({})", shown(&refusals)),
                (true, true) => format!("{zone} is not a DNSBL: it answers with strange addresses"),
            }
        }
    };
    Some(Fault::new(Check::Dnsbl, text))
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
