//! What mail from strangers proves of itself: iprev, SPF, DKIM, DMARC, and the chain of ARC; over mail-auth.
//!
//! [`MessageHashes`] follows a message while it arrives and keeps no body. [`Authenticator`] asks the DNS when all of it was seen, and
//! gives [`Findings`], which are pure: they write the field that tells of them, and say what may follow.

mod authenticator;
mod authserv_id;
mod findings;
mod hashes;

pub use authenticator::{Answer, Authenticator, Question, SealError};
pub use authserv_id::is_ours;
pub use findings::{DkimFinding, DmarcFinding, DmarcPolicy, Findings, Word};
pub use hashes::MessageHashes;
