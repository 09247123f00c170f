//! Commands of a client (RFC 5321 4.1 and the extensions that we offer).
//!
//! The parser is our own: smtp-proto drops quotes of local parts, replaces bad UTF-8 and confuses `<>` with
//! `<Postmaster>`, each of which would have to be found again and undone.

use crate::address::{Address, AddressError, ReversePath};
use crate::reply::Reply;
use crate::xtext::{self, Orcpt};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Ehlo(String),
    Helo(String),
    Mail(MailFrom),
    Rcpt(RcptTo),
    Data,
    Bdat {
        bytes: u64,
        last: bool,
    },
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    StartTls,
    Auth {
        mechanism: String,
        initial: Option<String>,
    },
}

/// RFC 6152.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyType {
    #[default]
    SevenBit,
    EightBit,
}

/// RFC 3461 4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    Full,
    Headers,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailFrom {
    pub path: ReversePath,
    pub size: Option<u64>,
    pub body: BodyType,
    pub smtputf8: bool,
    pub ret: Option<Ret>,
    pub envid: Option<String>,
    pub require_tls: bool,
    pub priority: Option<i8>,
}

/// RFC 3461 4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify {
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcptTo {
    pub to: RcptPath,
    pub notify: Option<Notify>,
    pub orcpt: Option<Orcpt>,
}

/// `<Postmaster>` needs no domain (RFC 5321 4.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RcptPath {
    Postmaster,
    Address(Address),
}

/// A line that is no command of ours, with the reply that it gets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(pub Reply);

fn syntax(text: &str) -> CommandError {
    CommandError(Reply::new(501, (5, 5, 4), text))
}

fn parameter(text: String) -> CommandError {
    CommandError(Reply::new(555, (5, 5, 4), text))
}

impl Command {
    /// Parses a line without its CRLF.
    ///
    /// # Errors
    /// 500 for what is no command, 501 for bad arguments, 555 for bad parameters, 553 for bad addresses.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line)
            .ok()
            .filter(|text| !text.chars().any(|c| c.is_control() && c != '\t'))
            .ok_or_else(|| {
                CommandError(Reply::new(
                    500,
                    (5, 5, 2),
                    "The line holds control characters or is not UTF-8",
                ))
            })?;
        let (verb, rest) = match text.find(' ') {
            Some(space) => (&text[..space], text[space + 1..].trim()),
            None => (text, ""),
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => client_name(rest).map(Self::Ehlo),
            "HELO" => client_name(rest).map(Self::Helo),
            "MAIL" => mail(after_colon(rest, "FROM")?).map(Self::Mail),
            "RCPT" => rcpt(after_colon(rest, "TO")?).map(Self::Rcpt),
            "DATA" => bare(rest, Self::Data),
            "BDAT" => bdat(rest),
            "RSET" => bare(rest, Self::Rset),
            "NOOP" => Ok(Self::Noop),
            "QUIT" => bare(rest, Self::Quit),
            "VRFY" => Ok(Self::Vrfy),
            "EXPN" => Ok(Self::Expn),
            "HELP" => Ok(Self::Help),
            "STARTTLS" => bare(rest, Self::StartTls),
            "AUTH" => auth(rest),
            _ => Err(CommandError(Reply::new(
                500,
                (5, 5, 1),
                "Command not recognised",
            ))),
        }
    }
}

fn bare(rest: &str, command: Command) -> Result<Command, CommandError> {
    if rest.is_empty() {
        Ok(command)
    } else {
        Err(syntax("The command takes no argument"))
    }
}

/// The name goes into a Received header, so it is bounded; what it says is not trusted anyway.
fn client_name(rest: &str) -> Result<String, CommandError> {
    let name = rest.split(' ').next().unwrap_or_default();
    if name.is_empty() || name.len() > 255 {
        return Err(syntax("The command needs your host name"));
    }
    Ok(name.to_owned())
}

fn bdat(rest: &str) -> Result<Command, CommandError> {
    let mut words = rest.split_ascii_whitespace();
    let bytes = words
        .next()
        .filter(|word| word.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|word| word.parse().ok());
    let last = match words.next() {
        None => Some(false),
        Some(word) if word.eq_ignore_ascii_case("LAST") => Some(true),
        Some(_) => None,
    };
    match (bytes, last, words.next()) {
        (Some(bytes), Some(last), None) => Ok(Command::Bdat { bytes, last }),
        _ => Err(syntax("Syntax: BDAT bytes [LAST]")),
    }
}

fn auth(rest: &str) -> Result<Command, CommandError> {
    let mut words = rest.split_ascii_whitespace();
    let mechanism = words
        .next()
        .ok_or_else(|| syntax("Syntax: AUTH mechanism"))?
        .to_ascii_uppercase();
    let initial = words.next().map(str::to_owned);
    match words.next() {
        None => Ok(Command::Auth { mechanism, initial }),
        Some(_) => Err(syntax("Syntax: AUTH mechanism [initial-response]")),
    }
}

fn after_colon<'t>(rest: &'t str, word: &str) -> Result<&'t str, CommandError> {
    let is_word = rest
        .get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word));
    let after = rest.get(word.len()..).unwrap_or_default().trim_start();
    match after.strip_prefix(':') {
        Some(path) if is_word => Ok(path.trim_start()),
        _ => Err(syntax(&format!("Syntax: {word}:<address>"))),
    }
}

/// Splits `<path> params`; quotes may hold brackets.
fn bracketed(text: &str) -> Result<(&str, &str), CommandError> {
    let inner = text
        .strip_prefix('<')
        .ok_or_else(|| syntax("The address must stand in <>"))?;
    let (mut quoted, mut escaped) = (false, false);
    for (place, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let params = &inner[place + 1..];
                if !params.is_empty() && !params.starts_with(' ') {
                    return Err(syntax("A space must follow the address"));
                }
                return Ok((source_route_free(&inner[..place]), params));
            }
            _ => {}
        }
    }
    Err(syntax("The address must end with >"))
}

/// `@a,@b:user@c` is `user@c` (RFC 5321 4.1.1.3: ignore source routes).
fn source_route_free(path: &str) -> &str {
    match path
        .strip_prefix('@')
        .and_then(|route| route.split_once(':'))
    {
        Some((_, address)) => address,
        None => path,
    }
}

fn bad_address(error: AddressError) -> CommandError {
    let code = if error == AddressError::NeedsSmtpUtf8 {
        (5, 6, 7)
    } else {
        (5, 1, 3)
    };
    CommandError(Reply::new(553, code, error.to_string()))
}

/// Keyword and value of each parameter; a keyword may come once.
fn params(text: &str) -> Result<Vec<(String, Option<&str>)>, CommandError> {
    let mut found: Vec<(String, Option<&str>)> = Vec::new();
    for word in text.split_ascii_whitespace() {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        if found.iter().any(|(other, _)| *other == keyword) {
            return Err(parameter(format!("{keyword} is given twice")));
        }
        found.push((keyword, value));
    }
    Ok(found)
}

fn mail(text: &str) -> Result<MailFrom, CommandError> {
    let (path, rest) = bracketed(text)?;
    let mut mail = MailFrom::default();
    for (keyword, value) in params(rest)? {
        let bad = || parameter(format!("{keyword} has a value that it cannot have"));
        match (keyword.as_str(), value) {
            ("SIZE", Some(value)) => mail.size = Some(value.parse().map_err(|_| bad())?),
            ("BODY", Some(value)) => {
                mail.body = match value.to_ascii_uppercase().as_str() {
                    "7BIT" => BodyType::SevenBit,
                    "8BITMIME" => BodyType::EightBit,
                    _ => return Err(bad()),
                }
            }
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            ("RET", Some(value)) => {
                mail.ret = Some(match value.to_ascii_uppercase().as_str() {
                    "FULL" => Ret::Full,
                    "HDRS" => Ret::Headers,
                    _ => return Err(bad()),
                })
            }
            ("ENVID", Some(value)) if value.len() <= 100 => {
                mail.envid = Some(xtext::decode(value).map_err(|_| bad())?)
            }
            // The user of an earlier hop; we do not pass it on (RFC 4954 5).
            ("AUTH", Some(_)) => {}
            ("REQUIRETLS", None) => mail.require_tls = true,
            ("MT-PRIORITY", Some(value)) => {
                let priority: i8 = value.parse().map_err(|_| bad())?;
                if !(-9..=9).contains(&priority) {
                    return Err(bad());
                }
                mail.priority = Some(priority);
            }
            (
                "SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH" | "REQUIRETLS"
                | "MT-PRIORITY",
                _,
            ) => {
                return Err(bad());
            }
            _ => {
                return Err(parameter(format!(
                    "{keyword} is not a parameter that we know"
                )));
            }
        }
    }
    mail.path = ReversePath::parse(path, mail.smtputf8).map_err(bad_address)?;
    Ok(mail)
}

fn rcpt(text: &str) -> Result<RcptTo, CommandError> {
    let (path, rest) = bracketed(text)?;
    let to = if path.eq_ignore_ascii_case("postmaster") {
        RcptPath::Postmaster
    } else {
        // Whether this session may use UTF-8 is known to the dialogue, which checks it.
        RcptPath::Address(Address::parse(path, true).map_err(bad_address)?)
    };
    let mut rcpt = RcptTo {
        to,
        notify: None,
        orcpt: None,
    };
    for (keyword, value) in params(rest)? {
        let bad = || parameter(format!("{keyword} has a value that it cannot have"));
        match (keyword.as_str(), value) {
            ("NOTIFY", Some(value)) => rcpt.notify = Some(notify(value).ok_or_else(bad)?),
            ("ORCPT", Some(value)) if value.len() <= 500 => {
                rcpt.orcpt = Some(Orcpt::parse(value).map_err(|_| bad())?)
            }
            ("NOTIFY" | "ORCPT", _) => return Err(bad()),
            _ => {
                return Err(parameter(format!(
                    "{keyword} is not a parameter that we know"
                )));
            }
        }
    }
    Ok(rcpt)
}

fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify {
        success: false,
        failure: false,
        delay: false,
    };
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn code(line: &[u8]) -> u16 {
        Command::parse(line).unwrap_err().0.code
    }

    #[test]
    fn bad_lines_get_the_reply_that_says_why() {
        for (line, expected) in [
            (&b"FOO"[..], 500),
            (b"MAIL FROM:<a@b>\nRCPT TO:<c@d>", 500),
            (b"MAIL FROM:<a\r@b>", 500),
            (b"MAIL FROM:<\xff@b>", 500),
            (b"MAIL FROM:a@b", 501),
            (b"MAIL <a@b>", 501),
            (b"MAIL FROM:<a@b", 501),
            (b"MAIL FROM:<a@b>SIZE=1", 501),
            (b"MAIL FROM:<a@b> SIZE=x", 555),
            (b"MAIL FROM:<a@b> SIZE=1 SIZE=2", 555),
            (b"MAIL FROM:<a@b> BODY=9BIT", 555),
            (b"MAIL FROM:<a@b> MT-PRIORITY=10", 555),
            (b"MAIL FROM:<a@b> MT-PRIORITY=-10", 555),
            (b"MAIL FROM:<a@b> FOO=1", 555),
            ("MAIL FROM:<\u{fc}@b>".as_bytes(), 553),
            (b"MAIL FROM:<a>", 553),
            (b"RCPT TO:<>", 553),
            (b"RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS", 555),
            (b"RCPT TO:<a@b> ORCPT=x", 555),
            (b"BDAT", 501),
            (b"BDAT -1", 501),
            (b"BDAT 5 FIRST", 501),
            (b"DATA now", 501),
            (b"EHLO", 501),
            (b"AUTH", 501),
        ] {
            assert_eq!(code(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn addresses_keep_their_spelling() {
        for (line, expected) in [
            ("RCPT TO:<\"a>b c\"@x.test>", "\"a>b c\"@x.test"),
            ("rcpt to: <user@X.test>", "user@X.test"),
            (
                "RCPT TO:<@relay.test,@other.test:user@x.test>",
                "user@x.test",
            ),
            ("RCPT TO:<user@[192.0.2.1]>", "user@[192.0.2.1]"),
            ("RCPT TO:<\u{fc}ser@x.test>", "\u{fc}ser@x.test"),
        ] {
            let Command::Rcpt(RcptTo {
                to: RcptPath::Address(address),
                ..
            }) = Command::parse(line.as_bytes()).unwrap()
            else {
                panic!("{line}");
            };
            assert_eq!(address.as_str(), expected);
        }
        let postmaster = Command::parse(b"RCPT TO:<Postmaster>").unwrap();
        assert!(matches!(
            postmaster,
            Command::Rcpt(RcptTo {
                to: RcptPath::Postmaster,
                ..
            })
        ));
    }

    #[test]
    fn parameters_are_understood() {
        let line = b"MAIL FROM:<> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=a+2Bb REQUIRETLS MT-PRIORITY=-9 AUTH=<>";
        let Command::Mail(mail) = Command::parse(line).unwrap() else {
            panic!()
        };
        assert!(mail.path.is_null() && mail.require_tls);
        assert_eq!(
            (mail.size, mail.body, mail.ret),
            (Some(10), BodyType::EightBit, Some(Ret::Headers))
        );
        assert_eq!(
            (mail.envid.as_deref(), mail.priority),
            (Some("a+b"), Some(-9))
        );
        let line = b"RCPT TO:<a@b.test> NOTIFY=success,DELAY ORCPT=utf-8;x@y.test";
        let Command::Rcpt(rcpt) = Command::parse(line).unwrap() else {
            panic!()
        };
        assert_eq!(
            rcpt.notify,
            Some(Notify {
                success: true,
                failure: false,
                delay: true
            })
        );
        assert!(rcpt.orcpt.is_some());
        assert_eq!(
            Command::parse(b"bdat 86 last").unwrap(),
            Command::Bdat {
                bytes: 86,
                last: true
            }
        );
    }
}
