//! Questions for the DNS, and answers to them, as text.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    A,
    Aaaa,
    Cname,
    Mx,
    Ptr,
    Txt,
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ptr => "PTR",
            Self::Txt => "TXT",
        })
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A server of the zone, without recursion: what is published.
    Authoritative,
    /// The node's resolver: what receivers see, which may be older.
    Resolver,
}

/// A name is in lower case, without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    pub source: Source,
    pub name: String,
    pub record_type: RecordType,
}

impl Question {
    #[must_use]
    pub fn new(source: Source, name: &str, record_type: RecordType) -> Self {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        Self {
            source,
            name,
            record_type,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, record_type, ..
        } = self;
        match self.source {
            Source::Authoritative => write!(f, "{record_type} {name} of the zone's own servers"),
            Source::Resolver => write!(f, "{record_type} {name} of the resolver"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One or more records: TXT with its character strings joined, names without the dot at the end, MX without its preference.
    /// What the resolver tells of A, AAAA, MX, TXT is at the end of CNAMEs.
    Records(Vec<String>),
    /// The name is not there, or has no such record.
    Nothing,
    /// No answer, or SERVFAIL, REFUSED, a broken signature.
    Failed(String),
}

impl Answer {
    /// The records; none if there are none or nobody answered.
    #[must_use]
    pub fn records(&self) -> &[String] {
        match self {
            Self::Records(records) => records,
            _ => &[],
        }
    }
}

pub type Answers = BTreeMap<Question, Answer>;
