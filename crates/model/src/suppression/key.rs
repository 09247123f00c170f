//! For whose mail an entry counts, and what it is found by.

use std::fmt;

use minicbor::{Decode, Encode};

use super::subject::Subject;

/// Names stand in tables, in files and on the wire.
const NAME_BYTES_MAX: usize = 64;

/// For whose mail an entry counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Scope {
    /// For everybody's.
    #[n(0)]
    Global,
    /// For a tenant's, whatever the stream.
    #[n(1)]
    Tenant(#[n(0)] String),
    /// For that of a tenant's stream, such as its newsletter.
    #[n(2)]
    Stream {
        #[n(0)]
        tenant: String,
        #[n(1)]
        stream: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScopeKind {
    Global,
    Tenant,
    Stream,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    #[error("{0:?} is no name of a tenant: up to {NAME_BYTES_MAX} letters, digits, dots, - and _")]
    Tenant(String),
    #[error("{0:?} is no name of a stream: up to {NAME_BYTES_MAX} letters, digits, dots, - and _")]
    Stream(String),
}

/// What entries are found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Key {
    #[n(0)]
    pub scope: Scope,
    #[n(1)]
    pub subject: Subject,
}

/// Entries of which scopes are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub enum ScopeFilter {
    #[n(0)]
    #[default]
    All,
    #[n(1)]
    Global,
    /// The tenant's own and those of all its streams.
    #[n(2)]
    Tenant(#[n(0)] String),
    #[n(3)]
    Stream {
        #[n(0)]
        tenant: String,
        #[n(1)]
        stream: String,
    },
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

fn check_tenant(tenant: &str) -> Result<(), BadScope> {
    match is_name(tenant) {
        true => Ok(()),
        false => Err(BadScope::Tenant(tenant.to_owned())),
    }
}

fn check_stream(tenant: &str, stream: &str) -> Result<(), BadScope> {
    check_tenant(tenant)?;
    match is_name(stream) {
        true => Ok(()),
        false => Err(BadScope::Stream(stream.to_owned())),
    }
}

impl Scope {
    pub fn kind(&self) -> ScopeKind {
        match self {
            Self::Global => ScopeKind::Global,
            Self::Tenant(_) => ScopeKind::Tenant,
            Self::Stream { .. } => ScopeKind::Stream,
        }
    }

    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Global => None,
            Self::Tenant(tenant) | Self::Stream { tenant, .. } => Some(tenant),
        }
    }

    pub fn stream(&self) -> Option<&str> {
        match self {
            Self::Global | Self::Tenant(_) => None,
            Self::Stream { stream, .. } => Some(stream),
        }
    }

    /// # Errors
    /// A name is none.
    pub fn check(&self) -> Result<(), BadScope> {
        match self {
            Self::Global => Ok(()),
            Self::Tenant(tenant) => check_tenant(tenant),
            Self::Stream { tenant, stream } => check_stream(tenant, stream),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("everybody"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Stream { tenant, stream } => write!(f, "stream {tenant}/{stream}"),
        }
    }
}

impl ScopeKind {
    pub const ALL: [Self; 3] = [Self::Global, Self::Tenant, Self::Stream];

    /// As files and tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Tenant => "tenant",
            Self::Stream => "stream",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl ScopeFilter {
    pub fn admits(&self, scope: &Scope) -> bool {
        match self {
            Self::All => true,
            Self::Global => *scope == Scope::Global,
            Self::Tenant(tenant) => scope.tenant() == Some(tenant),
            Self::Stream { tenant, stream } => {
                scope.tenant() == Some(tenant) && scope.stream() == Some(stream)
            }
        }
    }

    /// # Errors
    /// A name is none.
    pub fn check(&self) -> Result<(), BadScope> {
        match self {
            Self::All | Self::Global => Ok(()),
            Self::Tenant(tenant) => check_tenant(tenant),
            Self::Stream { tenant, stream } => check_stream(tenant, stream),
        }
    }
}
