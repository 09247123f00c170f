//! Domains that mail is sent for: their keys, and the records that their owners publish.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use skein_wire::v1::{
    AddDomainRequest, CheckDomainRequest, CheckDomainResponse, DnsRecord, Domain, DomainFinding,
    DomainFindingSeverity, DomainKeyState, DomainState, GetDomainRequest, ListDomainsRequest,
    RemoveDomainRequest, RewrapKeysRequest, RotateDomainKeyRequest,
};

use crate::admin::Admin;
use crate::show;

/// Servers of zones answer from what they have; those who publish take longer.
const LOOK: Duration = Duration::from_secs(5);
/// What the control plane knows of a domain is known to each sender that has a session.
const SENDERS_HEAR_WITHIN: Duration = Duration::from_secs(2);
/// Domains that are asked for at a time.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a domain in, make its keys, and print the records to publish.
    Add(Add),
    /// Ask the DNS for the records of a domain, and say what is wrong. Ends with status 1 if something is.
    Check {
        /// The domain.
        name: String,
        /// Ask again every five seconds until nothing is wrong and all senders sign its mail.
        #[arg(long)]
        wait: bool,
        /// How long to wait with --wait.
        #[arg(long, value_parser = crate::duration::parse, default_value = "1h", requires = "wait")]
        timeout: Duration,
    },
    /// All domains.
    List {
        /// Of this tenant.
        #[arg(long, default_value = "", hide_default_value = true)]
        tenant: String,
    },
    /// One domain: its keys, its records, and what happened to it.
    Show {
        /// The domain.
        name: String,
        /// How to print the records.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Make the next key now, and sign with it as soon as the DNS shows it.
    Rotate {
        /// The domain.
        name: String,
        /// Others have the private key: it is revoked as soon as there is another.
        #[arg(long)]
        compromised: bool,
    },
    /// Forget a domain and destroy its keys. Mail of it is signed by the operator alone from then on.
    Remove {
        /// The domain.
        name: String,
    },
    /// Encrypt the private keys of all domains with the key in dkim.key_file, after it was changed.
    Rewrap,
}

#[derive(Debug, Args)]
pub struct Add {
    /// What stands after the @ of From; domains below it are covered.
    name: String,
    /// Whose domain it is.
    #[arg(long)]
    tenant: String,
    /// The domain is the operator's: its keys sign the mail of all tenants as well.
    #[arg(long)]
    operator: bool,
    /// Keys are published in the operator's zone, and the domain has CNAMEs to them: its owner never changes them again.
    #[arg(long)]
    delegated: bool,
    /// A second key, Ed25519, for the receivers that verify such.
    #[arg(long)]
    ed25519: bool,
    /// How to print the records.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, for the form of a DNS provider.
    Table,
    /// Lines of a zone file.
    Zone,
    /// An object with all that is known of the domain.
    Json,
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<ExitCode> {
    let format = |format| match json {
        true => Format::Json,
        false => format,
    };
    match command {
        Command::Add(add) => {
            let format = format(add.format);
            self::add(&mut admin, add, format).await?;
        }
        Command::Check {
            name,
            wait,
            timeout,
        } => {
            let timeout = wait.then_some(timeout);
            return check(&mut admin, name, timeout, json).await;
        }
        Command::List { tenant } => list(&mut admin, tenant, json).await?,
        Command::Show {
            name,
            format: wanted,
        } => {
            let found = admin.get_domain(GetDomainRequest { name }).await?;
            let domain = found.into_inner();
            match format(wanted) {
                Format::Table => show_whole(&domain),
                other => show_records(&domain, other)?,
            }
        }
        Command::Rotate { name, compromised } => {
            rotate(&mut admin, name, compromised, json).await?
        }
        Command::Remove { name } => {
            let request = RemoveDomainRequest { name: name.clone() };
            admin.remove_domain(request).await?;
            if json {
                show::json(&serde_json::json!({ "removed": name }))?;
            } else {
                println!(
                    "{name} is removed and its keys are destroyed. Leave its DKIM records for as long as its mail may be on its way."
                );
            }
        }
        Command::Rewrap => return rewrap(&mut admin, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(admin: &mut Admin, add: Add, format: Format) -> anyhow::Result<()> {
    let request = AddDomainRequest {
        name: add.name,
        tenant: add.tenant,
        is_operator: add.operator,
        is_delegated: add.delegated,
        has_ed25519: add.ed25519,
    };
    let domain = admin.add_domain(request).await?.into_inner();
    show_records(&domain, format)?;
    if format != Format::Json {
        eprintln!(
            "Publish these records, and then: skeinctl domain check {} --wait",
            domain.name
        );
    }
    Ok(())
}

fn show_records(domain: &Domain, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => show::json(domain)?,
        Format::Zone => {
            for (is_operators, title) in [
                (false, "to be published by who owns the domain"),
                (true, "to be published in the operator's zone"),
            ] {
                let own = |record: &&DnsRecord| record.is_operators == is_operators;
                if domain.records.iter().any(|record| own(&record)) {
                    println!("; {title}");
                }
                for record in domain.records.iter().filter(own) {
                    println!("{}", record.line);
                }
            }
        }
        Format::Table => {
            let mut table = show::table(&["NAME", "TYPE", "BY", "FULL NAME", "VALUE"]);
            for record in &domain.records {
                let by = match record.is_operators {
                    true => "operator",
                    false => "owner",
                };
                table.add_row([
                    within(&record.name, &domain.name),
                    &record.r#type,
                    by,
                    &record.name,
                    &record.value,
                ]);
            }
            show::print(&table);
        }
    }
    Ok(())
}

/// The name as forms want it that add the domain by themselves.
fn within<'n>(name: &'n str, domain: &str) -> &'n str {
    let label = name.strip_suffix(domain);
    let label = label.and_then(|name| name.strip_suffix('.'));
    label.unwrap_or(name)
}

fn show_whole(domain: &Domain) {
    let or = |is: bool, word: &'static str| if is { word } else { "" };
    let kinds = [
        or(domain.is_operator, "the operator's"),
        or(domain.is_delegated, "delegated"),
    ];
    let kinds: Vec<&str> = kinds.into_iter().filter(|word| !word.is_empty()).collect();
    println!("domain      {} {}", domain.name, kinds.join(", "));
    println!("tenant      {}", domain.tenant);
    println!("mail is     {}", show::word::<DomainState>(domain.state));
    if !domain.waits_for.is_empty() {
        println!("waits for   {}", domain.waits_for);
    }
    println!("verified    {}", show::time(domain.verified_at_ms));
    println!(
        "checked     {}, again {}",
        show::time(domain.checked_at_ms),
        show::until(domain.next_check_at_ms)
    );
    println!("findings    {}", show::or_dash(domain.findings.join(", ")));
    println!();
    show_keys(domain);
    println!();
    // A table cannot fail.
    let _ = show_records(domain, Format::Table);
    println!();
    let mut table = show::table(&["TIME", "WHAT", "SELECTOR", "WHO"]);
    for change in &domain.changes {
        table.add_row([
            show::time(change.at_ms),
            change.what.clone(),
            show::or_dash(change.selector.clone()),
            show::or_dash(change.who.clone()),
        ]);
    }
    show::print(&table);
}

fn show_keys(domain: &Domain) {
    let mut table = show::table(&["SELECTOR", "ALGORITHM", "STATE", "SINCE"]);
    for key in &domain.keys {
        table.add_row([
            key.selector.clone(),
            key.algorithm.clone(),
            show::word::<DomainKeyState>(key.state),
            show::time(key.since_ms),
        ]);
    }
    show::print(&table);
}

/// Something is wrong or not there yet; a warning alone stops no mail.
fn is_fault(finding: &DomainFinding) -> bool {
    finding.severity() != DomainFindingSeverity::Warning
}

fn is_waiting(domain: &Domain) -> bool {
    domain.state() == DomainState::Waiting
}

async fn check(
    admin: &mut Admin,
    name: String,
    timeout: Option<Duration>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let mut has_waited = false;
    let checked = loop {
        let request = CheckDomainRequest { name: name.clone() };
        let checked = admin.check_domain(request).await?.into_inner();
        // Records that are seen are waited for until resolvers have forgotten what was there before.
        let waits = checked.domain.as_ref().is_some_and(is_waiting);
        let is_good = !checked.findings.iter().any(is_fault) && !waits;
        if is_good || until.is_none_or(|until| Instant::now() + LOOK > until) {
            break checked;
        }
        tokio::time::sleep(LOOK).await;
        has_waited = true;
    };
    if has_waited {
        tokio::time::sleep(SENDERS_HEAR_WITHIN).await;
    }
    let is_waited_for = timeout.is_some() && checked.domain.as_ref().is_some_and(is_waiting);
    let code = match is_waited_for || checked.findings.iter().any(is_fault) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    };
    match json {
        true => show::json(&checked)?,
        false => tell(&checked),
    }
    Ok(code)
}

fn tell(checked: &CheckDomainResponse) {
    for finding in &checked.findings {
        let severity = show::word::<DomainFindingSeverity>(finding.severity);
        println!("{}: {severity}: {}", finding.id, finding.why);
        println!("  asked     {}", finding.asked);
        let found = match finding.found.is_empty() {
            true => "nothing".to_owned(),
            false => finding.found.join("\n            "),
        };
        println!("  found     {found}");
        println!("  expected  {}", finding.expected);
        if !finding.publish.is_empty() {
            println!("  publish   {}", finding.publish);
        }
    }
    let Some(domain) = &checked.domain else {
        return;
    };
    if checked.findings.is_empty() {
        println!("All records of {} are as they should be.", domain.name);
    }
    match domain.state() {
        DomainState::Signing => println!("Its mail is signed."),
        DomainState::Unverified => println!(
            "It is not shown yet whose domain it is: mail has the operator's signature alone."
        ),
        _ => println!("Its mail waits: {}.", domain.waits_for),
    }
    show_keys(domain);
}

async fn list(admin: &mut Admin, tenant: String, json: bool) -> anyhow::Result<()> {
    let (mut domains, mut after) = (Vec::new(), String::new());
    loop {
        let request = ListDomainsRequest {
            tenant: tenant.clone(),
            after,
            limit: PAGE,
        };
        let page = admin.list_domains(request).await?.into_inner();
        domains.extend(page.domains);
        match domains.last() {
            Some(last) if page.has_more => after = last.name.clone(),
            _ => break,
        }
    }
    if json {
        return show::json(&domains);
    }
    let mut table = show::table(&["DOMAIN", "TENANT", "MAIL IS", "CHECKED", "FINDINGS"]);
    for domain in domains {
        table.add_row([
            domain.name,
            domain.tenant,
            show::word::<DomainState>(domain.state),
            show::time(domain.checked_at_ms),
            show::or_dash(domain.findings.join(", ")),
        ]);
    }
    show::print(&table);
    Ok(())
}

async fn rotate(
    admin: &mut Admin,
    name: String,
    is_compromised: bool,
    json: bool,
) -> anyhow::Result<()> {
    let request = RotateDomainKeyRequest {
        name,
        is_compromised,
    };
    let rotated = admin.rotate_domain_key(request).await?.into_inner();
    let Some(domain) = rotated.domain else {
        bail!("the node says nothing of the domain");
    };
    if json {
        return show::json(&domain);
    }
    show_keys(&domain);
    let is_coming = |state| matches!(state, DomainKeyState::Published | DomainKeyState::Seen);
    let next = domain.keys.iter().find(|key| is_coming(key.state()));
    match next {
        Some(key) => {
            let in_name = format!("{}.", key.selector);
            let own =
                |record: &&DnsRecord| record.name.starts_with(&in_name) && record.r#type == "TXT";
            if let Some(record) = domain.records.iter().find(own) {
                println!("\nPublish: {}", record.line);
            }
            println!(
                "Mail is signed with {} as soon as the DNS shows it everywhere.",
                key.selector
            );
        }
        None => println!(
            "The other selector is still needed for mail on its way; a new key is made as soon as it is empty."
        ),
    }
    Ok(())
}

async fn rewrap(admin: &mut Admin, json: bool) -> anyhow::Result<ExitCode> {
    let done = admin.rewrap_keys(RewrapKeysRequest {}).await?.into_inner();
    let code = match done.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if json {
        show::json(&done)?;
        return Ok(code);
    }
    println!(
        "{} keys are encrypted anew, {} were already.",
        done.rewrapped, done.unchanged
    );
    for failed in &done.failed {
        println!("cannot be opened: {failed}");
    }
    if done.failed.is_empty() {
        println!("dkim.previous_key_file is needed no more.");
    }
    Ok(code)
}
