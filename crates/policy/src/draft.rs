//! From texts to resources, each checked by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::credential::CredentialGiven;
use crate::inbound::Inbound;
use crate::ip::Ip;
use crate::names::resource_name;
use crate::nearest::did_you_mean;
use crate::place::{Kind, Place, Problem};
use crate::pool::Pool;
use crate::provider::ProviderGiven;
use crate::read::{Keys, Reader};
use crate::route::Route;
use crate::tenant::Tenant;
use crate::warmup::Warmup;
use crate::yaml::{Documents, Node, Value};

/// Of each kind. Policy is kept whole in the memory of every node, and checked as a whole when it changes.
pub const RESOURCES_MAX: usize = 4096;
/// Of one resource: a provider with all the rules that it may have.
pub const RESOURCE_BYTES_MAX: usize = 64 << 10;
/// Of all sources: many times what [`RESOURCES_MAX`] resources of usual size have.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Whoever corrects so many runs the check again.
const PROBLEMS_MAX: usize = 1000;

/// A text and what it is called, such as the path of a file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub place: Place,
    pub value: Arc<T>,
}

pub(crate) type Resources<T> = BTreeMap<Arc<str>, Placed<T>>;

/// The resources that are sound, and what is wrong with the others.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// All that have a name, sound or not: what names one of them is not at fault.
    pub declared: BTreeMap<(Kind, Arc<str>), Place>,
    counts: BTreeMap<Kind, usize>,
    /// Not all could be read: what is named and not there may be among the rest.
    pub is_partial: bool,
    pub credentials: Resources<CredentialGiven>,
    pub inbounds: Resources<Inbound>,
    pub ips: Resources<Ip>,
    pub pools: Resources<Pool>,
    pub providers: Resources<ProviderGiven>,
    pub routes: Resources<Route>,
    pub tenants: Resources<Tenant>,
    pub warmups: Resources<Warmup>,
    pub problems: Vec<Problem>,
}

impl Draft {
    pub fn read(sources: &[Source<'_>]) -> Self {
        let mut draft = Self::default();
        let mut bytes = 0;
        for Source { name, text } in sources {
            let source: Arc<str> = (*name).into();
            bytes += text.len();
            if bytes > TEXT_BYTES_MAX {
                let message = format!("all sources together have more than {TEXT_BYTES_MAX} bytes");
                draft.note(&source, 1, message);
                break;
            }
            for document in Documents::new(text, RESOURCE_BYTES_MAX) {
                match document {
                    Ok(root) => draft.resource(&source, &root),
                    Err(fault) => draft.note(&source, fault.line, fault.message),
                }
                if draft.problems.len() >= PROBLEMS_MAX {
                    draft.is_partial = true;
                    return draft;
                }
            }
        }
        draft
    }

    /// In the order of sources and lines.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        self.problems.truncate(PROBLEMS_MAX);
        self.problems
    }

    /// A problem that leaves a resource without a name.
    fn note(&mut self, source: &Arc<str>, line: u32, message: impl Into<String>) {
        self.is_partial = true;
        let source = Arc::clone(source);
        self.problems.push(Problem {
            place: Place { source, line },
            message: message.into(),
        });
    }

    fn resource(&mut self, source: &Arc<str>, root: &Node) {
        let line = root.line;
        if let Some((line, key)) = manifest_key(root) {
            return self.note(source, line, format!("{key}: {FLAT}"));
        }
        let Some(kind) = self.kind(source, root) else {
            return;
        };
        let name = match word(root, "name") {
            Ok((line, text)) => resource_name(&text).map_err(|message| (line, message)),
            Err(fault) => Err(fault),
        };
        let name: Arc<str> = match name {
            Ok(name) => name.into(),
            Err((line, message)) => {
                return self.note(source, line, format!("{kind}: name: {message}"));
            }
        };
        let place = Place {
            source: Arc::clone(source),
            line,
        };
        let mut reader = Reader::new(kind, &name, place.clone());
        if self.declare(&mut reader, kind, &name) {
            self.read_kind(&mut reader, root);
        }
        self.problems.append(&mut reader.problems);
    }

    fn kind(&mut self, source: &Arc<str>, root: &Node) -> Option<Kind> {
        let kinds = Kind::ALL.map(Kind::name).join(", ");
        let found = word(root, "kind").and_then(|(line, text)| {
            Kind::of(&text).ok_or_else(|| {
                let meant = did_you_mean(&text, Kind::ALL.map(Kind::name));
                let text = crate::shown::shown(&text);
                let message = format!("there is no \"{text}\": there are {kinds}{meant}");
                (line, message)
            })
        });
        found
            .map_err(|(line, message)| self.note(source, line, format!("kind: {message}")))
            .ok()
    }

    fn declare(&mut self, reader: &mut Reader, kind: Kind, name: &Arc<str>) -> bool {
        let line = reader.place.line;
        if let Some(earlier) = self.declared.get(&(kind, Arc::clone(name))) {
            let message =
                format!("is there already ({earlier}): leave one out, or give it another name");
            reader.fault(line, "", message);
            return false;
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count > RESOURCES_MAX {
            self.is_partial = true;
            reader.fault(
                line,
                "",
                format!("is one too many: there may be {RESOURCES_MAX} of a kind"),
            );
            return false;
        }
        let place = reader.place.clone();
        self.declared.insert((kind, Arc::clone(name)), place);
        true
    }

    fn read_kind(&mut self, reader: &mut Reader, root: &Node) {
        let Some(mut keys) = Keys::new(reader, String::new(), root) else {
            return;
        };
        keys.take("kind");
        keys.take("name");
        let keys_ref = &mut keys;
        match reader.kind {
            Kind::Credential => {
                let credential = CredentialGiven::read(reader, keys_ref);
                finish(reader, keys, credential, &mut self.credentials);
            }
            Kind::Inbound => {
                let inbound = Inbound::read(reader, keys_ref);
                finish(reader, keys, inbound, &mut self.inbounds);
            }
            Kind::Ip => {
                let ip = Ip::read(reader, keys_ref);
                finish(reader, keys, ip, &mut self.ips);
            }
            Kind::Pool => {
                let pool = Some(Pool::read(reader, keys_ref));
                finish(reader, keys, pool, &mut self.pools);
            }
            Kind::Provider => {
                let provider = Some(ProviderGiven::read(reader, keys_ref));
                finish(reader, keys, provider, &mut self.providers);
            }
            Kind::Route => {
                let route = Route::read(reader, keys_ref);
                finish(reader, keys, route, &mut self.routes);
            }
            Kind::Tenant => {
                let tenant = Some(Tenant::read(reader, keys_ref));
                finish(reader, keys, tenant, &mut self.tenants);
            }
            Kind::Warmup => {
                let warmup = Warmup::read(reader, keys_ref);
                finish(reader, keys, warmup, &mut self.warmups);
            }
        }
    }
}

/// Keeps a resource that nothing is wrong with.
fn finish<T>(reader: &mut Reader, keys: Keys<'_>, value: Option<T>, into: &mut Resources<T>) {
    keys.finish(reader);
    let Some(value) = value.filter(|_| reader.problems.is_empty()) else {
        // Nothing is left out silently.
        if reader.problems.is_empty() {
            reader.fault(
                reader.place.line,
                "",
                "cannot be read: check each of its keys",
            );
        }
        return;
    };
    let place = reader.place.clone();
    let value = Arc::new(value);
    into.insert(Arc::clone(&reader.name), Placed { place, value });
}

/// What those are told who write manifests of Kubernetes.
const FLAT: &str = "is a key of Kubernetes manifests, which resources are not: they are flat, without apiVersion, metadata \
                    and spec, such as \"kind: pool\", \"name: news\", \"members: [{ip: a1}]\", each on a line";

/// Where a document is written as a manifest of Kubernetes.
fn manifest_key(root: &Node) -> Option<(u32, &str)> {
    let Value::Map(entries) = &root.value else {
        return None;
    };
    let of_manifests = |key: &str| matches!(key, "apiVersion" | "metadata" | "spec");
    let found = entries.iter().find(|entry| of_manifests(&entry.key))?;
    Some((found.line, &found.key))
}

/// The single value of a key of a document, with its line, or what is wrong at which line.
fn word(root: &Node, key: &str) -> Result<(u32, String), (u32, String)> {
    let Value::Map(entries) = &root.value else {
        return Err((
            root.line,
            "is missing: a resource is keys with values".into(),
        ));
    };
    let missing = || (root.line, "is missing: give it".to_owned());
    let entry = entries.iter().find(|entry| entry.key == key);
    let entry = entry.ok_or_else(missing)?;
    match &entry.node.value {
        Value::Scalar { text, .. } if !entry.node.is_null() => Ok((entry.line, text.clone())),
        Value::Scalar { .. } => Err((entry.line, "is missing: give it".into())),
        _ => Err((entry.line, "must be a single value".into())),
    }
}
