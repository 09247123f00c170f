//! Taking mail in, as in `ingress::intake` and `client::ingest`: bodies to all voters, and then the Accept.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use skein_model::mail::BodyType;
use skein_model::priority::Priority;
use skein_model::spool::{Accept, NewTask};
use skein_model::{BodyRef, Domain, Envelope, MessageId, NodeId, Notify, Recipient, Slot};

use super::{Asked, Sender};
use crate::control::SPOOLS;
use crate::message::{Answer, Question};
use crate::sim::{Pid, Sim};

const DEADLINE_MS: u64 = 20_000;
const TRY_AGAIN_MS: u64 = 200;
const BODY_WITHIN_MS: u64 = 10_000;

pub struct Intake {
    client: Pid,
    question: u64,
    tasks: Vec<NewTask>,
    voters: BTreeSet<NodeId>,
    acks: BTreeSet<NodeId>,
    unanswered: usize,
    accept: Option<Rc<Accept>>,
    /// When the Accept is offered next; none while it is on its way.
    again_at: Option<u64>,
    until: u64,
    is_unknown: bool,
}

impl Sender {
    pub(super) fn submit(
        &mut self,
        sim: &mut Sim,
        client: Pid,
        question: u64,
        recipients: Vec<(String, String)>,
    ) {
        let ready: Vec<_> = SPOOLS
            .into_iter()
            .filter(|group| self.leader(*group).is_some())
            .collect();
        let group = sim.rng.pick(&ready).filter(|_| !self.retiring);
        let Some(group) = group else {
            return sim.tell(self.pid, client, question, Answer::Unavailable);
        };
        let view = self.view[&group].clone();
        let number = sim.unique();
        let id = MessageId::new(sim.wall(self.pid), group, number);
        let recipients = recipients.into_iter().map(|(address, domain)| {
            let recipient = Recipient {
                address,
                notify: Notify::default(),
                orcpt: None,
            };
            (Domain::new(&domain), recipient)
        });
        let sites = BTreeMap::new();
        let targets: Vec<Pid> = view
            .voters
            .values()
            .chain(view.learners.values())
            .copied()
            .collect();
        let intake = Intake {
            client,
            question,
            tasks: NewTask::plan(recipients, 3, &sites, |site| {
                // A hot site has several slots.
                let spread = if site == "d0.test" { number % 3 } else { 0 };
                Slot::of(site, spread as u16)
            }),
            voters: view.voters.keys().copied().collect(),
            acks: BTreeSet::new(),
            unanswered: targets.len(),
            accept: None,
            again_at: None,
            until: sim.now + DEADLINE_MS,
            is_unknown: false,
        };
        self.intakes.insert(id, intake);
        for to in targets {
            self.ask(
                sim,
                to,
                Question::StoreBody(id),
                BODY_WITHIN_MS,
                Asked::Body(id),
            );
        }
    }

    pub(super) fn on_stored(&mut self, sim: &mut Sim, id: MessageId, answer: Option<Answer>) {
        let Some(intake) = self.intakes.get_mut(&id) else {
            return;
        };
        intake.unanswered -= 1;
        if let Some(Answer::Stored(node)) = answer
            && intake.voters.contains(&node)
        {
            intake.acks.insert(node);
        }
        if intake.accept.is_some() {
            return;
        }
        if intake.acks.len() * 2 > intake.voters.len() {
            let accept = Accept {
                id,
                envelope: envelope(id),
                body: BodyRef {
                    bytes: 100,
                    crc32c: 0,
                    acks: intake.acks.iter().copied().collect(),
                    prefix_bytes: None,
                },
                tasks: std::mem::take(&mut intake.tasks),
                about: None,
            };
            intake.accept = Some(Rc::new(accept));
            intake.again_at = Some(0);
            self.retry_accepts(sim);
        } else if sim.is(crate::mutation::Mutation::AcceptWithoutMajorityOfBodies) {
            intake.voters.retain(|node| intake.acks.contains(node));
        } else if intake.unanswered == 0 {
            self.end_intake(sim, id, Answer::Unavailable);
        }
    }

    fn end_intake(&mut self, sim: &mut Sim, id: MessageId, answer: Answer) {
        if let Some(intake) = self.intakes.remove(&id) {
            if matches!(answer, Answer::Done) {
                sim.judge.acknowledged(id);
            }
            sim.tell(self.pid, intake.client, intake.question, answer);
        }
    }

    pub(super) fn on_accepted(&mut self, sim: &mut Sim, id: MessageId, answer: Option<Answer>) {
        let Some(intake) = self.intakes.get_mut(&id) else {
            return;
        };
        match answer {
            Some(Answer::Done) => self.end_intake(sim, id, Answer::Done),
            // Whether an earlier offer was taken is not known.
            Some(Answer::Refused) if intake.is_unknown => self.end_intake(sim, id, Answer::Unknown),
            Some(Answer::Refused) => self.end_intake(sim, id, Answer::Unavailable),
            answer => {
                intake.is_unknown |= !matches!(answer, Some(Answer::Unavailable));
                intake.again_at = Some(sim.now + TRY_AGAIN_MS);
                self.doubt(sim);
            }
        }
    }

    /// A command is idempotent, so one whose fate is not known is offered again.
    pub(super) fn retry_accepts(&mut self, sim: &mut Sim) {
        let due = self.intakes.iter().filter(|(_, intake)| {
            intake.again_at.is_some_and(|at| sim.now >= at) && intake.accept.is_some()
        });
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            let leader = self.leader(id.group());
            let intake = self.intakes.get_mut(&id).expect("just found");
            if sim.now > intake.until {
                let answer = match intake.is_unknown {
                    true => Answer::Unknown,
                    false => Answer::Unavailable,
                };
                self.end_intake(sim, id, answer);
                continue;
            }
            let Some((_, leader)) = leader else {
                continue;
            };
            intake.again_at = None;
            let accept = intake.accept.clone().expect("just looked at");
            self.ask(
                sim,
                leader,
                Question::Accept(accept),
                5_000,
                Asked::Accept(id),
            );
        }
    }
}

fn envelope(id: MessageId) -> Envelope {
    Envelope {
        return_path: "a@b.test".into(),
        body_type: BodyType::SevenBit,
        smtputf8: false,
        require_tls: false,
        ret: None,
        envid: None,
        tenant: format!("tenant{}", id.entropy() % 3),
        pool: "default".into(),
        client: None,
        traceparent: None,
        campaign: None,
        tls_optional: false,
        priority: match id.entropy() % 5 {
            0 => Priority::Transactional,
            _ => Priority::Bulk,
        },
    }
}
