//! The names of attributes of spans, all of them: the shape of the OpenTelemetry conventions for messaging, which are not
//! stable yet and have no system `smtp`, and `skein.` for what they have no word for.
//!
//! No attribute has an address of a sender or recipient, or a subject.

/// The target of all spans: what decides whether they are made at all.
pub const TARGET: &str = "skein_trace";

pub const SYSTEM: &str = "messaging.system";
pub const SYSTEM_SMTP: &str = "smtp";
pub const OPERATION_NAME: &str = "messaging.operation.name";
pub const OPERATION_TYPE: &str = "messaging.operation.type";
/// The site, of which there are fewer than domains.
pub const DESTINATION: &str = "messaging.destination.name";
pub const MESSAGE_ID: &str = "messaging.message.id";
pub const BODY_SIZE: &str = "messaging.message.body.size";
pub const SERVER_ADDRESS: &str = "server.address";
pub const PEER_ADDRESS: &str = "network.peer.address";
/// The kind of failure: the class of the reply, or an outcome.
pub const ERROR_TYPE: &str = "error.type";

pub const TENANT: &str = "skein.tenant";
pub const POOL: &str = "skein.pool";
/// The name of a source IP.
pub const IP: &str = "skein.ip";
/// From 1.
pub const ATTEMPT: &str = "skein.attempt";
pub const SLOT: &str = "skein.slot";
pub const GROUP: &str = "skein.group";
/// Recipients of a message or task.
pub const RECIPIENTS: &str = "skein.recipients";
/// Recipients by what became of them.
pub const DELIVERED: &str = "skein.delivered";
pub const DEFERRED: &str = "skein.deferred";
pub const BOUNCED: &str = "skein.bounced";
pub const EXPIRED: &str = "skein.expired";
/// The reply code of the first recipient that was not delivered, else of the first (RFC 5321 4.2).
pub const REPLY_CODE: &str = "skein.reply.code";
/// Its enhanced status code (RFC 3463).
pub const ENHANCED_CODE: &str = "skein.reply.enhanced_code";
pub const TLS: &str = "skein.tls";
/// How long a step took.
pub const STEP_MS: &str = "skein.step_ms";
