//! How much a client may say and how long it may take.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Limits {
    pub message_bytes: u64,
    pub recipients: usize,
    pub messages: u32,
    /// Commands of one session, so that no client holds a connection with NOOPs.
    pub commands: u32,
    /// Commands of one session that carry no mail (NOOP, RSET, EHLO and the like, and MAIL) after the latest accepted
    /// message; each further one is an error as well. Pools keep connections alive with some; hundreds are a flood.
    pub idle_commands: u32,
    /// Refusals for good (5xx) of one session, by the dialogue or the shell, whatever they are about.
    pub errors: u32,
    /// Refusals for the time being (4xx). Clients offer all recipients of a large list whatever we say to each, so there
    /// are more of them.
    pub deferrals: u32,
    /// A command line; RFC 5321 asks for 512 and the extensions for more.
    pub line_bytes: usize,
    /// A line of AUTH (RFC 4954 4).
    pub auth_line_bytes: usize,
    pub auth_failures: u32,
    /// How long a client may take for its next command (RFC 5321 4.5.3.2.7).
    pub command_timeout: Duration,
    /// How long it may be silent within a body (RFC 5321 4.5.3.2.5).
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 20,
            recipients: 1000,
            messages: 10_000,
            commands: 100_000,
            idle_commands: 100,
            errors: 20,
            deferrals: 1000,
            line_bytes: 2048,
            auth_line_bytes: 12_288,
            auth_failures: 3,
            command_timeout: Duration::from_secs(300),
            body_timeout: Duration::from_secs(180),
        }
    }
}
