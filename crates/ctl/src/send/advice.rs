//! What to do about each fault on the way of a message into a node.

use super::problem::Problem;
use crate::smtp::fault::Fault;
use crate::smtp::reply::Reply;
use crate::smtp::tls;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connect,
    /// TLS from the first byte.
    Tls,
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    /// From DATA to the reply to the final dot.
    Data,
}

/// What is known of the connection.
#[derive(Debug, Clone)]
pub struct Place {
    /// `host:port` as the user gave it.
    pub via: String,
    /// The name that the certificate must have.
    pub name: String,
    pub is_encrypted: bool,
    pub has_login: bool,
}

const LISTENERS: &str = "a node takes mail at the addresses of its [[smtp.listener]], port 2525 unless set otherwise: give one \
                         with --via HOST:PORT or SKEINCTL_SMTP";

pub fn problem(phase: Phase, fault: &Fault, place: &Place) -> Problem {
    let via = &place.via;
    if let Fault::Reply(reply) = fault {
        return Problem::new(
            format!("{via} answers {} with {reply}", phase.name()),
            of_reply(phase, reply, place),
        );
    }
    let what = match (phase, fault) {
        (Phase::Connect, fault) => format!("no connection to {via}: {}", fault.words()),
        (Phase::Data, Fault::Silent | Fault::Closes | Fault::NotSmtp) => {
            format!("{via}: no reply to the message came")
        }
        (phase, fault) => format!("{via} at {}: {}", phase.name(), fault.words()),
    };
    Problem::new(what, of_fault(phase, fault, place))
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "the connection",
            Self::Tls => "TLS",
            Self::Greeting => "the greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
        }
    }
}

fn of_fault(phase: Phase, fault: &Fault, place: &Place) -> String {
    let text = match (phase, fault) {
        (_, Fault::NoName(_)) => "look for a slip in --via, or give an IP address",
        (Phase::Connect, Fault::Refused) => return format!("is the node running? {LISTENERS}"),
        (Phase::Connect, _) => {
            "is the machine up, the address right, and does a firewall let this port pass?"
        }
        (_, Fault::Tls(fault)) => return of_tls(phase, fault, place),
        (Phase::Greeting, Fault::Silent) => {
            "a port with TLS from the first byte waits for the client: try --tls implicit; else the node stands still or is \
             overloaded, and its log says which"
        }
        (Phase::Greeting, _) => return format!("is this a port for mail? {LISTENERS}"),
        (Phase::Tls | Phase::StartTls, _) => {
            "if the port has no TLS from the first byte, use --tls starttls or --tls none; else see the node's log"
        }
        (Phase::Auth, Fault::Login(_)) => "have the server offer PLAIN, which is safe under TLS",
        (Phase::Data, _) => {
            "the message may have been taken all the same: look for it in the node's events before it is sent again"
        }
        (_, _) => "try again; the node's log says more",
    };
    text.to_owned()
}

fn of_tls(phase: Phase, fault: &tls::Fault, place: &Place) -> String {
    let name = &place.name;
    match fault {
        tls::Fault::NotTls if phase == Phase::Tls => {
            "the port has no TLS from the first byte: use --tls starttls or --tls none".to_owned()
        }
        tls::Fault::UnknownIssuer | tls::Fault::BadCertificate(_) => {
            "give the CA that signed it with --smtp-ca FILE; --insecure takes any certificate, for a test".to_owned()
        }
        tls::Fault::OtherName(_) => format!(
            "it must be for {name}: use a name that it has in --via, or say with --tls-name which one it should have"
        ),
        tls::Fault::Expired | tls::Fault::NotValidYet | tls::Fault::Revoked => {
            "the node needs another certificate (smtp.tls.certificate), or the clock of a machine is wrong; --insecure takes \
             any, for a test"
                .to_owned()
        }
        tls::Fault::NoServerName => {
            "say with --tls-name which name the certificate should have".to_owned()
        }
        _ => "see the node's log; --tls none sends without TLS".to_owned(),
    }
}

fn of_reply(phase: Phase, reply: &Reply, place: &Place) -> String {
    let wants_tls = reply.text().to_ascii_uppercase().contains("STARTTLS");
    let detail = reply.enhanced.get(1..).unwrap_or_default();
    let text = match (phase, reply.code, detail) {
        (_, 530, _) if wants_tls && !place.is_encrypted => "use --tls starttls",
        (_, 530, _) if place.has_login => {
            "the login is not enough here: see the rules of the listener"
        }
        (_, 530, _) => "log in with --user NAME and --password-file FILE, or use a port for relays",
        (_, 535, _) => {
            "the user or the password is wrong: a node knows those of its [[smtp.user]], and the file holds the password in its \
             first line"
        }
        (_, 538, _) => "use --tls starttls or --tls implicit",
        (Phase::Auth, 454, _) => {
            "wait some minutes: logins from here are not looked at for a while after too many wrong ones"
        }
        (Phase::Greeting, 421, _) => {
            "the node shuts down, is full, or has too many connections: wait a little, or use another node"
        }
        (Phase::Greeting | Phase::Ehlo, 500.., _) => {
            "this server takes no mail from here: use another with --via, or have it let this address in"
        }
        (_, 421, _) => "the server ended the connection: wait a little and try again",
        (_, 452, ".5.3") => "the server takes no more recipients at once: send to fewer",
        (_, 452, _) => {
            "the node has no room: free disk space there, and see `skeinctl doctor` for which node and why"
        }
        (Phase::Rcpt, 550 | 554, ".7.1") if place.has_login => {
            "the server does not relay there for this user: its policy says why"
        }
        (Phase::Rcpt, 550 | 554, ".7.1") => {
            "the server does not relay for this client: add its address to smtp.relay_networks of the node, or log in with \
             --user and --password-file"
        }
        (Phase::Rcpt, 550 | 551 | 553, _) => "the address is refused: look for a slip in --to",
        (Phase::Mail, 550 | 553, _) => "the return path is refused: give another with --from",
        (_, 552 | 523, _) => {
            "the message is too large for the server: send a smaller one, or raise smtp.limits.message_bytes of the node"
        }
        (_, 400..500, _) => {
            "it may be taken later: try again, and see the node's log if that fails"
        }
        (Phase::Data, _, _) => "the message is refused: its text says why",
        _ => "the reply says why; nothing was sent",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            via: "mx.test:25".to_owned(),
            name: "mx.test".to_owned(),
            is_encrypted: false,
            has_login: false,
        }
    }

    fn reply(text: &str) -> Fault {
        let mut words = text.splitn(3, ' ');
        let code = words.next().and_then(|code| code.parse().ok());
        let enhanced = words.next().unwrap_or_default().replace('-', "");
        let lines = vec![words.next().unwrap_or_default().to_owned()];
        Fault::Reply(Reply {
            code: code.unwrap_or_default(),
            enhanced,
            lines,
        })
    }

    #[test]
    fn every_reply_comes_with_what_to_do() {
        for (phase, text, expected) in [
            (
                Phase::Greeting,
                "421 4.3.2 Too many connections",
                "another node",
            ),
            (
                Phase::Greeting,
                "554 - no mail for you",
                "takes no mail from here",
            ),
            (Phase::Ehlo, "550 5.7.1 go", "takes no mail from here"),
            (
                Phase::Mail,
                "530 5.7.0 Say STARTTLS first",
                "--tls starttls",
            ),
            (Phase::Mail, "530 5.7.0 Log in first", "--password-file"),
            (
                Phase::Auth,
                "535 5.7.8 User or password is wrong",
                "[[smtp.user]]",
            ),
            (Phase::Auth, "538 5.7.11 Encrypt", "--tls"),
            (Phase::Auth, "454 4.7.0 later", "wait some minutes"),
            (
                Phase::Rcpt,
                "550 5.7.1 Relaying is not allowed for you",
                "smtp.relay_networks",
            ),
            (Phase::Rcpt, "550 5.1.1 no such user", "slip in --to"),
            (Phase::Mail, "553 5.1.7 no", "--from"),
            (Phase::Rcpt, "452 4.5.3 Too many recipients", "fewer"),
            (Phase::Data, "452 4.3.1 No room", "skeinctl doctor"),
            (
                Phase::Mail,
                "552 5.3.4 too large",
                "smtp.limits.message_bytes",
            ),
            (Phase::Data, "451 4.3.0 later", "try again"),
            (
                Phase::Data,
                "550 5.6.0 X-Skein-Pool is wrong",
                "its text says why",
            ),
            (Phase::Data, "421 4.7.0 Too many errors", "wait a little"),
            (Phase::Mail, "501 5.5.4 what", "the reply says why"),
        ] {
            let found = problem(phase, &reply(text), &place()).to_string();
            let code = text.get(..3).unwrap_or_default();
            assert!(
                found.contains(expected) && found.contains(code) && found.contains("mx.test:25"),
                "{text}: {found}"
            );
        }
    }

    #[test]
    fn who_is_logged_in_or_encrypted_is_told_something_else() {
        let mut place = place();
        place.has_login = true;
        let found = problem(Phase::Rcpt, &reply("550 5.7.1 no relay"), &place).to_string();
        assert!(found.contains("for this user"), "{found}");
        place.is_encrypted = true;
        let found = problem(Phase::Mail, &reply("530 5.7.0 STARTTLS"), &place).to_string();
        assert!(!found.contains("--tls starttls"), "{found}");
    }

    #[test]
    fn every_fault_comes_with_what_to_do() {
        use tls::Fault as Tls;
        let names = vec!["mx.other.test".to_owned()];
        for (phase, fault, expected) in [
            (Phase::Connect, Fault::Refused, "port 2525"),
            (
                Phase::Connect,
                Fault::NoName("none".into()),
                "slip in --via",
            ),
            (
                Phase::Connect,
                Fault::Unreachable("no route".into()),
                "firewall",
            ),
            (Phase::Connect, Fault::Silent, "firewall"),
            (Phase::Greeting, Fault::Silent, "--tls implicit"),
            (Phase::Greeting, Fault::NotSmtp, "is this a port for mail?"),
            (Phase::Tls, Fault::Tls(Tls::NotTls), "--tls none"),
            (Phase::StartTls, Fault::Tls(Tls::UnknownIssuer), "--smtp-ca"),
            (
                Phase::StartTls,
                Fault::Tls(Tls::OtherName(names)),
                "for mx.test: ",
            ),
            (Phase::Tls, Fault::Tls(Tls::Expired), "another certificate"),
            (Phase::Tls, Fault::Tls(Tls::NoServerName), "--tls-name"),
            (Phase::Auth, Fault::Login("odd".into()), "PLAIN"),
            (Phase::Data, Fault::Closes, "may have been taken"),
            (Phase::Mail, Fault::Closes, "try again"),
        ] {
            let found = problem(phase, &fault, &place()).to_string();
            assert!(
                found.contains(expected) && found.contains("mx.test:25"),
                "{phase:?} {fault:?}: {found}"
            );
        }
    }
}
