//! The steps of a dialogue, each with its time: told as they happen, and kept for JSON.

use std::time::Instant;

use serde::Serialize;

use super::reply::{Reply, printable};

#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What was done, such as `connect` or `RCPT`.
    pub step: String,
    pub ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// What is known besides the reply, such as the address, the recipient or the cipher.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// At most one for each recipient and a dozen more.
#[derive(Debug)]
pub struct Steps {
    told: Vec<Step>,
    prints: bool,
}

impl Steps {
    /// `prints` says that they are for people, who see them at once.
    pub fn new(prints: bool) -> Self {
        Self {
            told: Vec::new(),
            prints,
        }
    }

    pub fn done(&mut self, name: &str, begun: Instant, reply: Option<Reply>, note: &str) {
        let step = Step {
            step: name.to_owned(),
            ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            reply,
            note: printable(note),
        };
        if self.prints {
            println!("{}", line(&step));
        }
        self.told.push(step);
    }

    pub fn into_all(self) -> Vec<Step> {
        self.told
    }
}

fn line(step: &Step) -> String {
    let reply = step.reply.as_ref().map(ToString::to_string);
    let said: Vec<String> = [Some(step.note.clone()), reply]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    format!("{:>6} ms  {:<10}  {}", step.ms, step.step, said.join("  "))
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_its_time_its_name_and_what_was_said() {
        let step = |note: &str, reply| Step {
            step: "RCPT".to_owned(),
            ms: 12,
            reply,
            note: note.to_owned(),
        };
        let reply = Reply {
            code: 250,
            enhanced: "2.1.5".to_owned(),
            lines: vec!["ok".to_owned()],
        };
        for (step, expected) in [
            (
                step("<a@b.test>", Some(reply.clone())),
                "    12 ms  RCPT        <a@b.test>  250 2.1.5 ok",
            ),
            (step("", Some(reply)), "    12 ms  RCPT        250 2.1.5 ok"),
            (step("", None), "    12 ms  RCPT"),
        ] {
            assert_eq!(line(&step), expected);
        }
    }
}
