//! Looks for what is wrong, and says what to do about it.

use std::process::ExitCode;

use clap::Args;
use skein_wire::v1::{Check, ExamineRequest, Finding, FindingLevel};

use crate::admin::Admin;
use crate::show;

#[derive(Debug, Args)]
pub struct Doctor {
    /// Have every sender try to connect to this host, at port 25 unless another one is named: a host of yours that takes
    /// mail.
    #[arg(long, value_name = "HOST[:PORT]")]
    port_25: Option<String>,
}

/// Ends with 1 when there is a problem; notes alone are no reason to worry.
pub async fn run(mut admin: Admin, doctor: Doctor, json: bool) -> anyhow::Result<ExitCode> {
    let request = ExamineRequest {
        port_25: doctor.port_25.unwrap_or_default(),
    };
    let examined = admin.examine(request).await?.into_inner();
    let problems = count(&examined.checks, FindingLevel::Problem);
    if json {
        show::json(&examined)?;
    } else {
        print(&examined.checks);
        println!();
        println!(
            "{}",
            summary(problems, count(&examined.checks, FindingLevel::Note))
        );
    }
    Ok(match problems {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn count(checks: &[Check], level: FindingLevel) -> usize {
    let findings = checks.iter().flat_map(|check| &check.findings);
    findings.filter(|finding| finding.level() == level).count()
}

fn summary(problems: usize, notes: usize) -> String {
    let of = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    match (problems, notes) {
        (0, 0) => "Healthy.".to_owned(),
        (0, _) => format!("Healthy; {}.", of(notes, "note")),
        (_, 0) => format!("{}.", of(problems, "problem")),
        _ => format!("{}, {}.", of(problems, "problem"), of(notes, "note")),
    }
}

fn print(checks: &[Check]) {
    let mut table = show::table(&["CHECK", "RESULT", ""]);
    for check in checks {
        let result = match count(std::slice::from_ref(check), FindingLevel::Problem) {
            0 if check.unknown => "unknown",
            0 if check.findings.is_empty() => "ok",
            0 => "note",
            _ => "PROBLEM",
        };
        let what = match check.findings.as_slice() {
            [] => check.meaning.clone(),
            [one] => what(one),
            [first, rest @ ..] => format!("{}, and {} more", what(first), rest.len()),
        };
        table.add_row([check.name.clone(), result.to_owned(), what]);
    }
    show::print(&table);
    for finding in checks.iter().flat_map(|check| &check.findings) {
        println!();
        let level = show::word::<FindingLevel>(finding.level);
        println!("{level}: {}", what(finding));
        println!("  {}", finding.todo);
    }
}

fn what(finding: &Finding) -> String {
    format!("{} {}", finding.subject, finding.what)
}
