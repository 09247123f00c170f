//! What a refusal is about, and when its host wants to be asked again. Pure.

use skein_bounce::{Classified, Refusal, classify};
use skein_model::bounce::Class;
use skein_model::spool::Verdict;
use skein_model::{DurationMs, Reply};
use skein_smtp::reply::Enhanced;

/// A host that wants to be asked sooner is asked after this time: it says the same to each of many tasks.
const ASKED_MIN: DurationMs = DurationMs::from_secs(10);

/// A host's words have their meaning by who it is; ours are what their code says.
fn classified(reply: &Reply, site: &str) -> Classified {
    let said_by = reply.host.as_deref();
    let said_by = said_by.and_then(|host| host.split(' ').next());
    let refusal = Refusal {
        code: (reply.code > 0).then_some(reply.code),
        enhanced: reply.enhanced.map(Enhanced::from),
        text: said_by.map_or("", |_| &reply.text),
    };
    classify(&refusal, said_by.or(Some(site)))
}

/// What became of the recipients of a task, each with what it is about; and after which time their hosts want to be asked again,
/// if each that defers says so: the longest of them.
pub fn told(
    verdicts: Vec<(Verdict, Reply)>,
    site: &str,
) -> (Vec<(Verdict, Reply)>, Option<DurationMs>) {
    let mut asked = Some(DurationMs(0));
    let told = verdicts.into_iter().map(|(verdict, mut reply)| {
        if verdict != Verdict::Delivered {
            let found = classified(&reply, site);
            reply.class = Some(found.class);
            if verdict == Verdict::Deferred {
                let after = found.retry_after.map(DurationMs::from);
                asked = asked.zip(after).map(|(asked, after)| asked.max(after));
            }
        }
        (verdict, reply)
    });
    let told = told.collect();
    let is_asked = |after: &DurationMs| after.0 > 0;
    (
        told,
        asked.filter(is_asked).map(|after| after.max(ASKED_MIN)),
    )
}

/// With the class of what is given up.
pub fn expired(reply: Reply) -> Reply {
    Reply {
        class: Some(Class::Expired),
        ..reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deferred(text: &str) -> (Verdict, Reply) {
        let reply = Reply {
            code: 450,
            host: Some("mx.there.test [192.0.2.1]".into()),
            ..Reply::ours((4, 2, 0), text)
        };
        (Verdict::Deferred, reply)
    }

    fn asked(verdicts: Vec<(Verdict, Reply)>) -> Option<u64> {
        told(verdicts, "there.test").1.map(|after| after.0 / 1000)
    }

    #[test]
    fn a_host_that_says_when_is_asked_then() {
        let soon = "Greylisted, try again in 60 seconds";
        let later = "Greylisted, try again in 300 seconds";
        let silent = "Greylisted";
        assert_eq!(asked(vec![deferred(soon)]), Some(60));
        assert_eq!(asked(vec![deferred(soon), deferred(later)]), Some(300));
        assert_eq!(asked(vec![deferred(soon), deferred(silent)]), None);
        assert_eq!(asked(vec![deferred("try again in 1 second")]), Some(10));
        let delivered = (Verdict::Delivered, Reply::ours((2, 0, 0), "ok"));
        assert_eq!(asked(vec![delivered.clone(), deferred(soon)]), Some(60));
        assert_eq!(asked(vec![delivered]), None);
    }

    #[test]
    fn our_own_words_are_what_their_code_says() {
        let ours = |enhanced, text: &str| {
            let verdicts = vec![(Verdict::Deferred, Reply::ours(enhanced, text))];
            let (told, asked) = told(verdicts, "there.test");
            assert_eq!(asked, None);
            told[0].1.class
        };
        let text = "user unknown, try again in 5 minutes, blocked using zen.spamhaus.org";
        assert_eq!(ours((4, 4, 1), text), Some(Class::Network));
        assert_eq!(ours((4, 4, 3), text), Some(Class::Dns));
        assert_eq!(ours((5, 1, 10), text), Some(Class::InvalidDomain));
    }
}
