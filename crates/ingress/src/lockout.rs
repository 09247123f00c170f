//! Clients and users that are locked out, as the intake tells of them beyond the log.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use skein_model::UnixMs;
use tokio::sync::mpsc;

/// Lockouts that wait to be read. One that finds no place is in the log and in the metrics all the same.
const QUEUED: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lockout {
    pub at: UnixMs,
    pub what: Attempt,
    /// Of the last failure.
    pub address: IpAddr,
    pub lock: Lock,
}

/// A client or user that is locked out from the moment of its last failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    pub locked: Locked,
    pub failures: u32,
    pub time: Duration,
}

/// The attempts that failed too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Login,
    /// A stranger wanted mail relayed.
    Relaying,
}

impl Attempt {
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Relaying => "relaying",
        }
    }
}

/// For whom it is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locked {
    Client(IpNet),
    /// For clients from which it has not logged in before.
    User(String),
    /// A user's login from a client from which it has logged in before.
    UserAtClient(String, IpNet),
}

pub type Lockouts = mpsc::Receiver<Lockout>;

pub fn queue() -> (mpsc::Sender<Lockout>, Lockouts) {
    mpsc::channel(QUEUED)
}
