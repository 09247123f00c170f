//! Looks at policies that are due, at the leader of the meta group.

use std::time::Duration;

use skein_model::meta::sts::{self, StsRow};
use skein_model::sts::Look;

use super::{TlsPolicies, look};
use crate::clock;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of those that wait for the longest. Each takes a minute at most, and twenty thousand a day are one in four seconds.
const AT_ONCE: usize = 16;

/// Keeps policies fresh while this node leads the meta group.
pub async fn refresh(policies: TlsPolicies) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !policies.group.is_leader() {
            continue;
        }
        let now = clock::now();
        for domain in sts::due(&policies.reader, now, AT_ONCE) {
            let asked_at = policies.memory.lock().asked_at(&domain);
            let row = policies.live(&domain);
            match row.is_some_and(|row| {
                StsRow {
                    asked_at: asked_at.max(row.asked_at),
                    ..row
                }
                .is_wanted(now)
            }) {
                true => _ = policies.start(&domain, Look::Refresh),
                // It ends when it is too old.
                false => look::go_on(&policies, &domain, None).await,
            }
        }
    }
}
