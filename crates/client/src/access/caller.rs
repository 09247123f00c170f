//! The caller behind a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::holder::Holder;
use super::local::{LocalUser, LookUp};
use super::role::{Role, RoleRule};

/// The other side of a connection.
#[derive(Debug, Clone)]
pub enum Caller {
    /// This process.
    Own,
    /// The holder of a certificate of our authorities.
    Holder(Arc<Holder>, RoleRule),
    /// A user of this machine, or why it is not known which.
    Local(Result<LocalUser, LookUp>),
    /// The holder of a token, whatever else is known of the connection.
    Token(Arc<TokenHolder>),
    /// A client over TLS that has shown no certificate: it may do nothing, unless a call brings a token.
    Stranger(IpAddr),
    /// Any client: the configuration says that the network has no strangers.
    Anybody(IpAddr),
}

/// Who has a token of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// The credential's.
    pub name: Arc<str>,
    pub role: Role,
    /// Of [`Role::Tenant`]: which one.
    pub tenant: Arc<str>,
}

/// What the services of a port know of the connection over which a call comes.
#[derive(Debug, Clone)]
pub struct Peer {
    pub caller: Caller,
    /// Nothing for calls within the process.
    pub address: Option<SocketAddr>,
}

/// What a caller is told that may not do what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(String);

impl Caller {
    /// Whether it is one of these.
    ///
    /// # Errors
    /// It is none, with what to do about it.
    pub fn is_any(&self, roles: &[Role]) -> Result<(), Denied> {
        match self {
            Self::Own | Self::Anybody(_) => Ok(()),
            Self::Holder(holder, rule) => certified(holder, *rule, roles),
            Self::Token(holder) if roles.contains(&holder.role) => Ok(()),
            Self::Token(holder) => Err(Denied(format!(
                "the token of {} has the role {}, and this needs {}",
                holder.name,
                holder.role,
                roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" or ")
            ))),
            Self::Stranger(_) => Err(Denied(
                "neither a certificate nor a token was shown: give --cert and --key, or --token-file".to_owned(),
            )),
            Self::Local(Ok(user)) if user.is_trusted() => Ok(()),
            Self::Local(Ok(user)) => Err(Denied(format!(
                "this port serves root and the user that runs the node, {}, and not {user}: become that user, or use a port \
                 with certificates",
                LocalUser::own()
            ))),
            Self::Local(Err(error)) => Err(Denied(format!(
                "it is not known which local user connects: {error}; use certificates"
            ))),
        }
    }

    /// The only tenant whose mail it may see; none if it may see that of all.
    pub fn only_tenant(&self) -> Option<&Arc<str>> {
        match self {
            Self::Token(holder) if holder.role == Role::Tenant => Some(&holder.tenant),
            _ => None,
        }
    }

    /// Whether it has shown a certificate that names the role, whatever a port makes of certificates without one.
    pub fn has_shown(&self, role: Role) -> bool {
        let Self::Holder(holder, _) = self else {
            return false;
        };
        let roles = holder.roles.as_ref();
        roles.is_some_and(|roles| roles.contains(&role))
    }

    /// Whether it may say that this host is its own.
    ///
    /// # Errors
    /// Its certificate does not name that host.
    pub fn is_host(&self, host: &str) -> Result<(), Denied> {
        match self {
            Self::Holder(holder, _) if !holder.is_host(host) => Err(Denied(format!(
                "the certificate of {} is not for the host {host:?}: it must have it among its names (`skein dev-ca --host`)",
                holder.name
            ))),
            _ => Ok(()),
        }
    }
}

fn certified(holder: &Holder, rule: RoleRule, roles: &[Role]) -> Result<(), Denied> {
    let wanted = || {
        let names: Vec<String> = roles.iter().map(|role| role.uri()).collect();
        names.join(" or ")
    };
    let name = &holder.name;
    match &holder.roles {
        Some(has) if roles.iter().any(|role| has.contains(role)) => Ok(()),
        Some(has) => {
            let has: Vec<&str> = has.iter().map(|role| role.name()).collect();
            let has = match has.is_empty() {
                true => "no role that is known here".to_owned(),
                false => format!("the role {}", has.join(" and ")),
            };
            Err(Denied(format!(
                "the certificate of {name} has {has}, and this needs {}",
                wanted()
            )))
        }
        None if rule == RoleRule::Any => Ok(()),
        None => Err(Denied(format!(
            "the certificate of {name} names no role: issue it anew with the URI {} among its names (`skein dev-ca` does so), \
             or set roles = \"any\" beside its CA in the node's configuration",
            wanted()
        ))),
    }
}

/// Its name, as it stands in events and lists.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the node itself"),
            Self::Holder(holder, _) => f.write_str(&holder.name),
            Self::Token(holder) => write!(f, "token {}", holder.name),
            Self::Stranger(address) => write!(f, "a stranger at {address}"),
            Self::Local(Ok(user)) => user.fmt(f),
            Self::Local(Err(_)) => f.write_str("an unknown local user"),
            Self::Anybody(address) => write!(f, "somebody at {address}"),
        }
    }
}
