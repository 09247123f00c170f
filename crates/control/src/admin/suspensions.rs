//! Mail that operators hold back.

use skein_model::automation::{self, Command, InForce, Selector, Subject};
use skein_model::warmup::Order;
use skein_model::{DurationMs, meta};
use skein_wire::v1::{ResumeRequest, ResumeResponse, SuspendRequest, SuspendResponse, Suspension};
use tonic::Status;

use super::AdminService;
use super::selection::{read_selector, write_selector};
use crate::access;

impl AdminService {
    pub(super) async fn hold_back(
        &self,
        request: SuspendRequest,
    ) -> Result<SuspendResponse, Status> {
        let lasts = DurationMs(request.lasts_ms);
        let selector = read_selector(request.selector)?;
        if request.gives_up && selector.is_everything() {
            return Err(Status::invalid_argument(
                "selector: all mail there is cannot be given up at once; name the mail",
            ));
        }
        let (met, notes) = self.meet(&selector, request.force)?;
        let mut answer = SuspendResponse {
            until_ms: (meta::time(&self.meta) + lasts).0,
            tasks: met.tasks,
            queues: met.queues,
            has_more: met.has_more,
            notes,
        };
        if request.dry_run {
            return Ok(answer);
        }
        let command = Command::Suspend {
            selector: selector.clone(),
            lasts,
            order: order(request.why),
            gives_up: request.gives_up,
        };
        self.say(command).await?;
        answer.until_ms = (meta::time(&self.meta) + lasts).0;
        if request.gives_up {
            let flushed = self.flush_covered(&selector).await?;
            (answer.tasks, answer.queues) = (flushed.tasks, flushed.queues);
            answer.has_more = false;
        }
        Ok(answer)
    }

    pub(super) async fn let_go(&self, request: ResumeRequest) -> Result<ResumeResponse, Status> {
        let selector = read_selector(request.selector)?;
        let command = Command::Resume {
            selector: selector.clone(),
            order: order(request.why),
        };
        self.say(command).await?;
        let met = self.met(|row| selector.covers(&row.facts()));
        let is_left = |one: &&InForce| match &one.subject {
            Subject::ByHand(other) | Subject::GivenUp(other) => *other != selector,
            Subject::Rule { .. } => false,
        };
        let in_force = automation::in_force(&self.meta, crate::clock::now());
        Ok(ResumeResponse {
            tasks: met.tasks,
            queues: met.queues,
            has_more: met.has_more,
            left: in_force.iter().filter(is_left).count() as u32,
        })
    }

    async fn say(&self, command: Command) -> Result<(), Status> {
        let command = meta::Command::Automation(Box::new(command));
        match self.forward.commit_meta(&command).await? {
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
    let why = why.replace(char::is_control, " ");
    Order { who, why }.bounded()
}
