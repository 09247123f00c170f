//! A cluster that shares one limit: a leader, senders, and messages between them that are late, lost and repeated.
//!
//! What is checked are the true times at which a destination would see events, which no part of the product knows.

use std::collections::{BTreeMap, BTreeSet};

use super::LimitClock;
use super::cluster_sides::{Answer, Leader, Report, Side};
use crate::id::{SessionId, mix};
use crate::lease::{GRACE, LEASE, Lease};
use crate::time::{DurationMs, LimitMs};

pub const STEP: u64 = 10;
const REPORT_EVERY: u64 = 1000;
/// Without unused tokens, or less counted than the leader waits for.
const REPORT_SOON: u64 = 250;

#[derive(Debug)]
struct Sender {
    session: SessionId,
    lease: Lease,
    side: Side,
    /// Nothing runs until then.
    paused_until: u64,
    /// No message goes through until then.
    cut_until: u64,
    restarts_at: Option<u64>,
    reports_at: u64,
    reported_at: u64,
    tokens: Vec<Token>,
}

#[derive(Debug)]
struct Token {
    /// When the destination sees it; none if it has.
    event: Option<u64>,
    end: u64,
}

#[derive(Debug, Clone, Copy)]
enum Packet {
    Up(Report),
    Down(Answer),
}

#[derive(Debug)]
pub struct Cluster {
    now: u64,
    rule: Rule,
    leader: Leader,
    clock: LimitClock,
    latest: LimitMs,
    elected_at: u64,
    heard: BTreeMap<SessionId, u64>,
    ended: BTreeSet<SessionId>,
    senders: Vec<Sender>,
    sessions: u64,
    /// By when they arrive; with sender, session and when the report was sent.
    packets: BTreeMap<(u64, u64), (usize, SessionId, u64, Packet)>,
    draws: u64,
    pub events: Vec<u64>,
    /// The most that were open at once.
    pub open_max: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub is_calm: bool,
    pub is_connections: bool,
    pub per: DurationMs,
    pub seed: u64,
    /// How long an event takes, mostly.
    pub latency: u64,
}

impl Cluster {
    pub fn new(rule: Rule, leader: Leader, senders: usize) -> Self {
        let mut cluster = Self {
            now: 0,
            rule,
            leader,
            clock: LimitClock::resume(LimitMs(1_700_000_000_000), DurationMs(0)),
            latest: LimitMs(0),
            elected_at: 0,
            heard: BTreeMap::new(),
            ended: BTreeSet::new(),
            senders: Vec::new(),
            sessions: 0,
            packets: BTreeMap::new(),
            draws: 0,
            events: Vec::new(),
            open_max: 0,
        };
        for _ in 0..senders {
            let sender = cluster.start();
            cluster.senders.push(sender);
        }
        cluster
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.draws += 1;
        mix(self.rule.seed ^ mix(self.draws)) % below
    }

    fn is_odd_chance(&mut self, one_in: u64) -> bool {
        !self.rule.is_calm && self.draw(one_in) == 0
    }

    fn start(&mut self) -> Sender {
        self.sessions += 1;
        let side = Side::new(&self.leader, self.rule.is_connections, self.rule.per);
        Sender {
            session: SessionId(self.sessions),
            lease: Lease::ENDED,
            side,
            paused_until: 0,
            cut_until: 0,
            restarts_at: None,
            reports_at: self.now + self.sessions * 97 % REPORT_EVERY,
            reported_at: 0,
            tokens: Vec::new(),
        }
    }

    pub fn run(&mut self, lasts: u64) {
        let until = self.now + lasts;
        while self.now < until {
            self.now += STEP;
            self.break_things();
            self.deliver();
            self.lead();
            for nth in 0..self.senders.len() {
                self.see(nth);
                self.work(nth);
            }
            let open = |sender: &Sender| match self.now < sender.lease.until.0 {
                true => sender.tokens.len() as u64,
                false => 0,
            };
            self.open_max = self.open_max.max(self.senders.iter().map(open).sum());
        }
    }

    /// Nothing breaks any more. What is broken comes back within 42 s.
    pub fn calm_down(&mut self) {
        self.rule.is_calm = true;
    }

    fn break_things(&mut self) {
        if self.is_odd_chance(1000) {
            self.elected_at = self.now + 500 + self.draw(2500);
        }
        if self.elected_at > self.now && self.elected_at <= self.now + STEP {
            self.elect();
        }
        let nth = self.draw(self.senders.len() as u64) as usize;
        let lasts = 200 + self.draw(20_000);
        match self.is_odd_chance(300).then(|| self.draw(3)) {
            Some(0) => self.senders[nth].paused_until = self.now + lasts,
            Some(1) => self.senders[nth].cut_until = self.now + lasts,
            Some(2) => self.crash(nth, lasts),
            _ => {}
        }
    }

    /// Another node leads, with the same rows, no memory and another clock.
    fn elect(&mut self) {
        self.leader = self.leader.replayed();
        self.clock = LimitClock::resume(self.latest, DurationMs(self.now));
        for heard in self.heard.values_mut() {
            *heard = self.now;
        }
    }

    /// What was on the wire may still arrive.
    fn crash(&mut self, nth: usize, lasts: u64) {
        let now = self.now;
        let sender = &mut self.senders[nth];
        let until = sender.lease.until.0;
        let arrived = sender.tokens.drain(..).filter_map(|token| token.event);
        let arrived = arrived.filter(|event| *event < until.min(now + 500));
        self.events.extend(arrived);
        sender.lease = Lease::ENDED;
        sender.restarts_at = Some(now + 1000 + lasts);
    }

    fn send(&mut self, nth: usize, session: SessionId, sent_at: u64, packet: Packet) {
        let copies = 1 + u64::from(self.is_odd_chance(20));
        for _ in 0..copies {
            if self.is_odd_chance(20) {
                continue;
            }
            let delay = match self.is_odd_chance(20) {
                true => self.draw(8000),
                false => self.draw(30),
            };
            self.draws += 1;
            let place = (self.now + delay, self.draws);
            self.packets.insert(place, (nth, session, sent_at, packet));
        }
    }

    fn deliver(&mut self) {
        let later = self.packets.split_off(&(self.now + 1, 0));
        let due = std::mem::replace(&mut self.packets, later);
        for (nth, session, sent_at, packet) in due.into_values() {
            if self.senders[nth].cut_until > self.now {
                continue;
            }
            match packet {
                Packet::Up(report) => self.hear(nth, session, sent_at, report),
                Packet::Down(answer) => self.be_told(nth, session, sent_at, answer),
            }
        }
    }

    fn stamp(&mut self) -> LimitMs {
        self.latest = self.clock.at(DurationMs(self.now)).max(self.latest);
        self.latest
    }

    fn hear(&mut self, nth: usize, session: SessionId, sent_at: u64, report: Report) {
        if self.elected_at > self.now {
            return;
        }
        if self.ended.contains(&session) {
            return self.send(nth, session, sent_at, Packet::Down(Answer::NoSession));
        }
        self.heard.insert(session, self.now);
        let at = self.stamp();
        let answer = self.leader.report(at, session, report);
        self.send(nth, session, sent_at, Packet::Down(answer));
    }

    fn lead(&mut self) {
        if self.elected_at > self.now {
            return;
        }
        let silent = |heard: u64| self.now - heard > LEASE.0 + GRACE.0;
        let gone: Vec<SessionId> = self
            .heard
            .iter()
            .filter(|(_, heard)| silent(**heard))
            .map(|(id, _)| *id)
            .collect();
        let at = self.stamp();
        for session in gone {
            self.heard.remove(&session);
            self.ended.insert(session);
            self.leader.session_gone(at, session);
        }
        if self.leader.divide(at) {
            for nth in 0..self.senders.len() {
                let session = self.senders[nth].session;
                // A hint, which extends no lease.
                if let Some(answer) = self.leader.hint(session) {
                    self.send(nth, session, 0, Packet::Down(answer));
                }
            }
        }
    }

    fn be_told(&mut self, nth: usize, session: SessionId, sent_at: u64, answer: Answer) {
        let sender = &mut self.senders[nth];
        if sender.session != session || sender.restarts_at.is_some() {
            return;
        }
        if matches!(answer, Answer::NoSession) {
            sender.lease = Lease::ENDED;
            return;
        }
        sender.side.answered(answer);
        let lease = Lease::granted(DurationMs(sent_at), LEASE);
        if sent_at > 0 && lease.until > sender.lease.until {
            sender.lease = lease;
        }
    }

    /// Events happen whether the process runs or not, while its lease lasts.
    fn see(&mut self, nth: usize) {
        let sender = &mut self.senders[nth];
        for token in &mut sender.tokens {
            if let Some(event) = token.event.take_if(|event| *event <= self.now)
                && event < sender.lease.until.0
            {
                self.events.push(event);
            }
        }
    }

    fn work(&mut self, nth: usize) {
        let now = self.now;
        let sender = &mut self.senders[nth];
        if sender.restarts_at.is_some_and(|at| at <= now) {
            self.senders[nth] = self.start();
            return;
        }
        if sender.paused_until > now || sender.restarts_at.is_some() {
            return;
        }
        let had_lease = sender.lease != Lease::ENDED || self.ended.contains(&sender.session);
        if had_lease && now >= sender.lease.until.0 {
            let cut_until = sender.cut_until;
            self.senders[nth] = self.start();
            self.senders[nth].cut_until = cut_until;
            return;
        }
        let ended = sender
            .tokens
            .extract_if(.., |token| token.end <= now && token.event.is_none())
            .count();
        for _ in 0..ended {
            sender.side.ended(DurationMs(now));
        }
        // It does not use at once what it was given, but may later.
        let lull = mix(self.rule.seed ^ mix(nth as u64) ^ (now / 3000));
        let is_lull = !self.rule.is_calm && lull.is_multiple_of(3);
        while !is_lull && self.senders[nth].take(now) {
            let lasts = match self.is_odd_chance(20) {
                true => self.draw(6000),
                false => self.draw(self.rule.latency),
            };
            if self.is_odd_chance(10) {
                self.senders[nth].side.cancel();
                break;
            }
            let event = Some(now + self.draw(lasts + 1));
            let end = now + lasts;
            self.senders[nth].tokens.push(Token { event, end });
        }
        self.tell(nth);
    }

    fn tell(&mut self, nth: usize) {
        let now = self.now;
        let wants = 1
            + self.draw(if self.rule.is_calm { 1 } else { 50 })
            + if self.rule.is_calm { 1_000_000 } else { 0 };
        let sender = &mut self.senders[nth];
        let is_soon =
            sender.side.is_urgent(DurationMs(now)) && now >= sender.reported_at + REPORT_SOON;
        if now < sender.reports_at && !is_soon {
            return;
        }
        sender.reports_at = now + REPORT_EVERY;
        sender.reported_at = now;
        let session = sender.session;
        let report = sender.side.report(DurationMs(now), wants);
        self.send(nth, session, now, Packet::Up(report));
    }
}

impl Sender {
    fn take(&mut self, now: u64) -> bool {
        self.side.take(DurationMs(now), self.lease)
    }
}
