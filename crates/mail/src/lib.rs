//! Message bytes, pure: headers, trace, and delivery status notifications.

pub mod dsn;
pub mod field;
pub mod header;
pub mod trace;
