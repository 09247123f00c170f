//! What a name server's message means for the question that it was asked. Pure.

use std::fmt;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, RecordType};

/// What one server's message is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Records, or the word of a server that may speak that there are none (NXDOMAIN, NODATA).
    Answer,
    /// No records, and the server says neither that the zone is its own nor that it looks names up for others. It is
    /// the shortest form of NODATA (RFC 2308 2.2, type 3), and what a server says that knows nothing of the name:
    /// believed if all servers say the same.
    Weak,
    /// The answer did not fit; it is to be had over TCP.
    Truncated,
    /// Nothing that says anything about the name.
    Trouble(Trouble),
}

/// Why a server's word does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// An error instead of an answer.
    Code(ResponseCode),
    /// An empty answer that names other servers to ask.
    Referral,
    /// A message that is not an answer to the question.
    Nonsense(&'static str),
    /// Nothing came within this time.
    Silent(Duration),
    /// What is wrong with the connection.
    Unreachable(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => match mnemonic(*code) {
                Some(name) => write!(f, "answered {name}"),
                None => write!(f, "answered with code {}", u16::from(*code)),
            },
            Self::Referral => f.write_str("refers to other name servers"),
            Self::Nonsense(what) => f.write_str(what),
            Self::Silent(within) => {
                write!(f, "did not answer within {:.1} s", within.as_secs_f32())
            }
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

/// Names as postmasters know them (RFC 1035 4.1.1, RFC 2136 2.2, RFC 6891 9).
fn mnemonic(code: ResponseCode) -> Option<&'static str> {
    Some(match code {
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::YXDomain => "YXDOMAIN",
        ResponseCode::YXRRSet => "YXRRSET",
        ResponseCode::NXRRSet => "NXRRSET",
        ResponseCode::NotAuth => "NOTAUTH",
        ResponseCode::NotZone => "NOTZONE",
        ResponseCode::BADVERS => "BADVERS",
        _ => return None,
    })
}

/// Codes with which servers that do not know EDNS answer a query that has it (RFC 6891 7).
pub(crate) fn may_dislike_edns(meaning: &Meaning) -> bool {
    use ResponseCode as Code;
    matches!(
        meaning,
        Meaning::Trouble(Trouble::Code(Code::FormErr | Code::NotImp | Code::BADVERS))
    )
}

/// What this message means for this question.
pub(crate) fn meaning(response: &Message, query: &Query) -> Meaning {
    let nonsense = |what| Meaning::Trouble(Trouble::Nonsense(what));
    let head = &response.metadata;
    if head.message_type != MessageType::Response || head.op_code != OpCode::Query {
        return nonsense("sent a message that is no answer");
    }
    if !matches!(
        head.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    ) {
        return Meaning::Trouble(Trouble::Code(head.response_code));
    }
    if response.queries.len() != 1 || response.queries[0] != *query {
        return nonsense("answered another question");
    }
    if head.truncation {
        return Meaning::Truncated;
    }
    let sections = [&response.answers, &response.authorities];
    let mut records = sections.into_iter().flatten();
    if records.any(|record| record.dns_class != DNSClass::IN) {
        return nonsense("sent records of another class");
    }
    if !response.answers.is_empty() {
        let kind = query.query_type();
        let fits = response.answers.iter().any(|record| {
            let of_kind = matches!(record.record_type(), RecordType::CNAME | RecordType::DNAME);
            of_kind || record.record_type() == kind || kind == RecordType::ANY
        });
        let name = query.name();
        let is_about = response.answers.iter().any(|record| record.name == *name);
        return match (is_about, fits) {
            (false, _) => nonsense("sent records of another name"),
            (true, false) => nonsense("sent records of another type"),
            (true, true) => Meaning::Answer,
        };
    }
    empty(response)
}

/// Without records: what the rest of the message says about that.
fn empty(response: &Message) -> Meaning {
    let head = &response.metadata;
    let has = |kind| {
        let mut authorities = response.authorities.iter();
        authorities.any(|record| record.record_type() == kind)
    };
    if head.response_code == ResponseCode::NXDomain || has(RecordType::SOA) {
        return Meaning::Answer;
    }
    if has(RecordType::NS) {
        return Meaning::Trouble(Trouble::Referral);
    }
    match head.authoritative || head.recursion_available {
        true => Meaning::Answer,
        false => Meaning::Weak,
    }
}
