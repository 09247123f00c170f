//! Calls that control nodes refuse or do not answer.

use skein_wire::internal::Problem;
use skein_wire::internal::problem::Kind;

/// Why a spool group did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// Nothing was done, and another group may do it: `451 4.3.0`.
    #[error("no spool group can take mail: {0}")]
    Unavailable(String),
    /// `452 4.3.1`.
    #[error("no room: {0}")]
    Full(String),
    /// It may or may not have happened: `451 4.4.5`.
    #[error("the commit is not known: {0}")]
    Unknown(String),
    /// A fault of the program.
    #[error("refused: {0}")]
    Refused(String),
    /// Some control node does not know what this message has yet: `451 4.7.5`.
    #[error("the cluster is being upgraded: {0}")]
    Upgrading(String),
}

impl SpoolError {
    pub(crate) fn from_problem(problem: Problem) -> Self {
        match problem.kind() {
            Kind::Unavailable | Kind::Unspecified => Self::Unavailable(problem.text),
            Kind::Full => Self::Full(problem.text),
            Kind::Unknown => Self::Unknown(problem.text),
            Kind::Refused => Self::Refused(problem.text),
            Kind::Upgrading => Self::Upgrading(problem.text),
        }
    }

    pub(crate) fn from_status(doing: &str, status: &tonic::Status) -> Self {
        Self::Unavailable(format!("{doing}: {}", status.message()))
    }
}
