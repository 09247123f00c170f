//! Connections, bodies and tables are open files, and the usual limit of 1024 is for programs that use select().

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of this process to what it may have, which is returned.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let many = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    if limit.current == limit.maximum {
        return many(limit.current);
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => many(raised.current),
        Err(error) => {
            tracing::warn!(%error, ?limit, "the limit of open files cannot be raised");
            many(limit.current)
        }
    }
}
