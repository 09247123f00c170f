//! Limits that hold for all senders together: control nodes, senders, a name server and one host, on loopback.

mod connections;
mod drains;
mod handed_over;
mod long;
mod own_address;
mod scopes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig, Probe};
use skein_testkit::sink::{Act, Phase, Record, Sink, most_at_once};
use skein_tests::fleet::{Fleet, Plan};
use tempfile::TempDir;

const LOOK: Duration = Duration::from_millis(50);

/// All domains of the tests are at one host, which the provider `big` is.
const BIG: &str = "kind: provider\nname: big\nmx: [.big.test]\nmessages_per_connection: 1000\n";

/// Of users `t1` to `t6`, whose password is `pw`.
const LOGINS: [&str; 6] = [
    "AHQxAHB3", "AHQyAHB3", "AHQzAHB3", "AHQ0AHB3", "AHQ1AHB3", "AHQ2AHB3",
];

/// Of each sender's file.
const USER: &str = "[[smtp.user]]\nname = \"t{n}\"\npassword = \"pw\"\ntenant = \"user-{n}\"\n";

struct World {
    sink: Arc<Sink>,
    fleet: Fleet,
    /// The senders' certificate.
    _pems: TempDir,
}

/// One message after the other waits for a disk each time, which takes a busy machine long.
const USER_SESSIONS: usize = 8;

async fn hand_in(probe: &mut Probe, domain: &str, id: &str) {
    let to = format!("RCPT TO:<c@{domain}>");
    for line in ["MAIL FROM:<a@b.test>", to.as_str(), "DATA"] {
        let reply = probe.cmd(line).await.unwrap();
        assert!(reply.positive(), "{line}: {}", reply.text());
    }
    let message = format!("X-Test-Id: {id}\r\nSubject: x\r\n\r\nhi\r\n.\r\n");
    probe.send(message.as_bytes()).await.unwrap();
    assert_eq!(probe.reply().await.unwrap().code, 250);
}

impl World {
    async fn start(control: usize, senders: usize) -> Self {
        Self::start_first(control, senders, senders).await
    }

    /// With so many senders, of which only the first so many run.
    async fn start_first(control: usize, senders: usize, first: usize) -> Self {
        let pems = TempDir::new().unwrap();
        let plan = Plan {
            control,
            senders,
            first: Some(first),
            spool_groups: Some(2),
            smtp: "relay_tenant = \"of-s{n}\"".into(),
            sections: skein_tests::self_signed(pems.path()).unwrap() + USER,
            ..Plan::default()
        };
        let fleet = Fleet::start(plan).await.unwrap();
        let sink = fleet.sink(3, "mx.big.test", &["there.test"]).await;
        Self {
            sink: Arc::new(sink.unwrap()),
            fleet,
            _pems: pems,
        }
    }

    fn skeinctl(&self, args: &[&str]) -> String {
        self.fleet.skeinctl(args).unwrap()
    }

    /// Applies policy, which all senders go by then.
    fn apply(&self, policy: &str) {
        self.fleet.apply(policy).unwrap();
    }

    /// Spreads the host's mail. Intakes hear of it with a heartbeat.
    fn spread(&self, slots: u8) {
        self.skeinctl(&["site", "spread", "big", &slots.to_string()]);
    }

    /// Hands in so many messages at each of these senders.
    async fn offer(&self, senders: &[usize], prefix: &str, count: usize) -> Vec<Injected> {
        self.offer_from("a@b.test", "there.test", senders, prefix, count)
            .await
    }

    async fn offer_from(
        &self,
        from: &str,
        domain: &str,
        senders: &[usize],
        prefix: &str,
        count: usize,
    ) -> Vec<Injected> {
        self.offer_over(1, from, domain, senders, prefix, count)
            .await
    }

    /// The same over so many sessions with each sender.
    async fn offer_over(
        &self,
        sessions: usize,
        from: &str,
        domain: &str,
        senders: &[usize],
        prefix: &str,
        count: usize,
    ) -> Vec<Injected> {
        let mut all = tokio::task::JoinSet::new();
        for sender in senders {
            let name = format!("{prefix}-{}", self.fleet.senders[*sender].name);
            let smtp = self.fleet.senders[*sender].smtp;
            let (from, domain) = (from.to_owned(), domain.to_owned());
            all.spawn(async move {
                let message = |n| {
                    let to = vec![format!("user{n}@{domain}")];
                    Injected::generated(&format!("{name}-{n}"), &from, to, 500)
                };
                let injector = Injector::new(InjectorConfig::to(smtp));
                let of = |first| (first..count).step_by(sessions).map(message).collect();
                injector.run_plan((0..sessions).map(of).collect()).await
            });
        }
        let injected: Vec<Injected> = all.join_all().await.into_iter().flatten().collect();
        assert!(injected.iter().all(Injected::acked));
        injected
    }

    /// Hands in so many messages as the user of this sender, who is another tenant.
    async fn offer_as_user(&self, sender: usize, domain: &str, count: usize) {
        let sessions = (0..USER_SESSIONS).map(async |first| {
            let mut probe = self.log_in(sender).await;
            for n in (first..count).step_by(USER_SESSIONS) {
                let id = format!("user{}-{n}", sender + 1);
                hand_in(&mut probe, domain, &id).await;
            }
        });
        futures::future::join_all(sessions).await;
    }

    async fn log_in(&self, sender: usize) -> Probe {
        let (mut probe, _) = Probe::greet(self.fleet.senders[sender].smtp).await.unwrap();
        probe.starttls().await.unwrap();
        probe.cmd("EHLO client.test").await.unwrap();
        let reply = probe.cmd(&format!("AUTH PLAIN {}", LOGINS[sender])).await;
        assert_eq!(reply.unwrap().code, 235);
        probe
    }

    fn all_senders(&self) -> Vec<usize> {
        (0..self.fleet.senders.len()).collect()
    }

    fn each_message_takes(&self, time: Duration) {
        self.sink.set_script(move |moment| match moment.phase {
            Phase::Dot => Act::Delay(time),
            _ => Act::Accept,
        });
    }

    fn accepted(&self) -> Vec<Arc<Record>> {
        let mut records = self.sink.records();
        records.retain(|record| record.accepted);
        records
    }

    /// Waits until this many messages have arrived.
    async fn arrive(&self, count: usize, within: Duration) -> Vec<Arc<Record>> {
        let look = || Some(self.accepted()).filter(|records| records.len() >= count);
        let arrived = skein_tests::until("messages", within, LOOK, look).await;
        arrived.unwrap_or_else(|_| {
            let records = self.accepted();
            let by = by_sender(&records);
            panic!("{} of {count} messages, by {by:?}", records.len())
        })
    }
}

/// How many messages each sender brought.
fn by_sender(records: &[Arc<Record>]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.helo.clone()).or_default() += 1;
    }
    counts
}

fn times(records: &[Arc<Record>]) -> Vec<u64> {
    let mut times: Vec<u64> = records.iter().map(|record| record.at_ms).collect();
    times.sort_unstable();
    times
}

/// The most connections that stood at the host at once, by the times of its kernel.
fn most_connections(sink: &Sink) -> usize {
    most_at_once(&sink.visits(), 0..u64::MAX).0
}
