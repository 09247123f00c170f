//! Registering a sender.

use skein_model::{Epoch, SessionId, Slot};
use skein_wire::convert;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{CloseSessionRequest, OpenSessionRequest};

use crate::SpoolError;
use crate::channel::Channel;

#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    pub slots: Vec<(Slot, Epoch)>,
}

/// The meta group, as a sender sees it.
#[derive(Debug, Clone)]
pub struct Sessions {
    client: SessionsClient<Channel>,
}

impl Sessions {
    pub fn new(channel: Channel) -> Self {
        Self {
            client: SessionsClient::new(channel),
        }
    }

    /// Opens a session for the sender of this name; an earlier one of the name ends.
    pub async fn open(&self, sender: &str) -> Result<Session, SpoolError> {
        let request = OpenSessionRequest {
            sender: sender.to_owned(),
        };
        let reply = self
            .client
            .clone()
            .open(request)
            .await
            .map_err(|status| SpoolError::from_status("opening a session", &status))?
            .into_inner();
        let slots = reply
            .slots
            .iter()
            .map(|owned| convert::slot(owned.slot, owned.epoch))
            .collect::<Result<_, _>>()
            .map_err(|error| SpoolError::Refused(error.to_string()))?;
        Ok(Session {
            id: SessionId(reply.session),
            slots,
        })
    }

    pub async fn close(&self, session: SessionId) -> Result<(), SpoolError> {
        let request = CloseSessionRequest { session: session.0 };
        self.client
            .clone()
            .close(request)
            .await
            .map_err(|status| SpoolError::from_status("closing a session", &status))?;
        Ok(())
    }
}
