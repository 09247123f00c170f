//! What of a backup's meta group holds for another cluster.

use minicbor::{Decode, Encode};

use super::domains::{self, DomainRow};
use super::ips::{self, Placement};
use super::members::{self, removed_key};
use super::policy_change;
use super::policy_history::Made;
use super::site_spread::{self, Spread};
use super::state::{Assignment, drained_key, give, slot_key};
use super::sts::{self, StsRow};
use super::suppressions::{self, Suppressed};
use super::tenants;
use super::token_keys::{self, PutTokenKey};
use crate::automation::{self, ActiveAction, RuleAt, Suspension};
use crate::codec;
use crate::id::{Epoch, NodeId, SessionId, Slot};
use crate::rows::{Rows, load};
use crate::suppression::Key;
use crate::time::UnixMs;
use crate::warmup::{self, Row, Target};

/// Of the rules and suspensions that one command brings: with the longest names each has 2 kB, and a command stays within
/// what one Raft entry holds.
const HELD_AT_ONCE: usize = 256;
/// Of domains: with two keys of each algorithm and a full history each has 10 kB.
const DOMAINS_AT_ONCE: usize = 32;
/// Of MTA-STS policies: with the longest names of hosts each has 17 kB.
const STS_AT_ONCE: usize = 24;
/// Of suppressed addresses and domains, encoded: with one reason each has some 150 octets, with all of them and the longest texts 4 kB.
const SUPPRESSIONS_BYTES_AT_ONCE: usize = 256 << 10;

/// Sessions, nodes and invitations were those of a cluster that is no more, and are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Import {
    /// Epochs go on from where they were, so that whoever held a slot there holds none here.
    #[n(0)]
    pub epochs: Vec<(Slot, Epoch)>,
    /// Senders that an operator took out of service.
    #[n(1)]
    pub drained: Vec<String>,
    /// Nodes that lost their data or were removed.
    #[n(2)]
    pub removed: Vec<NodeId>,
    /// Weights of tenants.
    #[n(3)]
    pub weights: Vec<(String, u32)>,
    /// Sites that an operator spread, or that were spread by themselves.
    #[n(4)]
    pub spreads: Vec<(String, Spread)>,
    /// Resources of the policy.
    #[n(5)]
    pub policy: Vec<(String, String)>,
    /// Warm-ups, with what was granted on their days.
    #[n(8)]
    #[cbor(default)]
    pub warmups: Vec<(Target, Row)>,
    /// What rules on replies have in force, and climbs back.
    #[n(9)]
    #[cbor(default)]
    pub active_actions: Vec<(RuleAt, ActiveAction)>,
    /// Mail that operators hold back, or give up.
    #[n(10)]
    #[cbor(default)]
    pub suspensions: Vec<Suspension>,
    /// Epochs of source IPs, which go on as those of slots do.
    #[n(11)]
    #[cbor(default)]
    pub ips: Vec<(String, Epoch)>,
    /// Where resources are applied from. How the policy came about is not taken over.
    #[n(12)]
    #[cbor(default)]
    pub sources: Vec<(String, String)>,
    /// Domains with their keys, which are encrypted as they were.
    #[n(20)]
    #[cbor(default)]
    pub domains: Vec<(String, DomainRow)>,
    /// MTA-STS policies, which were trusted on first use.
    #[n(60)]
    #[cbor(default)]
    pub sts: Vec<(String, StsRow)>,
    /// Keys of tokens, which are encrypted as they were: mail that is out there comes back to this cluster.
    #[n(61)]
    #[cbor(default)]
    pub token_keys: Vec<PutTokenKey>,
    /// Addresses and domains that are not mailed. There are millions, so a restore adds up and commits so many rows at a time.
    #[n(70)]
    #[cbor(default)]
    pub suppressions: Vec<(Key, Suppressed)>,
}

impl Import {
    /// Reads one row of the backed up group; rows that do not count, or cannot be read, are passed over.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let Some((kind, rest)) = key.split_first() else {
            return;
        };
        match kind {
            b'a' => {
                let slot = rest.try_into().map(u16::from_be_bytes).map(Slot);
                let slot = slot.ok().filter(|slot| slot.0 < Slot::COUNT);
                let held = codec::decode::<Assignment>(value);
                self.epochs
                    .extend(slot.zip(held.ok().map(|held| held.epoch)));
            }
            b'd' => self.drained.extend(String::from_utf8(rest.to_vec())),
            b'r' => self
                .removed
                .extend(rest.try_into().map(|id| NodeId(u64::from_be_bytes(id)))),
            b'w' => self.weights.extend(named(rest, value)),
            b'f' => self.spreads.extend(named(rest, value)),
            b'y' => self.policy.extend(named(rest, value)),
            b's' => self.sources.extend(named(rest, value)),
            b'W' => self.warmups.extend(warmup::read_row(key, value)),
            b'X' => self
                .active_actions
                .extend(automation::read_force(key, value)),
            b'H' => self
                .suspensions
                .extend(automation::read_suspension(key, value)),
            b'D' => {
                let name = rest.strip_prefix(b"r");
                self.domains
                    .extend(name.and_then(|name| named(name, value)));
            }
            b'T' => {
                let domain = rest.strip_prefix(b"p");
                self.sts
                    .extend(domain.and_then(|domain| named(domain, value)));
            }
            b'B' => self.token_keys.extend(token_keys::read_row(key, value)),
            b'S' => {
                let key = suppressions::read_entry_key(key);
                self.suppressions.extend(key.zip(codec::decode(value).ok()));
            }
            b'o' => {
                let placed = named::<Placement>(rest, value);
                self.ips.extend(placed.map(|(name, at)| (name, at.epoch)));
            }
            _ => {}
        }
    }

    /// The same as commands of bounded size. What holds mail back comes first.
    pub fn in_parts(mut self) -> Vec<Self> {
        let suspensions = std::mem::take(&mut self.suspensions);
        let active_actions = std::mem::take(&mut self.active_actions);
        let domains = std::mem::take(&mut self.domains);
        let sts = std::mem::take(&mut self.sts);
        let suppressions = in_chunks(std::mem::take(&mut self.suppressions));
        let suspensions = suspensions.chunks(HELD_AT_ONCE).map(|some| Self {
            suspensions: some.to_vec(),
            ..Self::default()
        });
        let active_actions = active_actions.chunks(HELD_AT_ONCE).map(|some| Self {
            active_actions: some.to_vec(),
            ..Self::default()
        });
        let domains = domains.chunks(DOMAINS_AT_ONCE).map(|some| Self {
            domains: some.to_vec(),
            ..Self::default()
        });
        let sts = sts.chunks(STS_AT_ONCE).map(|some| Self {
            sts: some.to_vec(),
            ..Self::default()
        });
        let suppressions = suppressions.into_iter().map(|some| Self {
            suppressions: some,
            ..Self::default()
        });
        let held_back = suspensions.chain(active_actions).chain(suppressions);
        let parts = held_back.chain(domains).chain(sts);
        let mut parts: Vec<Self> = parts.collect();
        parts.push(self);
        parts
    }
}

/// Of so many octets each.
fn in_chunks(rows: Vec<(Key, Suppressed)>) -> Vec<Vec<(Key, Suppressed)>> {
    let (mut chunks, mut left) = (Vec::<Vec<_>>::new(), 0);
    for row in rows {
        let bytes = codec::encode(&row).len();
        match chunks.last_mut() {
            Some(chunk) if bytes <= left => chunk.push(row),
            _ => {
                chunks.push(vec![row]);
                left = SUPPRESSIONS_BYTES_AT_ONCE;
            }
        }
        left = left.saturating_sub(bytes);
    }
    chunks
}

fn named<T: for<'b> Decode<'b, ()>>(name: &[u8], value: &[u8]) -> Option<(String, T)> {
    let name = String::from_utf8(name.to_vec()).ok()?;
    Some((name, codec::decode(value).ok()?))
}

pub(super) fn import<R: Rows>(rows: &mut R, now: UnixMs, imported: &Import) {
    automation::restore(rows, now, &imported.active_actions, &imported.suspensions);
    for (ip, epoch) in &imported.ips {
        ips::raise_epoch(rows, ip, *epoch);
    }
    for (slot, epoch) in &imported.epochs {
        let held: Option<Assignment> = load(rows, &slot_key(*slot));
        if held.is_none_or(|held| held.epoch <= *epoch) {
            let session = held.map_or(SessionId::NONE, |held| held.session);
            give(rows, *slot, *epoch, session);
        }
    }
    for sender in &imported.drained {
        rows.put(drained_key(sender), Vec::new());
    }
    // What this version does not allow was allowed once, and is left out.
    for (tenant, weight) in &imported.weights {
        let _ = tenants::set_weight(rows, tenant, *weight);
    }
    for (site, spread) in &imported.spreads {
        let _ = site_spread::set_spread(rows, site, Some(*spread));
    }
    if !imported.policy.is_empty() {
        for (key, source) in &imported.sources {
            policy_change::set_source(rows, key, source);
        }
        let texts = (imported.policy.as_slice(), [].as_slice());
        let _ = policy_change::set_policy(rows, now, None, texts, Made::Restored);
    }
    for (target, row) in &imported.warmups {
        warmup::restore(rows, target, row);
    }
    for (name, row) in &imported.domains {
        domains::restore(rows, now, name, row);
    }
    for (domain, row) in &imported.sts {
        sts::restore(rows, now, domain, row);
    }
    for put in &imported.token_keys {
        token_keys::restore(rows, now, put);
    }
    suppressions::restore(rows, now, &imported.suppressions);
    // What is a node of this cluster was none of the other.
    let nodes = members::nodes(rows);
    for node in imported.removed.iter().filter(|id| !nodes.contains_key(id)) {
        rows.put(removed_key(*node), Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Response, apply, placements};
    use super::*;
    use crate::automation::{Action, Match, MatchCount, Rule, Rules, ScopeKind, Selector};
    use crate::rows::MemoryRows;
    use crate::suppression::{Entry, NOTE_BYTES_MAX, NewEntry, Reason, Scope, Subject};
    use crate::time::DurationMs;
    use crate::warmup::Order;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);
    const HOUR: DurationMs = DurationMs::from_secs(3600);
    const SESSION: SessionId = SessionId(7);

    fn say(rows: &mut MemoryRows, command: &Command) {
        assert_eq!(apply(rows, NOW, command), Response::Done);
    }

    fn suspend(campaign: &str) -> Command {
        Command::Automation(Box::new(automation::Command::Suspend {
            selector: Selector {
                campaign: Some(campaign.to_owned()),
                ..Selector::default()
            },
            lasts: HOUR,
            order: Order {
                who: "ann".to_owned(),
                why: "wrong list".to_owned(),
            },
            gives_up: false,
        }))
    }

    /// A cluster in which much is held back, a rule is in force and a source IP is in use.
    fn lost(suspensions: usize) -> MemoryRows {
        let mut rows = MemoryRows::default();
        let open = Command::OpenSession {
            session: SESSION,
            sender: "s1".to_owned(),
            order: 1,
        };
        say(&mut rows, &open);
        for n in 0..suspensions {
            say(&mut rows, &suspend(&format!("c{n}")));
        }
        let rule = Rule {
            threshold: 1,
            window: HOUR,
            action: Action::Suspend,
            scope: ScopeKind::Tenant,
            lasts: HOUR,
        };
        let rules = Rules::from([("yahoo".to_owned(), vec![rule])]);
        say(&mut rows, &Command::SetRules(rules));
        let matched = Match {
            provider: "yahoo".to_owned(),
            rule: 0,
            ip: [192, 0, 2, 1].into(),
            site: "yahoo".to_owned(),
            tenant: "shop".to_owned(),
            pool: "main".to_owned(),
            reply: "421 4.7.0 [TSS04] deferred".to_owned(),
        };
        let tell = Command::TellReplies {
            session: SESSION,
            batch: 1,
            told: vec![MatchCount { matched, count: 1 }],
        };
        say(&mut rows, &tell);
        let moves = vec![("a1".to_owned(), SESSION)];
        say(&mut rows, &Command::MoveIps(moves));
        rows
    }

    #[test]
    fn what_is_in_force_comes_in_parts_that_may_come_again() {
        for count in [0, 1, HELD_AT_ONCE, HELD_AT_ONCE + 1, 1000] {
            let before = lost(count);
            let mut import = Import::default();
            for (key, value) in &before.0 {
                import.add(key, value);
            }
            let parts = import.in_parts();
            let mut rows = MemoryRows::default();
            for part in parts.iter().chain(&parts) {
                assert!(codec::encode(part).len() < 512 << 10);
                say(&mut rows, &Command::Import(part.clone()));
            }
            assert_eq!(
                automation::suspensions(&rows),
                automation::suspensions(&before)
            );
            assert_eq!(
                automation::active_actions(&rows),
                automation::active_actions(&before)
            );
            let (now, then) = (placements(&rows)["a1"], placements(&before)["a1"]);
            assert!(now.epoch > then.epoch && now.session == SessionId::NONE);
        }
    }

    fn suppress(name: u32, note: String) -> NewEntry {
        NewEntry {
            key: Key {
                scope: Scope::Tenant("acme".to_owned()),
                subject: Subject::Address(format!("a{name}@example.com")),
            },
            spelling: Some(format!("A{name}@example.com")),
            entry: Entry {
                reason: Reason::Manual,
                source: String::new(),
                created: UnixMs(1),
                expires: (name == 7).then_some(NOW),
                note,
            },
        }
    }

    #[test]
    fn suppression_lists_come_in_parts_that_may_come_again() {
        for (count, note_bytes) in [(1, 9), (2_000, NOTE_BYTES_MAX), (5_000, 9)] {
            let mut before = MemoryRows::default();
            let note = "x".repeat(note_bytes);
            let items = (0..count).map(|name| suppress(name, note.clone()));
            let command = suppressions::Command::Add {
                items: items.collect(),
                by: "ann".to_owned(),
            };
            apply(
                &mut before,
                UnixMs(5),
                &Command::Suppression(Box::new(command)),
            );
            let mut import = Import::default();
            for (key, value) in &before.0 {
                import.add(key, value);
            }
            let parts = import.in_parts();
            let mut rows = MemoryRows::default();
            for part in parts.iter().chain(&parts) {
                assert!(codec::encode(part).len() < 512 << 10);
                let command = codec::encode(&Command::Import(part.clone()));
                let command = super::super::read_proposed(&command);
                say(
                    &mut rows,
                    &command.unwrap_or_else(|error| panic!("{error}")),
                );
            }
            // One has ended meanwhile.
            let of = |rows: &MemoryRows| {
                let all = suppressions::Newest::default();
                suppressions::newest(rows, &all, 9_999).items
            };
            let mut expected = of(&before);
            expected.retain(|item| item.stored.entry.expires.is_none());
            assert_eq!(of(&rows), expected);
            assert_eq!(suppressions::counts(&rows).entries(), expected.len() as u64);
        }
    }
}
