//! What became of attempts, the DSNs that they call for, and what is kept until both are recorded.

pub mod dsn;
pub mod dsn_signing;
pub mod ending;
pub mod journal;
pub mod process;
pub mod recovered;
pub mod recovery;
pub mod results;
