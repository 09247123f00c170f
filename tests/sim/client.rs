//! The client that hands mail in, and the host that takes it.

use std::collections::BTreeSet;

use crate::coverage::Coverage;
use crate::message::{Answer, Message, Question};
use crate::sim::{Event, Pid, Sim, Timer};

const DOMAINS: u64 = 7;
const WAITS_MS: u64 = 30_000;

#[derive(Default)]
pub struct Client {
    number: u64,
    senders: u8,
    until: u64,
    asked: BTreeSet<u64>,
}

impl Client {
    pub fn start(sim: &mut Sim, senders: u8, until: u64) -> Self {
        sim.timer(Pid::Client, 4_000, Timer::Submit);
        Self {
            senders,
            until,
            ..Self::default()
        }
    }

    pub fn handle(&mut self, sim: &mut Sim, event: Event) {
        match event {
            Event::Timer(Timer::Submit) if sim.now < self.until => {
                self.submit(sim);
                let rest = sim.rng.range(20, 400);
                sim.timer(Pid::Client, rest, Timer::Submit);
            }
            Event::Timer(Timer::Deadline(id)) => {
                self.asked.remove(&id);
            }
            Event::Message(_, Message::Tell(id, answer)) => {
                let was_waited_for = self.asked.remove(&id);
                let is_refused = was_waited_for && !matches!(answer, Answer::Done);
                sim.coverage.refused_mail += u64::from(is_refused);
            }
            _ => {}
        }
    }

    fn submit(&mut self, sim: &mut Sim) {
        self.number += 1;
        let recipients = (0..sim.rng.range(1, 6)).map(|n| {
            let domain = format!("d{}.test", sim.rng.below(DOMAINS));
            (format!("u{}.{n}@{domain}", self.number), domain)
        });
        let recipients = recipients.collect();
        let to = Pid::Sender(sim.rng.below(self.senders.into()) as u8);
        let id = sim.ask(Pid::Client, to, Question::Submit(recipients), WAITS_MS);
        self.asked.insert(id);
    }
}

/// Any host of the internet.
pub struct Host {
    seen: BTreeSet<u64>,
    /// Never loses a connection, and never refuses for now.
    pub is_good: bool,
}

impl Host {
    pub fn new(is_good: bool) -> Self {
        Self {
            is_good,
            seen: BTreeSet::new(),
        }
    }

    pub fn handle(&mut self, sim: &mut Sim, event: Event) {
        match event {
            Event::Message(from, Message::Ask(id, Question::Mail(mail)))
                if self.seen.insert(id) =>
            {
                let mut codes = Vec::new();
                for recipient in &mail.recipients {
                    let code = match sim.rng.below(100) {
                        0..=9 if !self.is_good => 4,
                        10..=13 => 5,
                        _ => 2,
                    };
                    if code == 2 {
                        sim.judge.taken(sim.now, mail.task, *recipient, mail.dot);
                    }
                    codes.push(code);
                }
                if !self.is_good && sim.rng.in_thousand(8) {
                    // The connection breaks before the reply.
                    return sim.judge.reply_lost(from, mail.task);
                }
                let takes = match sim.rng.in_thousand(60) {
                    true => sim.rng.range(500, 12_000),
                    false => sim.rng.range(1, 100),
                };
                let reply = Timer::Reply(id, from, Answer::Replies(codes));
                sim.timer(Pid::Host, takes, reply);
            }
            Event::Timer(Timer::Reply(id, to, answer)) => {
                sim.tell(Pid::Host, to, id, answer);
            }
            _ => {}
        }
    }
}

/// What the judge counted, for the table.
pub fn count(coverage: &mut Coverage, sim: &Sim) {
    coverage.accepted = sim.judge.messages.len() as u64;
    coverage.delivered = sim.judge.delivered;
    coverage.bounced = sim.judge.bounced;
    coverage.deferred = sim.judge.deferred;
    coverage.moved = sim.judge.moved;
}
