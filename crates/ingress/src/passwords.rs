//! Looks at passwords: those of secrets that were made at once, hashes of people's passwords a few at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_credential::{Cost, KeyedDigest, Verifier};
use skein_policy::Policy;
use skein_smtp::secret::Secret;
use tokio::sync::Semaphore;

use crate::accounts::{Account, Claim};

/// Hashes are computed on half of the processors: mail goes on meanwhile.
fn slow_at_once() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).max(1)
}

/// Logins that wait for a hash: with 40 ms for each, the last of them waits two seconds.
const WAITING_MAX: usize = 50;
/// Passwords that were right, of about 150 bytes each.
const REMEMBERED_MAX: usize = 10_000;
/// For so long a password that was right is not hashed again: a client logs in for each message.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// More logins wait for a hash than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

#[derive(Debug)]
pub struct Passwords {
    slow: Semaphore,
    waiting: Semaphore,
    right: Mutex<Remembered>,
}

impl Passwords {
    pub fn new() -> Self {
        Self {
            slow: Semaphore::new(slow_at_once()),
            waiting: Semaphore::new(WAITING_MAX),
            right: Mutex::new(Remembered::new(rand::random())),
        }
    }

    /// The account of a claim, if the password is right.
    ///
    /// # Errors
    /// It cannot be looked at now.
    pub async fn account(&self, claim: Claim, password: &Secret) -> Result<Option<Account>, Busy> {
        let credential = match claim {
            Claim::User(user) => {
                let is_right = password.matches(user.password.as_bytes());
                return Ok(is_right.then_some(Account::User(user)));
            }
            Claim::Credential(credential) => credential,
        };
        let (instant, slow): (Vec<_>, Vec<_>) = credential
            .secrets
            .iter()
            .partition(|one| one.cost() == Cost::Instant);
        let found = instant
            .into_iter()
            .find(|one| one.lets_in(password.expose()));
        if let Some(found) = found {
            let found = found.clone();
            return Ok(Some(Account::Credential(credential, found)));
        }
        for verifier in slow {
            if self.slowly(&credential.user, verifier, password).await? {
                let found = verifier.clone();
                return Ok(Some(Account::Credential(credential, found)));
            }
        }
        Ok(None)
    }

    async fn slowly(
        &self,
        user: &str,
        verifier: &Verifier,
        password: &Secret,
    ) -> Result<bool, Busy> {
        let key = self.right.lock().key(user, password.expose());
        if self.right.lock().is_right(&key, verifier, Instant::now()) {
            return Ok(true);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| Busy)?;
        let _place = self.slow.acquire().await.map_err(|_| Busy)?;
        let is_right = hashed(verifier.clone(), password.clone()).await;
        if is_right {
            self.right
                .lock()
                .note(key, verifier.clone(), Instant::now());
        }
        Ok(is_right)
    }

    /// For a user that is not there: as long as a wrong password of one that is, if a processor is free. Else the time of
    /// an answer tells who is there.
    pub async fn nobody(&self, policy: &Policy, password: &Secret) {
        let all = policy.credentials().flat_map(|one| &one.secrets);
        let Some(slow) = all.into_iter().find(|one| one.cost() != Cost::Instant) else {
            return;
        };
        if let Ok(_place) = self.slow.try_acquire() {
            hashed(slow.clone(), password.clone()).await;
        }
    }
}

async fn hashed(verifier: Verifier, password: Secret) -> bool {
    let hashed = tokio::task::spawn_blocking(move || verifier.lets_in(password.expose()));
    // A process that ends lets nobody in.
    hashed.await.unwrap_or(false)
}

/// Passwords that were right of late. What is kept is no password and no hash of one that is good elsewhere: the key is made when
/// the process starts. Pure: time is an argument.
#[derive(Debug)]
struct Remembered {
    digest: KeyedDigest,
    right: HashMap<[u8; 32], (Arc<Verifier>, Instant)>,
    /// The oldest first.
    order: VecDeque<[u8; 32]>,
}

impl Remembered {
    fn new(key: [u8; 32]) -> Self {
        Self {
            digest: KeyedDigest::new(&key),
            right: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn key(&self, user: &str, password: &[u8]) -> [u8; 32] {
        self.digest.of(&[user.as_bytes(), password])
    }

    fn is_right(&self, key: &[u8; 32], verifier: &Verifier, now: Instant) -> bool {
        let found = self.right.get(key);
        found.is_some_and(|(right, until)| now < *until && **right == *verifier)
    }

    fn note(&mut self, key: [u8; 32], verifier: Verifier, now: Instant) {
        let until = now + REMEMBERED_FOR;
        if self
            .right
            .insert(key, (Arc::new(verifier), until))
            .is_none()
        {
            self.order.push_back(key);
        }
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.right.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn slow(password: &str) -> Verifier {
        Verifier::of_password(password.as_bytes(), [1; 16]).unwrap()
    }

    #[test]
    fn a_password_is_remembered_for_a_time_and_while_it_is_the_same_hash() {
        let mut right = Remembered::new([1; 32]);
        let (verifier, other) = (slow("a"), slow("b"));
        let key = right.key("u", b"a");
        let now = Instant::now();
        assert!(!right.is_right(&key, &verifier, now));
        right.note(key, verifier.clone(), now);
        assert!(right.is_right(&key, &verifier, now));
        assert!(
            !right.is_right(&key, &other, now),
            "the credential has another"
        );
        assert!(!right.is_right(&right.key("u", b"b"), &verifier, now));
        assert!(!right.is_right(&right.key("ua", b""), &verifier, now));
        assert!(!right.is_right(&key, &verifier, now + REMEMBERED_FOR));
        for n in 0..REMEMBERED_MAX {
            let key = right.key("v", &n.to_be_bytes());
            right.note(key, verifier.clone(), now);
        }
        assert_eq!(
            (right.right.len(), right.order.len()),
            (REMEMBERED_MAX, REMEMBERED_MAX)
        );
        assert!(!right.is_right(&key, &verifier, now), "the oldest went");
    }

    #[tokio::test]
    async fn more_guesses_than_can_wait_are_told_to_come_again() {
        let passwords = Passwords::new();
        let verifier = slow("right");
        let (right, wrong) = (Secret::new("right"), Secret::new("wrong"));
        assert_eq!(passwords.slowly("u", &verifier, &wrong).await, Ok(false));
        assert_eq!(passwords.slowly("u", &verifier, &right).await, Ok(true));
        let _all = passwords
            .waiting
            .try_acquire_many(u32::try_from(WAITING_MAX).unwrap())
            .unwrap();
        assert_eq!(passwords.slowly("u", &verifier, &wrong).await, Err(Busy));
        // Who was here of late does not wait for the others.
        assert_eq!(passwords.slowly("u", &verifier, &right).await, Ok(true));
    }
}
