//! Whether the name servers that are trusted to validate do so. Without this nobody would hear that DANE is off.

use futures::StreamExt;
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{Name, RecordType};

use crate::failover::Failover;
use crate::name;
use crate::validation_probe::ValidationProbe;

/// What the name servers do with DNSSEC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validation {
    /// No configured name server is trusted to validate, so nobody is asked: DANE is off.
    Untrusted,
    /// The signed name is validated, and the broken one has no answer.
    Validates,
    /// The signed name is not: DANE is off.
    Missing,
    /// The broken name has an answer, so that what the servers say of others counts for nothing: DANE is off.
    Lies,
    /// The name servers did not answer.
    Unknown(String),
}

impl Validation {
    /// Whether hosts may have to prove themselves by TLSA records.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::Validates | Self::Unknown(_))
    }

    /// Why DANE is off although a resolver is trusted to validate; none if it is on, or nobody meant it to be.
    pub fn fault(&self, probe: &ValidationProbe) -> Option<String> {
        let (signed, broken) = (&probe.signed, &probe.broken);
        let why = match self {
            Self::Untrusted | Self::Validates | Self::Unknown(_) => return None,
            Self::Missing => format!("the signed name {signed} comes without the AD bit"),
            Self::Lies => format!("{broken}, whose signatures are broken, has an answer"),
        };
        Some(format!("DANE off: the resolver does not validate: {why}"))
    }
}

pub(crate) async fn find(servers: &Failover, probe: &ValidationProbe) -> Validation {
    if !servers.is_trusted() {
        return Validation::Untrusted;
    }
    let (signed, broken) = tokio::join!(ask(servers, &probe.signed), ask(servers, &probe.broken));
    let signed = match signed {
        Ok(response) => response,
        Err(why) => return Validation::Unknown(why),
    };
    // A server that validates answers a broken name with an error.
    let has_answer = broken.is_ok_and(|response| {
        response.metadata.response_code == ResponseCode::NoError && !response.answers.is_empty()
    });
    match (has_answer, signed.metadata.authentic_data) {
        (true, _) => Validation::Lies,
        (false, true) => Validation::Validates,
        (false, false) => Validation::Missing,
    }
}

async fn ask(servers: &Failover, asked: &str) -> Result<DnsResponse, String> {
    let name: Name = name::fqdn(asked).ok_or_else(|| format!("{asked:?} is no name"))?;
    let query = Query::query(name, RecordType::SOA);
    let request = DnsRequest::from_query(query, DnsRequestOptions::default());
    let response = servers.send(request).next().await;
    let response = response.ok_or_else(|| "no answer".to_owned())?;
    response.map_err(|error| error.to_string())
}
