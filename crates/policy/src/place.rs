//! Where a resource or a figure stands, and what is wrong there.

use std::fmt;
use std::sync::Arc;

/// What a document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Credential,
    Inbound,
    Ip,
    Pool,
    Provider,
    Route,
    Tenant,
    Warmup,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Credential,
        Self::Inbound,
        Self::Ip,
        Self::Pool,
        Self::Provider,
        Self::Route,
        Self::Tenant,
        Self::Warmup,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Inbound => "inbound",
            Self::Ip => "ip",
            Self::Pool => "pool",
            Self::Provider => "provider",
            Self::Route => "route",
            Self::Tenant => "tenant",
            Self::Warmup => "warmup",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A line of a source. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub source: Arc<str>,
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// The resource and key that say something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub kind: Kind,
    pub name: Arc<str>,
    /// With the keys around it, such as `per_ip.connections`.
    pub key: String,
    pub place: Place,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            name,
            key,
            place,
        } = self;
        write!(f, "{kind} {name:?} {key} ({place})")
    }
}

/// A value with who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub origin: Arc<Origin>,
}

/// What is wrong at a place, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub place: Place,
    /// Names resource and key.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_one_name_each() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.name()), Some(kind));
        }
        assert_eq!(Kind::of("credentials"), None);
    }
}
