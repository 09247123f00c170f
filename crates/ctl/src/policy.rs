//! The cluster's policy: YAML resources, applied as files.

mod change;
mod files;
mod get;
mod history;
mod reach;
mod schema;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use skein_policy::{Kind, Policy, Source};
use skein_wire::v1::{
    ApplyPolicyRequest, ApplyPolicyResponse, ListPolicyRequest, PolicyChangeKind, PolicySource,
    ResourceKind, RollbackPolicyRequest,
};
use skein_wire::words::Words;

use crate::admin::Admin;
use crate::show;
use files::{base, nothing, read};
pub use reach::Reach;

#[derive(Debug, Args)]
pub struct Apply {
    /// YAML files, or folders with .yaml files; - reads the standard input.
    #[arg(short, long = "file", required = true)]
    files: Vec<PathBuf>,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    /// The version of the policy that the files are based on: refuse them if somebody has changed one of these resources
    /// since. What `policy get` prints says it in its first line.
    #[arg(long, value_name = "VERSION")]
    base: Option<u64>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    reach: Reach,
}

/// Resources belong to where they are applied from.
#[derive(Debug, Args)]
pub struct Owner {
    /// A name for where the files come from, such as a repository: their resources belong to it from now on.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Take out resources that belong to the source and are not in the files.
    #[arg(long, requires = "source")]
    prune: bool,
    /// Take resources over that belong to another source.
    #[arg(long, requires = "source")]
    take_over: bool,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// YAML files, or folders with .yaml files; - reads the standard input.
    #[arg(short, long = "file", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    owner: Owner,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print resources as YAML.
    Get {
        #[arg(help = format!("{}; all without one", one_kind()))]
        kind: Option<String>,
        /// Only the one of this name.
        name: Option<String>,
        /// Also providers that are built in.
        #[arg(long)]
        built_in: bool,
        /// With passwords.
        #[arg(long)]
        secrets: bool,
        /// Each value that holds, with what is built in and what is usual, and where it comes from.
        #[arg(long, conflicts_with = "secrets")]
        effective: bool,
    },
    /// What `apply` would change, key by key. Ends with status 1 if that is anything, and with 2 if it cannot be told.
    Diff(Diff),
    /// The latest versions: who made each, and what it changed.
    History {
        /// Only this one, key by key.
        version: Option<u64>,
    },
    /// Make the policy what it was at an earlier version. That is a version of its own.
    Rollback {
        /// As `policy history` shows it.
        version: u64,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take resources out, each as kind/name.
    Delete {
        /// Such as pool/news.
        #[arg(required = true)]
        resources: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

impl Command {
    /// The status of one that fails: 1 says of a diff that something would change.
    pub fn failure(&self) -> ExitCode {
        match self {
            Self::Diff(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Look for what is wrong in files, without a cluster: providers, and whatever else they have.
    Lint {
        /// YAML files, or folders with .yaml files; - reads the standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Providers and what they match.
    List {
        /// Also those that are built in.
        #[arg(long)]
        built_in: bool,
    },
}

/// What is asked for files and their owner.
fn request(files: &[PathBuf], owner: Owner) -> anyhow::Result<(ApplyPolicyRequest, Option<u64>)> {
    let texts = read(files)?;
    let sources: Vec<Source<'_>> = texts
        .iter()
        .map(|(name, text)| Source { name, text })
        .collect();
    if Policy::names(&sources).is_ok_and(|names| names.is_empty()) {
        bail!("{}", nothing(&texts));
    }
    let base = base(&texts);
    let sources = texts.into_iter();
    let request = ApplyPolicyRequest {
        sources: sources
            .map(|(name, text)| PolicySource { name, text })
            .collect(),
        source: owner.source.unwrap_or_default(),
        prune: owner.prune,
        take_over: owner.take_over,
        ..ApplyPolicyRequest::default()
    };
    Ok((request, base))
}

pub async fn apply(mut admin: Admin, apply: Apply, json: bool) -> anyhow::Result<ExitCode> {
    let (request, base) = request(&apply.files, apply.owner)?;
    let dry_run = apply.dry_run;
    let request = ApplyPolicyRequest {
        dry_run,
        base_version: apply.base.or(base),
        ..request
    };
    change(&mut admin, request, &apply.reach, json).await
}

/// Changes the policy, says what has changed, and waits until it is in force.
pub async fn change(
    admin: &mut Admin,
    request: ApplyPolicyRequest,
    reach: &Reach,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let dry_run = request.dry_run;
    let answer = match dry_run {
        true => admin.examine_policy(request).await?,
        false => admin.apply_policy(request).await?,
    };
    end(admin, answer.into_inner(), dry_run, reach, json).await
}

/// Changes the policy as a part of something else, which tells what was done.
pub async fn quietly(
    admin: &mut Admin,
    request: ApplyPolicyRequest,
    reach: &Reach,
) -> anyhow::Result<ExitCode> {
    let answer = admin.apply_policy(request).await?.into_inner();
    check(&answer)?;
    Ok(reach.tell(admin, answer.version, true).await)
}

async fn end(
    admin: &mut Admin,
    answer: ApplyPolicyResponse,
    dry_run: bool,
    reach: &Reach,
    json: bool,
) -> anyhow::Result<ExitCode> {
    check(&answer)?;
    match json {
        true => show::json(&answer.changes)?,
        false => change::print(&answer.changes, dry_run),
    }
    if dry_run {
        if !json {
            println!("Nothing was changed: this was a dry run.");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !json {
        println!("The policy has version {}.", answer.version);
    }
    Ok(reach.tell(admin, answer.version, json).await)
}

fn check(answer: &ApplyPolicyResponse) -> anyhow::Result<()> {
    match answer.problems.is_empty() {
        true => Ok(()),
        false => bail!("nothing was changed:\n{}", answer.problems.join("\n")),
    }
}

/// What would change; whether that is anything is in the status.
async fn diff(mut admin: Admin, diff: Diff, json: bool) -> anyhow::Result<ExitCode> {
    let (request, _) = request(&diff.files, diff.owner)?;
    let answer = admin.examine_policy(request).await?.into_inner();
    check(&answer)?;
    let mut changes = answer.changes;
    changes.retain(|change| change.change() != PolicyChangeKind::Unchanged);
    match json {
        true => show::json(&changes)?,
        false => change::print(&changes, true),
    }
    Ok(match change::is_any(&changes) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Get {
            kind,
            name,
            built_in,
            secrets,
            effective,
        } => {
            let request = ListPolicyRequest {
                kind: kind
                    .map_or(Ok(ResourceKind::Unspecified), |kind| named_kind(&kind))?
                    .into(),
                name: name.unwrap_or_default(),
                built_in,
                secrets,
                effective,
            };
            get::get(admin, request, json).await.map(done)
        }
        Command::Diff(options) => diff(admin, options, json).await,
        Command::History { version } => history::history(admin, version, json).await.map(done),
        Command::Rollback {
            version,
            dry_run,
            reach,
        } => {
            let request = RollbackPolicyRequest { version, dry_run };
            let answer = admin.rollback_policy(request).await?.into_inner();
            end(&mut admin, answer, dry_run, &reach, json).await
        }
        Command::Delete { resources, reach } => {
            let request = ApplyPolicyRequest {
                remove: resources,
                ..ApplyPolicyRequest::default()
            };
            change(&mut admin, request, &reach, json).await
        }
    }
}

/// No cluster is asked, so a kind is one that this program knows.
pub fn print_schema(word: &str) -> anyhow::Result<()> {
    match Kind::of(word) {
        Some(kind) => show::json(&schema::of(kind)),
        None => bail!("kind: there is no {word:?}: there are {}", kinds()),
    }
}

fn kinds() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

/// What may be given for a kind, as help texts say it.
pub fn one_kind() -> String {
    let (last, others) = Kind::ALL
        .split_last()
        .expect("there is more than one kind of resource");
    let others: Vec<_> = others.iter().map(|kind| kind.name()).collect();
    format!("{} or {}", others.join(", "), last.name())
}

fn named_kind(word: &str) -> anyhow::Result<ResourceKind> {
    match ResourceKind::of(word) {
        Some(kind) => Ok(kind),
        None => bail!("kind: there is no {word:?}: there are {}", kinds()),
    }
}

pub async fn provider(
    mut admin: Admin,
    command: ProviderCommand,
    json: bool,
) -> anyhow::Result<()> {
    match command {
        ProviderCommand::Lint { files } => lint(&files),
        ProviderCommand::List { built_in } => {
            let request = ListPolicyRequest {
                kind: ResourceKind::Provider.into(),
                built_in,
                ..ListPolicyRequest::default()
            };
            let found = admin.list_policy(request).await?.into_inner().resources;
            if json {
                return show::json(&found);
            }
            let mut table = show::table(&["PROVIDER", "BUILT IN"]);
            for resource in found {
                let built_in = if resource.built_in { "yes" } else { "" };
                table.add_row([resource.name, built_in.to_owned()]);
            }
            show::print(&table);
            Ok(())
        }
    }
}

/// Against the built-in providers of this version.
fn lint(files: &[PathBuf]) -> anyhow::Result<()> {
    let texts = read(files)?;
    let sources = texts.iter().map(|(name, text)| Source { name, text });
    let sources: Vec<Source<'_>> = sources.collect();
    match Policy::parse(&sources) {
        Ok(_) => {
            let resources = Policy::names(&sources).map_or(0, |names| names.len());
            if resources == 0 {
                bail!("{}", nothing(&texts));
            }
            println!("{resources} resources, and nothing is wrong with any.");
            Ok(())
        }
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let faults = if lines.len() == 1 {
                "1 fault".to_owned()
            } else {
                format!("{} faults", lines.len())
            };
            bail!("{faults}:\n{}", lines.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// What the help text of a command says of its argument KIND.
    fn help(path: &[&str]) -> String {
        let cli = Cli::command();
        let mut command = &cli;
        for name in path {
            command = command.find_subcommand(name).unwrap();
        }
        let mut arguments = command.get_positionals();
        let kind = arguments.find(|argument| argument.get_id() == "kind");
        kind.unwrap().get_help().unwrap().to_string()
    }

    #[test]
    fn help_texts_name_each_kind_that_there_is() {
        let all = Kind::ALL.map(Kind::name);
        for path in [&["schema"][..], &["policy", "get"]] {
            let help = help(path);
            let list = help.split(';').next().unwrap();
            let named: Vec<&str> = list
                .split(", ")
                .flat_map(|part| part.split(" or "))
                .collect();
            assert_eq!(named, all, "{path:?}: {help}");
        }
        for kind in Kind::ALL {
            // Those that are asked for are known to both ends.
            assert!(named_kind(kind.name()).is_ok(), "{kind}");
        }
    }
}
