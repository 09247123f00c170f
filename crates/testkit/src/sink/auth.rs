//! AUTH (RFC 4954) by passwords and OAuth tokens, enough to test a client that logs in at its smarthost.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::session::{Decision, Session};

impl Session<'_> {
    pub(super) fn must_log_in(&self) -> bool {
        self.shared.config.login.is_some() && self.user.is_none()
    }

    pub(super) async fn auth(&mut self, line: &str) -> io::Result<Decision> {
        let Some((name, password)) = self.shared.config.login.clone() else {
            return Ok(self.say("502 5.5.1 command not implemented"));
        };
        if self.user.is_some() || self.open.is_some() {
            return Ok(self.say("503 5.5.1 not now"));
        }
        let mut words = line.split_ascii_whitespace().skip(1);
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let initial = words.next().map(str::to_owned);
        let given = match mechanism.as_str() {
            "PLAIN" if self.offers("PLAIN") => self.plain(initial).await?,
            "LOGIN" if self.offers("LOGIN") => self.login(initial).await?,
            "XOAUTH2" | "OAUTHBEARER" if self.offers(&mechanism) => bearer(initial),
            _ => return Ok(self.say("504 5.5.4 mechanism not supported")),
        };
        if given.as_ref() != Some(&(name.clone(), password)) {
            if mechanism.contains("OAUTH") {
                // What is wrong, to which the client answers nothing, or nearly so (RFC 7628 section 3.2.3).
                let answer = self.challenge(r#"{"status":"401"}"#).await?;
                let is_empty = matches!(answer.as_deref(), Some("" | "\u{1}"));
                return Ok(match is_empty {
                    true => self.say("535 5.7.8 token not accepted"),
                    false => self.say("501 5.5.2 the token once more?"),
                });
            }
            return Ok(self.say("535 5.7.8 wrong name or password"));
        }
        self.user = Some(name);
        Ok(self.say("235 2.7.0 welcome"))
    }

    fn offers(&self, mechanism: &str) -> bool {
        let offered = &self.shared.config.mechanisms;
        offered.split(' ').any(|one| one == mechanism)
    }

    async fn plain(&mut self, initial: Option<String>) -> io::Result<Option<(String, String)>> {
        let text = match initial {
            Some(text) => decode(&text),
            None => self.challenge("").await?,
        };
        let text = text.unwrap_or_default();
        let mut parts = text.split('\0').skip(1).map(str::to_owned);
        Ok(parts.next().zip(parts.next()))
    }

    async fn login(&mut self, initial: Option<String>) -> io::Result<Option<(String, String)>> {
        let name = match initial {
            Some(text) => decode(&text),
            None => self.challenge("Username:").await?,
        };
        let password = self.challenge("Password:").await?;
        Ok(name.zip(password))
    }

    async fn challenge(&mut self, text: &str) -> io::Result<Option<String>> {
        self.say(&format!("334 {}", STANDARD.encode(text)));
        self.flush().await?;
        let line = self.line().await?;
        Ok(line.and_then(|line| decode(&line)))
    }
}

/// User and token of `user=..^Aauth=Bearer ..^A^A` and of `n,a=..,^Ahost=..^Aport=..^Aauth=Bearer ..^A^A`.
fn bearer(initial: Option<String>) -> Option<(String, String)> {
    let text = decode(&initial?)?;
    let mut fields = text.strip_suffix("\u{1}\u{1}")?.split('\u{1}');
    let first = fields.next()?;
    let user = match first.strip_prefix("user=") {
        Some(user) => user,
        None => first.strip_prefix("n,a=")?.strip_suffix(',')?,
    };
    let token = fields.find_map(|field| field.strip_prefix("auth=Bearer "))?;
    Some((user.to_owned(), token.to_owned()))
}

fn decode(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}
