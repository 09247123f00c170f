//! Senders that keep limits alone and share them in turn, against the rows of the group. What is checked is when a
//! destination would see events, which no part of the product knows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::limits::{self, KeptAlone, SessionAnswers, SessionReports};
use super::{Command, Response, apply, assignments, sessions};
use crate::id::{Epoch, SessionId, Slot, mix};
use crate::lease::{GRACE, HEARTBEAT, LEASE, Lease};
use crate::rows::MemoryRows;
use crate::throttle::{
    Counted, Limit, LimitId, LimitReport, LimitRequest, LimiterSet, Permit, Rate, Scope,
    SharedLimit,
};
use crate::time::{DurationMs, LimitMs, UnixMs};

const STEP: u64 = 10;
const SITE: &str = "big";
const TIMEOUT: u64 = 2000;

struct Sender {
    name: String,
    session: Option<SessionId>,
    lease: Lease,
    limiters: LimiterSet,
    shared: (u64, BTreeSet<String>),
    is_told: bool,
    number: u64,
    /// As far as it knows: it may have lost the slot and have it again.
    owns: Option<(Epoch, DurationMs)>,
    /// The slot is to go elsewhere under this epoch, since this time, and whether what is left open is to be told.
    leaving: Option<(Epoch, u64, bool)>,
    beats_at: u64,
    cut_until: u64,
    /// The request on its way with the shared sites that it goes by, when its answer comes, and the answer if it does.
    asked: Option<(u64, Vec<LimitReport>, u64, Option<SessionAnswers>)>,
    tokens: Vec<Token>,
}

impl Sender {
    fn kept_alone(&self, now: u64) -> Vec<KeptAlone> {
        let kept = self.owns.map(|(epoch, since)| KeptAlone {
            site: SITE.into(),
            epoch,
            others_gone: (epoch > Epoch(1)).then_some(DurationMs(now - since.0)),
        });
        kept.into_iter().collect()
    }
}

struct Token {
    permit: Permit,
    limits: Vec<usize>,
    event: Option<u64>,
    end: u64,
}

struct Sim {
    now: u64,
    seed: u64,
    draws: u64,
    rows: MemoryRows,
    heard: BTreeMap<SessionId, u64>,
    sessions: u64,
    orders: u64,
    senders: Vec<Sender>,
    limits: Vec<(LimitId, SharedLimit, bool)>,
    events: Vec<Vec<u64>>,
    open_max: u64,
}

fn limits() -> Vec<(LimitId, SharedLimit, bool)> {
    let id = |scope, counts, nth| LimitId {
        scope,
        key: SITE.into(),
        counts,
        nth,
    };
    let per = |count, ms| {
        let per = DurationMs(ms);
        SharedLimit::Rate(Rate {
            count,
            per,
            burst: None,
        })
    };
    vec![
        (
            id(Scope::Site, Counted::Connections, 0),
            SharedLimit::Connections(3),
            true,
        ),
        (id(Scope::Site, Counted::Messages, 0), per(9, 2000), true),
        (id(Scope::Site, Counted::Messages, 1), per(60, 30_000), true),
        (
            id(Scope::Site, Counted::Messages, 2),
            per(100, 40_000),
            false,
        ),
        (
            id(Scope::Tenant, Counted::Messages, 0),
            per(11, 3000),
            false,
        ),
    ]
}

impl Sim {
    fn new(seed: u64, senders: usize) -> Self {
        let limits = limits();
        let sender = |nth| Sender {
            name: format!("s{nth}"),
            session: None,
            lease: Lease::ENDED,
            limiters: LimiterSet::new(100),
            shared: (0, BTreeSet::new()),
            is_told: true,
            number: 0,
            owns: None,
            leaving: None,
            beats_at: 0,
            cut_until: 0,
            asked: None,
            tokens: Vec::new(),
        };
        Self {
            now: 1000,
            seed,
            draws: 0,
            rows: MemoryRows::default(),
            heard: BTreeMap::new(),
            sessions: 0,
            orders: 0,
            senders: (0..senders).map(sender).collect(),
            events: vec![Vec::new(); limits.len()],
            limits,
            open_max: 0,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.draws += 1;
        mix(self.seed ^ mix(self.draws)) % below
    }

    fn run(&mut self, lasts: u64) {
        let until = self.now + lasts;
        while self.now < until {
            self.now += STEP;
            self.lead();
            for nth in 0..self.senders.len() {
                if self.draw(3000) == 0 {
                    self.senders[nth].cut_until = self.now + self.draw(20_000);
                }
                if self.draw(6000) == 0 {
                    self.crash(nth);
                }
                self.see(nth);
                self.beat(nth);
                self.let_go(nth);
                self.work(nth);
                self.report(nth);
            }
            let open = |sender: &Sender| match self.now < sender.lease.until.0 {
                true => sender
                    .tokens
                    .iter()
                    .filter(|token| token.limits.contains(&0))
                    .count(),
                false => 0,
            };
            let open: usize = self.senders.iter().map(open).sum();
            self.open_max = self.open_max.max(open as u64);
        }
    }

    fn lead(&mut self) {
        let silent = |heard: u64| self.now - heard > LEASE.0 + GRACE.0;
        let gone: Vec<SessionId> = self
            .heard
            .iter()
            .filter(|(_, heard)| silent(**heard))
            .map(|(id, _)| *id)
            .collect();
        for session in gone {
            self.heard.remove(&session);
            apply(&mut self.rows, UnixMs(5), &Command::CloseSession(session));
        }
        if self.draw(1000) == 0 {
            let live: Vec<SessionId> = sessions(&self.rows).into_keys().collect();
            let slot = Slot::of(SITE, 0);
            let to = usize::try_from(self.draw(live.len().max(1) as u64)).unwrap_or(0);
            if let Some(to) = live.get(to).copied() {
                apply(&mut self.rows, UnixMs(5), &Command::MoveSlot { slot, to });
            }
        }
        if self.now % 10_000 < STEP {
            let at = LimitMs(self.now);
            let limits = limits::due(&self.rows, at);
            apply(
                &mut self.rows,
                UnixMs(5),
                &Command::TendLimits { at, limits },
            );
        }
    }

    /// The process is gone, and so are its connections.
    fn crash(&mut self, nth: usize) {
        let now = self.now;
        let sender = &mut self.senders[nth];
        let until = sender.lease.until.0.min(now + 300);
        for token in sender.tokens.drain(..) {
            for limit in token.limits {
                self.events[limit].extend(token.event.filter(|event| *event < until));
            }
        }
        sender.session = None;
        sender.lease = Lease::ENDED;
        sender.limiters = LimiterSet::new(100);
        sender.shared = (0, BTreeSet::new());
        (sender.owns, sender.leaving) = (None, None);
        sender.asked = None;
        sender.beats_at = now + 2000;
    }

    fn see(&mut self, nth: usize) {
        let sender = &mut self.senders[nth];
        for token in &mut sender.tokens {
            if let Some(event) = token.event.take_if(|event| *event <= self.now)
                && event < sender.lease.until.0
            {
                for limit in &token.limits {
                    self.events[*limit].push(event);
                }
            }
        }
    }

    fn beat(&mut self, nth: usize) {
        let now = self.now;
        let is_over = {
            let sender = &self.senders[nth];
            sender.session.is_some() && now >= sender.lease.until.0
        };
        if is_over {
            self.senders[nth].session = None;
            (self.senders[nth].owns, self.senders[nth].leaving) = (None, None);
            self.senders[nth].lease = Lease::ENDED;
            // Connections are closed by then.
            for token in &mut self.senders[nth].tokens {
                if token.limits.contains(&0) {
                    (token.event, token.end) = (None, now);
                }
            }
        }
        if now < self.senders[nth].beats_at || now < self.senders[nth].cut_until {
            return;
        }
        self.senders[nth].beats_at = now + HEARTBEAT.0;
        if self.draw(10) == 0 {
            return;
        }
        let session = match self.senders[nth].session {
            Some(session) if sessions(&self.rows).contains_key(&session) => session,
            _ => self.open(nth),
        };
        self.heard.insert(session, now);
        if self.draw(10) == 0 {
            return;
        }
        let held = assignments(&self.rows)[&Slot::of(SITE, 0)];
        let sender = &mut self.senders[nth];
        let version = limits::shared_version(&self.rows);
        if version != sender.shared.0 {
            let sites = limits::shared_sites(&self.rows);
            let new = sites.difference(&sender.shared.1).cloned().collect();
            sender.limiters.share_sites(DurationMs(now), &new);
            sender.shared = (version, sites);
            sender.is_told = false;
        }
        sender.lease = Lease::granted(DurationMs(now), LEASE);
        sender.leaving = match held.moving_to {
            Some(_) if held.session == session => {
                let before = sender.leaving.filter(|(epoch, ..)| *epoch == held.epoch);
                Some(before.unwrap_or((held.epoch, now, false)))
            }
            _ => None,
        };
        if held.session != session {
            sender.owns = None;
        } else if sender.owns.is_none_or(|owns| owns.0 != held.epoch) {
            sender.owns = Some((held.epoch, DurationMs(now)));
        }
    }

    /// Nothing is begun any more under a slot that leaves. Messages are undone, unless they have arrived, and connections stay
    /// until the host has answered.
    fn let_go(&mut self, nth: usize) {
        let now = self.now;
        let sender = &mut self.senders[nth];
        let (Some(session), Some((epoch, since, is_told))) = (sender.session, sender.leaving)
        else {
            return;
        };
        for token in &mut sender.tokens {
            if !token.limits.contains(&0) && token.event.take().is_some() {
                token.end = now;
            }
        }
        if now < since + 100 || now < sender.cut_until {
            return;
        }
        let left = sender.limiters.left_open(|_| true);
        if left.is_empty() {
            let slots = vec![(Slot::of(SITE, 0), epoch)];
            (sender.leaving, sender.owns) = (None, None);
            apply(
                &mut self.rows,
                UnixMs(5),
                &Command::Release { session, slots },
            );
        } else if !is_told {
            sender.limiters.share_sites(DurationMs(now), &left);
            sender.leaving = Some((epoch, since, true));
        }
    }

    fn open(&mut self, nth: usize) -> SessionId {
        self.sessions += 1;
        self.orders += 1;
        let session = SessionId(self.sessions);
        let open = Command::OpenSession {
            session,
            sender: self.senders[nth].name.clone(),
            order: self.orders,
        };
        apply(&mut self.rows, UnixMs(5), &open);
        let sender = &mut self.senders[nth];
        sender.session = Some(session);
        sender.is_told = false;
        (sender.owns, sender.leaving) = (None, None);
        sender.asked = None;
        // Until the set is read, as the first answer brings it.
        sender.shared = (
            limits::shared_version(&self.rows),
            limits::shared_sites(&self.rows),
        );
        sender.limiters.begin_session(Lease::ENDED);
        session
    }

    fn work(&mut self, nth: usize) {
        let now = self.now;
        let sender = &mut self.senders[nth];
        let ended: Vec<Token> = sender
            .tokens
            .extract_if(.., |token| token.end <= now && token.event.is_none())
            .collect();
        for token in ended {
            sender.limiters.ended(DurationMs(now), token.permit);
        }
        sender.limiters.renew(sender.lease);
        if !sender.lease.holds(DurationMs(now)) {
            return;
        }
        // Others have tasks of the site in some minutes only.
        let is_spread = mix(self.seed ^ (now / 100_000)).is_multiple_of(2);
        let is_owner = sender.owns.is_some() && sender.leaving.is_none();
        if !is_owner && !is_spread {
            return;
        }
        for _ in 0..2 {
            let is_elsewhere = is_spread && (!is_owner || self.draw(2) == 0);
            if !self.take(nth, is_elsewhere) {
                return;
            }
        }
    }

    fn take(&mut self, nth: usize, is_elsewhere: bool) -> bool {
        let now = self.now;
        // A connection, or a message.
        let chosen: Vec<usize> = match self.draw(4) {
            0 => vec![0],
            _ => vec![1, 2, 3, 4],
        };
        let lasts = match self.draw(20) {
            0 => self.draw(4000),
            _ => self.draw(200),
        };
        let event = now + self.draw(lasts + 1);
        let demand = 1 + self.draw(5);
        let sender = &mut self.senders[nth];
        let is_shared = is_elsewhere
            || sender.shared.1.contains(SITE)
            || self
                .limits
                .iter()
                .any(|(id, _, by_owner)| *by_owner && sender.limiters.has_allocation(id));
        let since = sender.owns.map(|owns| owns.1).unwrap_or_default();
        let wants: Vec<LimitRequest> = chosen
            .iter()
            .map(|nth| {
                let (id, limit, is_by_owner) = self.limits[*nth].clone();
                let is_alone = is_by_owner && !is_shared;
                LimitRequest {
                    id,
                    limit: match is_alone {
                        true => limit.alone(),
                        false => Limit::Shared { limit, is_by_owner },
                    },
                    is_inherited: is_by_owner,
                    gone_since: match is_alone {
                        true => since,
                        false => DurationMs(0),
                    },
                }
            })
            .collect();
        match sender.limiters.try_take(DurationMs(now), &wants) {
            Ok(permit) => {
                sender.tokens.push(Token {
                    permit,
                    limits: chosen,
                    event: Some(event),
                    end: now + lasts,
                });
                true
            }
            Err(held) => {
                sender
                    .limiters
                    .refused(DurationMs(now), &wants, &held, demand);
                false
            }
        }
    }

    fn report(&mut self, nth: usize) {
        let now = self.now;
        let is_cut = now < self.senders[nth].cut_until;
        let sender = &mut self.senders[nth];
        let Some(session) = sender.session else {
            return;
        };
        if let Some((version, reports, _, answers)) = sender.asked.take_if(|asked| asked.2 <= now)
            && let Some(answers) = answers
        {
            if version == sender.shared.0 {
                sender.is_told = true;
                sender.limiters.told_shared(&reports);
            }
            let told = self.answered(nth, &reports, &answers);
            assert!(told || answers.answers.is_empty());
        }
        let sender = &mut self.senders[nth];
        if sender.asked.is_some() {
            return;
        }
        let reports = sender.limiters.reports(DurationMs(now), |_| 1);
        if reports.is_empty() && sender.is_told {
            return;
        }
        sender.number += 1;
        let told = SessionReports {
            session,
            number: sender.number,
            shared: sender.shared.0,
            reports: reports.clone(),
            alone: sender.kept_alone(now),
        };
        let (is_lost, is_deaf) = (self.draw(10) == 0, self.draw(10) == 0);
        let answers = (!is_cut && !is_lost).then(|| self.hear(told));
        let answers = answers.filter(|_| !is_deaf);
        let after = match answers {
            Some(_) => self.draw(60),
            None => TIMEOUT,
        };
        let version = self.senders[nth].shared.0;
        self.senders[nth].asked = Some((version, reports, now + after, answers));
    }

    fn hear(&mut self, told: SessionReports) -> SessionAnswers {
        let at = LimitMs(self.now);
        if let Some(answers) = limits::answer(&self.rows, at, &told) {
            return answers;
        }
        let told = vec![told];
        match apply(
            &mut self.rows,
            UnixMs(5),
            &Command::ReportLimits { at, told },
        ) {
            Response::Limits(mut answers) => answers.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn answered(&mut self, nth: usize, reports: &[LimitReport], answers: &SessionAnswers) -> bool {
        let now = DurationMs(self.now);
        let sender = &mut self.senders[nth];
        sender.limiters.answered(now, reports, &answers.answers);
        let version = limits::shared_version(&self.rows);
        if version != sender.shared.0 {
            let sites = limits::shared_sites(&self.rows);
            let new = sites.difference(&sender.shared.1).cloned().collect();
            sender.limiters.share_sites(now, &new);
            sender.shared = (version, sites);
            sender.is_told = false;
        }
        answers.answers.len() == reports.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn limits_hold_while_a_site_goes_from_one_owner_to_several_and_back(seed: u64, senders in 2usize..5) {
        let mut sim = Sim::new(seed, senders);
        sim.run(600_000);
        prop_assert!(sim.open_max <= 3, "{} connections", sim.open_max);
        for ((id, limit, _), events) in sim.limits.iter().zip(&mut sim.events) {
            let (count, per) = (limit.count() as usize, limit.per().0);
            events.sort_unstable();
            for (first, more) in events.iter().zip(events.iter().skip(count)) {
                prop_assert!(per == 0 || more - first >= per, "{id:?} from {first} to {more}");
            }
            // It is used, however often senders die.
            prop_assert!(events.len() > 20, "{id:?} {}", events.len());
        }
    }
}
