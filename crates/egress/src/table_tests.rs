#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn placement(
    bind: &str,
    epoch: u64,
    connections_max: Option<u32>,
    state: PlacementState,
) -> Placement {
    Placement {
        bind: bind.parse().unwrap(),
        epoch,
        connections_max,
        state,
    }
}

fn table() -> Placements {
    Placements::from([
        (
            "four".into(),
            placement("192.0.2.1", 5, Some(2), PlacementState::Active),
        ),
        (
            "six".into(),
            placement("2001:db8::1", 5, None, PlacementState::Active),
        ),
        (
            "closed".into(),
            placement("192.0.2.2", 5, Some(0), PlacementState::Active),
        ),
        (
            "asleep".into(),
            placement("192.0.2.3", 5, None, PlacementState::Suspended),
        ),
    ])
}

fn request(ip: &str, epoch: u64, target: &str) -> Request {
    Request {
        ip: ip.into(),
        epoch,
        target: target.parse().unwrap(),
        timeout: Duration::from_secs(1),
    }
}

const FOUR: &str = "198.51.100.1:25";
const SIX: &str = "[2001:db8:1::1]:25";

fn check(ip: &str, epoch: u64, target: &str, open: &[(&str, u64)], expected: Option<&str>) {
    let mut counts = Open::default();
    for (ip, epoch) in open {
        counts.enter(ip, *epoch);
    }
    let decided = admit(&table(), &request(ip, epoch, target), &counts, 4);
    let refused = decided.err().map(|refused| refused.word());
    assert_eq!(refused, expected, "{ip} {epoch} {target} {open:?}");
}

#[test]
fn a_request_is_admitted_or_hears_the_first_reason_against_it() {
    let full = [("six", 5); 4];
    for (ip, epoch, target, open, expected) in [
        ("four", 5, FOUR, &[][..], None),
        ("six", 5, SIX, &[], None),
        ("other", 5, FOUR, &[], Some("not-held")),
        ("", 5, FOUR, &[], Some("not-held")),
        ("four", 4, FOUR, &[], Some("stale")),
        ("four", 6, FOUR, &[], Some("ahead")),
        ("asleep", 5, FOUR, &[], Some("suspended")),
        ("asleep", 4, FOUR, &[], Some("stale")),
        ("four", 5, SIX, &[], Some("family")),
        ("six", 5, FOUR, &[], Some("family")),
        ("four", 5, FOUR, &[("four", 5)], None),
        ("four", 5, FOUR, &[("four", 5), ("four", 5)], Some("cap")),
        // Destinations still see tunnels of earlier epochs.
        ("four", 5, FOUR, &[("four", 5), ("four", 3)], Some("cap")),
        ("closed", 5, FOUR, &[], Some("cap")),
        ("six", 5, SIX, &full[..3], None),
        ("six", 5, SIX, &full, Some("full")),
        ("four", 4, FOUR, &full, Some("stale")),
    ] {
        check(ip, epoch, target, open, expected);
    }
}

#[test]
fn what_is_admitted_says_where_from_and_where_to() {
    let admitted = admit(&table(), &request("four", 5, FOUR), &Open::default(), 1).unwrap();
    let expected = Admitted {
        ip: "four".into(),
        epoch: 5,
        bind: "192.0.2.1".parse().unwrap(),
        target: FOUR.parse().unwrap(),
        timeout: Duration::from_secs(1),
    };
    assert_eq!(admitted, expected);
}

#[test]
fn an_ip_is_let_go_when_it_leaves_or_changes_hands_or_address() {
    let before = table();
    let mut after = table();
    assert!(let_go(&before, &after).is_empty());
    after.get_mut("four").unwrap().state = PlacementState::Suspended;
    after.get_mut("asleep").unwrap().connections_max = Some(1);
    after.insert("new".into(), before["four"]);
    assert!(let_go(&before, &after).is_empty());
    after.get_mut("six").unwrap().epoch = 6;
    after.get_mut("asleep").unwrap().bind = "192.0.2.9".parse().unwrap();
    after.remove("closed");
    assert_eq!(let_go(&before, &after), ["asleep", "closed", "six"]);
}

proptest! {
    /// Whichever sender comes, and in whatever order tunnels open and close: no cap is passed, and no epoch but the one held gets in.
    #[test]
    fn caps_and_epochs_hold(steps in prop::collection::vec((0usize..4, 4u64..7, any::<bool>()), 0..60)) {
        let names = ["four", "six", "closed", "asleep"];
        let mut open = Open::default();
        let mut inside: Vec<Admitted> = Vec::new();
        for (which, epoch, is_end) in steps {
            if is_end {
                if let Some(admitted) = inside.pop() {
                    open.leave(&admitted.ip, admitted.epoch);
                }
                continue;
            }
            let target = if names[which] == "six" { SIX } else { FOUR };
            if let Ok(admitted) = admit(&table(), &request(names[which], epoch, target), &open, 3) {
                prop_assert_eq!(epoch, 5);
                open.enter(&admitted.ip, admitted.epoch);
                inside.push(admitted);
            }
            prop_assert!(open.total() <= 3);
            prop_assert!(open.of("four") <= 2);
            prop_assert_eq!(open.of("closed") + open.of("asleep"), 0);
        }
    }
}
