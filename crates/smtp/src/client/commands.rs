//! MAIL and RCPT with exactly the parameters the peer offers.

use super::{CannotSend, Capabilities, OutgoingMessage, OutgoingRecipient, ReturnContent};
use crate::xtext::{self, Orcpt};

/// Longest address in octets: 64 and 255 of RFC 5321 section 4.5.3.1 with room for quoting and UTF-8.
const ADDRESS_MAX: usize = 512;
/// Longest ENVID in its encoded form (RFC 3461 section 4.4).
const ENVID_MAX: usize = 100;

/// The MAIL command, after all checks that concern the whole message.
pub(super) fn mail(caps: &Capabilities, message: &OutgoingMessage) -> Result<Vec<u8>, CannotSend> {
    check_message(caps, message)?;
    let mut line = format!("MAIL FROM:<{}>", message.reverse_path);
    if caps.size {
        line.push_str(&format!(" SIZE={}", message.body_bytes));
    }
    if message.is_8bit {
        line.push_str(" BODY=8BITMIME");
    }
    if needs_smtputf8(caps, message) {
        line.push_str(" SMTPUTF8");
    }
    if message.require_tls {
        line.push_str(" REQUIRETLS");
    }
    if caps.dsn {
        match message.ret {
            Some(ReturnContent::Full) => line.push_str(" RET=FULL"),
            Some(ReturnContent::Headers) => line.push_str(" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = message.envid.as_deref().and_then(encode_envid) {
            line.push_str(" ENVID=");
            line.push_str(&envid);
        }
    }
    line.push_str("\r\n");
    Ok(line.into_bytes())
}

/// The RCPT command, or why this recipient cannot be named to this peer.
pub(super) fn rcpt(
    caps: &Capabilities,
    recipient: &OutgoingRecipient,
) -> Result<Vec<u8>, CannotSend> {
    if recipient.address.is_empty() || !is_safe(&recipient.address) {
        let text = "recipient address has characters that SMTP cannot carry";
        return Err(CannotSend::new((5, 1, 3), text));
    }
    if !recipient.address.is_ascii() && !caps.smtputf8 {
        return Err(CannotSend::no_smtputf8("recipient address"));
    }
    let mut line = format!("RCPT TO:<{}>", recipient.address);
    if caps.dsn {
        if let Some(notify) = recipient.notify.as_deref().filter(|n| is_notify(n)) {
            line.push_str(" NOTIFY=");
            line.push_str(notify);
        }
        if let Some(orcpt) = recipient.orcpt.as_deref().and_then(encode_orcpt) {
            line.push_str(" ORCPT=");
            line.push_str(&orcpt);
        }
    }
    line.push_str("\r\n");
    Ok(line.into_bytes())
}

fn check_message(caps: &Capabilities, message: &OutgoingMessage) -> Result<(), CannotSend> {
    if !is_safe(&message.reverse_path) {
        let text = "return path has characters that SMTP cannot carry";
        return Err(CannotSend::new((5, 1, 7), text));
    }
    if message.needs_smtputf8 && !caps.smtputf8 {
        return Err(CannotSend::no_smtputf8("header"));
    }
    if !message.reverse_path.is_ascii() && !caps.smtputf8 {
        return Err(CannotSend::no_smtputf8("return path"));
    }
    if message.is_8bit && !caps.eight_bit_mime {
        let text = "message has 8-bit content and the host does not offer 8BITMIME";
        return Err(CannotSend::new((5, 6, 3), text));
    }
    if let Some(limit) = caps.size_max.filter(|&limit| message.body_bytes > limit) {
        let bytes = message.body_bytes;
        let text = format!("message has {bytes} octets and the host takes at most {limit}");
        return Err(CannotSend::new((5, 3, 4), text));
    }
    if message.require_tls && !caps.require_tls {
        let text = "sender requires TLS on the whole way and the host does not offer REQUIRETLS";
        return Err(CannotSend::new((5, 7, 30), text));
    }
    Ok(())
}

fn needs_smtputf8(caps: &Capabilities, message: &OutgoingMessage) -> bool {
    let utf8_address = || {
        let mut addresses = message.recipients.iter().map(|r| &r.address);
        !message.reverse_path.is_ascii() || addresses.any(|address| !address.is_ascii())
    };
    caps.smtputf8 && (message.needs_smtputf8 || utf8_address())
}

/// Whether an address can stand between `<` and `>` and mean itself: no control characters, and no space or
/// angle bracket outside a quoted string, with which it could end early and add parameters.
fn is_safe(address: &str) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    for c in address.chars() {
        if c.is_control() {
            return false;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '<' | '>' | '\\' if !quoted => return false,
            _ => {}
        }
    }
    !quoted && address.len() <= ADDRESS_MAX
}

fn is_notify(notify: &str) -> bool {
    let known = ["SUCCESS", "FAILURE", "DELAY"];
    notify.eq_ignore_ascii_case("NEVER")
        || notify
            .split(',')
            .all(|word| known.iter().any(|k| k.eq_ignore_ascii_case(word)))
}

/// An ENVID that cannot be carried is left out: it is only the sender's own label on reports.
fn encode_envid(envid: &str) -> Option<String> {
    let mut encoded = String::new();
    xtext::encode(envid, &mut encoded);
    let printable = envid.bytes().all(|b| (b' '..=b'~').contains(&b));
    (printable && !envid.is_empty() && encoded.len() <= ENVID_MAX).then_some(encoded)
}

fn encode_orcpt(typed: &str) -> Option<String> {
    let (kind, address) = typed.split_once(';')?;
    let orcpt = Orcpt::new(kind, address).ok()?;
    (!address.is_empty()).then(|| orcpt.to_param())
}
