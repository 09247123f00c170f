//! The world around the processes: time, chance, the network, and who watches.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use skein_model::{DurationMs, NodeId, TaskId, UnixMs};

use crate::coverage::Coverage;
use crate::judge::Judge;
use crate::message::{Answer, Frame, Message, Question};
use crate::mutation::Mutation;
use crate::nemesis::Act;
use crate::rng::Rng;

/// A process, by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pid {
    Control(u8),
    Sender(u8),
    Client,
    Host,
}

impl Pid {
    pub fn address(self) -> String {
        format!("{self:?}")
    }

    pub fn at(address: &str) -> Option<Self> {
        (0..9)
            .map(Self::Control)
            .find(|pid| pid.address() == address)
    }
}

#[derive(Debug, Clone)]
pub enum Timer {
    Tick,
    /// Writes of this Raft group up to this number are on disk.
    Synced(skein_model::GroupId, u64),
    BodySynced(skein_model::MessageId, Pid, u64),
    /// A question was not answered.
    Deadline(u64),
    /// A transaction reaches its final dot.
    Dot(TaskId, u32),
    Submit,
    /// The host answers a question.
    Reply(u64, Pid, Answer),
}

#[derive(Debug)]
pub enum Event {
    Message(Pid, Message),
    Frame(u64, Frame),
    Broken(u64),
    Timer(Timer),
}

enum What {
    To(Pid, Event),
    /// A timer ends with the life of its process.
    Timer(Pid, u64, Timer),
    Nemesis(Act),
}

struct Due {
    at: u64,
    number: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A process as the machine sees it.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// Grows with each start.
    pub number: u64,
    pub up: bool,
    pub paused_until: u64,
    /// How fast its clocks run.
    pub rate_ppm: i64,
    /// How far its wall clock is off.
    pub wall_off_ms: i64,
}

#[derive(Debug)]
struct Stream {
    ends: (Pid, Pid),
    /// When the last frame of each direction arrives.
    arrives: (u64, u64),
    stalled: bool,
}

/// What the network does to messages.
#[derive(Debug, Default, Clone, Copy)]
pub struct Weather {
    pub lost: u64,
    pub doubled: u64,
    /// Of a thousand, and arriving up to 4 s late.
    pub late: u64,
}

const BASE: u64 = 1_700_000_000_000;
/// A silent peer is noticed after this, at the earliest and at the latest.
const NOTICED: (u64, u64) = (2_000, 5_500);

pub struct Sim {
    pub now: u64,
    pub rng: Rng,
    pub judge: Judge,
    pub coverage: Coverage,
    pub mutation: Option<Mutation>,
    pub weather: Weather,
    pub slow_disk: bool,
    pub lives: BTreeMap<Pid, Life>,
    heap: BinaryHeap<Reverse<Due>>,
    number: u64,
    cuts: BTreeMap<(Pid, Pid), u32>,
    /// Where a node is reached that asked something.
    pub addresses: BTreeMap<NodeId, Pid>,
    streams: BTreeMap<u64, Stream>,
}

impl Sim {
    pub fn new(seed: u64, mutation: Option<Mutation>, traced: bool) -> Self {
        Self {
            now: 0,
            rng: Rng::new(seed),
            judge: Judge::new(traced),
            coverage: Coverage::default(),
            mutation,
            weather: Weather::default(),
            slow_disk: false,
            lives: BTreeMap::new(),
            heap: BinaryHeap::new(),
            number: 0,
            cuts: BTreeMap::new(),
            addresses: BTreeMap::new(),
            streams: BTreeMap::new(),
        }
    }

    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub fn trace(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        self.judge.trace(now, line);
    }

    /// What is of interest only when one run is looked at.
    pub fn detail(&mut self, line: impl FnOnce() -> String) {
        if self.judge.is_traced() {
            self.trace(line);
        }
    }

    /// A number that nothing else in this run has.
    pub fn unique(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn push(&mut self, at: u64, what: What) {
        let number = self.unique();
        self.heap.push(Reverse(Due { at, number, what }));
    }

    /// The next thing that happens; none for what meets nobody.
    pub fn next(&mut self, until: u64) -> Option<Option<Happens>> {
        if self.heap.peek()?.0.at > until {
            return None;
        }
        let Reverse(due) = self.heap.pop()?;
        self.now = self.now.max(due.at);
        let (to, event) = match due.what {
            What::Nemesis(act) => return Some(Some(Happens::Act(act))),
            What::Timer(of, life, timer) => {
                if self.lives[&of].number != life {
                    return Some(None);
                }
                (of, Event::Timer(timer))
            }
            What::To(to, event) => (to, event),
        };
        let life = self.lives[&to];
        if !life.up {
            return Some(None);
        }
        if life.paused_until > self.now {
            let what = match event {
                Event::Timer(timer) => What::Timer(to, life.number, timer),
                event => What::To(to, event),
            };
            self.push(life.paused_until, what);
            return Some(None);
        }
        if let Event::Frame(stream, _) = &event
            && self.streams.get(stream).is_none_or(|stream| stream.stalled)
        {
            return Some(None);
        }
        Some(Some(Happens::To(to, event)))
    }

    pub fn act_at(&mut self, at: u64, act: Act) {
        self.push(at, What::Nemesis(act));
    }

    pub fn timer(&mut self, of: Pid, after: u64, timer: Timer) {
        let (at, life) = (self.now + after, self.lives[&of].number);
        self.push(at, What::Timer(of, life, timer));
    }

    /// The time since the machine of a process started, as it measures it.
    pub fn mono(&self, of: Pid) -> DurationMs {
        let now = self.now as i64;
        DurationMs((100_000 + now + now * self.lives[&of].rate_ppm / 1_000_000) as u64)
    }

    pub fn wall(&self, of: Pid) -> UnixMs {
        let off = self.lives[&of].wall_off_ms;
        UnixMs((BASE + self.mono(of).0).saturating_add_signed(off))
    }

    fn is_cut(&self, from: Pid, to: Pid) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|times| *times > 0)
    }

    pub fn can_talk(&self, a: Pid, b: Pid) -> bool {
        !self.is_cut(a, b) && !self.is_cut(b, a)
    }

    pub fn cut(&mut self, from: Pid, to: Pid) {
        *self.cuts.entry((from, to)).or_default() += 1;
        let crossing: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.ends == (from, to) || stream.ends == (to, from))
            .map(|(id, _)| *id)
            .collect();
        for stream in crossing {
            self.stall(stream);
        }
    }

    pub fn heal(&mut self, from: Pid, to: Pid) {
        if let Some(times) = self.cuts.get_mut(&(from, to)) {
            *times = times.saturating_sub(1);
        }
    }

    pub fn heal_all(&mut self) {
        self.cuts.clear();
    }

    pub fn has_cuts(&self) -> bool {
        self.cuts.values().any(|times| *times > 0)
    }

    fn delay(&mut self) -> u64 {
        if self.rng.in_thousand(self.weather.late) {
            return self.rng.range(50, 4_000);
        }
        match self.rng.in_thousand(10) {
            true => self.rng.range(5, 100),
            false => self.rng.range(1, 4),
        }
    }

    pub fn send(&mut self, from: Pid, to: Pid, message: Message) {
        let is_ours = |pid| matches!(pid, Pid::Control(_) | Pid::Sender(_));
        // What the world outside loses is its own decision.
        let weather = match is_ours(from) && is_ours(to) && from != to {
            true => self.weather,
            false => Weather::default(),
        };
        if from != to && (self.is_cut(from, to) || self.rng.in_thousand(weather.lost)) {
            self.coverage.lost += 1;
            return;
        }
        if self.rng.in_thousand(weather.doubled) {
            self.coverage.doubled += 1;
            let at = self.now + self.delay();
            self.push(at, What::To(to, Event::Message(from, message.clone())));
        }
        let at = self.now + self.delay();
        self.push(at, What::To(to, Event::Message(from, message)));
    }

    /// Asks, and reminds the asker after a while if it wants that.
    pub fn ask(&mut self, from: Pid, to: Pid, question: Question, within: u64) -> u64 {
        let id = self.unique();
        self.send(from, to, Message::Ask(id, question));
        self.timer(from, within, Timer::Deadline(id));
        id
    }

    pub fn tell(&mut self, from: Pid, to: Pid, id: u64, answer: Answer) {
        self.send(from, to, Message::Tell(id, answer));
    }

    pub fn open_stream(&mut self, from: Pid, to: Pid) -> u64 {
        let id = self.unique();
        let stream = Stream {
            ends: (from, to),
            arrives: (0, 0),
            stalled: false,
        };
        self.streams.insert(id, stream);
        if !self.lives[&to].up {
            self.stall(id);
        }
        id
    }

    /// Frames arrive in order, or the stream breaks.
    pub fn frame(&mut self, id: u64, from: Pid, frame: Frame) {
        let delay = self.delay();
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.stalled) else {
            return;
        };
        let (opener, server) = stream.ends;
        let to = if from == opener { server } else { opener };
        let arrives = match from == opener {
            true => &mut stream.arrives.0,
            false => &mut stream.arrives.1,
        };
        *arrives = (*arrives).max(self.now + delay);
        let at = *arrives;
        if from != to && (self.is_cut(from, to) || self.is_cut(to, from)) {
            return self.stall(id);
        }
        self.push(at, What::To(to, Event::Frame(id, frame)));
    }

    /// Nothing gets through any more; both ends notice after a while.
    fn stall(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.stalled) else {
            return;
        };
        stream.stalled = true;
        let (a, b) = stream.ends;
        for end in [a, b] {
            let at = self.now + self.rng.range(NOTICED.0, NOTICED.1);
            self.push(at, What::To(end, Event::Broken(id)));
        }
    }

    /// One end closes a stream, and hears no more of it; the other end learns of it.
    pub fn close_stream(&mut self, id: u64, by: Pid) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        if !stream.stalled {
            let (a, b) = stream.ends;
            let other = if by == a { b } else { a };
            let delay = match self.can_talk(by, other) {
                true => self.delay(),
                false => self.rng.range(NOTICED.0, NOTICED.1),
            };
            let arrived = if by == a {
                stream.arrives.0
            } else {
                stream.arrives.1
            };
            let at = arrived.max(self.now + delay) + 1;
            self.push(at, What::To(other, Event::Broken(id)));
        }
    }

    pub fn start(&mut self, pid: Pid) {
        let fresh = Life {
            number: 0,
            up: false,
            paused_until: 0,
            rate_ppm: 0,
            wall_off_ms: 0,
        };
        let number = self.unique();
        let life = self.lives.entry(pid).or_insert(fresh);
        (life.number, life.up, life.paused_until) = (number, true, 0);
        let phase = self.rng.below(50);
        self.timer(pid, phase, Timer::Tick);
    }

    pub fn stop(&mut self, pid: Pid) {
        let life = self.lives.get_mut(&pid).expect("it was started");
        life.up = false;
        life.number = 0;
        let open: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.ends.0 == pid || stream.ends.1 == pid)
            .map(|(id, _)| *id)
            .collect();
        for stream in open {
            self.close_stream(stream, pid);
        }
    }

    pub fn pause(&mut self, pid: Pid, span: u64) {
        let until = self.now + span;
        self.lives
            .get_mut(&pid)
            .expect("it was started")
            .paused_until = until;
        if span > NOTICED.1 {
            let open: Vec<u64> = self
                .streams
                .iter()
                .filter(|(_, stream)| stream.ends.0 == pid || stream.ends.1 == pid)
                .map(|(id, _)| *id)
                .collect();
            for stream in open {
                self.stall(stream);
            }
        }
    }
}

/// What happens next.
pub enum Happens {
    To(Pid, Event),
    Act(Act),
}
