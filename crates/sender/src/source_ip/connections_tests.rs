#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use skein_client::PlacedIp;
use skein_egress::{Config, Metrics};
use skein_policy::Source as Text;

use super::*;

const OWN: Option<SessionId> = Some(SessionId(7));

fn policy() -> Arc<Policy> {
    let source = Text {
        name: "test",
        text: "kind: ip\nname: a1\nbind: 127.0.0.2\nehlo: a1.test\n",
    };
    Arc::new(Policy::parse(&[source]).unwrap())
}

fn placed(epoch: u64, session: u64, is_leaving: bool) -> Arc<PlacedIps> {
    let at = PlacedIp {
        name: "a1".into(),
        epoch,
        session,
        is_leaving,
        ..PlacedIp::default()
    };
    Arc::new(PlacedIps {
        version: epoch,
        ips: [("a1".to_owned(), at)].into(),
    })
}

fn is_cancelled(revocation: &Revocation) -> [bool; 3] {
    [&revocation.soon, &revocation.now, &revocation.cut].map(CancellationToken::is_cancelled)
}

struct Stage {
    connections: IpConnections,
    egress: Egress,
    policy: Arc<Policy>,
    began: Instant,
}

impl Stage {
    fn new() -> Self {
        Self {
            connections: IpConnections::default(),
            egress: Egress::new(&Config::default(), Metrics::default()),
            policy: policy(),
            began: Instant::now(),
        }
    }

    /// What is told after so many seconds, and which IPs are let go of then.
    fn told(&mut self, after: u64, own: Option<SessionId>, placed: &Arc<PlacedIps>) -> Vec<Key> {
        let now = self.began + Duration::from_secs(after);
        let policy = Some(self.policy.clone());
        if !self.connections.take_over(own, placed.clone(), policy, now) {
            return Vec::new();
        }
        let held = self.connections.heed(now);
        self.egress.set(held);
        self.connections.released(now, &self.egress)
    }
}

#[test]
fn an_ip_is_let_go_of_when_nothing_uses_it_any_more() {
    let mut stage = Stage::new();
    let key = ("a1".to_owned(), 3);
    stage.told(0, OWN, &placed(3, 7, false));
    let revocation = stage.connections.begin(&key);
    let leaving = placed(3, 7, true);
    assert_eq!(stage.told(20, OWN, &leaving), []);
    assert_eq!(is_cancelled(&revocation), [true, false, false]);
    assert_eq!(stage.told(30, OWN, &leaving), []);
    assert_eq!(
        is_cancelled(&revocation),
        [true, true, false],
        "all but what waits for its answer"
    );
    assert_eq!(stage.told(139, OWN, &leaving), []);
    assert!(!revocation.cut.is_cancelled());
    assert_eq!(stage.told(140, OWN, &leaving), []);
    assert!(revocation.cut.is_cancelled());
    stage.connections.end(&key);
    assert_eq!(stage.told(141, OWN, &leaving), [key]);
    assert_eq!(stage.told(142, OWN, &leaving), [], "said once");
    assert!(stage.connections.is_empty());
}

#[test]
fn a_young_session_lets_go_of_nothing() {
    let mut stage = Stage::new();
    let leaving = placed(3, 7, true);
    assert_eq!(stage.told(0, OWN, &leaving), []);
    assert_eq!(
        stage.told(11, OWN, &leaving),
        [],
        "a process before it may live"
    );
    assert_eq!(stage.told(12, OWN, &leaving), [("a1".to_owned(), 3)]);
}

#[test]
fn connections_end_with_the_session_and_when_the_ip_has_moved() {
    for (own, now) in [
        (None, placed(3, 7, false)),
        (OWN, placed(4, 8, false)),
        (OWN, placed(4, 7, false)),
        (OWN, Arc::default()),
    ] {
        let mut stage = Stage::new();
        stage.told(0, OWN, &placed(3, 7, false));
        let revocation = stage.connections.begin(&("a1".to_owned(), 3));
        assert_eq!(is_cancelled(&revocation), [false; 3]);
        stage.told(1, own, &now);
        assert_eq!(is_cancelled(&revocation), [true; 3], "{own:?} {now:?}");
    }
}

#[test]
fn what_is_placed_is_missed_no_more() {
    let mut stage = Stage::new();
    let began = stage.began;
    let later = began + Duration::from_secs(5);
    assert_eq!(stage.connections.missed_since("a1", began), began);
    assert_eq!(stage.connections.missed_since("a1", later), began);
    stage.told(6, OWN, &placed(3, 7, false));
    assert_eq!(stage.connections.missed_since("a1", later), later);
}
