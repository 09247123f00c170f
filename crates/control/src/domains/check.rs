//! Asking the DNS for the records of a domain.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use skein_dns::{Questions, RecordKind, Told};
use skein_identity::{
    Answer, Answers, Checked, Domain, Finding, Operator, Question, RecordType, Source, check,
    is_owned, observation,
};
use skein_model::meta::domains::{Change, Command, DomainRow, FINDINGS_MAX, Seen, What};
use skein_model::rotation::Observation;
use skein_policy::Policy;
use tonic::Status;

use super::{Domains, of_row};

/// Of one check: what is not answered by then is not known.
const WITHIN: Duration = Duration::from_secs(30);
/// Questions of one check that are asked at a time.
const AT_ONCE: usize = 8;
/// Source IPs whose names are looked at, with the operator's domain.
const SOURCES_MAX: usize = 64;

impl Domains {
    /// Asks for all records of a domain, has the cluster act on what is shown, and says what is wrong.
    ///
    /// # Errors
    /// There is no such domain, the name servers took too long, or nothing could be committed.
    pub async fn check(&self, name: &str) -> Result<Vec<Finding>, Status> {
        let row = self.row(name)?;
        let domain = of_row(name, &row);
        let operator = self.operator_of(&row);
        let asking = ask(&self.settings.questions, &domain, &operator);
        let asked = tokio::time::timeout(WITHIN, asking).await;
        let Ok((answers, findings)) = asked else {
            self.counters.failed();
            // So that it is checked again in a while, and not at once.
            self.observe(name, self.nothing_seen(&row)).await?;
            return Err(Status::deadline_exceeded(format!(
                "the name servers did not answer all questions about {name} within {} s; try again",
                WITHIN.as_secs()
            )));
        };
        self.counters.checked(!findings.is_empty());
        let mut ids: Vec<String> = findings
            .iter()
            .map(|finding| finding.id.as_str().to_owned())
            .collect();
        ids.sort();
        ids.dedup();
        ids.truncate(FINDINGS_MAX);
        let key_of = |selector: &str| {
            let mut slots = row.slots();
            let slot = slots.find(|(_, slot)| slot.selector == selector);
            slot.and_then(|(_, slot)| slot.state.key())
        };
        let seen = Seen {
            observation: observation(&domain, &operator, &answers, key_of),
            is_owned: is_owned(&domain, &operator, &answers),
            findings: ids,
            ..self.nothing_seen(&row)
        };
        self.observe(name, seen).await?;
        if self.keks().is_ok() {
            self.make_keys(name).await?;
        }
        Ok(findings)
    }

    fn nothing_seen(&self, row: &DomainRow) -> Seen {
        Seen {
            label: row.label.clone(),
            observation: Observation::default(),
            is_owned: false,
            findings: row.findings.clone(),
            schedule: self.settings.schedule,
            jitter: rand::random_range(0..=100),
        }
    }

    async fn observe(&self, name: &str, seen: Seen) -> Result<(), Status> {
        let before = self.row(name)?;
        let command = Command::Observe {
            name: name.to_owned(),
            seen,
        };
        let changes = self.propose(command).await?;
        self.applied(name, |row| {
            row.is_none_or(|row| row.checked_at != before.checked_at)
        })
        .await;
        for change in &changes {
            tell(name, change);
        }
        Ok(())
    }

    /// With the source IPs of the policy for domains of the operator, who answers for their names.
    fn operator_of(&self, row: &DomainRow) -> Operator {
        let mut operator = self.settings.operator.clone();
        if row.is_operator
            && let Ok(policy) = Policy::of_texts(&skein_model::meta::policy(&self.meta))
        {
            let sources = policy
                .ips()
                .map(|ip| (ip.public.to_canonical(), ip.ehlo.to_string()));
            operator.sources = sources.take(SOURCES_MAX).collect();
        }
        operator
    }
}

/// One line of the log for each change of a domain.
fn tell(domain: &str, change: &Change) {
    let (selector, what) = (&change.selector, change.what);
    match what {
        What::Gone | What::Waiting | What::Unchecked | What::RemovedEarly => {
            tracing::warn!(domain, selector, ?what, "a DKIM key is in danger");
        }
        _ => tracing::info!(domain, selector, ?what, "a domain has changed"),
    }
}

async fn ask(
    questions: &Questions,
    domain: &Domain,
    operator: &Operator,
) -> (Answers, Vec<Finding>) {
    let mut answers = Answers::new();
    loop {
        match check(domain, operator, &answers) {
            Checked::Done(findings) => return (answers, findings),
            Checked::Ask(wanted) => {
                let asking = stream::iter(wanted).map(|question| async {
                    let answer = answer(questions, &question).await;
                    (question, answer)
                });
                let told: Vec<_> = asking.buffer_unordered(AT_ONCE).collect().await;
                answers.extend(told);
            }
        }
    }
}

async fn answer(questions: &Questions, question: &Question) -> Answer {
    let kind = match question.record_type {
        RecordType::A => RecordKind::A,
        RecordType::Aaaa => RecordKind::Aaaa,
        RecordType::Cname => RecordKind::Cname,
        RecordType::Mx => RecordKind::Mx,
        RecordType::Ptr => RecordKind::Ptr,
        RecordType::Txt => RecordKind::Txt,
    };
    let told = match question.source {
        Source::Authoritative => questions.authoritative(&question.name, kind).await,
        Source::Resolver => questions.resolver(&question.name, kind).await,
    };
    match told {
        Told::Records(records) => Answer::Records(records),
        Told::Nothing => Answer::Nothing,
        Told::Failed(why) => Answer::Failed(why),
    }
}
