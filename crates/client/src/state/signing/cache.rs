//! What was answered of domains, until it changes. Pure: time is an argument.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use skein_dkim::Signer;
use skein_model::DurationMs;
use skein_wire::internal::GetSigningChangesReply;

use super::{DomainSigning, MailSigning, Unusable};

/// Twice so many domains are kept, those of the cluster and others. A domain with a signer of RSA-2048 has some 6 KiB: 60 MB, if
/// each of them signs. Those that mail came from of late are moved on, and a client that sends as ever new domains drives
/// out only what is not used.
const GENERATION_MAX: usize = 5000;
/// For so long what is known is used while no leader says whether it still holds. A key that was revoked signs no longer than
/// that; the mail of a cluster without its leaders goes nowhere by then.
const USED_FOR: DurationMs = DurationMs::from_secs(3600);

type Entry = Option<Arc<DomainSigning>>;

/// See [`MailSigning`].
#[derive(Debug, Default)]
pub struct Cache {
    /// No later change is known. None: nothing was heard.
    version: Option<u64>,
    /// When the leader had no other version, since the machine started.
    in_step_at: DurationMs,
    operator: Option<Arc<Result<Vec<Signer>, Unusable>>>,
    /// Domains and selectors of the operator's keys, as they were answered last.
    operator_names: Vec<(String, String)>,
    young: HashMap<String, Entry>,
    old: HashMap<String, Entry>,
}

impl Cache {
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// The leader is at this version. Since which one its changes are to be asked for, if they are.
    pub fn hear(&mut self, version: u64, now: DurationMs) -> Option<u64> {
        match self.version {
            Some(known) if known < version => return Some(known),
            // Another cluster, such as one that was restored.
            Some(known) if known > version => self.forget_all(),
            _ => {}
        }
        self.version = Some(version);
        self.in_step_at = now;
        None
    }

    /// These have changed, and what is below of them.
    pub fn forget(&mut self, changes: &GetSigningChangesReply, now: DurationMs) {
        // The list does not tell whether one of them is the operator's.
        self.operator = None;
        if changes.all {
            self.forget_all();
        } else {
            let changed: HashSet<&str> = changes.domains.iter().map(String::as_str).collect();
            let holds = |domain: &String, _: &mut Entry| {
                !itself_and_above(domain).any(|domain| changed.contains(domain))
            };
            self.young.retain(holds);
            self.old.retain(holds);
        }
        self.version = Some(changes.version);
        self.in_step_at = now;
    }

    pub fn forget_all(&mut self) {
        self.operator = None;
        self.young.clear();
        self.old.clear();
    }

    /// What is known of all these; none if it is to be asked for.
    pub fn look_up(&mut self, domains: &[String], now: DurationMs) -> Option<MailSigning> {
        if now.0.saturating_sub(self.in_step_at.0) > USED_FOR.0 {
            return None;
        }
        let operator = self.operator.clone()?;
        let found = domains.iter().map(|domain| self.entry(domain));
        Some(MailSigning {
            domains: found.collect::<Option<Vec<_>>>()?,
            operator,
        })
    }

    fn entry(&mut self, domain: &str) -> Option<Entry> {
        if let Some(entry) = self.young.get(domain) {
            return Some(entry.clone());
        }
        let (domain, entry) = self.old.remove_entry(domain)?;
        self.keep(domain, entry.clone());
        Some(entry)
    }

    fn keep(&mut self, domain: String, entry: Entry) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&domain) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(domain, entry);
    }

    /// Keeps what was answered of these domains at this version.
    pub fn learn(&mut self, version: u64, asked: &[String], learnt: &MailSigning, now: DurationMs) {
        match self.version {
            None => {
                self.version = Some(version);
                self.in_step_at = now;
            }
            Some(known) if known == version => self.in_step_at = now,
            // It was under way while it changed.
            Some(known) if known > version => return,
            Some(_) => {}
        }
        let signers = (*learnt.operator).as_ref().map_or(&[][..], Vec::as_slice);
        let names = signers.iter();
        let names: Vec<_> = names
            .map(|signer| (signer.domain().to_owned(), signer.selector().to_owned()))
            .collect();
        if names != self.operator_names {
            // Whether mail waits for the operator's key is said of each domain, and is so of none any more.
            self.forget_all();
            self.operator_names = names;
        }
        self.operator = Some(learnt.operator.clone());
        for (domain, entry) in asked.iter().zip(&learnt.domains) {
            self.old.remove(domain);
            self.keep(domain.clone(), entry.clone());
        }
    }

    #[cfg(test)]
    pub fn domains(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// `a.b.c`, `b.c` and `c`.
fn itself_and_above(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |domain| {
        domain.split_once('.').map(|(_, above)| above)
    })
}
