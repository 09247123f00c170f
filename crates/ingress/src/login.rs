//! Logins, and strangers who want mail relayed: answered late, and then not at all.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use skein_credential::{
    ClientFirst, SCRAM_ITERATIONS, ScramFault, ScramKeys, Verifier, salt_of_nobody,
};
use skein_smtp::reply::Reply;
use skein_smtp::secret::Secret;

use crate::accounts::{Account, Claim};
use crate::guessing::{Decision, Login};
use crate::intake::{self, Intake};
use crate::lockout::Attempt;
use crate::network::client_of;
use crate::passwords::Busy;
use crate::server::Shared;

impl Intake<'_> {
    pub async fn login(&mut self, user: &str, password: &Secret) -> Option<Reply> {
        let login = match self.begin_login(user).await {
            Ok(login) => login,
            Err(locked) => return Some(locked),
        };
        match self.account(user, password).await {
            Ok(account) => self.end_login(user, login, account),
            Err(Busy) => {
                self.shared.guesses.lock().withdrawn(&login);
                let text = "Too many logins are being looked at, try again";
                Some(Reply::new(454, (4, 7, 0), text))
            }
        }
    }

    /// Waits as long as the failures before call for.
    async fn begin_login(&self, user: &str) -> Result<Login, Reply> {
        let shared = self.shared;
        let (client, now) = (client_of(self.address), shared.began.elapsed());
        let decision = shared.guesses.lock().login(user, client, now);
        match decision {
            Decision::Try(login, after) => {
                self.pause(after).await;
                Ok(login)
            }
            Decision::Locked(left) => {
                shared.metrics.logins_locked.inc();
                tracing::warn!(client = %self.address, ?user, for_s = left.as_secs(), "a login is locked out");
                Err(locked_out(left))
            }
        }
    }

    /// None: the client is in.
    fn end_login(&mut self, user: &str, login: Login, account: Option<Account>) -> Option<Reply> {
        let shared = self.shared;
        let now = || shared.began.elapsed();
        if account.is_some() {
            self.login = account;
            shared.guesses.lock().succeeded(login, now());
            shared.metrics.logins.inc();
            return None;
        }
        let is_elsewhere = self.is_elsewhere(user);
        let (failures, locks) = {
            let mut guesses = shared.guesses.lock();
            match is_elsewhere {
                true => guesses.failed_elsewhere(&login, now()),
                false => guesses.failed(&login, now()),
            }
        };
        shared.metrics.logins_failed.inc();
        tracing::warn!(client = %self.address, ?user, failures, "a login failed");
        shared.tell_of(Attempt::Login, self.address, locks);
        Some(Reply::new(535, (5, 7, 8), "User or password is wrong"))
    }

    /// What a client is to show its secret for that logs in by SCRAM. Users that are not there, or have no SCRAM, are asked the
    /// same.
    pub fn scram_first(&mut self, message: &[u8]) -> Result<String, Reply> {
        let first = ClientFirst::read(message).map_err(scram_refused)?;
        let policy = self.shared.policy();
        let keys = self.scram_keys(&first.user);
        let (salt, iterations) = match keys.first() {
            Some(keys) => (keys.salt(), keys.iterations()),
            None => {
                let key = policy.scram_key().unwrap_or_default();
                (salt_of_nobody(key, &first.user), SCRAM_ITERATIONS)
            }
        };
        let challenge = first.challenge(salt, iterations, rand::random());
        let message = challenge.message().to_owned();
        self.scram = Some(challenge);
        Ok(message)
    }

    /// The user that has shown that it has its secret, and what shows it that this cluster knows it.
    pub async fn scram_proof(&mut self, message: &[u8]) -> Result<(String, String), Reply> {
        let Some(challenge) = self.scram.take() else {
            return Err(Reply::new(503, (5, 5, 1), "Nothing was asked"));
        };
        let user = challenge.user().to_owned();
        let login = self.begin_login(&user).await?;
        let policy = self.shared.policy();
        let claim = Claim::of(
            &self.shared.config(),
            &policy,
            &user,
            self.address,
            intake::now(),
        );
        let credential = match claim {
            Some(Claim::Credential(credential)) => Some(credential),
            _ => None,
        };
        let secrets = credential.iter().flat_map(|one| &one.secrets);
        let keys = secrets.clone().filter_map(Verifier::scram);
        let verified = challenge.verify(message, keys);
        let (account, shown) = match (verified, credential.clone()) {
            (Ok((found, shown)), Some(credential)) => {
                let secret = secrets.clone().find(|one| one.scram() == Some(found));
                let account = secret.map(|secret| Account::Credential(credential, secret.clone()));
                (account, shown)
            }
            (Err(fault), _) if fault != ScramFault::Proof => {
                self.shared.guesses.lock().withdrawn(&login);
                return Err(scram_refused(fault));
            }
            _ => (None, String::new()),
        };
        match self.end_login(&user, login, account) {
            None => Ok((user, shown)),
            Some(refused) => Err(refused),
        }
    }

    /// What SCRAM of a user is checked with; nothing where it may not log in so.
    fn scram_keys(&self, user: &str) -> Vec<ScramKeys> {
        let (config, policy) = (self.shared.config(), self.shared.policy());
        match Claim::of(&config, &policy, user, self.address, intake::now()) {
            Some(Claim::Credential(credential)) => {
                let keys = credential.secrets.iter().filter_map(Verifier::scram);
                keys.cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a user is there who may not log in from the client's address, whatever the password.
    fn is_elsewhere(&self, user: &str) -> bool {
        let (config, policy) = (self.shared.config(), self.shared.policy());
        let credential = policy.credential_of_user(user);
        let is_elsewhere = credential.is_some_and(|one| !one.is_good_from(self.address));
        is_elsewhere && config.user(user).is_none()
    }

    /// Lets in whoever holds the client certificate that was shown, if a credential names it.
    pub fn log_in_by_certificate(&mut self, chain: &[CertificateDer<'_>]) -> bool {
        let chain = chain.iter().map(|one| one.clone().into_owned());
        self.certificates = chain.collect();
        self.login = self.account_of_certificate();
        if let Some(login) = &self.login {
            self.shared.metrics.logins.inc();
            tracing::debug!(client = %self.address, user = login.user(), "let in by its certificate");
        }
        if self.login.is_none() {
            self.certificates = Vec::new();
        }
        self.login.is_some()
    }

    fn account_of_certificate(&self) -> Option<Account> {
        let check = self.shared.tls.as_ref()?.check.as_ref()?;
        match check(&self.certificates) {
            Ok(names) => {
                let policy = self.shared.policy();
                let account = Account::of_certificate(&policy, &names, self.address, intake::now());
                if account.is_none() {
                    tracing::info!(client = %self.address, ?names, "no credential names the client's certificate");
                }
                account
            }
            Err(why) => {
                tracing::info!(client = %self.address, why, "the client's certificate does not count");
                None
            }
        }
    }

    /// What a client is told whose user may not log in as it did any more.
    pub fn check_login(&mut self) -> Option<Reply> {
        let login = self.login.as_ref()?;
        let (config, policy) = (self.shared.config(), self.shared.policy());
        let again = match login {
            Account::Certificate(_) => self.account_of_certificate(),
            login => login.now(&config, &policy, self.address, intake::now()),
        };
        if let Some(now) = again {
            self.login = Some(now);
            return None;
        }
        tracing::warn!(client = %self.address, user = login.user(), "a login does not hold any more");
        let text = "Your login does not hold any more, connect again";
        Some(Reply::new(421, (4, 7, 0), text))
    }

    async fn account(&self, user: &str, password: &Secret) -> Result<Option<Account>, Busy> {
        let Shared { passwords, .. } = self.shared;
        let (config, policy) = (self.shared.config(), self.shared.policy());
        match Claim::of(&config, &policy, user, self.address, intake::now()) {
            Some(claim) => passwords.account(claim, password).await,
            None => {
                passwords.nobody(&policy, password).await;
                Ok(None)
            }
        }
    }

    /// A guess is answered late, but the process does not wait for that when it is to end.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.shared.drain.begun() => {}
        }
    }

    /// What a stranger is told that wants mail relayed.
    pub async fn refuse_relaying(&self) -> Reply {
        let shared = self.shared;
        let client = client_of(self.address);
        let now = shared.began.elapsed();
        let decision = shared.guesses.lock().relaying(client, now);
        shared.metrics.relaying_refused.inc();
        tracing::warn!(client = %self.address, sender = %self.mail.path, "relaying is refused");
        match decision {
            Decision::Try(lock, after) => {
                self.shared.tell_of(Attempt::Relaying, self.address, lock);
                self.pause(after).await;
                Reply::new(550, (5, 7, 1), "Relaying is not allowed for you")
            }
            Decision::Locked(_) => {
                let text = "Relaying is not allowed for you, and you have tried too often";
                Reply::new(421, (4, 7, 0), text)
            }
        }
    }
}

fn scram_refused(fault: ScramFault) -> Reply {
    match fault {
        ScramFault::Proof | ScramFault::OtherUser => Reply::new(535, (5, 7, 8), fault.to_string()),
        ScramFault::Form | ScramFault::ChannelBinding => {
            Reply::new(501, (5, 5, 2), fault.to_string())
        }
    }
}

/// What a client is told that has failed too often.
fn locked_out(left: Duration) -> Reply {
    let minutes = left.as_secs().div_ceil(60).max(1);
    let text = format!("Too many failed logins, try again in {minutes} min");
    Reply::new(454, (4, 7, 0), text)
}
