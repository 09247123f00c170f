//! Limits of every scope at the same time, while senders come and go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skein_testkit::sink::{Record, Sink, SinkConfig, most_within};
use skein_testkit::unix_ms;
use skein_tests::fleet::Member;

use super::{World, by_sender, times};

/// Until a change of senders is over for what they share.
const START: Duration = Duration::from_secs(5);
/// With a backlog all the time. A disk that stands still for a second takes an eighth of it, so there is another try.
const STEADY: Duration = Duration::from_secs(8);
/// What one waits for at most, and where a day is all there is.
const BACKLOG: usize = 1500;
const BACKLOG_OF_DAY: usize = 300;
/// Of clients of each scope: by one, a machine whose disk is slow takes in no more than the limits let out.
const SESSIONS: usize = 6;
/// More than any limit lets pass in a start and two looks, on a machine that takes twice the time.
const ENOUGH: usize = 600;
/// The same for all that comes after the first sender has left.
const ENOUGH_TO_THE_END: usize = 1500;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A limit and the mail that it is for, all of it to one host. No other limit of the host binds: without a rate of its own,
/// it takes a hundred new connections a minute, and as many are made when senders come and go.
struct Scope {
    name: &'static str,
    domain: &'static str,
    /// So many in any window of so many milliseconds.
    count: usize,
    span: u64,
    /// Over which its mail is spread.
    slots: u8,
    policy: &'static str,
    counts: Counts,
}

enum Counts {
    Messages,
    Connections,
}

const SCOPES: [Scope; 9] = [
    Scope {
        name: "a site of one owner",
        domain: "own.test",
        count: 10,
        span: 1000,
        slots: 1,
        policy: "kind: provider\nname: own\ndomains: [own.test]\ntotal: {connections: 20, message_rate: 10/s}\nper_ip: {connection_rate: 1000/s}\n",
        counts: Counts::Messages,
    },
    Scope {
        name: "a spread site",
        domain: "wide.test",
        count: 12,
        span: 1000,
        slots: 16,
        policy: "kind: provider\nname: wide\ndomains: [wide.test]\ntotal: {connections: 60, message_rate: 12/s}\nper_ip: {connection_rate: 1000/s}\n",
        counts: Counts::Messages,
    },
    Scope {
        name: "a spread site, long window",
        domain: "long.test",
        count: 120,
        span: 12_000,
        slots: 16,
        policy: "kind: provider\nname: long\ndomains: [long.test]\ntotal: {connections: 60, message_rate: 120/12s burst 20}\nper_ip: {connection_rate: 1000/s}\n",
        counts: Counts::Messages,
    },
    Scope {
        name: "connections of a spread site",
        domain: "new.test",
        count: 10,
        span: 1000,
        slots: 16,
        policy: "kind: provider\nname: new\ndomains: [new.test]\nmessages_per_connection: 1\n\
                 total: {connections: 60, connection_rate: 10/s}\nper_ip: {connection_rate: 10/s}\n",
        counts: Counts::Connections,
    },
    Scope {
        name: "a tenant",
        domain: "user.test",
        count: 12,
        span: 1000,
        slots: 16,
        policy: "kind: provider\nname: user\ndomains: [user.test]\ntotal: {connections: 60}\nper_ip: {connection_rate: 1000/s}\n---\n\
                 kind: tenant\nname: user-1\nlimits: {message_rate: 12/s}\n",
        counts: Counts::Messages,
    },
    Scope {
        name: "a pool",
        domain: "pool.test",
        count: 12,
        span: 1000,
        slots: 16,
        policy: "kind: provider\nname: pool\ndomains: [pool.test]\ntotal: {connections: 60}\nper_ip: {connection_rate: 1000/s}\n---\n\
                 kind: ip\nname: p1\nbind: 127.0.0.61\nehlo: p1.test\n---\n\
                 kind: ip\nname: p2\nbind: 127.0.0.62\nehlo: p2.test\n---\n\
                 kind: pool\nname: pool\nmembers: [{ip: p1}, {ip: p2}]\nlimits: {message_rate: 12/s}\n---\n\
                 kind: route\nname: pool\nsender_domain: pool.test\npool: pool\n",
        counts: Counts::Messages,
    },
    Scope {
        name: "an IP",
        domain: "ip.test",
        count: 10,
        span: 1000,
        slots: 16,
        policy: "kind: provider\nname: ip\ndomains: [ip.test]\ntotal: {connections: 60}\nper_ip: {connection_rate: 1000/s}\n---\n\
                 kind: ip\nname: i1\nbind: 127.0.0.63\nehlo: i1.test\nlimits: {message_rate: 10/s}\n---\n\
                 kind: pool\nname: ip\nmembers: [{ip: i1}]\n---\n\
                 kind: route\nname: ip\nsender_domain: ip.test\npool: ip\n",
        counts: Counts::Messages,
    },
    // All of a day's goes at once, and then nothing more, whoever comes and goes.
    Scope {
        name: "a day of one owner",
        domain: "day.test",
        count: 50,
        span: DAY_MS,
        slots: 1,
        policy: "kind: provider\nname: day\ndomains: [day.test]\ntotal: {connections: 20, message_rate: 50/day}\nper_ip: {connection_rate: 1000/s}\n",
        counts: Counts::Messages,
    },
    Scope {
        name: "a day of a spread site",
        domain: "days.test",
        count: 60,
        span: DAY_MS,
        slots: 16,
        policy: "kind: provider\nname: days\ndomains: [days.test]\ntotal: {connections: 60, message_rate: 60/day}\nper_ip: {connection_rate: 1000/s}\n",
        counts: Counts::Messages,
    },
];

impl Scope {
    fn backlog(&self) -> usize {
        match self.span {
            DAY_MS => BACKLOG_OF_DAY,
            _ => BACKLOG,
        }
    }

    /// When what is limited took place.
    fn events(&self, sink: &Sink) -> Vec<u64> {
        match self.counts {
            Counts::Connections => {
                let visits = sink.visits().into_iter();
                visits.map(|visit| visit.began_ms).collect()
            }
            Counts::Messages => times(&accepted(sink)),
        }
    }
}

fn accepted(sink: &Sink) -> Vec<Arc<Record>> {
    let mut records = sink.records();
    records.retain(|record| record.accepted);
    records
}

struct Stage {
    world: World,
    sinks: Vec<Sink>,
    /// How often the backlog was offered.
    offers: usize,
}

impl Stage {
    async fn start() -> Self {
        let world = World::start_first(3, 6, 1).await;
        let mut sinks = Vec::new();
        for (scope, last) in SCOPES.iter().zip(71..) {
            let host = SocketAddr::from(([127, 0, 0, last], world.fleet.port));
            world.fleet.dns.domain(scope.domain, host.ip());
            sinks.push(Sink::start(SinkConfig::at(host)).await.unwrap());
        }
        let policy = SCOPES.each_ref().map(|scope| scope.policy).join("---\n");
        world.apply(&policy);
        for scope in SCOPES.iter().filter(|scope| scope.slots > 1) {
            let site = scope.domain.trim_end_matches(".test");
            world.skeinctl(&["site", "spread", site, &scope.slots.to_string()]);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut stage = Self {
            world,
            sinks,
            offers: 0,
        };
        stage.offer().await;
        stage
    }

    /// As much as can flow until the next offer, on a slow machine too.
    async fn offer(&mut self) {
        self.offers += 1;
        let (world, nth) = (&self.world, self.offers);
        let offers = SCOPES.iter().map(async |scope| {
            let (from, count) = (format!("a@{}", scope.domain), scope.backlog());
            match scope.domain {
                "user.test" => world.offer_as_user(0, scope.domain, count).await,
                domain => {
                    let prefix = format!("{domain}-{nth}");
                    let all = world.offer_over(SESSIONS, &from, domain, &[0], &prefix, count);
                    all.await;
                }
            }
        });
        futures::future::join_all(offers).await;
    }

    /// Tasks that wait for the limit that has the fewest, of those that let mail flow all the time.
    fn backlog(&self) -> usize {
        let scopes = SCOPES.iter().zip(&self.sinks);
        let scopes = scopes.filter(|(scope, _)| scope.span != DAY_MS);
        let waiting = scopes.map(|(scope, sink)| {
            let offered = self.offers * scope.backlog();
            offered.saturating_sub(accepted(sink).len())
        });
        waiting.min().unwrap_or_default()
    }

    async fn offer_until(&mut self, backlog: usize) {
        while self.backlog() < backlog {
            self.offer().await;
        }
    }

    /// Lets mail flow with a backlog until each limit is used as it is to be; says what part of each was used after a start.
    async fn steady(&self, what: &str, start: Duration) {
        tokio::time::sleep(start).await;
        for is_last in [false, true] {
            tokio::time::sleep(STEADY).await;
            let now = unix_ms();
            let mut is_used = true;
            for (scope, sink) in SCOPES.iter().zip(&self.sinks) {
                assert!(
                    accepted(sink).len() < self.offers * scope.backlog(),
                    "{what}, {}: there was no backlog",
                    scope.name
                );
                let used = used(scope, &scope.events(sink), now);
                println!("{what}, {}: {used:.1} % used", scope.name);
                let is_enough = used >= least(scope, sink, now);
                is_used &= is_enough;
                assert!(
                    is_enough || !is_last,
                    "{what}, {}: {used:.1} % used, by {:?}, in the last seconds {:?}\n{}",
                    scope.name,
                    by_sender(&accepted(sink)),
                    by_second(&scope.events(sink), now),
                    self.explained(scope)
                );
                if !is_enough {
                    println!("{}", self.explained(scope));
                }
            }
            if is_used {
                return;
            }
        }
    }

    fn explained(&self, scope: &Scope) -> String {
        let site = scope.domain.trim_end_matches(".test");
        self.world.skeinctl(&["explain", "site", site])
    }

    fn owner(&self) -> usize {
        let records = accepted(&self.sinks[0]);
        let last = records.last().unwrap().helo.clone();
        let is_it = |one: &Member| last == format!("{}.skein.test", one.name);
        self.world.fleet.senders.iter().position(is_it).unwrap()
    }
}

/// The latest is the first.
fn by_second(events: &[u64], now: u64) -> Vec<usize> {
    let second = |back: u64| now - 1000 * (back + 1)..now - 1000 * back;
    let count = |back| {
        let second = second(back);
        events.iter().filter(|at| second.contains(at)).count()
    };
    (0..20).map(count).collect()
}

/// The part of a limit that must be used, in percent: more if one sender keeps it alone, unless that is another one since a
/// moment ago.
fn least(scope: &Scope, sink: &Sink, now: u64) -> f64 {
    const MOMENT_MS: u64 = 2000;
    let before = now - STEADY.as_millis() as u64 - MOMENT_MS;
    let mut lately = accepted(sink);
    lately.retain(|record| record.at_ms >= before);
    match scope.slots == 1 && by_sender(&lately).len() == 1 {
        true => 95.0,
        false => 85.0,
    }
}

/// Lately, which is a whole window at least. Events that come in bursts, one for each short window, are the mean of what a
/// look at any moment of the last such window would have found: else one burst more or less is a tenth.
fn used(scope: &Scope, events: &[u64], now: u64) -> f64 {
    let steady = STEADY.as_millis() as u64;
    let (lately, ramp) = match scope.span {
        short if short < steady => (steady, short),
        long => (long, 1),
    };
    let weight = |at: &u64| {
        let since = now.saturating_sub(*at);
        since.min(ramp).min((lately + ramp).saturating_sub(since)) as f64 / ramp as f64
    };
    let count: f64 = events.iter().map(weight).sum();
    let may = scope.count as f64 * lately as f64 / scope.span as f64;
    count * 100.0 / may
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_every_scope_hold_and_are_used_while_senders_come_and_go() {
    let mut stage = Stage::start().await;
    stage.steady("one sender", START).await;
    stage.offer_until(ENOUGH).await;
    stage.world.fleet.join(1..3).await.unwrap();
    stage.steady("three senders", START).await;
    stage.offer_until(ENOUGH).await;
    stage.world.fleet.join(3..6).await.unwrap();
    stage.steady("six senders", START).await;

    // The sender that takes mail may be the one that leaves.
    stage.offer_until(ENOUGH_TO_THE_END).await;
    let leaves = stage.owner();
    let name = stage.world.fleet.senders[leaves].name.clone();
    stage.world.skeinctl(&["node", "drain", &name]);
    stage.steady("one has left", Duration::from_secs(3)).await;

    // Longer than its lease: others take over, and it must not go on when it wakes.
    let pauses = stage.owner();
    stage.world.fleet.senders[pauses]
        .node
        .as_mut()
        .unwrap()
        .pause()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(13)).await;
    stage.world.fleet.senders[pauses]
        .node
        .as_mut()
        .unwrap()
        .go_on()
        .unwrap();
    tokio::time::sleep(START).await;

    let dies = stage.owner();
    stage.world.fleet.senders[dies].kill().unwrap();
    let leader = stage.world.fleet.meta_leader().unwrap();
    stage.world.fleet.control[leader].kill().unwrap();
    // Another leader gives every session a whole lease, that of the dead one too, which has its part until then.
    let after = Duration::from_secs(20);
    stage
        .steady("an owner and the leader were killed", after)
        .await;

    for (scope, sink) in SCOPES.iter().zip(&stage.sinks) {
        let (events, senders) = (scope.events(sink), by_sender(&accepted(sink)));
        let most = most_within(events.clone(), scope.span);
        println!(
            "{}: at most {most} of {} in any {} ms, of {}, by {senders:?}",
            scope.name,
            scope.count,
            scope.span,
            events.len()
        );
        assert!(most <= scope.count, "{}: {most}", scope.name);
    }
}
