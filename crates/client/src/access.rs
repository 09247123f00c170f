//! The party on the other side of a connection, and its roles.
//!
//! A certificate names the roles of its holder in URIs (`skein://role/control`). Without certificates, the kernel says
//! which user of this machine holds the other end.

mod caller;
mod holder;
mod local;
mod role;

pub use caller::{Caller, Denied, Peer, TokenHolder};
pub use holder::{Holder, Serial, Unreadable};
pub use local::{Ends, LocalUser, LookUp, users_at};
pub use role::{BadRole, Role, RoleRule};
