//! Mail for domains that the cluster hosts: what its recipients have in common, and where each one's goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_client::Spool;
use skein_model::spool::NewTask;
use skein_model::{Domain, MessageId, Notify, Recipient};
use skein_policy::{Destination, Inbound};
use skein_smtp::command::MailFrom;
use skein_smtp::reply::Reply;

/// A recipient that was taken.
#[derive(Debug)]
pub struct Addressee {
    pub domain: Domain,
    pub recipient: Recipient,
    /// Of an address that the cluster hosts.
    pub destination: Option<Arc<Destination>>,
}

/// Whether one more recipient of a resource may join those of a transaction. What is checked, and how large a message may be,
/// is one for all of them: recipients of other resources come in a transaction of their own.
pub fn admit(
    current: Option<&Arc<Inbound>>,
    inbound: &Inbound,
    taken: usize,
    mail: &MailFrom,
) -> Result<(), Reply> {
    if current.is_some_and(|current| current.name != inbound.name) {
        let text =
            "Mail for this address is taken in a transaction of its own, send it to this one again";
        return Err(Reply::new(452, (4, 5, 3), text));
    }
    let most = usize::try_from(inbound.recipients_max).unwrap_or(usize::MAX);
    if taken >= most {
        let text = format!("{most} recipients are taken at a time, send it to the others again");
        return Err(Reply::new(452, (4, 5, 3), text));
    }
    match (mail.size, inbound.size_max) {
        (Some(size), Some(most)) if size > most => Err(too_large(most)),
        _ => Ok(()),
    }
}

/// What a client is told whose message is larger than its recipients take.
pub fn too_large(most: u64) -> Reply {
    let text = format!("A message to this address may have {most} bytes");
    Reply::new(552, (5, 3, 4), text)
}

/// The tasks of a message: those of one domain that go to different destinations are different ones.
pub fn tasks(
    spool: &Spool,
    id: MessageId,
    addressees: Vec<Addressee>,
    recipients_max: usize,
    sites: &BTreeMap<Domain, String>,
) -> Vec<NewTask> {
    let mut groups: Vec<(Option<Arc<Destination>>, Vec<(Domain, Recipient)>)> = Vec::new();
    for addressee in addressees {
        let Addressee {
            domain,
            recipient,
            destination,
        } = addressee;
        let known = groups.iter_mut().find(|(known, _)| *known == destination);
        match known {
            Some((_, group)) => group.push((domain, recipient)),
            None => groups.push((destination, vec![(domain, recipient)])),
        }
    }
    let mut tasks = Vec::new();
    for (destination, group) in groups {
        let own = destination.map(|destination| {
            let site = destination.site();
            let domains = group
                .iter()
                .map(|(domain, _)| (domain.clone(), site.clone()));
            domains.collect::<BTreeMap<_, _>>()
        });
        let sites = own.as_ref().unwrap_or(sites);
        tasks.extend(spool.plan(id, group, recipients_max, sites));
    }
    tasks
}

/// Has nobody told what becomes of a message whose return path is not proved: whoever it names did not send it, most likely. What
/// the client asked for goes no further either.
pub fn silence(addressees: &mut [Addressee]) {
    for addressee in addressees {
        addressee.recipient.notify = Notify {
            success: false,
            failure: false,
            delay: false,
            given: true,
        };
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_policy::{Policy, Source};

    use super::*;

    #[test]
    fn a_transaction_is_of_one_resource_and_within_its_bounds() {
        let text = "kind: inbound\nname: a\ndomains: [a.test]\nmax_recipients: 2\nmax_size: 1KiB\n\
                    addresses: [{address: x, discard: true}]\n---\n\
                    kind: inbound\nname: b\ndomains: [b.test]\naddresses: [{address: x, discard: true}]\n";
        let policy = Policy::parse(&[Source { name: "p", text }]).unwrap();
        let all: Vec<&Arc<Inbound>> = policy.inbounds().collect();
        let code = |current: Option<usize>, inbound: usize, taken, size| {
            let mail = MailFrom {
                size,
                ..MailFrom::default()
            };
            let current = current.map(|nth| all[nth]);
            admit(current, all[inbound], taken, &mail)
                .err()
                .map(|reply| reply.code)
        };
        for (current, inbound, taken, size, expected) in [
            (None, 0, 0, None, None),
            (Some(0), 0, 1, Some(1024), None),
            (Some(0), 0, 2, None, Some(452)),
            (Some(0), 1, 1, None, Some(452)),
            (None, 0, 0, Some(1025), Some(552)),
            (None, 1, 99, Some(1 << 40), None),
            (None, 1, 100, None, Some(452)),
        ] {
            assert_eq!(
                code(current, inbound, taken, size),
                expected,
                "{current:?} {inbound} {taken}"
            );
        }
    }
}
