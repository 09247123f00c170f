//! What rules on replies have in force.

use std::net::IpAddr;

use skein_model::automation::{
    self, Command, InForce, Phase, Refusal, RuleAt, STEPS, Scope, Subject, latest_events,
};
use skein_model::meta;
use skein_model::warmup::Order;
use skein_wire::v1::{
    AutomationEvent, AutomationEventKind, LiftAutomationRequest, LiftAutomationResponse,
    ListAutomationRequest, ListAutomationResponse, RuleInForce,
};
use tonic::Status;

use super::{AdminService, PAGE_MAX};
use crate::access;

impl AdminService {
    pub(super) fn automation(&self, request: &ListAutomationRequest) -> ListAutomationResponse {
        let all = automation::in_force(&self.meta, crate::clock::now()).into_iter();
        let wanted = (request.events as usize).min(PAGE_MAX);
        let events = latest_events(&self.meta, wanted).into_iter();
        ListAutomationResponse {
            active_actions: all.filter_map(by_rule).collect(),
            events: events.map(|logged| event(logged.event)).collect(),
        }
    }

    pub(super) async fn lift(
        &self,
        request: LiftAutomationRequest,
    ) -> Result<LiftAutomationResponse, Status> {
        let which = Which::of(&request)?;
        let all = automation::active_actions(&self.meta);
        let all = all.iter().map(|(at, _)| at.clone());
        let found: Vec<RuleAt> = all.filter(|at| which.covers(&at.scope)).collect();
        let order = Order {
            who: access::caller(),
            why: request.why,
        }
        .bounded();
        let mut lifted = 0;
        for at in found {
            let order = order.clone();
            let lift = Command::Lift { at, order };
            let command = meta::Command::Automation(Box::new(lift));
            match self.forward.commit_meta(&command).await? {
                // It has ended by itself meanwhile.
                meta::Response::Refused(meta::Refusal::Automation(Refusal::NotInForce)) => {}
                meta::Response::Refused(refusal) => {
                    return Err(Status::failed_precondition(refusal.to_string()));
                }
                _ => lifted += 1,
            }
        }
        match lifted {
            0 => Err(Status::not_found(
                "nothing is in force there; `skeinctl automation list` shows what is",
            )),
            lifted => Ok(LiftAutomationResponse { lifted }),
        }
    }
}

/// What an operator means.
struct Which {
    site: Option<String>,
    ip: Option<IpAddr>,
    tenant: Option<String>,
    pool: Option<String>,
}

impl Which {
    fn of(request: &LiftAutomationRequest) -> Result<Self, Status> {
        let named = |name: &String| (!name.is_empty()).then(|| name.clone());
        let ip = named(&request.ip).map(|ip| ip.parse::<IpAddr>());
        let ip = ip
            .transpose()
            .map_err(|error| Status::invalid_argument(format!("ip: {:?}: {error}", request.ip)))?;
        let which = Self {
            site: named(&request.site),
            ip: ip.map(|ip| ip.to_canonical()),
            tenant: named(&request.tenant),
            pool: named(&request.pool),
        };
        let is_said = which.site.is_some()
            || which.ip.is_some()
            || which.tenant.is_some()
            || which.pool.is_some();
        match is_said {
            true => Ok(which),
            false => Err(Status::invalid_argument(
                "site: name a site, an IP, a tenant or a pool",
            )),
        }
    }

    fn covers(&self, scope: &Scope) -> bool {
        let (of_site, ip, tenant, pool) = match scope {
            Scope::IpSite { ip, site } => (site, Some(*ip), None, None),
            Scope::Tenant { tenant, site } => (site, None, Some(tenant), None),
            Scope::Pool { pool, site } => (site, None, None, Some(pool)),
        };
        let fits = |wanted: &Option<String>, fact: Option<&String>| {
            wanted.is_none() || wanted.as_ref() == fact
        };
        fits(&self.site, Some(of_site))
            && (self.ip.is_none() || self.ip == ip)
            && fits(&self.tenant, tenant)
            && fits(&self.pool, pool)
    }
}

fn by_rule(one: InForce) -> Option<RuleInForce> {
    let Subject::Rule { at, action } = one.subject else {
        return None;
    };
    let mut shown = RuleInForce {
        action: action.to_string(),
        provider: at.provider,
        rule: at.rule.into(),
        step: match one.phase {
            Phase::Climbing(step) => step.into(),
            Phase::InForce | Phase::Over => 0,
        },
        steps: STEPS.into(),
        why: one.why,
        from_ms: one.from.0,
        until_ms: one.until.0,
        ..RuleInForce::default()
    };
    match at.scope {
        Scope::IpSite { ip, site } => {
            shown.ip = ip.to_string();
            shown.site = site;
        }
        Scope::Tenant { tenant, site } => {
            shown.tenant = tenant;
            shown.site = site;
        }
        Scope::Pool { pool, site } => {
            shown.pool = pool;
            shown.site = site;
        }
    }
    Some(shown)
}

fn event(event: automation::Event) -> AutomationEvent {
    AutomationEvent {
        at_ms: event.at.0,
        what: AutomationEventKind::from(event.what).into(),
        subject: event.subject.to_string(),
        why: event.why,
        who: event.who.unwrap_or_default(),
        until_ms: event.until.0,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn who_lifts_says_what_and_gets_no_more_than_that() {
        let scope = |ip: &str, site: &str| Scope::IpSite {
            ip: ip.parse().unwrap(),
            site: site.to_owned(),
        };
        let tenant = Scope::Tenant {
            tenant: "shop".to_owned(),
            site: "yahoo".to_owned(),
        };
        let request = |site: &str, ip: &str| LiftAutomationRequest {
            site: site.to_owned(),
            ip: ip.to_owned(),
            ..LiftAutomationRequest::default()
        };
        let of_site = Which::of(&request("yahoo", "")).unwrap();
        assert!(of_site.covers(&scope("192.0.2.1", "yahoo")) && of_site.covers(&tenant));
        assert!(!of_site.covers(&scope("192.0.2.1", "google")));
        let of_ip = Which::of(&request("", "192.0.2.1")).unwrap();
        assert!(of_ip.covers(&scope("192.0.2.1", "google")) && !of_ip.covers(&tenant));
        for (site, ip, field) in [("", "", "site: "), ("yahoo", "a1", "ip: \"a1\"")] {
            let status = Which::of(&request(site, ip)).err().unwrap();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().starts_with(field), "{status}");
        }
    }
}
