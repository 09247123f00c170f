//! What automation and operators hold back, as lines of the event log.

use serde::Serialize;
use skein_control::AutomationEvents;
use skein_model::automation::{Event, Logged, Scope, Selector, Subject, What};

use crate::events::{Sink, time};

/// Writes events until the node stops.
pub async fn write(sink: Sink, mut events: AutomationEvents) {
    while let Some(batch) = events.next_batch().await {
        sink.write_lines(lines(&batch)).await;
        events.done().await;
    }
}

#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    seq: u64,
    /// "began", "moved", "climbs", "ended", "lifted" or "gave way".
    what: &'static str,
    /// Of the climb back.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<&'a str>,
    from: String,
    until: String,
    why: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

fn lines(events: &[Logged]) -> Vec<u8> {
    let mut out = Vec::new();
    for logged in events {
        serde_json::to_writer(&mut out, &line(logged))
            .expect("a line has only strings and numbers");
        out.push(b'\n');
    }
    out
}

fn line(logged: &Logged) -> Line<'_> {
    let Event {
        at,
        what,
        subject,
        why,
        who,
        from,
        until,
    } = &logged.event;
    let base = Line {
        time: time(*at),
        seq: logged.seq,
        what: what.name(),
        step: match what {
            What::Climbs(step) => Some(*step),
            _ => None,
        },
        from: time(*from),
        until: time(*until),
        why,
        by: who.as_deref(),
        ..Line::default()
    };
    match subject {
        Subject::Rule { at, action } => of_scope(
            Line {
                event: "automation",
                action: Some(action.to_string()),
                provider: Some(&at.provider),
                rule: Some(at.rule),
                ..base
            },
            &at.scope,
        ),
        Subject::ByHand(selector) => of_hand("suspension", selector, base),
        Subject::GivenUp(selector) => of_hand("bounce", selector, base),
    }
}

fn of_hand<'a>(event: &'static str, selector: &'a Selector, line: Line<'a>) -> Line<'a> {
    Line {
        event,
        tenant: selector.tenant.as_deref(),
        domain: selector.domain.as_deref(),
        site: selector.site.as_deref(),
        provider: selector.provider.as_deref(),
        pool: selector.pool.as_deref(),
        campaign: selector.campaign.as_deref(),
        ..line
    }
}

fn of_scope<'a>(line: Line<'a>, scope: &'a Scope) -> Line<'a> {
    match scope {
        Scope::IpSite { ip, site } => Line {
            source: Some(ip.to_string()),
            site: Some(site),
            ..line
        },
        Scope::Tenant { tenant, site } => Line {
            tenant: Some(tenant),
            site: Some(site),
            ..line
        },
        Scope::Pool { pool, site } => Line {
            pool: Some(pool),
            site: Some(site),
            ..line
        },
    }
}
