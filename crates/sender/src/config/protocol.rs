//! What is spoken to a next hop.

use std::sync::Arc;

use skein_policy::Webhook;

/// What is spoken to a next hop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Smtp,
    /// RFC 2033.
    Lmtp,
    /// A POST to a program.
    Http(Arc<Webhook>),
    /// Nothing: there is no next hop.
    Discard,
}
