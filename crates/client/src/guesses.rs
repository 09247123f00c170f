//! Tells the meta group's leader of failed logins, and hears of those that other nodes have told of.

use skein_model::lockout::{Heard, Told};
use skein_wire::convert;
use skein_wire::internal::TellGuessesReply;
use skein_wire::internal::sessions_client::SessionsClient;
use tonic::Code;

use crate::channel::Channel;
use crate::error::SpoolError;
use crate::session::MetaLeader;
use crate::spool::Spools;

/// Clones share nothing but the way to the leader.
#[derive(Debug, Clone)]
pub struct Guesses {
    leader: MetaLeader,
}

impl Spools {
    pub fn guesses(&self) -> Guesses {
        Guesses {
            leader: MetaLeader::new(self.cluster().clone()),
        }
    }
}

impl Guesses {
    /// # Errors
    /// No leader answers, or it cannot be read what it says. Whether it has heard is not known then.
    pub async fn tell(&self, told: &Told) -> Result<Heard, SpoolError> {
        let request = convert::guesses_told(told);
        let telling = |mut client: SessionsClient<Channel>| async move {
            match client.tell_guesses(request).await {
                // To a leader of an older version nodes count alone.
                Err(status) if status.code() == Code::Unimplemented => {
                    Ok(tonic::Response::new(TellGuessesReply::default()))
                }
                other => other,
            }
        };
        let reply = self
            .leader
            .call("telling of failed logins", telling)
            .await?;
        convert::guesses_heard(reply).map_err(|error| SpoolError::Refused(error.to_string()))
    }
}
