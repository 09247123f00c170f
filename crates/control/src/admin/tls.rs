//! What TLS with the hosts of other domains must meet, and the reports to them, as operators see it.

use std::sync::Arc;

use skein_dns::{Plan, TlsaAnswer};
use skein_model::meta::{self, sts, tls_reports};
use skein_model::sts::{StsMode, Txt};
use skein_model::tls_report::Day;
use skein_policy::Policy;
use skein_tls::{Choice, Demand, TaskTls, TlsPolicy};
use skein_wire::v1::{
    ExplainTlsResponse, FlushTlsPolicyResponse, ListTlsPoliciesRequest, ListTlsPoliciesResponse,
    ListTlsReportsResponse, SendTlsReportsResponse, TlsHost, TlsPolicyEntry, TlsReport,
    TlsReportPlace,
};
use tonic::Status;

use super::{AdminService, page};
use crate::domains::normal_name;
use crate::{access, clock, tls_reports as reports};

/// Policies or reports on a page of a list.
const PAGE: usize = 100;

fn domain_name(name: &str) -> Result<String, Status> {
    let field = |status: Status| {
        let why = status.message().trim_start_matches("name: ").to_owned();
        Status::invalid_argument(format!("domain: {why}"))
    };
    normal_name(name).map_err(field)
}

impl AdminService {
    pub(super) async fn tls_of(&self, domain: &str) -> Result<ExplainTlsResponse, Status> {
        let domain = domain_name(domain)?;
        let policy = self.read_policy()?;
        let (plan, announced) = tokio::join!(
            self.tls_policies.plan(&domain),
            self.tls_policies.announced(&domain)
        );
        let live = self.tls_policies.live(&domain);
        let mut told = match plan {
            Ok(plan) => of_plan(&plan, &policy, live.as_ref()),
            Err(why) => ExplainTlsResponse {
                unresolved: why,
                provider_tls: policy.default_provider().tls.name().to_owned(),
                ..ExplainTlsResponse::default()
            },
        };
        told.announced = match announced {
            Txt::Id(id) => format!("_mta-sts.{domain} announces the policy {id}"),
            Txt::Absent => format!("_mta-sts.{domain} announces no policy"),
            Txt::Failed => format!("the DNS says nothing of _mta-sts.{domain}"),
        };
        told.notes = notes(&told, live.as_ref());
        told.policy = live.map(|row| entry(&domain, row));
        told.domain = domain;
        Ok(told)
    }

    pub(super) fn tls_policy_list(
        &self,
        request: &ListTlsPoliciesRequest,
    ) -> ListTlsPoliciesResponse {
        let limit = page(request.limit, PAGE);
        // One more tells whether there are more.
        let mut found = sts::policies(&self.meta, &request.after, limit + 1);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let policies = found.into_iter().map(|(domain, row)| entry(&domain, row));
        ListTlsPoliciesResponse {
            policies: policies.collect(),
            has_more,
        }
    }

    pub(super) fn tls_policy(&self, domain: &str) -> Result<TlsPolicyEntry, Status> {
        let domain = domain_name(domain)?;
        let row = sts::policy(&self.meta, &domain);
        row.map(|row| entry(&domain, row)).ok_or_else(|| {
            Status::not_found(format!(
                "domain: no MTA-STS policy of {domain} is kept; one is fetched when mail first goes there, and \
                 `skeinctl tls explain {domain}` shows what the domain announces"
            ))
        })
    }

    pub(super) async fn flushed_tls_policy(
        &self,
        domain: &str,
    ) -> Result<FlushTlsPolicyResponse, Status> {
        let domain = domain_name(domain)?;
        let was_kept = sts::policy(&self.meta, &domain).is_some();
        self.tls_policies.flush(&domain, access::caller()).await?;
        Ok(FlushTlsPolicyResponse { was_kept })
    }

    pub(super) fn tls_report_list(&self, limit: u32) -> ListTlsReportsResponse {
        let limit = page(limit, PAGE);
        let counted = tls_reports::all_counted(&self.meta, (Day(0), ""), limit);
        let counted = counted.into_iter().filter_map(|(day, domain)| {
            let row = tls_reports::counted(&self.meta, day, &domain)?;
            Some(TlsReport {
                day: reports::date(day),
                sessions: row.counts.sessions(),
                failed: row.counts.failed(),
                at_ms: tls_reports::sent_at(day, &domain).0,
                places: row.reached.into_iter().map(place).collect(),
                domain,
            })
        });
        let sent = tls_reports::all_sent(&self.meta, (Day(0), ""), limit);
        let sent = sent.into_iter().map(|(day, domain, row)| TlsReport {
            day: reports::date(day),
            domain,
            sessions: row.sessions,
            failed: row.failed,
            at_ms: row.at.0,
            places: row.reached.into_iter().map(place).collect(),
        });
        let today = Day::of(clock::now());
        let days = [today, Day(today.0.saturating_sub(1))];
        let lost = days.map(|day| tls_reports::size(&self.meta, day).lost);
        ListTlsReportsResponse {
            counted: counted.collect(),
            sent: sent.collect(),
            lost_sessions: lost.iter().sum(),
        }
    }

    pub(super) async fn sent_tls_reports(
        &self,
        day: &str,
    ) -> Result<SendTlsReportsResponse, Status> {
        let today = Day::of(clock::now());
        let days = (today.0.saturating_sub(tls_reports::DAYS_KEPT)..=today.0).map(Day);
        let mut days = days.filter(|known| reports::date(*known) == day);
        let day = days.next().ok_or_else(|| {
            Status::invalid_argument(format!(
                "day: {day:?} is neither today nor one of the last {} days, such as {}",
                tls_reports::DAYS_KEPT,
                reports::date(today)
            ))
        })?;
        if !self.tls_policies.sends_reports() {
            return Err(Status::failed_precondition(
                "no reports are sent: set tls_reports.from in the configuration of the control nodes, such as \
                 from = \"tls-reports@esp.example\", and restart them",
            ));
        }
        let command = tls_reports::Command::Hurry {
            day,
            by: access::caller(),
        };
        let command = meta::Command::TlsReport(Box::new(command));
        self.forward.commit_meta(&command).await?;
        let after = (Day(day.0.saturating_sub(1)), "\u{10ffff}");
        let counted = tls_reports::all_counted(&self.meta, after, usize::MAX);
        let domains = counted.iter().filter(|(of, _)| *of == day).count();
        Ok(SendTlsReportsResponse {
            domains: domains as u64,
        })
    }
}

fn place(reached: tls_reports::Reached) -> TlsReportPlace {
    TlsReportPlace {
        place: reached.place,
        at_ms: reached.at.0,
        fault: reached.fault.unwrap_or_default(),
    }
}

fn entry(domain: &str, row: sts::StsRow) -> TlsPolicyEntry {
    TlsPolicyEntry {
        domain: domain.to_owned(),
        mode: row.policy.mode.as_str().to_owned(),
        max_age_s: row.policy.max_age_s.into(),
        source: format!("https://mta-sts.{domain}/.well-known/mta-sts.txt"),
        fetched_at_ms: row.fetched_at.0,
        ends_at_ms: row.ends_at().0,
        next_look_at_ms: row.next_look.0,
        fault: row.fault.unwrap_or_default(),
        id: row.policy.id,
        mx: row.policy.mx,
    }
}

/// What a delivery demands, as far as a control node knows it: routes and `delivery.tls` are in the files of senders.
fn of_plan(plan: &Plan, policy: &Policy, live: Option<&sts::StsRow>) -> ExplainTlsResponse {
    let names: Vec<&str> = plan.hosts.iter().map(|host| host.name.as_str()).collect();
    let site = policy.site_of(&plan.domain, &names);
    let provider = site.provider.as_ref();
    let figures = provider.unwrap_or_else(|| policy.default_provider());
    let wanted = TlsPolicy::from(figures.tls);
    let task = TaskTls {
        domain: plan.domain.clone(),
        mx: plan.security,
        sts: live.map(|row| Arc::new(row.policy.clone())),
        ..TaskTls::default()
    };
    let hosts = plan.hosts.iter().map(|host| {
        let decision = task.decide(&host.name, &host.tlsa, wanted);
        let (demand, is_skipped) = match &decision.choice {
            Choice::Try(demand) => (words(demand).to_owned(), false),
            Choice::Skip(skip) => (format!("gets no mail: {}", skip.text), true),
        };
        let (tlsa, no_tlsa) = match &host.tlsa {
            TlsaAnswer::Records { records, .. } => (
                records.iter().map(ToString::to_string).collect(),
                String::new(),
            ),
            TlsaAnswer::None => (Vec::new(), "has no TLSA records".to_owned()),
            TlsaAnswer::NotAsked => (
                Vec::new(),
                "not asked for TLSA records: DNSSEC does not vouch for it".to_owned(),
            ),
            TlsaAnswer::Failed(why) => {
                (Vec::new(), format!("its TLSA records are not known: {why}"))
            }
        };
        TlsHost {
            name: host.name.clone(),
            tlsa,
            no_tlsa,
            decided_by: decision.applied.name().to_owned(),
            demand,
            is_skipped,
        }
    });
    ExplainTlsResponse {
        hosts: hosts.collect(),
        is_mx_secure: plan.security.is_secure(),
        provider: site
            .name
            .filter(|_| provider.is_some())
            .map(|name| name.to_string())
            .unwrap_or_default(),
        provider_tls: figures.tls.name().to_owned(),
        ..ExplainTlsResponse::default()
    }
}

fn words(demand: &Demand) -> &'static str {
    match demand {
        Demand::Clear => "no TLS is tried",
        Demand::Opportunistic => "TLS where it works, with any certificate; else in the clear",
        Demand::Tls => "TLS with any certificate, or no delivery",
        Demand::Pkix => {
            "TLS with a certificate for the host's name that leads to a trusted authority, or no delivery"
        }
        Demand::Dane(_) => "TLS with a certificate that matches its TLSA records, or no delivery",
    }
}

/// Who says something, in the order in which they decide.
fn notes(told: &ExplainTlsResponse, live: Option<&sts::StsRow>) -> Vec<String> {
    let mut notes = vec![
        "routes and delivery.tls in the files of senders go before all that follows".to_owned(),
    ];
    let has_tlsa = told.hosts.iter().any(|host| !host.tlsa.is_empty());
    notes.push(match (told.is_mx_secure, has_tlsa) {
        (false, _) => "DANE: does not apply, since no DNSSEC vouches for the MX records".to_owned(),
        (true, false) => "DANE: does not apply, since no host has TLSA records".to_owned(),
        (true, true) => "DANE: applies to hosts with TLSA records that can be used".to_owned(),
    });
    notes.push(match live {
        None => format!("MTA-STS: no policy is kept; {}", told.announced),
        Some(row) => match row.policy.mode {
            StsMode::Enforce => "MTA-STS: enforced where DANE does not decide".to_owned(),
            StsMode::Testing => "MTA-STS: in testing, so that faults are only reported".to_owned(),
            StsMode::None => "MTA-STS: the domain has withdrawn its policy".to_owned(),
        },
    });
    let provider = match told.provider.as_str() {
        "" => "default",
        name => name,
    };
    notes.push(format!(
        "provider {provider}: tls {} where nobody before has decided",
        told.provider_tls
    ));
    notes
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
