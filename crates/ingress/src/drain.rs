//! The end of service: told to all sessions, which leave after different times.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    began: OnceLock<Instant>,
}

impl Drain {
    pub fn begin(&self) {
        self.began.get_or_init(Instant::now);
        self.token.cancel();
    }

    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Returns this long after the drain began, whenever that is.
    pub async fn for_longer_than(&self, allowance: Duration) {
        self.token.cancelled().await;
        let began = self.began.get().copied();
        sleep_until(began.unwrap_or_else(Instant::now) + allowance).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_waits_for_its_own_time_from_the_beginning() {
        let drain = Drain::default();
        let long = drain.for_longer_than(Duration::from_secs(3600));
        let none = drain.for_longer_than(Duration::ZERO);
        tokio::pin!(long, none);
        assert!(futures::poll!(&mut none).is_pending() && !drain.has_begun());
        drain.begin();
        none.await;
        assert!(futures::poll!(&mut long).is_pending() && drain.has_begun());
    }
}
