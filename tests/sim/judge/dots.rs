//! Final dots: who may send one, and why a recipient may get a message twice.

use skein_model::{GroupId, NodeId, SessionId, TaskId, lease};

use super::{AWAY_MS, Dot, Judge, Link, Sent, Window};
use crate::sim::Pid;

impl Judge {
    pub fn opened(&mut self, session: SessionId, sent_at: u64) {
        self.renewed.insert(session, sent_at);
    }

    /// A leader has confirmed a heartbeat that was sent then, by the sender's clock.
    pub fn renewed(&mut self, session: SessionId, sent_at: u64) {
        let latest = self.renewed.entry(session).or_default();
        *latest = (*latest).max(sent_at);
    }

    pub fn final_dot(&mut self, dot: Dot, recipients: &[u32]) {
        let owner = self.owners.get(&dot.slot).copied();
        let is_owner = owner.is_some_and(|(session, since, now)| {
            session == dot.session && (since..=now).contains(&dot.epoch)
        });
        if !is_owner {
            self.broken("I4", || {
                format!("a final dot by one that does not own the slot: {dot:?}, owner {owner:?}")
            });
        } else if !self.sessions.contains(&dot.session) {
            self.broken("I5", || format!("a final dot without a session: {dot:?}"));
        }
        if !dot.has_stream {
            self.broken("I5", || {
                format!("a final dot whose result cannot be reported: {dot:?}")
            });
        }
        let renewed = self.renewed.get(&dot.session).copied().unwrap_or(0);
        if dot.local_ms + lease::STOP_EARLY.0 >= renewed + lease::LEASE.0 {
            self.broken("I5", || {
                format!("a final dot after the lease: {dot:?}, renewed at {renewed}")
            });
        }
        for recipient in recipients {
            let sent = Sent {
                dot: dot.clone(),
                was_taken: false,
                reply_lost: false,
                sender_died: false,
            };
            self.sent
                .entry((dot.task, *recipient))
                .or_default()
                .push(sent);
        }
    }

    /// The host of this recipient has taken the message.
    pub fn taken(&mut self, now: u64, task: TaskId, recipient: u32, dot: u64) {
        let mut sent = self.sent.remove(&(task, recipient)).unwrap_or_default();
        let place = sent.iter().position(|sent| sent.dot.number == dot);
        let before = sent.iter().position(|sent| sent.was_taken);
        if let (Some(place), Some(before)) = (place, before) {
            // What was sent first need not arrive first.
            let first = &sent[place.min(before)];
            match self.window(now, first) {
                Some(window) => self.duplicates.push(window),
                None => self.broken("I7", || {
                    format!("recipient {recipient} of {task} got it twice, first by {first:?}")
                }),
            }
        }
        if let Some(place) = place {
            sent[place].was_taken = true;
        }
        self.sent.insert((task, recipient), sent);
    }

    pub(super) fn window(&self, now: u64, first: &Sent) -> Option<Window> {
        if first.reply_lost {
            return Some(Window::ReplyLost);
        }
        if first.sender_died {
            return Some(Window::SenderDied);
        }
        let dot = &first.dot;
        if self.ended.get(&dot.session).is_some_and(|at| *at >= dot.at) {
            return Some(Window::CutOff);
        }
        let link = self.links.get(&(dot.task.message.group(), dot.session))?;
        let now = link.lost_at.map(|lost| (lost, now));
        let mut gaps = link.gaps.iter().copied().chain(now);
        let is_long = gaps.any(|(from, to)| to > dot.at && to - from >= AWAY_MS);
        is_long.then_some(Window::CutOff)
    }

    pub fn reply_lost(&mut self, by: Pid, task: TaskId) {
        let of_task = self.sent.range_mut((task, 0)..=(task, u32::MAX));
        for sent in of_task.flat_map(|(_, sent)| sent) {
            sent.reply_lost |= sent.dot.by == by;
        }
    }

    pub fn sender_died(&mut self, by: Pid) {
        for sent in self.sent.values_mut().flatten() {
            sent.sender_died |= sent.dot.by == by;
        }
    }

    /// A new leader hands out a group's tasks.
    pub fn dispenses(&mut self, now: u64, group: GroupId, term: u64, node: NodeId) {
        let latest = self.dispensing.entry(group).or_default();
        if latest.0 > term {
            return;
        }
        *latest = (term, node);
        let links = self.links.iter_mut().filter(|((of, _), _)| *of == group);
        for (_, link) in links {
            link.lost_at.get_or_insert(now);
        }
    }

    pub fn connected(&mut self, now: u64, group: GroupId, session: SessionId, node: NodeId) {
        if self
            .dispensing
            .get(&group)
            .is_none_or(|(_, leader)| *leader != node)
        {
            return;
        }
        let link = self.links.entry((group, session)).or_insert(Link {
            node,
            lost_at: None,
            gaps: Vec::new(),
        });
        link.node = node;
        if let Some(lost) = link.lost_at.take() {
            link.gaps.push((lost, now));
        }
    }

    pub fn disconnected(&mut self, now: u64, group: GroupId, session: SessionId, node: NodeId) {
        if let Some(link) = self.links.get_mut(&(group, session))
            && link.node == node
        {
            link.lost_at.get_or_insert(now);
        }
    }
}
