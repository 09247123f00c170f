//! What signs requests to programs, as policy reads and shows it.

use skein_credential::SigningSecret;

use crate::ip::MASK;

pub(crate) fn parse(text: &str) -> Result<SigningSecret, String> {
    match text == MASK {
        true => {
            Err("is what stands for a secret in what was printed: give the secret itself".into())
        }
        false => SigningSecret::parse(text),
    }
}

/// Stands for one that is not told.
pub(crate) fn masked() -> SigningSecret {
    SigningSecret::masked(MASK)
}
