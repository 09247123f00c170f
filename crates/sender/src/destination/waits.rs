//! How this sender is, and what its tasks wait for: told to the leader, so that any node can explain it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use skein_client::{KeptSession, Wait};
use skein_dns::Resolver;

use crate::config::current::CurrentConfig;
use crate::destination::destinations::Destinations;
use crate::destination::hold::{Hold, HoldKind};
use crate::destination::state::Destination;
use crate::health::Health;
use crate::smtp::broken_tls::BrokenTls;

const TELL: Duration = Duration::from_secs(2);
/// Those with the most tasks; about 200 bytes each.
const MATCH_COUNTS_MAX: usize = 128;

/// What this sender tells of itself, and of what it waits for.
pub struct StatusReporter {
    pub destinations: Weak<Destinations>,
    pub health: Arc<Health>,
    pub resolver: Arc<Resolver>,
    pub broken_tls: Arc<BrokenTls>,
    /// Some mail goes to the MX hosts of its domain.
    pub config: CurrentConfig,
}

impl StatusReporter {
    /// Tells for as long as the session is kept.
    pub async fn tell(self, session: Arc<KeptSession>) {
        loop {
            tokio::time::sleep(TELL).await;
            let Some(destinations) = self.destinations.upgrade() else {
                return;
            };
            let health = self.health.told(self.config.get().routes.follow_mx());
            let broken_tls = self.broken_tls.news(destinations.placer.now());
            match session
                .tell_waits(all(&destinations), health, &broken_tls)
                .await
            {
                Ok(probes) => self.health.probe(&self.resolver, probes),
                Err(error) => tracing::debug!(%error, "what tasks wait for is not told"),
            }
        }
    }
}

fn all(destinations: &Destinations) -> Vec<Wait> {
    let mut waits = destinations.placer.sources.health.waits();
    let held = destinations.all().into_iter();
    waits.extend(held.filter_map(|one| of_destination(&one)));
    waits.sort_by(|a, b| b.tasks.cmp(&a.tasks).then_with(|| a.site.cmp(&b.site)));
    waits.truncate(MATCH_COUNTS_MAX);
    waits
}

fn of_destination(destination: &Destination) -> Option<Wait> {
    let mut state = destination.state.lock();
    let (tasks, connections) = (state.waiting.len(), state.connections);
    let envelope = &state.waiting.first()?.task;
    let pool = envelope.task.pool(&envelope.message.envelope).to_owned();
    let tenant = envelope.message.envelope.tenant.clone();
    let (site, ip) = (state.route.site.clone(), state.source.name().to_owned());
    let connection = held(state.hold(HoldKind::Connection).as_ref(), "connection");
    let message = held(state.hold(HoldKind::Message).as_ref(), "message");
    let (scope, text, for_ms) = match connection.or(message) {
        Some(held) => held,
        None if connections == 0 => return None,
        None => (
            String::new(),
            format!("its turn on one of {connections} connections"),
            0,
        ),
    };
    Some(Wait {
        site,
        ip,
        pool,
        tenant,
        tasks: tasks as u64,
        scope,
        text,
        for_ms,
    })
}

fn held(hold: Option<&Hold>, what: &str) -> Option<(String, String, u64)> {
    let hold = hold?;
    let left = hold.until.saturating_duration_since(Instant::now());
    let scope = hold.scope.name();
    let text = format!("a limit of the {scope} lets no further {what} begin");
    let for_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    Some((scope.to_owned(), text, for_ms))
}
