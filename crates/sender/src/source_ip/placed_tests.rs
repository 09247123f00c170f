#![expect(clippy::unwrap_used, reason = "tests")]

use skein_policy::Source as Text;

use super::*;

const POLICY: &str = "
kind: ip
name: here
bind: 127.0.0.2
ehlo: here.test
limits: {connections: 7}
---
kind: ip
name: there
bind: 127.0.0.3
ehlo: there.test
---
kind: ip
name: closed
bind: 127.0.0.4
ehlo: closed.test
---
kind: ip
name: leaving
bind: 127.0.0.5
ehlo: leaving.test
---
kind: ip
name: nowhere
bind: 127.0.0.6
ehlo: nowhere.test
---
kind: ip
name: asleep
bind: 127.0.0.7
ehlo: asleep.test
state: suspended
---
kind: ip
name: bought
bind: 192.0.2.1
ehlo: bought.test
proxy: {socks5: '127.0.0.1:1080'}
";

const OWN: Option<SessionId> = Some(SessionId(7));

fn policy() -> Policy {
    let source = Text {
        name: "test",
        text: POLICY,
    };
    Policy::parse(&[source]).unwrap()
}

fn placed() -> PlacedIps {
    let ips = [
        ("here", 7, "", false),
        ("there", 8, "127.0.0.1:7003", false),
        ("closed", 8, "", false),
        ("leaving", 7, "", true),
        ("asleep", 7, "", false),
        // Of which this node's policy does not know yet.
        ("unheard-of", 7, "", false),
    ];
    let ips = ips.map(|(name, session, egress, is_leaving)| {
        let at = PlacedIp {
            name: name.to_owned(),
            epoch: 3,
            session,
            node: format!("node-{session}"),
            egress: egress.to_owned(),
            is_leaving,
        };
        (name.to_owned(), at)
    });
    PlacedIps {
        version: 1,
        ips: ips.into(),
    }
}

#[test]
fn an_ip_is_used_where_it_is_and_while_it_stays_there() {
    let (policy, placed) = (policy(), placed());
    let node = "node-8".to_owned();
    for (name, expected) in [
        ("here", Ok(Reach::Here { epoch: 3 })),
        (
            "there",
            Ok(Reach::There {
                epoch: 3,
                egress: "127.0.0.1:7003",
            }),
        ),
        ("closed", Err(Unreached::Closed { node })),
        ("leaving", Err(Unreached::Leaving)),
        ("nowhere", Err(Unreached::Unplaced)),
        ("bought", Ok(Reach::Proxy)),
    ] {
        let ip = policy.ip(name).unwrap();
        assert_eq!(reach(OWN, &placed, ip), expected, "{name}");
        let is_somebodys = reach(None, &placed, ip);
        assert_eq!(is_somebodys.is_ok(), name == "bought", "no session: {name}");
    }
}

#[test]
fn a_node_holds_its_own_ips_until_they_have_left() {
    let (policy, placed) = (policy(), placed());
    let at = |stage: Stage| {
        move |at: &PlacedIp, _: &Ip| match at.is_leaving {
            true => stage,
            false => Stage::IpConnections,
        }
    };
    let names = |stage: Stage| {
        let held = held(OWN, &placed, &policy, &at(stage));
        let names = held.into_iter();
        names
            .map(|(name, it)| (name, it.state, it.connections_max))
            .collect::<Vec<_>>()
    };
    let all = [
        ("asleep".to_owned(), PlacementState::Suspended, None),
        ("here".to_owned(), PlacementState::Active, Some(7)),
        ("leaving".to_owned(), PlacementState::Leaving, None),
    ];
    assert_eq!(names(Stage::Leaving), all);
    assert_eq!(names(Stage::GivenUp), all);
    assert_eq!(names(Stage::Cut), all[..2]);
    assert_eq!(
        held(None, &placed, &policy, &at(Stage::IpConnections)),
        Placements::new()
    );
}

#[test]
fn what_is_beyond_its_final_dot_has_more_time_to_leave() {
    for (leaving_for, is_present, expected) in [
        (None, true, Stage::IpConnections),
        (None, false, Stage::IpConnections),
        (Some(0), true, Stage::Leaving),
        (Some(9), false, Stage::Leaving),
        (Some(10), true, Stage::GivenUp),
        (Some(10), false, Stage::Cut),
        (Some(119), true, Stage::GivenUp),
        (Some(120), true, Stage::Cut),
    ] {
        let leaving_for = leaving_for.map(Duration::from_secs);
        assert_eq!(
            stage(leaving_for, is_present),
            expected,
            "{leaving_for:?} {is_present}"
        );
    }
}
