//! One look at a domain: its TXT records, its policy if that is to be fetched, and what is kept from then on.

use skein_model::meta::sts::{self, Command, FAULT_BYTES_MAX};
use skein_model::meta::{self, Response};
use skein_model::sts::{After, FetchFault, Look, StsPolicy, Txt, after, wants_fetch};

use super::memory::Found;
use super::{TlsPolicies, fetch};
use crate::clock;

/// What was found, if it could be kept.
pub async fn look_at(policies: &TlsPolicies, domain: &str, look: Look) {
    let txt = {
        let _turn = policies.lookups.acquire().await;
        fetch::announced(&policies.settings, domain).await
    };
    let live = policies.live(domain);
    let live_policy = live.as_ref().map(|row| &row.policy);
    let mut fetched = None;
    if let Txt::Id(id) = &txt
        && wants_fetch(live_policy, &txt, look)
    {
        let _turn = policies.fetches.acquire().await;
        let found = fetch::fetch(&policies.settings, domain, id).await;
        policies.counters.count(&found);
        if let Err(fault) = &found {
            tracing::info!(domain, %fault, "an MTA-STS policy cannot be had");
            policies.reports.count_fault(domain, fault).await;
        }
        fetched = Some(found);
    }
    let has_fetched = fetched.is_some();
    let is_kept = sts::policy(&policies.reader, domain).is_some();
    let found = match after(live_policy, fetched.as_ref()) {
        After::Replaced(policy) => keep(policies, domain, policy).await,
        // Also one that is too old, which ends so.
        After::GoesOn | After::NoPolicy if is_kept && (look == Look::Refresh || has_fetched) => {
            let fault = fetched.and_then(Result::err);
            go_on(policies, domain, fault.as_ref()).await;
            match live.is_some() {
                true => Found::Kept,
                false => absent(&txt),
            }
        }
        After::GoesOn => Found::Kept,
        After::NoPolicy => absent(&txt),
    };
    let mut memory = policies.memory.lock();
    memory.looked(domain, clock::now(), has_fetched, found);
}

fn absent(txt: &Txt) -> Found {
    match txt {
        Txt::Failed => Found::Unknown,
        Txt::Absent | Txt::Id(_) => Found::Absent,
    }
}

async fn keep(policies: &TlsPolicies, domain: &str, policy: StsPolicy) -> Found {
    let command = Command::Keep {
        domain: domain.to_owned(),
        policy: policy.clone(),
        asked_at: policies.memory.lock().asked_at(domain),
    };
    match propose(policies, domain, command).await {
        true => Found::Kept,
        false => Found::Unkept(policy),
    }
}

/// What is kept goes on, or ends if it is too old.
pub async fn go_on(policies: &TlsPolicies, domain: &str, fault: Option<&FetchFault>) {
    let command = Command::GoOn {
        domain: domain.to_owned(),
        asked_at: policies.memory.lock().asked_at(domain),
        fault: fault.map(|fault| text(&fault.to_string())),
    };
    propose(policies, domain, command).await;
}

/// As rows have it.
fn text(fault: &str) -> String {
    let mut text = fault.replace(char::is_control, " ");
    text.truncate(text.floor_char_boundary(FAULT_BYTES_MAX));
    text
}

async fn propose(policies: &TlsPolicies, domain: &str, command: Command) -> bool {
    let command = meta::Command::Sts(Box::new(command));
    let proposed = async {
        if let Some(feature) = command.feature() {
            policies.versions.pass(feature).await?;
        }
        crate::raft::propose(&policies.group, command).await
    };
    match proposed.await {
        Ok(Response::Done) => true,
        Ok(refused) => {
            tracing::warn!(domain, ?refused, "an MTA-STS policy cannot be kept");
            false
        }
        Err(status) => {
            tracing::warn!(
                domain,
                reason = status.message(),
                "an MTA-STS policy cannot be kept"
            );
            false
        }
    }
}
