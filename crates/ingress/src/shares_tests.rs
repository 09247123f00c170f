use proptest::prelude::*;

use super::*;
use crate::network::client_of;

fn account(tenant: &str, client: u8) -> Account {
    Account {
        tenant: Some(tenant.into()),
        client: client_of([192, 0, 2, client].into()),
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn who_holds_little_goes_on_whoever_has_the_rest() {
    for clients in [1, 2, 4, 7] {
        let mut shares = Shares::new(64_000);
        for client in 0..clients {
            let hog = shares.open(account("t", client), ms(0));
            while shares.try_take(hog, 500) {}
        }
        let honest = shares.open(account("t", 200), ms(0));
        assert!(shares.try_take(honest, 500), "{clients} clients");
        assert!(shares.try_take(honest, 500), "{clients} clients");
        assert!(shares.used() <= 64_000);
    }
}

#[test]
fn nobody_passes_a_quarter_while_others_wait() {
    let mut shares = Shares::new(64_000);
    let hog = shares.open(account("t", 1), ms(0));
    let other = shares.open(account("t", 2), ms(0));
    assert!(shares.try_take(hog, 40_000) && shares.try_take(other, 16_000));
    let of_hog = shares.wait(hog, 2_000);
    let of_other = shares.wait(other, 10_000);
    let third = shares.open(account("t", 3), ms(0));
    let of_third = shares.wait(third, 50_000);
    assert_eq!(shares.grant(), []);
    shares.give_back(other, 16_000);
    assert_eq!(
        shares.grant(),
        [(of_other, other, 10_000)],
        "it came later, and holds less"
    );
    assert!(!shares.try_take(hog, 1_000));
    shares.stop_waiting(of_third);
    assert_eq!(shares.grant(), [(of_hog, hog, 2_000)], "nobody else waits");
}

#[test]
fn memory_is_taken_back_from_the_slowest_of_who_holds_most() {
    let mut shares = Shares::new(64_000);
    let slow = shares.open(account("t", 1), ms(0));
    let slower = shares.open(account("t", 1), ms(0));
    let busy = shares.open(account("t", 1), ms(0));
    let little = shares.open(account("t", 2), ms(0));
    let waiting = shares.open(account("t", 3), ms(0));
    for (holder, bytes) in [
        (slow, 18_000),
        (slower, 18_000),
        (busy, 18_000),
        (little, 500),
        (waiting, 500),
    ] {
        assert!(shares.try_take(holder, bytes));
    }
    shares.moved(slow, MOVE_BYTES, ms(2_000));
    // Octet by octet is not a move.
    shares.moved(slower, 100, ms(9_900));
    // Memory that waits for disks comes back by itself.
    shares.waits_for_client(busy, false);
    let waiter = shares.wait(waiting, 9_000);
    assert_eq!(shares.grant(), []);
    assert_eq!(shares.victims(ms(10_000)), [slower]);
    shares.close(slower);
    shares.give_back(slower, 18_000);
    assert_eq!(shares.grant(), [(waiter, waiting, 9_000)]);

    let waiter = shares.wait(waiting, 60_000);
    assert!(
        shares.victims(ms(10_000)).is_empty(),
        "nobody has more than that"
    );
    shares.stop_waiting(waiter);
    shares.wait(waiting, 10_000);
    assert_eq!(shares.victims(ms(10_000)), [slow]);
    assert!(shares.victims(ms(2_100)).is_empty(), "it moved just now");
}

#[test]
fn a_tenant_with_many_clients_gives_back_for_another_tenant() {
    let mut shares = Shares::new(64_000);
    for client in 0..100 {
        let holder = shares.open(account("many", client), ms(0));
        shares.try_take(holder, 560);
    }
    let one = shares.open(account("one", 200), ms(0));
    assert!(shares.try_take(one, 900));
    shares.wait(one, 9_000);
    assert_eq!(shares.grant(), []);
    assert!(shares.victims(ms(10_000)).len() > 10);
}

/// Whatever hogs wait for as well, who holds least is served by the same look.
#[test]
fn one_look_serves_all_who_wait() {
    let mut shares = Shares::new(1 << 20);
    let mut hogs = Vec::new();
    for nth in 0..2000u32 {
        let hog = shares.open(account("t", (nth % 8) as u8), ms(0));
        shares.try_take(hog, 500);
        hogs.push(hog);
    }
    for hog in &hogs {
        shares.wait(*hog, 500);
    }
    let (one, other) = (
        shares.open(account("t", 200), ms(0)),
        shares.open(account("t", 201), ms(0)),
    );
    shares.wait(one, 4_000);
    shares.wait(other, 4_000);
    let victims = shares.victims(ms(10_000));
    assert_eq!(victims.len(), 16, "8 sessions of 500 octets for each");
    assert!(victims.iter().all(|victim| hogs.contains(victim)));
}

#[derive(Debug, Clone)]
enum Op {
    Take(usize, usize),
    Back(usize, usize),
    Wait(usize, usize),
    Close(usize),
    Tenant(usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0usize..12;
    prop_oneof![
        (who.clone(), 1usize..4000).prop_map(|(who, bytes)| Op::Take(who, bytes)),
        (who.clone(), 1usize..4000).prop_map(|(who, bytes)| Op::Back(who, bytes)),
        (who.clone(), 1usize..4000).prop_map(|(who, bytes)| Op::Wait(who, bytes)),
        who.clone().prop_map(Op::Close),
        (who, any::<bool>()).prop_map(|(who, other)| Op::Tenant(who, other)),
    ]
}

proptest! {
    #[test]
    fn no_more_is_given_than_there_is_and_nobody_waits_for_what_is_free(
        ops in prop::collection::vec(op(), 1..120)
    ) {
        let mut shares = Shares::new(10_000);
        let mut holders: Vec<HolderId> = (0..12)
            .map(|n| shares.open(account("a", n % 5), ms(0)))
            .collect();
        let mut held: HashMap<HolderId, usize> = HashMap::new();
        for op in ops {
            match op {
                Op::Take(who, bytes) => {
                    if shares.try_take(holders[who], bytes) {
                        *held.entry(holders[who]).or_default() += bytes;
                    }
                }
                Op::Back(who, bytes) => {
                    let all = held.entry(holders[who]).or_default();
                    let bytes = bytes.min(*all);
                    *all -= bytes;
                    shares.give_back(holders[who], bytes);
                }
                Op::Wait(who, bytes) => {
                    shares.wait(holders[who], bytes);
                }
                Op::Close(who) => {
                    shares.close(holders[who]);
                    let all = held.remove(&holders[who]).unwrap_or(0);
                    shares.give_back(holders[who], all);
                    holders[who] = shares.open(account("a", (who % 5) as u8), ms(0));
                }
                Op::Tenant(who, other) => {
                    let tenant = if other { "b" } else { "a" };
                    shares.set_tenant(holders[who], Some(tenant.into()));
                }
            }
            for (_, holder, bytes) in shares.grant() {
                *held.entry(holder).or_default() += bytes;
            }
            prop_assert!(shares.used() <= 10_000);
            prop_assert_eq!(shares.used(), held.values().sum::<usize>());
            prop_assert_eq!(shares.used(), shares.tenants.iter().map(|(_, one)| one.bytes).sum::<usize>());
            prop_assert_eq!(shares.holding, shares.tenants.iter().filter(|(_, one)| one.bytes > 0).count());
            prop_assert_eq!(shares.used(), shares.accounts.iter().map(|(_, one)| one.bytes).sum::<usize>());
            let waiting = shares.accounts.iter().flat_map(|(_, one)| &one.waiting);
            prop_assert_eq!(waiting.count(), shares.waiting.len());
            let heads: BTreeSet<WaiterId> =
                shares.accounts.iter().filter_map(|(_, one)| one.waiting.first().copied()).collect();
            prop_assert_eq!(&heads, &shares.heads);
        }
        for (holder, bytes) in held {
            shares.give_back(holder, bytes);
        }
        while !shares.waiting.is_empty() {
            let granted = shares.grant();
            prop_assert!(!granted.is_empty(), "all is free, and somebody waits: {:?}", shares);
            for (_, holder, bytes) in granted {
                shares.give_back(holder, bytes);
            }
        }
        prop_assert_eq!((shares.used(), shares.holding), (0, 0));
        prop_assert!(shares.victims(ms(0)).is_empty());
        for holder in holders {
            shares.close(holder);
        }
        prop_assert_eq!((shares.holders.len(), shares.accounts.len(), shares.tenants.len()), (0, 0, 0));
    }
}
