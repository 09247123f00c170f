//! Mail that operators hold back.

use skein_model::automation::{self, Command, InForce, Selector, Subject};
use skein_model::warmup::Order;
use skein_model::{DurationMs, meta};
use skein_wire::v1::{MailSelector, ResumeRequest, SuspendRequest, SuspendResponse, Suspension};
use tonic::Status;

use super::AdminService;
use crate::access;

impl AdminService {
    pub(super) async fn hold_back(
        &self,
        request: SuspendRequest,
    ) -> Result<SuspendResponse, Status> {
        let lasts = DurationMs(request.lasts_ms);
        let selector = read_selector(request.selector)?;
        let command = Command::Suspend {
            selector: selector.clone(),
            lasts,
            order: order(request.why),
            gives_up: request.gives_up,
        };
        self.say(command).await?;
        let until_ms = (meta::time(&self.meta) + lasts).0;
        let tasks = match request.gives_up {
            true => self.flush_covered(&selector).await?,
            false => 0,
        };
        Ok(SuspendResponse { until_ms, tasks })
    }

    pub(super) async fn let_go(&self, request: ResumeRequest) -> Result<(), Status> {
        let command = Command::Resume {
            selector: read_selector(request.selector)?,
            order: order(request.why),
        };
        self.say(command).await
    }

    async fn say(&self, command: Command) -> Result<(), Status> {
        let command = meta::Command::Automation(Box::new(command));
        match self.commit_meta(&command).await? {
            meta::Response::Refused(refusal) => {
                Err(Status::failed_precondition(refusal.to_string()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn suspensions(&self) -> Vec<Suspension> {
        let now = crate::clock::now();
        let all = automation::in_force(&self.meta, now).into_iter();
        let by_hand = all.filter_map(
            |InForce {
                 subject,
                 why,
                 who,
                 from,
                 until,
                 ..
             }| {
                let (selector, gives_up) = match subject {
                    Subject::ByHand(selector) => (selector, false),
                    Subject::GivenUp(selector) => (selector, true),
                    Subject::Rule { .. } => return None,
                };
                let suspension = Suspension {
                    selector: Some(write_selector(&selector)),
                    who: who.unwrap_or_default(),
                    why,
                    from_ms: from.0,
                    until_ms: until.0,
                    tasks: 0,
                    gives_up,
                };
                Some((selector, suspension))
            },
        );
        let mut found: Vec<(Selector, Suspension)> = by_hand.collect();
        if !found.is_empty() {
            self.each_queue(|_, row| {
                for (selector, suspension) in &mut found {
                    if selector.covers(&row.facts()) {
                        suspension.tasks += row.tasks;
                    }
                }
            });
        }
        found
            .into_iter()
            .map(|(_, suspension)| suspension)
            .collect()
    }
}

fn order(why: String) -> Order {
    let who = access::caller();
    Order { who, why }.bounded()
}

pub(super) fn read_selector(given: Option<MailSelector>) -> Result<Selector, Status> {
    let given = given.unwrap_or_default();
    let named = |name: String| (!name.is_empty()).then_some(name);
    let selector = Selector {
        tenant: named(given.tenant),
        domain: named(given.domain),
        site: named(given.site),
        provider: named(given.provider),
        pool: named(given.pool),
        campaign: named(given.campaign),
    };
    match selector.is_valid() {
        true => Ok(selector),
        false => Err(Status::invalid_argument(
            "selector: name a tenant, domain, site, provider, pool or campaign, each with at most 255 bytes",
        )),
    }
}

fn write_selector(selector: &Selector) -> MailSelector {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    MailSelector {
        tenant: name(&selector.tenant),
        domain: name(&selector.domain),
        site: name(&selector.site),
        provider: name(&selector.provider),
        pool: name(&selector.pool),
        campaign: name(&selector.campaign),
    }
}
