//! Domains that the cluster hosts: who may get mail there, and where it goes.

use std::sync::Arc;

use crate::destination::Destination;
use crate::local_part::{LocalPart, LocalParts};
use crate::names::{Names, Pattern, resource_name};
use crate::place::{At, Place, Problem};
use crate::read::{Keys, Reader, problem};
use crate::size::Size;
use crate::write::Map;

/// Return paths of all customers of one operator.
const DOMAINS_MAX: usize = 4096;
/// Entries of one resource, and addresses of one entry.
const ENTRIES_MAX: usize = 256;
const ADDRESSES_MAX: usize = 256;
/// RFC 5321 4.5.3.1.8: a host takes at least 100.
const RECIPIENTS: u32 = 100;
const RECIPIENTS_MAX: u32 = 1000;
/// Less than this is no mail.
const SIZE_MIN: u64 = 1 << 10;
/// More than this is no mail either.
const SIZE_MAX: u64 = 1 << 30;
/// Whose mail it is where nothing is said.
const TENANT: &str = "default";

/// What follows from SPF, DKIM and DMARC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checks {
    /// Nothing is looked up.
    Off,
    /// Results are written into the message, which is taken whatever they are.
    #[default]
    Mark,
    /// What the policy of its author's domain says is to be refused (DMARC `p=reject`) is refused, too.
    Enforce,
}

impl Checks {
    pub const ALL: [Self; 3] = [Self::Off, Self::Mark, Self::Enforce];

    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mark => "mark",
            Self::Enforce => "enforce",
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| "must be off, mark or enforce".into())
    }
}

/// Domains of one kind, and their addresses.
#[derive(Debug, Clone)]
pub struct Inbound {
    pub name: Arc<str>,
    domains: Vec<At<Pattern>>,
    /// Whose mail it is.
    pub tenant: Arc<str>,
    /// In bytes; none: as large as the node takes.
    pub size_max: Option<u64>,
    /// Of one message.
    pub recipients_max: u32,
    pub checks: Checks,
    entries: Vec<Entry>,
    by_local_part: LocalParts<Arc<Destination>>,
}

#[derive(Debug, Clone)]
struct Entry {
    addresses: Vec<LocalPart>,
    destination: Arc<Destination>,
}

impl Inbound {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Self> {
        keys.record_need("domains");
        keys.record_need("addresses");
        let domains = keys.list(reader, "domains", DOMAINS_MAX, Pattern::of_domains);
        let tenant = keys.value(reader, "tenant", resource_name);
        let size_max = keys.value(reader, "max_size", size);
        let recipients = keys.whole(reader, "max_recipients", 1..=RECIPIENTS_MAX);
        let checks = keys.value(reader, "checks", Checks::read);
        let mut entries = Vec::new();
        let mut by_local_part = LocalParts::default();
        let given = keys.maps(reader, "addresses", ENTRIES_MAX);
        for mut entry in given {
            let read = read_entry(reader, &mut entry, &mut by_local_part);
            entries.extend(read);
            entry.finish(reader);
        }
        for key in ["domains", "addresses"] {
            if !keys.has(key) {
                reader.fault(keys.line, key, "is missing: give it");
            } else if keys.is_empty_list(key) {
                let line = keys.line_of(key).unwrap_or(keys.line);
                reader.fault(line, key, "is empty: name one at least");
            }
        }
        Some(Self {
            name: Arc::clone(&reader.name),
            domains: domains?,
            tenant: tenant.map_or_else(|| TENANT.into(), |tenant| tenant.value.into()),
            size_max: size_max.map(|size| size.value),
            recipients_max: recipients.map_or(RECIPIENTS, |most| most.value),
            checks: checks.map(|checks| checks.value).unwrap_or_default(),
            entries,
            by_local_part,
        })
    }

    pub fn domains(&self) -> impl Iterator<Item = &Pattern> {
        self.domains.iter().map(|domain| &domain.value)
    }

    /// Each claim with where it leads.
    pub fn addresses(&self) -> impl Iterator<Item = (&LocalPart, &Arc<Destination>)> {
        let entries = self.entries.iter();
        entries.flat_map(|entry| {
            let addresses = entry.addresses.iter();
            addresses.map(|address| (address, &entry.destination))
        })
    }

    pub(crate) fn masked(&self) -> Self {
        let mut masked = self.clone();
        for entry in &mut masked.entries {
            entry.destination = Arc::new(entry.destination.masked());
        }
        masked
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        let entries = self.entries.iter().map(|entry| {
            let map = Map::default().list("address", &entry.addresses);
            entry.destination.write(map)
        });
        let checks = (self.checks != Checks::default()).then(|| self.checks.name());
        map.list("domains", self.domains().map(Pattern::domain_text))
            .set_if("tenant", (*self.tenant != *TENANT).then_some(&self.tenant))
            .set_if("max_size", self.size_max.map(Size))
            .set_if(
                "max_recipients",
                (self.recipients_max != RECIPIENTS).then_some(self.recipients_max),
            )
            .set_if("checks", checks)
            .maps("addresses", entries)
    }
}

fn read_entry(
    reader: &mut Reader,
    keys: &mut Keys<'_>,
    all: &mut LocalParts<Arc<Destination>>,
) -> Option<Entry> {
    keys.record_need("address");
    let addresses = keys.list(reader, "address", ADDRESSES_MAX, LocalPart::parse);
    if !keys.has("address") || keys.is_empty_list("address") {
        let path = keys.path("address");
        reader.fault(keys.line, &path, "is missing: give it");
    }
    let destination = Destination::read(reader, keys).map(Arc::new);
    let addresses = addresses?;
    let destination = destination?;
    for address in &addresses {
        if !all.insert(&address.value, Arc::clone(&destination)) {
            let origin = &address.origin;
            let message = format!("{} is given twice: leave one out", address.value);
            reader.fault(origin.place.line, &origin.key, message);
        }
    }
    Some(Entry {
        addresses: addresses.into_iter().map(|address| address.value).collect(),
        destination,
    })
}

fn size(text: &str) -> Result<u64, String> {
    let Size(size) = text.parse()?;
    match (SIZE_MIN..=SIZE_MAX).contains(&size) {
        true => Ok(size),
        false => Err(format!("must be {} to {}", Size(SIZE_MIN), Size(SIZE_MAX))),
    }
}

/// What is known of an address.
#[derive(Debug, Clone, Copy)]
pub enum Hosted<'p> {
    /// The domain is none that the cluster hosts.
    Elsewhere,
    /// The domain is, and nobody has this address there.
    Unknown(&'p Arc<Inbound>),
    Known(&'p Arc<Inbound>, &'p Arc<Destination>),
}

/// All domains that the cluster hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostedDomains(Names<Arc<Inbound>>);

impl HostedDomains {
    /// A domain is hosted by one resource; of nested patterns the longest decides.
    pub fn new<'a>(
        all: impl IntoIterator<Item = (&'a Place, &'a Arc<Inbound>)>,
    ) -> (Self, Vec<Problem>) {
        let (mut names, mut problems) = (Names::default(), Vec::new());
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(place, _)| *place);
        for (_, inbound) in all {
            for domain in &inbound.domains {
                let Some(earlier) = names.insert(&domain.value, Arc::clone(inbound)) else {
                    continue;
                };
                let text = domain.value.domain_text();
                let message = match Arc::ptr_eq(earlier, inbound) {
                    true => format!("{text} is given twice: leave one out"),
                    false => format!(
                        "{text} is hosted by inbound {:?} already: its addresses would have two owners, leave it out of one",
                        earlier.name
                    ),
                };
                problems.push(problem(&domain.origin, message));
            }
        }
        (Self(names), problems)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `local`: without quotes. `domain`: in A-labels.
    pub fn find(&self, domain: &str, local: &str) -> Hosted<'_> {
        let Some(inbound) = self.0.best(domain) else {
            return Hosted::Elsewhere;
        };
        match inbound.by_local_part.find(local) {
            Some(destination) => Hosted::Known(inbound, destination),
            None => Hosted::Unknown(inbound),
        }
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
