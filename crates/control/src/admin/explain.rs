//! Why mail goes as it goes: the limits that it meets.

use skein_policy::{At, BUILT_IN_NAME, Policy, Scope, Tls};
use skein_wire::v1::{
    EffectiveLimit, ExplainLimitsRequest, ExplainLimitsResponse, IpLimits, LimitScope, TlsPolicy,
};
use tonic::Status;

use super::AdminService;
use crate::config::MxHosts;

impl AdminService {
    pub(super) async fn limits(
        &self,
        request: ExplainLimitsRequest,
    ) -> Result<ExplainLimitsResponse, Status> {
        if request.domain.is_empty() {
            return Err(Status::invalid_argument("domain: must be given"));
        }
        let policy = self.read_policy()?;
        let found = (self.config.find_mx)(request.domain.clone()).await;
        explain(&policy, request, found)
    }
}

/// The answer, from what the domain's MX question brought.
fn explain(
    policy: &Policy,
    request: ExplainLimitsRequest,
    found: Result<MxHosts, String>,
) -> Result<ExplainLimitsResponse, Status> {
    let or = |given: String, usual: &str| match given.is_empty() {
        true => usual.to_owned(),
        false => given,
    };
    let tenant = or(request.tenant, "default");
    let usual = policy.pool_of(&tenant, "", None);
    let usual = usual.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let pool = or(request.pool, usual);
    let (hosts, unresolved) = match found {
        Ok(hosts) => (hosts, String::new()),
        Err(error) => (MxHosts::default(), error),
    };
    let names: Vec<&str> = hosts.names.iter().map(String::as_str).collect();
    let site = policy.site_of(&request.domain, &names);
    let provider = site.provider.as_ref();
    let figures = provider.unwrap_or_else(|| policy.default_provider());
    let name = match (&site.name, hosts.roll_up.is_empty()) {
        (Some(name), _) => name.to_string(),
        (None, false) => hosts.roll_up,
        (None, true) => request.domain,
    };
    let members = policy.pool(&pool).map(|pool| pool.members.iter());
    let mut ips: Vec<String> = members
        .map(|members| members.map(|member| member.ip.value.clone()).collect())
        .unwrap_or_default();
    match request.ip.is_empty() {
        true if ips.is_empty() => ips.push(String::new()),
        true => {}
        false if policy.ip(&request.ip).is_none() => {
            let ip = request.ip;
            return Err(Status::not_found(format!(
                "ip: there is no {ip:?}; see `skeinctl policy get ip`"
            )));
        }
        false => ips = vec![request.ip],
    }
    let limits = ips.into_iter().map(|ip| {
        let limits = policy.limits(&pool, &ip, provider.map(AsRef::as_ref), &tenant);
        let limits = limits.0.iter().map(|limit| EffectiveLimit {
            scope: scope(limit.scope).into(),
            value: limit.value.to_string(),
            rule: rule(&limit.origin),
            built_in: *limit.origin.place.source == *BUILT_IN_NAME,
        });
        let limits = limits.collect();
        IpLimits { ip, limits }
    });
    let count = |figure: &Option<At<u32>>| figure.as_ref().map_or(0, |figure| figure.value);
    Ok(ExplainLimitsResponse {
        site: name,
        provider: figures.name.to_string(),
        ips: limits.collect(),
        messages_per_connection: count(&figures.messages_per_connection),
        recipients_per_message: count(&figures.recipients_per_message),
        tls: tls(figures.tls).into(),
        mx_hosts: hosts.names,
        unresolved,
        pool,
        tenant,
    })
}

fn scope(scope: Scope) -> LimitScope {
    match scope {
        Scope::IpSite => LimitScope::IpSite,
        Scope::Site => LimitScope::Site,
        Scope::Ip => LimitScope::Ip,
        Scope::Pool => LimitScope::Pool,
        Scope::Tenant => LimitScope::Tenant,
    }
}

fn tls(tls: Tls) -> TlsPolicy {
    match tls {
        Tls::Opportunistic => TlsPolicy::Opportunistic,
        Tls::Encrypt => TlsPolicy::Encrypt,
        Tls::Require => TlsPolicy::Require,
        Tls::Disable => TlsPolicy::Disable,
    }
}

fn rule(origin: &skein_policy::Origin) -> String {
    format!("{}/{} {}", origin.kind, origin.name, origin.key)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_policy::Source;

    use super::*;

    const POLICY: &str = "\
kind: ip
name: a
bind: 192.0.2.1
ehlo: a.example.test
limits: {message_rate: 1000/h}
---
kind: pool
name: p
members: [{ip: a}]
---
kind: provider
name: google
extends: true
per_ip: {connections: 3}
";

    fn ask(domain: &str, found: Result<MxHosts, String>) -> ExplainLimitsResponse {
        let source = Source {
            name: "file",
            text: POLICY,
        };
        let policy = Policy::parse(&[source]).unwrap();
        let request = ExplainLimitsRequest {
            domain: domain.into(),
            pool: "p".into(),
            ..ExplainLimitsRequest::default()
        };
        explain(&policy, request, found).unwrap()
    }

    #[test]
    fn each_limit_names_its_rule() {
        let hosts = MxHosts {
            names: vec!["alt1.aspmx.l.google.com".into()],
            roll_up: "aspmx.l.google.com".into(),
        };
        let answer = ask("hosted.test", Ok(hosts));
        assert_eq!((answer.site.as_str(), answer.ips.len()), ("google", 1));
        let limits = &answer.ips[0].limits;
        let has = |value: &str, rule: &str, built_in: bool| {
            limits
                .iter()
                .any(|l| l.value == value && l.rule == rule && l.built_in == built_in)
        };
        assert!(
            has("3 connections", "provider/google per_ip.connections", false),
            "{limits:?}"
        );
        assert!(
            has("1000/h messages", "ip/a limits.message_rate", false),
            "{limits:?}"
        );
    }

    #[test]
    fn a_domain_that_cannot_be_resolved_is_a_site_of_its_own() {
        let answer = ask("gone.test", Err("no answer".into()));
        let said = (answer.site.as_str(), answer.provider.as_str());
        assert_eq!(said, ("gone.test", "default"));
        assert_eq!(answer.unresolved, "no answer");
        assert!(!answer.ips[0].limits.is_empty());
    }
}
