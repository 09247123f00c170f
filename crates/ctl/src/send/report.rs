//! What `send` tells at the end.

use serde::Serialize;
use skein_wire::v1::Message;

use super::problem::Problem;
use super::submission::Refused;
use crate::smtp::steps::Step;

/// What became of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The server did not take it.
    Refused,
    /// The server took it, and nobody looked what became of it.
    Queued,
    Delivered,
    /// Some recipient will not get it.
    Bounced,
    /// Something was open when the time was over.
    Waiting,
}

/// With `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub via: String,
    pub from: String,
    pub to: Vec<String>,
    pub steps: Vec<Step>,
    /// Empty if it was not taken.
    pub id: String,
    pub refused: Vec<RefusedRecipient>,
    pub result: Ending,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub todo: String,
    /// With `--follow`: as `message show` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
}

#[derive(Debug, Serialize)]
pub struct RefusedRecipient {
    pub recipient: String,
    pub reply: String,
}

impl From<&Refused> for RefusedRecipient {
    fn from(refused: &Refused) -> Self {
        Self {
            recipient: refused.recipient.clone(),
            reply: refused.reply.to_string(),
        }
    }
}

/// What is said of recipients that were refused while others were not.
pub fn some_refused(refused: &[Refused]) -> Option<Problem> {
    let first = refused.first()?;
    let others = match refused.len() {
        1 => String::new(),
        count => format!(" and {} others", count - 1),
    };
    Some(Problem::new(
        format!(
            "{}{others} refused: {}",
            first.recipient, first.problem.what
        ),
        first.problem.todo.clone(),
    ))
}
