//! Queues that are looked through from time to time, so that asking for metrics costs the same however many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::queue_survey::{Bounds, Depth, QueueSurvey};
use skein_model::{GroupId, Priority, UnixMs, meta};
use skein_policy::Policy;

use super::page::{Page, age, group_label};
use crate::{Control, clock};

/// Prometheus asks as often by default.
const EVERY: Duration = Duration::from_secs(15);
/// Looking through a million queues takes some seconds; it may take this part of the time.
const REST_FACTOR: u32 = 20;
const BOUNDS: Bounds = Bounds {
    pools: 50,
    tenants: 50,
    sites: 20,
};

/// The latest look at the queues of each group that this node leads.
#[derive(Debug, Default)]
pub struct Surveys(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    groups: BTreeMap<GroupId, Arc<QueueSurvey>>,
    names: Arc<Names>,
}

/// What the policy calls things.
#[derive(Debug, Default)]
struct Names {
    /// Of the policy; none before it was read.
    version: Option<u64>,
    providers: BTreeSet<String>,
    ips: Arc<BTreeMap<IpAddr, String>>,
}

impl Names {
    fn of(version: u64, policy: &Policy) -> Self {
        let providers = policy.providers().map(|one| one.name.to_string());
        let ips = policy.ips();
        let ips = ips.map(|ip| (ip.public.to_canonical(), ip.name.to_string()));
        Self {
            version: Some(version),
            providers: providers.collect(),
            ips: Arc::new(ips.collect()),
        }
    }
}

impl Surveys {
    pub fn ip_names(&self) -> Arc<BTreeMap<IpAddr, String>> {
        self.0.lock().names.ips.clone()
    }
}

/// Looks through the queues of groups that this node leads, while there is a control function.
pub async fn keep(control: Weak<Control>) {
    loop {
        let Some(now) = control.upgrade() else {
            // The process is about to end.
            return std::future::pending().await;
        };
        let began = Instant::now();
        let look = tokio::task::spawn_blocking(move || look(&now));
        look.await.expect("reading rows does not panic");
        tokio::time::sleep(EVERY.max(began.elapsed() * REST_FACTOR)).await;
    }
}

fn look(control: &Control) {
    let version = meta::policy_version(&control.meta_reader);
    let mut names = control.surveys.0.lock().names.clone();
    if names.version != Some(version)
        && let Ok(policy) = Policy::of_texts(&meta::policy(&control.meta_reader))
    {
        names = Arc::new(Names::of(version, &policy));
        control.surveys.0.lock().names = names.clone();
    }
    for (id, spool) in control.spools.iter() {
        let now = clock::now();
        let survey = spool
            .dispatch
            .standings(now)
            .map(|(standings, suspensions)| {
                let rows = &spool.reader;
                let providers = &names.providers;
                QueueSurvey::of(rows, now, &standings, &suspensions, providers).bounded(BOUNDS)
            });
        let mut latest = control.surveys.0.lock();
        match survey {
            Some(survey) => latest.groups.insert(*id, Arc::new(survey)),
            None => latest.groups.remove(id),
        };
    }
}

struct Led {
    name: String,
    survey: Arc<QueueSurvey>,
}

pub fn encode(page: &mut Page<'_>, control: &Control) -> fmt::Result {
    let surveyed = control.surveys.0.lock().groups.clone();
    let led: Vec<Led> = surveyed
        .into_iter()
        .filter(|(id, _)| {
            let spool = control.spools.get(id);
            spool.is_some_and(|spool| spool.dispatch.leads())
        })
        .map(|(id, survey)| Led {
            name: group_label(id),
            survey,
        })
        .collect();
    let now = clock::now();
    page.gauges(
        "skein_queue_oldest_due_seconds",
        "For how long the oldest task is due that nothing holds back and that no sender has.",
        led.iter().flat_map(|one| {
            Priority::ALL.map(|priority| {
                let since = one.survey.ready_since.get(&priority).copied();
                let labels = [("group", one.name.as_str()), ("priority", priority.name())];
                (labels, overdue(now, since))
            })
        }),
    )?;
    page.gauges(
        "skein_queue_queues",
        "Queues that have tasks.",
        led.iter()
            .map(|one| ([("group", one.name.as_str())], one.survey.queues)),
    )?;
    encode_providers(page, &led, now)?;
    for kind in ["pool", "tenant", "site"] {
        encode_kind(page, &led, now, kind)?;
    }
    Ok(())
}

fn encode_providers(page: &mut Page<'_>, led: &[Led], now: UnixMs) -> fmt::Result {
    let all = || {
        led.iter().flat_map(|one| {
            let group = ("group", one.name.as_str());
            let providers = one.survey.providers.iter();
            providers.map(move |((provider, priority), depth)| {
                let provider = ("provider", provider.as_str());
                ([group, provider, ("priority", priority.name())], *depth)
            })
        })
    };
    page.gauges(
        "skein_queue_tasks",
        "Open tasks by provider.",
        all().map(|(labels, depth)| (labels, depth.tasks)),
    )?;
    page.gauges(
        "skein_queue_provider_oldest_due_seconds",
        "For how long the oldest task is due that no sender has, whatever holds it back.",
        all().map(|(labels, depth)| (labels, overdue(now, depth.due_since))),
    )
}

fn encode_kind(page: &mut Page<'_>, led: &[Led], now: UnixMs, kind: &'static str) -> fmt::Result {
    let depths = |survey: &QueueSurvey| -> Vec<(String, Depth)> {
        let names = match kind {
            "pool" => &survey.pools,
            "tenant" => &survey.tenants,
            _ => &survey.sites,
        };
        let names = names.iter();
        names.map(|(name, depth)| (name.clone(), *depth)).collect()
    };
    let all: Vec<(&str, String, Depth)> = led
        .iter()
        .flat_map(|one| {
            let depths = depths(&one.survey).into_iter();
            depths.map(|(name, depth)| (one.name.as_str(), name, depth))
        })
        .collect();
    let of = |(group, name, _): &'_ (&str, String, Depth)| {
        [("group", (*group).to_owned()), (kind, name.clone())]
    };
    page.gauges(
        &format!("skein_queue_{kind}_tasks"),
        &format!("Open tasks by {kind}."),
        all.iter().map(|one| (of(one), one.2.tasks)),
    )?;
    page.gauges(
        &format!("skein_queue_{kind}_oldest_due_seconds"),
        "For how long the oldest task is due that no sender has, whatever holds it back.",
        all.iter()
            .map(|one| (of(one), overdue(now, one.2.due_since))),
    )
}

fn overdue(now: UnixMs, since: Option<UnixMs>) -> f64 {
    since.map_or(0.0, |since| age(now, since))
}
