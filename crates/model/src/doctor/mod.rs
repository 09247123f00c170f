//! What can be said of a running cluster: facts in, findings out.

mod checks;
mod facts;

pub use checks::examine;
pub use facts::{
    Answer, CertificateEnd, Connects, Facts, FileFault, Founding, GroupFacts, Mark, MissingPeer,
    NameServer, NodeFacts, Reopened, Replica, SenderFacts, SenderHealth, group_name,
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is at risk; operators may want to know.
    Note,
    /// Mail waits, or one more loss would make it wait.
    Problem,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// What it is about, such as a group or a node.
    pub subject: String,
    pub what: String,
    pub todo: String,
}

/// One thing that was looked at; without findings it is as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// What holds when nothing was found.
    pub meaning: &'static str,
    /// Whether anybody can say at this moment.
    pub is_known: bool,
    pub findings: Vec<Finding>,
}

impl Check {
    pub fn level(&self) -> Option<Level> {
        self.findings.iter().map(|finding| finding.level).max()
    }
}

/// What was found at both of two looks: an election or a slot on its way passes, a fault stays.
pub fn lasting(before: &[Check], after: Vec<Check>) -> Vec<Check> {
    let was_found = |name: &str, subject: &str| {
        let mut same = before.iter().filter(|check| check.name == name);
        same.any(|check| check.findings.iter().any(|one| one.subject == subject))
    };
    let lasts = |mut check: Check| {
        check
            .findings
            .retain(|finding| was_found(check.name, &finding.subject));
        check
    };
    after.into_iter().map(lasts).collect()
}

/// Whether no finding is a problem.
pub fn is_healthy(checks: &[Check]) -> bool {
    let mut findings = checks.iter().flat_map(|check| &check.findings);
    findings.all(|finding| finding.level != Level::Problem)
}

/// One line about all of it: `healthy`, or what is wrong.
pub fn verdict(checks: &[Check]) -> String {
    let findings = checks.iter().flat_map(|check| &check.findings);
    let problems: Vec<String> = findings
        .filter(|finding| finding.level == Level::Problem)
        .map(|finding| format!("{} {}", finding.subject, finding.what))
        .collect();
    match problems.is_empty() {
        true => "healthy".to_owned(),
        false => format!("degraded: {}", problems.join("; ")),
    }
}

#[cfg(test)]
mod faults_tests;
#[cfg(test)]
mod tests;
