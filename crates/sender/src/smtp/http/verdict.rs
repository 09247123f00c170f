//! What an answer means for the mail. Pure.
//!
//! | status | outcome | reply in reports and events |
//! |---|---|---|
//! | 2xx | delivered | 250 2.0.0 |
//! | 408, 425, 429 | deferred | 451 4.3.2 |
//! | other 4xx | failed | 550 5.3.0; 413 552 5.3.4; 410 550 5.1.6 |
//! | 5xx | deferred | 451 4.3.0 |
//! | 3xx, and what HTTP does not have | deferred | 451 4.3.5 |

use skein_smtp::client::{CannotSend, RecipientOutcome, TransactionOutcome};
use skein_smtp::reply::Reply;
use skein_smtp::reply_class::{ReplyClass, Scope, Stage};

use crate::smtp::http::response::Response;

/// How an exchange ended.
#[derive(Debug)]
pub enum Ended {
    Answered(Response),
    /// In our words.
    Cut(Reply),
}

/// The reply of SMTP that says the same.
fn reply(response: &Response) -> (ReplyClass, Reply) {
    use ReplyClass::{Deferred, Delivered, Failed};
    let (class, code, enhanced) = match response.status {
        200..300 => (Delivered, 250, (2, 0, 0)),
        408 | 425 | 429 => (Deferred(Scope::Message), 451, (4, 3, 2)),
        410 => (Failed(Scope::Message), 550, (5, 1, 6)),
        413 => (Failed(Scope::Message), 552, (5, 3, 4)),
        400..500 => (Failed(Scope::Message), 550, (5, 3, 0)),
        500..600 => (Deferred(Scope::Message), 451, (4, 3, 0)),
        _ => (Deferred(Scope::Message), 451, (4, 3, 5)),
    };
    let text = match response.status {
        300..400 => format!("{} (redirects are not followed)", response.text),
        _ => response.text.clone(),
    };
    (class, Reply::new(code, enhanced, text))
}

/// The outcome for recipients of a task, of whom some were not to go there for a reason of ours.
pub fn outcome(
    recipients: &[Option<CannotSend>],
    ended: &Ended,
    is_sent: bool,
) -> TransactionOutcome {
    let (class, said, from_peer) = match ended {
        Ended::Answered(response) => {
            let (class, said) = reply(response);
            match class {
                // A program that answers before it has the message cannot have taken it.
                ReplyClass::Delivered if !is_sent => {
                    let text = format!("{} before the message was sent", response.text);
                    let early = Reply::new(451, (4, 3, 0), text);
                    (ReplyClass::Deferred(Scope::Message), early, true)
                }
                class => (class, said, true),
            }
        }
        Ended::Cut(said) => (ReplyClass::Deferred(Scope::Connection), said.clone(), false),
    };
    let of = |kept_back: &Option<CannotSend>| match kept_back {
        Some(reason) => RecipientOutcome::kept_back(reason),
        None => RecipientOutcome {
            class,
            reply: said.clone(),
            stage: Stage::Body,
            from_peer,
        },
    };
    TransactionOutcome {
        recipients: recipients.iter().map(of).collect(),
        needs_reset: false,
        connection_usable: is_sent
            && matches!(ended, Ended::Answered(response) if response.is_reusable),
        dot_sent: is_sent,
        is_ambiguous: is_sent && matches!(ended, Ended::Cut(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_an_outcome() {
        use ReplyClass::{Deferred, Delivered, Failed};
        let (deferred, failed) = (Deferred(Scope::Message), Failed(Scope::Message));
        for (status, class, code) in [
            (200, Delivered, "250 2.0.0"),
            (202, Delivered, "250 2.0.0"),
            (299, Delivered, "250 2.0.0"),
            (301, deferred, "451 4.3.5"),
            (304, deferred, "451 4.3.5"),
            (400, failed, "550 5.3.0"),
            (401, failed, "550 5.3.0"),
            (404, failed, "550 5.3.0"),
            (408, deferred, "451 4.3.2"),
            (410, failed, "550 5.1.6"),
            (413, failed, "552 5.3.4"),
            (425, deferred, "451 4.3.2"),
            (429, deferred, "451 4.3.2"),
            (499, failed, "550 5.3.0"),
            (500, deferred, "451 4.3.0"),
            (503, deferred, "451 4.3.0"),
            (101, deferred, "451 4.3.5"),
            (600, deferred, "451 4.3.5"),
        ] {
            let response = Response {
                status,
                text: format!("HTTP {status}"),
                is_reusable: true,
            };
            let kept_back = CannotSend::new((4, 5, 3), "goes elsewhere");
            let found = outcome(&[None, Some(kept_back)], &Ended::Answered(response), true);
            assert_eq!(found.recipients[0].class, class, "{status}");
            let said = found.recipients[0].reply.to_string();
            assert!(said.starts_with(code), "{status}: {said}");
            assert_eq!(found.recipients[1].class, Deferred(Scope::Recipient));
            assert!(found.connection_usable && !found.is_ambiguous);
        }
        let cut = Ended::Cut(Reply::new(451, (4, 4, 2), "closed"));
        let found = outcome(&[None], &cut, true);
        assert!(found.is_ambiguous && !found.connection_usable);
        let found = outcome(&[None], &cut, false);
        assert!(!found.is_ambiguous && !found.dot_sent);
        let early = Response {
            status: 200,
            text: "HTTP 200".into(),
            is_reusable: true,
        };
        let found = outcome(&[None], &Ended::Answered(early), false);
        assert_eq!(found.recipients[0].class, deferred);
        assert!(!found.connection_usable);
    }
}
