use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Few shards and few hashes in each, so that they meet; and the ends of all.
fn hash() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0_u64..3, 0_u64..40).prop_map(|(shard, rest)| shard << 48 | rest),
        (0_u64..40).prop_map(|rest| u64::MAX - rest),
        any::<u64>(),
    ]
}

proptest! {
    #[test]
    fn a_filter_is_a_set(steps in prop::collection::vec((hash(), any::<bool>()), 0..300)) {
        let (mut filter, mut set) = (Filter::default(), BTreeSet::new());
        for (hash, is_added) in &steps {
            match is_added {
                true => prop_assert_eq!(filter.insert(*hash), set.insert(*hash)),
                false => prop_assert_eq!(filter.remove(*hash), set.remove(hash)),
            }
            prop_assert_eq!(filter.contains(*hash), *is_added);
            prop_assert_eq!(filter.len(), set.len());
        }
        for (hash, _) in &steps {
            prop_assert_eq!(filter.contains(*hash), set.contains(hash));
        }
        prop_assert_eq!(filter == set.iter().rev().copied().collect::<Filter>(), true);
        let other = set.iter().skip(1).copied().collect::<Filter>();
        prop_assert_eq!(filter == other, set.is_empty());
        prop_assert_eq!(filter.is_empty(), set.is_empty());
    }
}

#[test]
fn room_is_given_back() {
    let hash = |n: u64| crate::id::mix(n);
    let empty = Filter::default().bytes();
    let mut filter: Filter = (0..500_000).map(hash).collect();
    let full = filter.bytes();
    // Eight hashes in each shard, so what is left for growth counts for more than it does with 150.
    assert!(
        (500_000 * 6..500_000 * 9).contains(&(full - empty)),
        "{full}"
    );
    for n in 0..499_000 {
        assert!(filter.remove(hash(n)));
    }
    assert!(
        filter.bytes() - empty < SHARDS_BYTES_LEFT,
        "{}",
        filter.bytes()
    );
    assert_eq!(filter, (499_000..500_000).map(hash).collect());
}

/// Three empty places in each shard.
const SHARDS_BYTES_LEFT: usize = 65_536 * 18;
