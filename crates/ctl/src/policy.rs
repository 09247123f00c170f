//! The cluster's policy: YAML resources, applied as files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use skein_policy::{Kind, Policy, Source};
use skein_wire::v1::{
    ApplyPolicyRequest, ApplyPolicyResponse, ListNodesRequest, ListNodesResponse,
    ListPolicyRequest, PolicyChangeKind, PolicySource, ResourceKind,
};
use skein_wire::words::Words;

use crate::admin::Admin;
use crate::show;

/// Senders hear of a change at once, and have taken it over after this time if nothing is wrong.
const SOON: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct Apply {
    /// YAML files, or folders with .yaml files; - reads the standard input.
    #[arg(short, long = "file", required = true)]
    files: Vec<PathBuf>,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reach: Reach,
}

/// A change is in force on a node when that node goes by it.
#[derive(Debug, Args)]
pub struct Reach {
    /// Return when every sender and control node goes by the change: no mail goes by an earlier policy from then on. Ends
    /// with status 1 if that takes longer than --timeout.
    #[arg(long)]
    wait: bool,
    /// How long --wait waits.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print resources as YAML.
    Get {
        /// credential, ip, pool, provider, warmup, route or tenant; all without one.
        kind: Option<String>,
        /// Only the one of this name.
        name: Option<String>,
        /// Also providers that are built in.
        #[arg(long)]
        built_in: bool,
        /// With passwords.
        #[arg(long)]
        secrets: bool,
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

/// Files by the name under which what is wrong in them is told.
fn read(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            texts.insert("standard input".to_owned(), text);
            continue;
        }
        let mut files = vec![path.clone()];
        if path.is_dir() {
            let entries = path
                .read_dir()
                .with_context(|| path.display().to_string())?;
            let entries = entries.map(|entry| entry.map(|entry| entry.path()));
            files = entries.collect::<Result<_, _>>()?;
            let is_yaml =
                |file: &PathBuf| file.extension().is_some_and(|e| e == "yaml" || e == "yml");
            files.retain(is_yaml);
            if files.is_empty() {
                bail!(
                    "{}: there is no .yaml or .yml file in this folder",
                    path.display()
                );
            }
        }
        for file in files {
            let text = std::fs::read_to_string(&file);
            let text = text.with_context(|| file.display().to_string())?;
            texts.insert(file.display().to_string(), text);
        }
    }
    Ok(texts)
}

/// Comments and empty documents alone: a mistake in the name of the file, or in a pipe before.
fn nothing(texts: &BTreeMap<String, String>) -> String {
    let names: Vec<&str> = texts.keys().map(String::as_str).collect();
    format!("there is no resource in {}", names.join(", "))
}

pub async fn apply(mut admin: Admin, apply: Apply, json: bool) -> anyhow::Result<()> {
    let texts = read(&apply.files)?;
    let sources: Vec<Source<'_>> = texts
        .iter()
        .map(|(name, text)| Source { name, text })
        .collect();
    if Policy::names(&sources).is_ok_and(|names| names.is_empty()) {
        bail!("{}", nothing(&texts));
    }
    let sources = texts.into_iter();
    let request = ApplyPolicyRequest {
        sources: sources
            .map(|(name, text)| PolicySource { name, text })
            .collect(),
        dry_run: apply.dry_run,
        ..ApplyPolicyRequest::default()
    };
    change(&mut admin, request, &apply.reach, json).await
}

/// Changes the policy, and tells what changed and who goes by it.
pub async fn change(
    admin: &mut Admin,
    request: ApplyPolicyRequest,
    reach: &Reach,
    json: bool,
) -> anyhow::Result<()> {
    let dry_run = request.dry_run;
    let answer = accepted(admin, request).await?;
    match json {
        true => show::json(&answer.changes)?,
        false => {
            for change in &answer.changes {
                let word = show::word::<PolicyChangeKind>(change.change);
                println!("{} {word}", change.resource);
            }
        }
    }
    if dry_run {
        if !json {
            println!("Nothing was changed: this was a dry run.");
        }
        return Ok(());
    }
    if !json {
        println!("The policy has version {}.", answer.version);
    }
    let is_in_force = in_force(admin, answer.version, reach).await?;
    if is_in_force && reach.wait && !json {
        println!("Every sender and control node goes by it.");
    }
    Ok(())
}

/// Changes the policy as a part of something else, which tells what was done.
pub async fn quietly(
    admin: &mut Admin,
    request: ApplyPolicyRequest,
    reach: &Reach,
) -> anyhow::Result<()> {
    let version = accepted(admin, request).await?.version;
    in_force(admin, version, reach).await.map(drop)
}

async fn accepted(
    admin: &mut Admin,
    request: ApplyPolicyRequest,
) -> anyhow::Result<ApplyPolicyResponse> {
    let answer = admin.apply_policy(request).await?.into_inner();
    match answer.problems.is_empty() {
        true => Ok(answer),
        false => bail!("nothing was changed:\n{}", answer.problems.join("\n")),
    }
}

/// Whether everybody goes by a version, after the time that `reach` gives them. Who does not is named.
async fn in_force(admin: &mut Admin, version: u64, reach: &Reach) -> anyhow::Result<bool> {
    let within = match reach.wait {
        true => reach.timeout,
        false => SOON,
    };
    let behind = behind_after(admin, version, within).await?;
    match (behind.is_empty(), reach.wait) {
        (true, _) => {}
        (false, true) => bail!(
            "the policy has version {version}, but after {} not everybody goes by it: {}",
            humantime::format_duration(reach.timeout),
            behind.join(", ")
        ),
        (false, false) => eprintln!(
            "skeinctl: not yet at version {version}: {}; --wait waits for them",
            behind.join(", ")
        ),
    }
    Ok(behind.is_empty())
}

/// Those who do not go by a version of the policy, with what they go by, as soon as there are none or the time is over.
async fn behind_after(
    admin: &mut Admin,
    version: u64,
    within: Duration,
) -> anyhow::Result<Vec<String>> {
    let until = Instant::now() + within;
    loop {
        let nodes = admin.list_nodes(ListNodesRequest {}).await?.into_inner();
        let behind = behind(&nodes, version);
        if behind.is_empty() || Instant::now() >= until {
            return Ok(behind);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn behind(nodes: &ListNodesResponse, version: u64) -> Vec<String> {
    let control = nodes.control_nodes.iter();
    let control = control.map(|node| match node.address.as_str() {
        "" => ("the control node", node.policy_version),
        address => (address, node.policy_version),
    });
    // One that is away goes by the policy of its time when it comes back.
    let senders = nodes.senders.iter().filter(|one| !one.session.is_empty());
    let senders = senders.map(|sender| (sender.name.as_str(), sender.policy_version));
    let late = control.chain(senders).filter_map(|(name, at)| match at {
        Some(at) if at >= version => None,
        Some(at) => Some(format!("{name} (version {at})")),
        None => Some(format!("{name} (has not said)")),
    });
    late.collect()
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Get {
            kind,
            name,
            built_in,
            secrets,
        } => {
            let request = ListPolicyRequest {
                kind: kind
                    .map_or(Ok(ResourceKind::Unspecified), |kind| named_kind(&kind))?
                    .into(),
                name: name.unwrap_or_default(),
                built_in,
                secrets,
            };
            get(admin, request, json).await
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

fn named_kind(word: &str) -> anyhow::Result<ResourceKind> {
    match ResourceKind::of(word) {
        Some(kind) => Ok(kind),
        None => {
            let kinds = Kind::ALL.map(Kind::name).join(", ");
            bail!("kind: there is no {word:?}: there are {kinds}")
        }
    }
}

async fn get(mut admin: Admin, request: ListPolicyRequest, json: bool) -> anyhow::Result<()> {
    let name = request.name.clone();
    let found = admin.list_policy(request).await?.into_inner().resources;
    if found.is_empty() && !name.is_empty() {
        bail!("there is no {name:?}; --built-in looks among built-in providers, too");
    }
    if json {
        return show::json(&found);
    }
    let texts: Vec<String> = found.into_iter().map(|resource| resource.text).collect();
    print!("{}", texts.join("---\n"));
    Ok(())
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
    use super::*;
    use skein_wire::v1::{ControlNode, SenderNode};

    #[test]
    fn who_does_not_go_by_a_version_is_named_with_what_it_goes_by() {
        let control = |address: &str, policy_version| ControlNode {
            address: address.to_owned(),
            policy_version,
            ..ControlNode::default()
        };
        let sender = |name: &str, session: &str, policy_version| SenderNode {
            name: name.to_owned(),
            session: session.to_owned(),
            policy_version,
            ..SenderNode::default()
        };
        let nodes = ListNodesResponse {
            control_nodes: vec![control("c1:7000", Some(7)), control("c2:7000", None)],
            senders: vec![
                sender("s1", "1", Some(8)),
                sender("s2", "2", Some(6)),
                sender("s3", "3", None),
                sender("gone", "", None),
            ],
            policy_version: 8,
        };
        let late = behind(&nodes, 7);
        assert_eq!(
            late,
            [
                "c2:7000 (has not said)",
                "s2 (version 6)",
                "s3 (has not said)"
            ]
        );
        let alone = ListNodesResponse {
            control_nodes: vec![control("", Some(0))],
            ..ListNodesResponse::default()
        };
        assert_eq!(behind(&alone, 1), ["the control node (version 0)"]);
        assert_eq!(behind(&alone, 0), Vec::<String>::new());
    }
}
