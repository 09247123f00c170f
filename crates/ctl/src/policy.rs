//! The cluster's policy: YAML resources, applied as files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use skein_policy::{Policy, Source};
use skein_wire::v1::{ApplyPolicyRequest, ListPolicyRequest, PolicySource};

use crate::cli::Admin;
use crate::show;

#[derive(Debug, Args)]
pub struct Apply {
    /// YAML files, or folders with .yaml files; - reads the standard input.
    #[arg(short, long = "file", required = true)]
    files: Vec<PathBuf>,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print resources as YAML.
    Get {
        /// ip, pool, provider, warmup, route or tenant; all without one.
        kind: Option<String>,
        name: Option<String>,
        /// Also providers that are built in.
        #[arg(long)]
        built_in: bool,
    },
    /// Take resources out, each as kind/name.
    Delete {
        #[arg(required = true)]
        resources: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Look for what is wrong in files, without a cluster: providers, and whatever else they have.
    Lint {
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
    change(&mut admin, request, json).await
}

async fn change(admin: &mut Admin, request: ApplyPolicyRequest, json: bool) -> anyhow::Result<()> {
    let dry_run = request.dry_run;
    let answer = admin.apply_policy(request).await?.into_inner();
    if !answer.problems.is_empty() {
        bail!("nothing was changed:\n{}", answer.problems.join("\n"));
    }
    if json {
        return show::json(&answer.changes);
    }
    for change in &answer.changes {
        println!("{} {}", change.resource, change.change);
    }
    match dry_run {
        true => println!("Nothing was changed: this was a dry run."),
        false => println!("The policy has version {}.", answer.version),
    }
    Ok(())
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Get {
            kind,
            name,
            built_in,
        } => {
            let request = ListPolicyRequest {
                kind: kind.unwrap_or_default(),
                name: name.unwrap_or_default(),
                built_in,
            };
            get(admin, request, json).await
        }
        Command::Delete { resources } => {
            let request = ApplyPolicyRequest {
                remove: resources,
                ..ApplyPolicyRequest::default()
            };
            change(&mut admin, request, json).await
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
                kind: "provider".into(),
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
