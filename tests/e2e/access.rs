//! Who may do what: certificates and their roles, tokens, local users, and strangers who take up room.

mod local;
pub mod roles;
mod strangers;
mod tokens;
