//! Senders, operators' orders and warm-ups, as the leader of the meta group knows them.

use std::collections::BTreeMap;
use std::fmt;

use skein_model::automation::{self, Subject};
use skein_model::warmup::{self, Status};
use skein_model::{GroupId, SessionId, Slot, meta};

use super::page::{Page, group_label, seconds};
use crate::{Control, clock};

pub fn encode(page: &mut Page<'_>, control: &Control) -> fmt::Result {
    let checks = control.domains.counters().checks();
    page.counters(
        "skein_domain_checks",
        "Checks of the DNS records of domains that this node made.",
        checks.map(|(result, count)| ([("result", result)], count)),
    )?;
    let fetches = control.tls_policies.counters().fetches();
    page.counters(
        "skein_sts_fetches",
        "Fetches of MTA-STS policies by this node.",
        fetches.map(|(result, count)| ([("result", result)], count)),
    )?;
    let reports = control.tls_reports.counters().all();
    page.counters(
        "skein_tls_reports",
        "Reports on TLS by this node, at each place that they go to.",
        reports.map(|(result, count)| ([("result", result)], count)),
    )?;
    if !control.groups[&GroupId::META].is_leader() {
        return Ok(());
    }
    let group = group_label(GroupId::META);
    encode_sessions(page, control, &group)?;
    encode_orders(page, control, &group)?;
    encode_domains(page, control, &group)?;
    page.gauges(
        "skein_sts_policies",
        "MTA-STS policies that are kept.",
        [(
            [("group", &*group)],
            meta::sts::size(&control.meta_reader).domains,
        )],
    )?;
    encode_warmups(page, control, &group)
}

fn encode_domains(page: &mut Page<'_>, control: &Control, group: &str) -> fmt::Result {
    let states = control.domains.counters().states();
    page.gauges(
        "skein_domains",
        "Domains that mail is sent for, by whether it is signed.",
        states
            .into_iter()
            .map(|(state, count)| ([("group", group), ("state", state)], count)),
    )
}

fn encode_sessions(page: &mut Page<'_>, control: &Control, group: &str) -> fmt::Result {
    let sessions = meta::sessions(&control.meta_reader);
    let mut owned = BTreeMap::<SessionId, u64>::new();
    for held in meta::assignments(&control.meta_reader).into_values() {
        *owned.entry(held.session).or_default() += 1;
    }
    let slots = |session: &SessionId| owned.get(session).copied().unwrap_or(0);
    let total: u64 = sessions.keys().map(slots).sum();
    page.gauges(
        "skein_sessions",
        "Senders that have a session.",
        [([("group", group)], sessions.len() as u64)],
    )?;
    page.gauges(
        "skein_slots_unowned",
        "Slots that no sender has.",
        [(
            [("group", group)],
            u64::from(Slot::COUNT).saturating_sub(total),
        )],
    )?;
    let of_sender = |sender| [("group", group), ("sender", sender)];
    page.gauges(
        "skein_session_slots",
        "Slots that a sender owns.",
        sessions
            .iter()
            .map(|(session, row)| (of_sender(row.sender.as_str()), slots(session))),
    )?;
    let silent = control.sessions.silent();
    page.gauges(
        "skein_session_heard_age_seconds",
        "Since when nothing was heard of a sender.",
        silent.iter().filter_map(|(session, since)| {
            let sender = sessions.get(session)?.sender.as_str();
            Some((of_sender(sender), seconds(*since)))
        }),
    )
}

fn encode_orders(page: &mut Page<'_>, control: &Control, group: &str) -> fmt::Result {
    let mut suspensions = 0_u64;
    let words = ["suspend", "rate", "connections", "bounce", "rest-ip"];
    let mut actions = BTreeMap::from(words.map(|word| (word, 0_u64)));
    for one in automation::in_force(&control.meta_reader, clock::now()) {
        match one.subject {
            Subject::Rule { action, .. } => *actions.entry(action.name()).or_default() += 1,
            _ => suspensions += 1,
        }
    }
    page.gauges(
        "skein_suspensions",
        "Suspensions by operators in force.",
        [([("group", group)], suspensions)],
    )?;
    page.gauges(
        "skein_automation_actions",
        "Actions of rules on replies in force or climbing back.",
        actions
            .into_iter()
            .map(|(action, count)| ([("group", group), ("action", action)], count)),
    )
}

fn encode_warmups(page: &mut Page<'_>, control: &Control, group: &str) -> fmt::Result {
    let names = control.surveys.ip_names();
    let now = clock::now();
    let rows = warmup::rows(&control.meta_reader).into_iter();
    let all: Vec<(String, String, Status)> = rows
        .map(|(target, row)| {
            let name = names.get(&target.ip).cloned();
            let name = name.unwrap_or_else(|| target.ip.to_string());
            (name, target.provider, warmup::status(&row, now))
        })
        .collect();
    let of = |value: fn(&Status) -> Option<u64>| {
        let all = all.iter();
        all.filter_map(move |(ip, provider, status)| {
            let (ip, provider) = (ip.as_str(), provider.as_str());
            let labels = [("group", group), ("ip", ip), ("provider", provider)];
            Some((labels, value(status)?))
        })
    };
    page.gauges(
        "skein_warmup_budget",
        "Attempts of this sending day that an IP that warms up may make at a provider.",
        of(|status| status.budget),
    )?;
    page.gauges(
        "skein_warmup_used",
        "Attempts that were granted of this day's budget.",
        of(|status| status.budget.map(|_| status.counts.granted)),
    )?;
    page.gauges(
        "skein_warmup_stage",
        "The stage of a warm-up, from 1.",
        of(|status| Some(status.stage.into())),
    )?;
    page.gauges(
        "skein_warmup_stages",
        "How many stages a warm-up has.",
        of(|status| Some(status.stages.into())),
    )?;
    page.gauges(
        "skein_warmup_held",
        "Days in a row on which the stage was not passed.",
        of(|status| Some(status.held_days.into())),
    )
}
