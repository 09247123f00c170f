//! MAIL and RCPT: the addresses, and the parameters that the server's offer allows.

use clap::ValueEnum;
use mail_send::smtp::message::Parameters;
use skein_smtp::address::{Address, AddressError, ReversePath};
use skein_smtp::xtext;
use smtp_proto::{EXT_8BIT_MIME, EXT_DSN, EXT_REQUIRE_TLS, EXT_SIZE, EXT_SMTP_UTF8};

use super::problem::Problem;
use crate::smtp::greeting::Offer;

/// As many as a node takes for one message unless set otherwise.
pub const RECIPIENTS_MAX: usize = 1000;
/// Octets of ENVID before they are encoded (RFC 3461 4.4).
const ENVID_MAX: usize = 100;

/// Which reports the recipients' hosts are asked for (RFC 3461 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Notify {
    Never,
    Success,
    Failure,
    Delay,
}

/// What a report gives back of the message (RFC 3461 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ret {
    Full,
    Hdrs,
}

#[derive(Debug)]
pub struct Envelope {
    pub from: ReversePath,
    pub to: Vec<Address>,
    pub notify: Vec<Notify>,
    pub ret: Option<Ret>,
    pub envid: Option<String>,
    pub requires_tls: bool,
}

/// The commands of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub struct Commands {
    pub mail: String,
    /// Each with its recipient.
    pub rcpt: Vec<(String, String)>,
}

/// A mailbox that can stand in a command.
///
/// # Errors
/// What is wrong with it.
pub fn address(text: &str) -> Result<Address, String> {
    let bare = text
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'));
    let bare = bare.unwrap_or(text);
    Address::parse(bare, true).map_err(|error| match error {
        AddressError::NoDomain => "has no @; an address is like ann@example.com".to_owned(),
        error => error.to_string(),
    })
}

/// A return path: a mailbox, or nothing for that of a report.
///
/// # Errors
/// What is wrong with it.
pub fn return_path(text: &str) -> Result<ReversePath, String> {
    match text {
        "" | "<>" => Ok(ReversePath::Null),
        text => address(text).map(ReversePath::Address),
    }
}

/// # Errors
/// What is wrong with it.
pub fn envid(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > ENVID_MAX {
        return Err(format!("has no characters, or more than {ENVID_MAX}"));
    }
    match text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        true => Ok(text.to_owned()),
        false => Err("has a character that is not printable ASCII".to_owned()),
    }
}

impl Envelope {
    /// # Errors
    /// The server lacks what the message needs.
    pub fn commands(
        &self,
        offer: &Offer,
        message: &[u8],
        is_encrypted: bool,
    ) -> Result<Commands, Problem> {
        let size = offer.known.size;
        if size > 0 && message.len() > size {
            return Err(Problem::new(
                format!(
                    "the message has {} octets, and the server takes at most {size}",
                    message.len()
                ),
                "send a smaller one, or raise smtp.limits.message_bytes of the node",
            ));
        }
        let mut mail = Parameters::new();
        if offer.has(EXT_SIZE) {
            mail.add(("SIZE".to_owned(), message.len().to_string()));
        }
        if skein_mail::header::has_8bit(message) {
            if !offer.has(EXT_8BIT_MIME) {
                return Err(Problem::new(
                    "the message has octets above 127, and the server does not offer 8BITMIME",
                    "encode its parts as quoted-printable or base64",
                ));
            }
            mail.add(("BODY".to_owned(), "8BITMIME".to_owned()));
        }
        self.options(offer, is_encrypted, &mut mail)?;
        let (from, to, needs_utf8) = self.addresses(offer)?;
        if needs_utf8 {
            mail.add("SMTPUTF8");
        }
        let mut rcpt = Parameters::new();
        if !self.notify.is_empty() {
            let words: Vec<&str> = self.notify.iter().map(|one| one.word()).collect();
            rcpt.add(("NOTIFY".to_owned(), words.join(",")));
        }
        let rcpt = to
            .into_iter()
            .map(|to| (format!("RCPT TO:<{to}>{rcpt}\r\n"), to));
        Ok(Commands {
            mail: format!("MAIL FROM:<{from}>{mail}\r\n"),
            rcpt: rcpt.map(|(line, to)| (to, line)).collect(),
        })
    }

    fn options(
        &self,
        offer: &Offer,
        is_encrypted: bool,
        mail: &mut Parameters<'_>,
    ) -> Result<(), Problem> {
        let wants_dsn = !self.notify.is_empty() || self.ret.is_some() || self.envid.is_some();
        if wants_dsn && !offer.has(EXT_DSN) {
            return Err(Problem::new(
                "the server does not offer DSN (RFC 3461)",
                "leave out --notify, --ret and --envid",
            ));
        }
        if let Some(ret) = self.ret {
            let word = match ret {
                Ret::Full => "FULL",
                Ret::Hdrs => "HDRS",
            };
            mail.add(("RET".to_owned(), word.to_owned()));
        }
        if let Some(envid) = &self.envid {
            let mut encoded = String::new();
            xtext::encode(envid, &mut encoded);
            mail.add(("ENVID".to_owned(), encoded));
        }
        if self.requires_tls {
            if !offer.has(EXT_REQUIRE_TLS) || !is_encrypted {
                return Err(Problem::new(
                    "the server does not offer REQUIRETLS here (RFC 8689)",
                    "use --tls starttls or --tls implicit at a node with a certificate, or leave out --require-tls",
                ));
            }
            mail.add("REQUIRETLS");
        }
        Ok(())
    }

    /// The addresses as they are written, and whether SMTPUTF8 must be said.
    fn addresses(&self, offer: &Offer) -> Result<(String, Vec<String>, bool), Problem> {
        let all: Vec<&Address> = self.from.address().into_iter().chain(&self.to).collect();
        let is_strange = all.iter().any(|address| !address.is_ascii());
        let needs_utf8 = is_strange && offer.has(EXT_SMTP_UTF8);
        let text = |address: &Address| match needs_utf8 {
            true => Ok(address.as_str().to_owned()),
            false => {
                let plain = address.to_ascii().ok_or_else(|| {
                    Problem::new(
                        format!("the server does not offer SMTPUTF8, which {address} needs"),
                        "use an address of ASCII letters",
                    )
                })?;
                Ok(plain.as_str().to_owned())
            }
        };
        let from = match self.from.address() {
            Some(address) => text(address)?,
            None => String::new(),
        };
        let to: Result<Vec<String>, Problem> = self.to.iter().map(text).collect();
        Ok((from, to?, needs_utf8))
    }
}

impl Notify {
    fn word(self) -> &'static str {
        match self {
            Self::Never => "NEVER",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Delay => "DELAY",
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::smtp::reply::Reply;

    fn offer(keywords: &str) -> Offer {
        let lines = ["mx.test"]
            .into_iter()
            .chain(keywords.split_terminator('|'));
        Offer::of(&Reply {
            code: 250,
            enhanced: String::new(),
            lines: lines.map(str::to_owned).collect(),
        })
    }

    fn plain(from: &str, to: &str) -> Envelope {
        Envelope {
            from: return_path(from).unwrap(),
            to: vec![address(to).unwrap()],
            notify: Vec::new(),
            ret: None,
            envid: None,
            requires_tls: false,
        }
    }

    /// The MAIL command, or what is wrong.
    fn mail(envelope: &Envelope, keywords: &str, message: &[u8]) -> Result<String, String> {
        let commands = envelope.commands(&offer(keywords), message, true);
        commands
            .map(|commands| commands.mail)
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn parameters_are_those_that_are_offered_and_needed() {
        let utf8 = "j\u{f6}rg@b.test";
        for (from, to, keywords, message, expected) in [
            (
                "a@b.test",
                "c@d.test",
                "",
                &b"x"[..],
                Ok("MAIL FROM:<a@b.test>\r\n"),
            ),
            ("", "c@d.test", "SIZE", b"x", Ok("MAIL FROM:<> SIZE=1\r\n")),
            (
                "<a@b.test>",
                "c@d.test",
                "SIZE 10|8BITMIME",
                b"\xff",
                Ok("MAIL FROM:<a@b.test> SIZE=1 BODY=8BITMIME\r\n"),
            ),
            ("a@b.test", "c@d.test", "SIZE 2", b"xxx", Err("at most 2")),
            ("a@b.test", "c@d.test", "", b"\xff", Err("8BITMIME")),
            (
                "a@b.test",
                utf8,
                "SMTPUTF8",
                b"x",
                Ok("MAIL FROM:<a@b.test> SMTPUTF8\r\n"),
            ),
            ("a@b.test", utf8, "", b"x", Err("SMTPUTF8")),
            (
                "a@b\u{fc}cher.test",
                "c@d.test",
                "",
                b"x",
                Ok("MAIL FROM:<a@xn--bcher-kva.test>\r\n"),
            ),
        ] {
            let found = mail(&plain(from, to), keywords, message);
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
                _ => panic!("{from} {keywords}: {found:?}"),
            }
        }
    }

    #[test]
    fn reports_are_asked_for_where_that_is_offered() {
        let mut envelope = plain("a@b.test", "c@d.test");
        envelope.notify = vec![Notify::Success, Notify::Delay];
        envelope.ret = Some(Ret::Hdrs);
        envelope.envid = Some("a b+c".to_owned());
        let commands = envelope.commands(&offer("DSN"), b"x", true).unwrap();
        assert_eq!(
            commands.mail,
            "MAIL FROM:<a@b.test> RET=HDRS ENVID=a+20b+2Bc\r\n"
        );
        assert_eq!(
            commands.rcpt,
            [(
                "c@d.test".to_owned(),
                "RCPT TO:<c@d.test> NOTIFY=SUCCESS,DELAY\r\n".to_owned()
            )]
        );
        assert!(mail(&envelope, "", b"x").unwrap_err().contains("--notify"));
    }

    #[test]
    fn requiretls_needs_tls() {
        let mut envelope = plain("a@b.test", "c@d.test");
        envelope.requires_tls = true;
        let offer = offer("REQUIRETLS");
        assert!(envelope.commands(&offer, b"x", false).is_err());
        let mail = envelope.commands(&offer, b"x", true).unwrap().mail;
        assert!(mail.contains(" REQUIRETLS\r\n"), "{mail}");
    }

    /// The library writes addresses as they are.
    #[test]
    fn no_address_ends_its_command() {
        for text in [
            "a@b.test>\r\nRCPT TO:<c@d.test",
            "a@b.test\r\n",
            "a\n@b.test",
            "a@b.test> SIZE=1",
            "<a@b.test",
            "a<b@c.test",
            "a\0@b.test",
            "a b@c.test",
            "ann",
            "",
        ] {
            assert!(address(text).is_err(), "{text:?}");
        }
        assert!(address("ann").unwrap_err().contains("ann@example.com"));
        assert!(envid("a\r\nb").is_err() && envid("").is_err());
    }
}
