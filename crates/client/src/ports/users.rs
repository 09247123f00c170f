//! Asks the kernel whose connections are, for all that wait at once.

use std::collections::BTreeSet;

use tokio::sync::{mpsc, oneshot};

use crate::access::{Ends, LocalUser, LookUp, users_at};

/// As many as may wait: a port has fewer places.
const QUEUE: usize = 1024;

type Answer = Result<LocalUser, LookUp>;

/// The table of sockets is as long as the machine has connections, so it is read once for all callers that have come
/// meanwhile, and not by several at a time.
#[derive(Debug, Clone)]
pub struct Users(mpsc::Sender<(Ends, oneshot::Sender<Answer>)>);

impl Users {
    /// Answers while a handle lives.
    pub fn start() -> Self {
        let (ask, asked) = mpsc::channel(QUEUE);
        skein_runtime::task("local-users", answer(asked));
        Self(ask)
    }

    pub async fn at(&self, ends: Ends) -> Answer {
        let gone = || LookUp::Table("nobody reads it".to_owned());
        let (tell, told) = oneshot::channel();
        let asked = self.0.send((ends, tell)).await;
        asked.map_err(|_| gone())?;
        told.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn answer(mut asked: mpsc::Receiver<(Ends, oneshot::Sender<Answer>)>) {
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, QUEUE).await > 0 {
        // Callers that have given up have not to be looked for.
        waiting.retain(|(_, tell)| !tell.is_closed());
        let ends: BTreeSet<Ends> = waiting.iter().map(|(ends, _)| *ends).collect();
        let found = tokio::task::spawn_blocking(move || users_at(&ends)).await;
        let found = found.unwrap_or_else(|error| Err(LookUp::Table(error.to_string())));
        for (ends, tell) in waiting.drain(..) {
            let user = match &found {
                Ok(found) => found.get(&ends).cloned().ok_or(LookUp::Unknown),
                Err(error) => Err(error.clone()),
            };
            // A caller that has given up meanwhile does not hear it.
            let _ = tell.send(user);
        }
    }
}
