//! The one place where the control function reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use skein_client::since_boot;
use skein_model::UnixMs;
use skein_model::slewed_clock::SlewedClock;

static CLOCK: Mutex<Option<SlewedClock>> = Mutex::new(None);

/// The time that a leader stamps on an entry, and dispenses by. It does not jump when the machine's clock is set.
pub fn now() -> UnixMs {
    let mut clock = CLOCK.lock();
    let (wall, now) = (wall(), since_boot());
    clock
        .get_or_insert_with(|| SlewedClock::start(wall, now))
        .look(wall, now)
}

/// Looks often enough that no jump passes for time that went by.
pub async fn follow() {
    loop {
        now();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A group's time never goes back. Should it be ahead of the clock here, as after a leader whose clock was, time goes on
/// from there: or nothing would be due until the clock has caught up.
pub fn observe(time: UnixMs) {
    let mut clock = CLOCK.lock();
    let (wall, now) = (wall(), since_boot());
    clock
        .get_or_insert_with(|| SlewedClock::start(wall, now))
        .observe(time, wall, now);
}

fn wall() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use skein_model::DurationMs;

    use super::*;

    #[test]
    fn time_goes_on_from_that_of_a_group() {
        let ahead = now() + DurationMs(3_600_000);
        observe(ahead);
        assert!(now() >= ahead);
        observe(UnixMs(0));
        assert!(now() >= ahead);
    }
}
