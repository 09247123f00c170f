//! The envelope that MAIL, and in part the header, gives a message.

use skein_mail::field::field_values;
use skein_mail::header::{HeaderSummary, TLS_REQUIRED_FIELD};
use skein_model::mail::{BodyType, Ret};
use skein_model::{Envelope, Priority};
use skein_smtp::command::{self, MailFrom};
use skein_smtp::server::return_path;

/// What the MAIL command says of priority (RFC 6710).
pub fn wished_by(mail: &MailFrom) -> Priority {
    let priority = mail.priority.map(Priority::of_mt_priority);
    priority.unwrap_or_default()
}

/// Of no client.
pub fn envelope(mail: &MailFrom, tenant: &str, pool: String) -> Envelope {
    let is_8bit = mail.body == command::BodyType::EightBit || mail.smtputf8;
    Envelope {
        return_path: return_path(&mail.path),
        body_type: match is_8bit {
            true => BodyType::EightBit,
            false => BodyType::SevenBit,
        },
        smtputf8: mail.smtputf8,
        require_tls: mail.require_tls,
        ret: mail.ret.map(|ret| match ret {
            command::Ret::Full => Ret::Full,
            command::Ret::Headers => Ret::Headers,
        }),
        envid: mail.envid.clone(),
        tenant: tenant.into(),
        pool,
        client: None,
        traceparent: None,
        priority: wished_by(mail),
        campaign: None,
        tls_optional: false,
    }
}

/// Whether the sender asks for delivery whatever the recipients' domain demands of TLS: in one field with the only value that there
/// is (RFC 8689 3).
pub fn is_tls_optional(header: &[u8], summary: HeaderSummary) -> bool {
    let values = match summary.tls_required_count {
        1 => field_values(header, TLS_REQUIRED_FIELD),
        _ => Vec::new(),
    };
    values.iter().any(|value| value.eq_ignore_ascii_case("no"))
}
