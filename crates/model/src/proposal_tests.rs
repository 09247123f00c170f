//! Whatever bytes come, a command that may be proposed can be applied.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cbor;
pub mod samples;

use proptest::prelude::*;

use crate::proposal::{COMMAND_BYTES_MAX, IMPORTED_NUMBER_MAX, Invalid};
use crate::rows::MemoryRows;
use crate::{Epoch, GroupId, LimitMs, MessageId, SessionId, Slot, UnixMs, codec, meta, spool};

use cbor::{Item, Random};

const GROUP: GroupId = GroupId(1);
/// Commands of one story. State that one leaves behind is what another trips over.
const COMMANDS: usize = 60;

/// A command as it should be, or nearly: some of its numbers, texts and lists are exchanged.
fn near_valid(samples: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let sample = &samples[random.below(samples.len())];
    let mut item = Item::read(sample);
    for _ in 0..random.below(4) {
        item.mutate(random);
    }
    let mut command = item.write();
    match random.below(20) {
        0 => command.push(random.next() as u8),
        1 => command.truncate(random.below(command.len() + 1)),
        2 => {
            let place = random.below(command.len());
            command[place] = random.next() as u8;
        }
        _ => {}
    }
    command
}

fn check_meta(seed: u64) -> usize {
    let (samples, mut random) = (samples::meta(), Random(seed));
    let (mut rows, mut applied) = (MemoryRows::default(), 0);
    for nth in 0..COMMANDS as u64 {
        let command = near_valid(&samples, &mut random);
        let Ok(command) = meta::read_proposed(&command) else {
            continue;
        };
        // One that the state refuses is as good.
        meta::apply(
            &mut rows,
            UnixMs(1_700_000_000_000 + nth * random.step()),
            &command,
        );
        applied += 1;
    }
    meta::limits::due(&rows, LimitMs(u64::MAX));
    meta::limits::limits(&rows, None, 1000)
        .iter()
        .for_each(|(_, row)| {
            row.used(LimitMs(1));
            row.parts();
        });
    applied
}

fn check_spool(seed: u64) -> usize {
    let (samples, mut random) = (samples::spool(GROUP), Random(seed));
    let (mut rows, mut applied) = (MemoryRows::default(), 0);
    for nth in 0..COMMANDS as u64 {
        let command = near_valid(&samples, &mut random);
        let Ok(command) = spool::read_proposed(GROUP, &command) else {
            continue;
        };
        spool::apply(
            &mut rows,
            UnixMs(1_700_000_000_000 + nth * random.step()),
            &command,
        );
        applied += 1;
    }
    spool::query::state(&rows);
    applied
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn meta_applies_whatever_may_be_proposed(seed in any::<u64>()) {
        prop_assert!(check_meta(seed) > 0);
    }

    #[test]
    fn a_spool_group_applies_whatever_may_be_proposed(seed in any::<u64>()) {
        prop_assert!(check_spool(seed) > 0);
    }

    #[test]
    fn bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = (meta::read_proposed(&bytes), spool::read_proposed(GROUP, &bytes));
    }
}

#[test]
fn commands_as_they_are_may_be_proposed() {
    for sample in samples::meta() {
        let read = meta::read_proposed(&sample);
        assert!(read.is_ok(), "{read:?} {sample:02x?}");
    }
    for sample in samples::spool(GROUP) {
        let read = spool::read_proposed(GROUP, &sample);
        assert!(read.is_ok(), "{read:?} {sample:02x?}");
    }
}

#[test]
fn what_is_refused_is_named() {
    let delete = |group, by: &str| {
        codec::encode(&spool::Command::Delete {
            message: MessageId::new(UnixMs(1), group, 7),
            by: by.into(),
        })
    };
    let good = delete(GROUP, "admin");
    let invite = |address: &str| codec::encode(&meta::Command::Invite(address.into()));
    let of_spool = |command: &[u8]| spool::read_proposed(GROUP, command).err();
    let of_meta = |command: &[u8]| meta::read_proposed(command).err();
    for (refused, expected) in [
        (of_spool(&good), None),
        (
            of_spool(&[&good[..], &[0]].concat()),
            Some("1 bytes follow"),
        ),
        (of_spool(&delete(GroupId::META, "admin")), Some("message: ")),
        (of_spool(&delete(GroupId(2), "admin")), Some("of group 2")),
        (of_spool(&delete(GROUP, "a\nb")), Some("by: ")),
        (of_spool(&invite("a:1")), Some("no command of the group")),
        (of_spool(&[0xff]), Some("no command of the group")),
        (of_spool(&[]), Some("no command of the group")),
        (
            of_spool(&vec![0; COMMAND_BYTES_MAX + 1]),
            Some("up to 8388608 bytes"),
        ),
        (of_meta(&invite("a.example:7000")), None),
        (
            of_meta(&invite("bad host:1")),
            Some("address: \"bad host:1\" is not like host:port"),
        ),
        (of_meta(&good), Some("no command of the group")),
    ] {
        let refused = refused.map(|invalid: Invalid| invalid.to_string());
        assert_eq!(
            refused.is_some(),
            expected.is_some(),
            "{refused:?} {expected:?}"
        );
        let text = refused.unwrap_or_default();
        assert!(
            text.contains(expected.unwrap_or_default()),
            "{text} {expected:?}"
        );
    }
}

/// Epochs go on from those that a backup brought, whatever they were: a slot that moves after it can be opened.
#[test]
fn a_backup_leaves_room_for_what_is_counted_on_from_it() {
    let import = |epoch: u64| {
        codec::encode(&meta::Command::Import(meta::Import {
            epochs: vec![(Slot(3), Epoch(epoch))],
            ..meta::Import::default()
        }))
    };
    let open = |epoch: u64| {
        codec::encode(&spool::Command::OpenSlots(spool::OpenSlots {
            session: SessionId(1),
            slots: vec![(Slot(3), Epoch(epoch))],
        }))
    };
    assert!(meta::read_proposed(&import(IMPORTED_NUMBER_MAX)).is_ok());
    assert!(meta::read_proposed(&import(IMPORTED_NUMBER_MAX + 1)).is_err());
    for more in [1, 1 << 40] {
        let moved = open(IMPORTED_NUMBER_MAX + more);
        assert_eq!(spool::read_proposed(GROUP, &moved).err(), None, "{more}");
    }
}

/// The mistyped id of one message is a good command of another group, or of none: it is refused where it is proposed.
#[test]
fn only_what_is_passed_on_between_nodes_is_forwarded() {
    let forwarded = |commands: Vec<Vec<u8>>, is_forwarded: &dyn Fn(&[u8]) -> bool| {
        commands
            .iter()
            .filter(|command| is_forwarded(command))
            .count()
    };
    let of_meta = |command: &[u8]| meta::read_proposed(command).unwrap().is_forwarded();
    let of_spool = |command: &[u8]| spool::read_proposed(GROUP, command).unwrap().is_forwarded();
    assert_eq!(forwarded(samples::meta(), &of_meta), 31);
    assert_eq!(forwarded(samples::spool(GROUP), &of_spool), 8);
}
