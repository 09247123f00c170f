//! Domains that mail is sent for: their keys are made here, their records looked at, and senders told what to sign with. What
//! follows from what the DNS shows is decided by [`skein_model::meta::domains`].

mod check;
mod counters;
mod keys;
mod schedule;
mod signing;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use skein_dkim::at_rest::Keks;
use skein_identity::Operator;
use skein_model::meta;
use skein_model::meta::domains::{self, Change, Command, DomainRow, NewDomain, Response};
use skein_store::Reader;
use tonic::Status;

pub use counters::Counters;
pub use schedule::{look_after, state};
pub use signing::{changes, signing};
pub use view::{of_row, records, waits_for};

use crate::config::DomainSettings;
use crate::raft::Forward;

/// A command was committed by another node: this one applies it as soon as it hears of it.
const APPLIED_WITHIN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub struct Domains {
    settings: Arc<DomainSettings>,
    meta: Reader,
    forward: Forward,
    counters: Arc<Counters>,
    /// What private keys are encrypted with; none: no keys are made here.
    keks: Arc<RwLock<Option<Arc<Keks>>>>,
}

/// A domain that is to be added.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub name: String,
    pub tenant: String,
    pub is_operator: bool,
    pub is_delegated: bool,
    pub has_ed25519: bool,
    pub by: String,
}

/// The name of a domain as rows have it: in ASCII and lower case, without a dot at its end.
pub fn normal_name(name: &str) -> Result<String, Status> {
    let given = name.trim().trim_end_matches('.');
    let ascii = idna::domain_to_ascii(given)
        .map_err(|_| format!("{name:?} is no domain such as example.com"))
        .and_then(|ascii| domains::check_name(&ascii).map(|()| ascii));
    let hint = |why: String| match given.contains('@') {
        true => format!("{why}; it is what stands after the @"),
        false => why,
    };
    ascii.map_err(|why| Status::invalid_argument(format!("name: {}", hint(why))))
}

impl Domains {
    pub fn new(settings: Arc<DomainSettings>, meta: Reader, forward: Forward) -> Self {
        Self {
            settings,
            meta,
            forward,
            counters: Arc::default(),
            keks: Arc::default(),
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn operator(&self) -> &Operator {
        &self.settings.operator
    }

    /// # Errors
    /// There is none of this name.
    pub fn row(&self, name: &str) -> Result<DomainRow, Status> {
        domains::domain(&self.meta, name).ok_or_else(|| {
            Status::not_found(format!(
                "name: there is no domain {name}; `skeinctl domain list` names those that there are"
            ))
        })
    }

    async fn propose(&self, command: Command) -> Result<Vec<Change>, Status> {
        let command = meta::Command::Domain(Box::new(command));
        match self.forward.commit_meta(&command).await? {
            meta::Response::Domain(Response::Done(changes)) => Ok(changes),
            meta::Response::Domain(Response::Refused(refusal)) => Err(match &refusal {
                domains::Refusal::Exists(_) => Status::already_exists(format!("name: {refusal}")),
                domains::Refusal::NoDomain => Status::not_found(format!("name: {refusal}")),
                _ => Status::failed_precondition(refusal.to_string()),
            }),
            other => Err(Status::internal(format!("{other:?}"))),
        }
    }

    /// Waits until this node knows it as well.
    async fn applied(&self, name: &str, is_so: impl Fn(Option<&DomainRow>) -> bool) {
        let until = Instant::now() + APPLIED_WITHIN;
        while !is_so(domains::domain(&self.meta, name).as_ref()) && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes a domain in and makes its keys.
    ///
    /// # Errors
    /// It is no domain, or there already; or this node cannot make keys, or has no zone for them.
    pub async fn add(&self, wanted: Wanted) -> Result<DomainRow, Status> {
        let name = wanted.name;
        if !meta::is_tenant_name(&wanted.tenant) {
            return Err(Status::invalid_argument(
                "tenant: its name has up to 64 letters, digits, dots, - and _",
            ));
        }
        self.keks()?;
        if wanted.is_delegated && self.settings.operator.dkim_zone.is_empty() {
            return Err(Status::failed_precondition(
                "is_delegated: the control nodes have no zone for keys: set dkim.zone in their configuration, such as \
                 zone = \"dkim.esp.example\", and restart them; or add the domain without --delegated",
            ));
        }
        let label = u64::from_be_bytes(rand::random());
        let token =
            skein_identity::ownership_token(&rand::random::<[u8; 32]>(), &name, &wanted.tenant);
        let new = NewDomain {
            tenant: wanted.tenant,
            label: format!("d{label:016x}"),
            token,
            is_delegated: wanted.is_delegated,
            is_operator: wanted.is_operator,
            has_ed25519: wanted.has_ed25519,
        };
        let command = Command::Add {
            name: name.clone(),
            new,
            schedule: self.settings.schedule,
            by: wanted.by,
        };
        self.propose(command).await?;
        self.applied(&name, |row| row.is_some()).await;
        self.make_keys(&name).await?;
        self.row(&name)
    }

    pub async fn remove(&self, name: &str, by: String) -> Result<(), Status> {
        let name = name.to_owned();
        self.propose(Command::Remove {
            name: name.clone(),
            by,
        })
        .await?;
        self.applied(&name, |row| row.is_none()).await;
        Ok(())
    }

    /// Has the next key made, and used before its time.
    pub async fn rotate(
        &self,
        name: &str,
        is_compromised: bool,
        by: String,
    ) -> Result<DomainRow, Status> {
        self.keks()?;
        let before = self.row(name)?;
        let command = Command::Rotate {
            name: name.to_owned(),
            is_compromised,
            by,
        };
        self.propose(command).await?;
        self.applied(name, |row| row.is_none_or(|row| *row != before))
            .await;
        self.make_keys(name).await?;
        self.row(name)
    }
}
