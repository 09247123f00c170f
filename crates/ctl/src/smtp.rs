//! What `send` and `probe` share of a client's side of SMTP: replies, faults, TLS, and the steps that are told.
//!
//! The dialogue itself is the crate mail-send. It hands replies over without their first line breaks, and errors without
//! what was being done; both are put into words here.

use skein_smtp::address::Address;

pub mod certificate;
pub mod fault;
pub mod greeting;
pub mod reply;
pub mod steps;
pub mod tls;

/// The name of this machine in the forms that SMTP wants.
pub fn hostname() -> String {
    let name = rustix::system::uname();
    usable_hostname(&name.nodename().to_string_lossy())
}

/// What may stand behind EHLO (RFC 5321 4.1.1.1).
///
/// # Errors
/// It is neither.
pub fn ehlo_name(text: &str) -> Result<String, String> {
    match Address::parse(&format!("a@{text}"), false) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("is no host name and no address literal such as [192.0.2.1]".to_owned()),
    }
}

/// A machine may have a name that no domain can have.
fn usable_hostname(name: &str) -> String {
    let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
    match Address::parse(&format!("a@{name}"), false) {
        Ok(address) if !address.is_literal() => name,
        _ => "localhost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_usable_name_is_localhost() {
        for (name, expected) in [
            ("mail-1.example.test", "mail-1.example.test"),
            ("Laptop", "laptop"),
            ("mail.example.test.\n", "mail.example.test"),
            ("", "localhost"),
            ("(none)", "localhost"),
            ("ann's laptop", "localhost"),
            ("[192.0.2.1]", "localhost"),
        ] {
            assert_eq!(usable_hostname(name), expected, "{name:?}");
        }
    }

    #[test]
    fn a_name_for_ehlo_is_a_host_or_a_literal() {
        for (name, is_good) in [
            ("client.test", true),
            ("[192.0.2.1]", true),
            ("localhost", true),
            ("a\r\nMAIL FROM:<>", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(ehlo_name(name).is_ok(), is_good, "{name:?}");
        }
    }
}
