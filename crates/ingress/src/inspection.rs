//! A stranger's message that is looked at while it arrives: what is kept of it, and what is found in its header.

use skein_authentication::{MessageHashes, is_ours};
use skein_dkim::Signer;
use skein_mail::field::{field_values, take_fields_if};
use skein_mail::header::HeaderSummary;
use skein_model::mail::BodyRef;
use skein_smtp::address::Address;

use crate::hosted::Addressee;
use crate::memory::Share;

const RESULTS_FIELD: &str = "Authentication-Results";
/// In front of mail to one recipient: that it was here before.
const DELIVERED_TO_FIELD: &str = "Delivered-To";

/// A message that is looked at while it arrives.
#[derive(Debug)]
pub struct Inspection {
    pub hashes: MessageHashes,
    /// What seals it, if it is to be.
    pub sealer: Option<Signer>,
    /// For its header.
    pub _share: Share,
}

impl Inspection {
    /// The next octets of the body.
    pub fn body(&mut self, piece: &[u8]) {
        self.hashes.body(piece);
    }
}

/// What goes out in front of a message.
#[derive(Debug, Default)]
pub struct Inspected {
    pub fields: Vec<u8>,
    /// Reports may go to its return path.
    pub is_authentic: bool,
}

/// The seal first (RFC 8617 5.1), if both fit in front of a message; else the results alone, and if they do not either, nothing.
pub fn in_front(seal: Vec<u8>, results: Vec<u8>) -> Vec<u8> {
    let most = BodyRef::PREFIX_BYTES_MAX as usize;
    if seal.len() + results.len() <= most {
        return [seal, results].concat();
    }
    if results.len() <= most {
        return results;
    }
    tracing::warn!(
        bytes = results.len(),
        "the results of a message are too long to be told"
    );
    Vec::new()
}

/// Takes fields out of a message that begins with this header that would be taken for ours (RFC 8601 5). Returns the header
/// without them.
pub fn take_forged(message: &mut Vec<u8>, summary: HeaderSummary, host: &str) -> HeaderSummary {
    let before = message.len();
    let is_forged = |value: &str| is_ours(value, host);
    let taken = take_fields_if(message, summary.fields_end, RESULTS_FIELD, is_forged);
    summary.without_fields(taken, before - message.len())
}

/// Whether a message was delivered to its only recipient before: it goes in a circle.
pub fn was_here(header: &[u8], addressees: &[Addressee]) -> bool {
    let [only] = addressees else {
        return false;
    };
    let delivered = field_values(header, DELIVERED_TO_FIELD);
    let address = only.recipient.address.as_str();
    delivered.iter().any(|to| to.eq_ignore_ascii_case(address))
}

/// The field that tells it.
pub fn delivered_to(addressees: &[Addressee]) -> Option<String> {
    let [only] = addressees else {
        return None;
    };
    let address: Address = only.recipient.address.parse().ok()?;
    let plain = address.to_ascii()?;
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.@".contains(&byte);
    let text = plain.as_str();
    text.bytes()
        .all(is_plain)
        .then(|| format!("{DELIVERED_TO_FIELD}: {text}\r\n"))
}

#[cfg(test)]
mod tests {
    use skein_mail::header::HeaderScan;
    use skein_model::{Domain, Notify, Recipient};

    use super::*;

    fn to(addresses: &[&str]) -> Vec<Addressee> {
        let all = addresses.iter().map(|address| Addressee {
            domain: Domain::new("a.test"),
            recipient: Recipient {
                address: (*address).to_owned(),
                notify: Notify::default(),
                orcpt: None,
            },
            destination: None,
        });
        all.collect()
    }

    #[test]
    fn forged_results_are_taken_out_and_those_of_others_stay() {
        let text = "Authentication-Results: mx.test; spf=pass\r\n\tsmtp.mailfrom=x\r\nFrom: a\r\n\
                    authentication-results: other.test; spf=fail\r\nAuthentication-Results: (x) MX.TEST;none\r\n\r\n\
                    Authentication-Results: mx.test; body\r\n";
        let mut scan = HeaderScan::new();
        scan.push(text.as_bytes());
        let mut message = text.as_bytes().to_vec();
        let summary = take_forged(&mut message, scan.summary(), "mx.test");
        let left = String::from_utf8_lossy(&message).into_owned();
        let header = "From: a\r\nauthentication-results: other.test; spf=fail\r\n";
        assert_eq!(
            left,
            format!("{header}\r\nAuthentication-Results: mx.test; body\r\n")
        );
        assert_eq!((summary.fields_end, summary.field_count), (header.len(), 2));
        assert_eq!(summary.body_start, header.len() + 2);
    }

    #[test]
    fn mail_that_was_here_is_known_by_its_only_recipient() {
        let header = b"Delivered-To: X@a.test\r\nFrom: b\r\n";
        assert!(was_here(header, &to(&["x@A.test"])));
        assert!(!was_here(header, &to(&["y@a.test"])));
        assert!(!was_here(header, &to(&["x@a.test", "y@a.test"])));
        assert_eq!(
            delivered_to(&to(&["x@a.test"])).as_deref(),
            Some("Delivered-To: x@a.test\r\n")
        );
        assert_eq!(delivered_to(&to(&["x@a.test", "y@a.test"])), None);
        assert_eq!(delivered_to(&to(&["\"a b\"@a.test"])), None);
    }

    #[test]
    fn what_does_not_fit_in_front_is_left_out() {
        let most = BodyRef::PREFIX_BYTES_MAX as usize;
        assert_eq!(in_front(b"a".to_vec(), b"b".to_vec()), b"ab");
        assert_eq!(in_front(vec![b'a'; most], b"b".to_vec()), b"b");
        assert_eq!(in_front(Vec::new(), vec![b'b'; most + 1]), b"");
    }
}
