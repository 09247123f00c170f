//! Warm-ups, as operators see and change them.

use skein_model::meta;
use skein_model::warmup::{self, Change, Command, Order, Response, Row, Target};
use skein_policy::{Ip, Policy};
use skein_wire::v1::change_warmups_request::Change as Wanted;
use skein_wire::v1::{
    ChangeWarmupsRequest, ChangeWarmupsResponse, ListWarmupsRequest, ListWarmupsResponse,
    WarmupChange, WarmupEvent, WarmupPhase, WarmupStatus,
};
use tonic::Status;

use super::AdminService;
use crate::access;

/// An IP at a provider, as policy has it.
struct Planned {
    ip: String,
    target: Target,
    plan: warmup::Plan,
}

impl AdminService {
    pub(super) fn warmups(
        &self,
        request: &ListWarmupsRequest,
    ) -> Result<ListWarmupsResponse, Status> {
        let policy = self.read_policy()?;
        let all: Vec<String> = match request.ips.is_empty() {
            true => names(&policy),
            false => request.ips.clone(),
        };
        let rows = warmup::rows(&self.meta);
        let planned = planned(&policy, &all, &request.providers)?;
        let now = crate::clock::now();
        let shown = planned.into_iter().map(|one| match rows.get(&one.target) {
            Some(row) => shown(one, row, now),
            None => not_started(one),
        });
        let warmups = shown.collect();
        Ok(ListWarmupsResponse { warmups })
    }

    pub(super) async fn change_warmups(
        &self,
        request: ChangeWarmupsRequest,
    ) -> Result<ChangeWarmupsResponse, Status> {
        if request.ips.is_empty() {
            return Err(Status::invalid_argument(
                "ips: name a source IP; `skeinctl warmup status` lists those that policy warms up",
            ));
        }
        let policy = self.read_policy()?;
        let planned = planned(&policy, &request.ips, &request.providers)?;
        let orders = planned.iter().map(|one| order(&request, one));
        let orders: Vec<Command> = orders.collect::<Result<_, Status>>()?;
        let answers = match self
            .forward
            .commit_meta(&meta::Command::Warmup(orders))
            .await?
        {
            meta::Response::Warmup(answers) => answers,
            other => return Err(Status::internal(format!("{other:?}"))),
        };
        let mut refused = Vec::new();
        for (one, answer) in planned.iter().zip(&answers) {
            if let Response::Refused(refusal) = answer {
                let provider = &one.target.provider;
                refused.push(format!("{} at {provider}: {refusal}", one.ip));
            }
        }
        match refused.is_empty() {
            true => Ok(ChangeWarmupsResponse {
                changed: u32::try_from(answers.len()).unwrap_or(u32::MAX),
            }),
            false => Err(Status::failed_precondition(refused.join("; "))),
        }
    }
}

fn names(policy: &Policy) -> Vec<String> {
    let warmed = policy
        .ips()
        .filter(|ip| policy.warmup_of(&ip.name).is_some());
    warmed.map(|ip| ip.name.to_string()).collect()
}

fn planned(policy: &Policy, ips: &[String], providers: &[String]) -> Result<Vec<Planned>, Status> {
    let mut found = Vec::new();
    for name in ips {
        let ip: &Ip = policy.ip(name).ok_or_else(|| {
            Status::invalid_argument(format!(
                "ip: there is no source IP {name:?}; `skeinctl ip list` shows those that are"
            ))
        })?;
        let warmup = policy.warmup_of(name).ok_or_else(|| {
            Status::failed_precondition(format!(
                "ip: no resource of kind warmup names {name:?}, or a pool that it is of; apply one first"
            ))
        })?;
        let known = warmup.providers();
        for provider in providers {
            if !known.contains(provider) {
                return Err(Status::invalid_argument(format!(
                    "provider: warm-up {} has no budget for {provider:?}: there are {}",
                    warmup.name,
                    known.join(", ")
                )));
            }
        }
        let wanted = known
            .into_iter()
            .filter(|provider| providers.is_empty() || providers.contains(provider));
        found.extend(wanted.map(|provider| Planned {
            ip: name.clone(),
            plan: warmup.plan(&provider),
            target: Target {
                ip: ip.public.to_canonical(),
                provider,
            },
        }));
    }
    Ok(found)
}

fn order(request: &ChangeWarmupsRequest, one: &Planned) -> Result<Command, Status> {
    let target = one.target.clone();
    let order = Order {
        who: access::caller(),
        why: request.why.clone(),
    }
    .bounded();
    let stages = u32::from(one.plan.stages());
    let stage = || match request.stage {
        0 => Ok(0),
        stage if stage <= stages => Ok(u16::try_from(stage - 1).unwrap_or(u16::MAX)),
        stage => Err(Status::invalid_argument(format!(
            "stage: the schedule of {} at {} has stages 1 to {stages}, and not {stage}",
            one.ip, target.provider
        ))),
    };
    Ok(match request.change() {
        Wanted::Unspecified => {
            return Err(Status::invalid_argument("change: say which"));
        }
        Wanted::Start => Command::Start {
            plan: one.plan.clone(),
            stage: stage()?,
            target,
            order,
        },
        Wanted::Pause => Command::Pause {
            target,
            is_sending: request.keeps_sending,
            order,
        },
        Wanted::Resume => Command::Resume { target, order },
        Wanted::Skip => Command::Skip {
            stage: stage()?,
            target,
            order,
        },
        Wanted::Stop => Command::Stop { target, order },
    })
}

fn not_started(one: Planned) -> WarmupStatus {
    WarmupStatus {
        ip: one.ip,
        address: one.target.ip.to_string(),
        provider: one.target.provider,
        phase: WarmupPhase::NotStarted.into(),
        stages: one.plan.stages().into(),
        budget: Some(0),
        outlook: "nothing is sent before `skeinctl warmup start`".to_owned(),
        ..WarmupStatus::default()
    }
}

fn shown(one: Planned, row: &Row, now: skein_model::UnixMs) -> WarmupStatus {
    let status = warmup::status(row, now);
    WarmupStatus {
        ip: one.ip,
        address: one.target.ip.to_string(),
        provider: one.target.provider,
        phase: WarmupPhase::from(status.phase).into(),
        stage: status.stage.into(),
        stages: status.stages.into(),
        day: date(status.day.0),
        day_ends_ms: status.day_ends.0,
        budget: status.budget,
        granted: status.counts.granted,
        delivered: status.counts.delivered,
        deferred: status.counts.deferred,
        bounced: status.counts.bounced,
        held_days: status.held_days.into(),
        outlook: status.outlook,
        next_at_ms: status.next_at.map_or(0, |at| at.0),
        changes: status.changes.into_iter().map(change).collect(),
    }
}

fn change(change: Change) -> WarmupChange {
    WarmupChange {
        at_ms: change.at.0,
        what: WarmupEvent::from(change.what).into(),
        stage: u32::from(change.stage) + 1,
        who: change.who.unwrap_or_default(),
        why: change.why,
    }
}

/// The date of a day since 1970 (Howard Hinnant's civil_from_days).
fn date(day: u64) -> String {
    let days = i64::try_from(day).unwrap_or(0) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = match shifted < 10 {
        true => shifted + 3,
        false => shifted - 9,
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_policy::Source;

    use super::*;

    const POLICY: &str = "kind: ip\nname: a\nbind: 192.0.2.1\nehlo: a.example.test\n---\nkind: ip\nname: b\nbind: \
                          192.0.2.2\nehlo: b.example.test\n---\nkind: warmup\nname: w\nips: [a]\nschedule: {table: \
                          [20, 40]}\nproviders: {google: 100}\n";

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, expected) in [
            (0, "1970-01-01"),
            (19_781, "2024-02-28"),
            (19_782, "2024-02-29"),
            (19_783, "2024-03-01"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(date(day), expected);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_name_of_its_field() {
        let policy = Policy::parse(&[Source {
            name: "t",
            text: POLICY,
        }])
        .unwrap();
        let named = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        for (ips, providers, words) in [
            (&["c"][..], &[][..], "ip: there is no source IP \"c\""),
            (&["b"], &[], "ip: no resource of kind warmup names \"b\""),
            (
                &["a"],
                &["yahoo"],
                "provider: warm-up w has no budget for \"yahoo\": there are google, default",
            ),
        ] {
            let refused = planned(&policy, &named(ips), &named(providers))
                .err()
                .unwrap();
            assert!(refused.message().starts_with(words), "{refused}");
        }
        let all = planned(&policy, &named(&["a"]), &[]).unwrap();
        assert_eq!(all.len(), 2);
        let request = |stage| ChangeWarmupsRequest {
            change: Wanted::Skip.into(),
            stage,
            ..ChangeWarmupsRequest::default()
        };
        let refused = order(&request(3), &all[0]).err().unwrap();
        assert!(
            refused
                .message()
                .starts_with("stage: the schedule of a at google has stages 1 to 2")
        );
        let skip = order(&request(2), &all[0]).unwrap();
        assert!(matches!(skip, Command::Skip { stage: 1, .. }), "{skip:?}");
        let nothing = ChangeWarmupsRequest::default();
        let refused = order(&nothing, &all[0]).err().unwrap();
        assert!(refused.message().starts_with("change: "));
    }
}
