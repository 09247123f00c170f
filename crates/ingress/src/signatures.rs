//! The signatures of a message whose body is on its way.

use skein_dkim::signer::SignError;
use skein_dkim::{MessageSigner, Signer};
use skein_model::UnixMs;

use crate::memory::Share;

/// The signatures of a message while its body arrives.
#[derive(Debug)]
pub struct Signatures {
    message: MessageSigner,
    signers: Vec<Signer>,
    /// For the signed fields.
    _share: Share,
}

impl Signatures {
    pub fn new(message: MessageSigner, signers: Vec<Signer>, share: Share) -> Self {
        Self {
            message,
            signers,
            _share: share,
        }
    }

    pub fn count(&self) -> u64 {
        self.signers.len() as u64
    }

    /// The next octets of the body.
    pub fn body(&mut self, piece: &[u8]) {
        self.message.body(piece);
    }

    /// As header fields, when the whole body was seen.
    ///
    /// # Errors
    /// They would be too long, or a key cannot sign.
    pub fn finish(self, at: UnixMs) -> Result<Vec<u8>, SignError> {
        self.message.finish(&self.signers, at)
    }
}
