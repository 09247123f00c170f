//! Why the mail waits that an operator asks about: a message, a queue, a site, a source IP.

use std::collections::BTreeSet;

use skein_model::spool::query;
use skein_model::{Slot, meta};
use skein_wire::v1::explain_request::About;
use skein_wire::v1::{ExplainRequest, Explained, Reason, ReasonKind, SourceIpState};
use skein_wire::words::Words;
use tonic::Status;

use super::reasons::{Causes, nothing, retry};
use super::{AdminService, no_message, summary};

impl AdminService {
    /// Why the mail waits that an operator asks about.
    pub(super) async fn explain_waits(
        &self,
        request: ExplainRequest,
    ) -> Result<Vec<Explained>, Status> {
        let about = request.about.ok_or_else(|| {
            Status::invalid_argument("about: name a message, a queue, a site or an IP")
        })?;
        let now = crate::clock::now();
        let causes = Causes::new(&self.meta, now, self.heard_from_senders("").await);
        match about {
            About::Message(id) => self.explain_message(&causes, &id),
            About::Queue(name) => self.explain_queues(&causes, &name),
            About::Site(site) => Ok(vec![self.explain_site(&causes, &site)]),
            About::Ip(name) => Ok(vec![self.explain_ip(&causes, &name)?]),
        }
    }

    fn explain_message(&self, causes: &Causes, id: &str) -> Result<Vec<Explained>, Status> {
        let id = self.message_id(id)?;
        let spool = self.spools.get(&id.group()).ok_or_else(|| no_message(id))?;
        let rows = &spool.reader;
        let message = query::message(rows, id).ok_or_else(|| no_message(id))?;
        let now = crate::clock::now();
        let tasks = query::tasks_of(rows, id).into_iter();
        let parts = tasks.map(|(task, row)| {
            let queue = query::queue(rows, row.queue(&message.envelope).id);
            let shown = summary(task, &row);
            let last = retry(&row, &shown.last_reply, now);
            let queue = queue.map(|queue| causes.of_queue(&queue));
            let reasons = last.into_iter().chain(queue.into_iter().flatten());
            explained(shown.recipients.join(", "), reasons.collect())
        });
        let parts: Vec<Explained> = parts.collect();
        match parts.is_empty() {
            true => Err(Status::failed_precondition(format!(
                "message: {id} does not wait: it has ended; see `skeinctl message show {id}`"
            ))),
            false => Ok(parts),
        }
    }

    fn explain_queues(&self, causes: &Causes, name: &str) -> Result<Vec<Explained>, Status> {
        let now = crate::clock::now();
        let parts = self.named_queues(name)?.into_iter().map(|(id, row)| {
            let head = self.head(id);
            let last = head.and_then(|(_, task)| {
                let reply = task.last_reply.as_ref().map(ToString::to_string);
                retry(&task, &reply.unwrap_or_default(), now)
            });
            let subject = format!(
                "{id}: {} tasks of tenant {} to {} through pool {}, {}",
                row.tasks,
                row.tenant,
                row.domain,
                row.pool,
                row.priority.name()
            );
            let reasons = last.into_iter().chain(causes.of_queue(&row));
            explained(subject, reasons.collect())
        });
        Ok(parts.collect())
    }

    fn explain_site(&self, causes: &Causes, site: &str) -> Explained {
        let (mut slots, mut tasks) = (BTreeSet::new(), 0);
        self.each_queue(|_, row| {
            if row.site() == site {
                slots.insert(row.slot);
                tasks += row.tasks;
            }
        });
        let slot_count = meta::spreads(&self.meta)
            .get(site)
            .map_or(1, |spread| spread.slots);
        slots.extend((0..slot_count).map(|nth| Slot::of(site, nth)));
        let subject = format!("{site}: {tasks} tasks in {} slots", slots.len());
        let slots: Vec<Slot> = slots.into_iter().collect();
        explained(subject, causes.of_site(site, &slots))
    }

    fn explain_ip(&self, causes: &Causes, name: &str) -> Result<Explained, Status> {
        let ips = self.source_ips()?;
        let ip = ips.into_iter().find(|ip| ip.name == name);
        let ip = ip.ok_or_else(|| {
            Status::not_found(format!(
                "ip: there is no {name:?}; see `skeinctl policy get ip`"
            ))
        })?;
        let subject = format!("{name} ({}), of pools {}", ip.bind, ip.pools.join(", "));
        let said = match (ip.state(), ip.node.is_empty()) {
            (SourceIpState::Unplaced, _) => {
                "no node has its address, so nothing goes out from it".to_owned()
            }
            (state, true) => format!("it is {}", state.word()),
            (state, false) => format!(
                "it is {}, at {} under epoch {}",
                state.word(),
                ip.node,
                ip.epoch
            ),
        };
        let state = Reason {
            kind: ReasonKind::Ip.into(),
            text: said,
            until_ms: 0,
        };
        let faults = ip.faults.into_iter().map(|fault| Reason {
            kind: ReasonKind::Ip.into(),
            text: fault.text,
            until_ms: 0,
        });
        let mut reasons: Vec<Reason> = std::iter::once(state).chain(faults).collect();
        reasons.extend(causes.of_ip(name, &ip.public));
        Ok(Explained { subject, reasons })
    }
}

fn explained(subject: String, mut reasons: Vec<Reason>) -> Explained {
    if reasons.is_empty() {
        reasons.push(nothing());
    }
    Explained { subject, reasons }
}
