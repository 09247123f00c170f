//! How long a spool group's leader waits for a session that may hold tasks.

use crate::time::DurationMs;

/// After a stream broke, its session may come back with what it holds: as long as a lease lasts, and a little.
pub const COME_BACK: DurationMs = DurationMs::from_secs(12);
/// A member of the meta group is behind its leader by less than this, or it is cut off.
pub const LEARN_OF_SESSION: DurationMs = DurationMs::from_secs(1);

/// Whether to wait no more for a session whose stream broke so long ago. Whether it `lives` is what this node knows of
/// the meta group.
///
/// Its sender sends no final dot without a stream, but may still wait for the answer to one; it brings that answer, and
/// what else it holds, over its next stream.
pub fn stream_is_gone(waited: DurationMs, lives: bool) -> bool {
    !lives || waited > COME_BACK
}

/// Whether a new leader waits no more for a session of its predecessor's time. It may learn of a session after it
/// learned of its slots.
pub fn predecessor_is_gone(waited: DurationMs, lives: bool) -> bool {
    waited > COME_BACK || (!lives && waited > LEARN_OF_SESSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_waited_for_while_it_may_come_back() {
        for (seconds, lives, stream, predecessor) in [
            (0, true, false, false),
            (0, false, true, false),
            (2, false, true, true),
            (12, true, false, false),
            (13, true, true, true),
        ] {
            let waited = DurationMs::from_secs(seconds);
            assert_eq!(stream_is_gone(waited, lives), stream, "{seconds} {lives}");
            assert_eq!(
                predecessor_is_gone(waited, lives),
                predecessor,
                "{seconds} {lives}"
            );
        }
    }
}
