//! Shows a node, or a cluster, at work: fake DNS, a dozen destinations of which some defer and some bounce, a few
//! hundred messages, a live table, and a summary that the oracle has checked.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use skein_testkit::demo::{
    DOMAINS, Ledger, SENDER_DOMAIN, Screen, World, cluster, inbox, name_server, node_config, rows,
    traces, view,
};
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::oracle::{Reconciliation, judge};
use skein_testkit::process::{Node, NodeConfig, free_address};

/// Destinations listen here if the port is free.
const SINK_PORT: u16 = 2599;
const MESSAGES_PER_CONNECTION: usize = 100;
const CONNECTIONS: usize = 4;
/// The 400 messages take about ten seconds.
const MESSAGES_PER_SECOND: f64 = 40.0;
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Messages expire after 20 s; whatever is open after this is lost.
const ARRIVED_WITHIN: Duration = Duration::from_secs(60);
/// A duplicate would come from a retry, and those are at most 2 s apart.
const WATCH_FOR_DUPLICATES: Duration = Duration::from_secs(3);
const REDRAW_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Parser)]
#[command(about = "Starts a node with a fake outside world and shows what it does")]
struct Args {
    /// Only take mail at this address, and print what arrives: the rest of the world, for a node that is tried out.
    #[arg(long, value_name = "IP:PORT", exclusive = true)]
    sink: Option<SocketAddr>,
    /// Only answer DNS queries at this address: the mail of every domain goes to one host.
    #[arg(long, value_name = "IP:PORT", requires = "mx", conflicts_with_all = ["sink", "skein", "skeinctl"])]
    dns: Option<SocketAddr>,
    /// With --dns: the address of that host, such as where `--sink` listens.
    #[arg(long, value_name = "IP", requires = "dns")]
    mx: Option<IpAddr>,
    /// With --dns: a zone file of more records that are answered, with full names, as `skeinctl domain show --format zone`
    /// prints it.
    #[arg(long, value_name = "FILE", requires = "dns")]
    records: Option<PathBuf>,
    /// Only take traces at this address, as OTLP over gRPC, and print a line for each span.
    #[arg(long, value_name = "IP:PORT", exclusive = true)]
    collector: Option<SocketAddr>,
    /// The node's binary.
    #[arg(long, required_unless_present_any = ["sink", "dns", "collector"])]
    skein: Option<PathBuf>,
    /// The admin tool's binary.
    #[arg(long, required_unless_present_any = ["sink", "dns", "collector"])]
    skeinctl: Option<PathBuf>,
    /// Three control nodes and three senders, of which some are killed.
    #[arg(long, conflicts_with = "keep_running")]
    cluster: bool,
    /// Leave everything running after the summary, until interrupted.
    #[arg(long)]
    keep_running: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let dns = args.dns.zip(args.mx);
    if let Some((address, mx)) = dns {
        return ended(
            name_server::run(address, mx, args.records.as_deref())
                .await
                .map(|()| true),
        );
    }
    if let Some(address) = args.collector {
        return ended(traces::run(address).await.map(|()| true));
    }
    let shown = match (args.sink, &args.skein, &args.skeinctl) {
        (Some(address), _, _) => inbox::run(address).await.map(|()| true),
        (None, Some(skein), Some(skeinctl)) if args.cluster => {
            cluster::run(skein, skeinctl, SINK_PORT).await
        }
        (None, Some(skein), Some(skeinctl)) => run(skein, skeinctl, args.keep_running).await,
        (None, _, _) => Err(anyhow::anyhow!("--skein and --skeinctl name the binaries")),
    };
    ended(shown)
}

fn ended(shown: Result<bool>) -> ExitCode {
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("skein-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the oracle is content.
async fn run(skein: &Path, skeinctl: &Path, keep_running: bool) -> Result<bool> {
    let dir = tempfile::Builder::new()
        .prefix("skein-demo-")
        .tempdir()
        .context("making a temporary folder")?;
    let mut world = World::start(SINK_PORT)
        .await
        .context("starting the fake outside world")?;
    let (smtp, admin, http) = (local(2525)?, local(7001)?, local(7002)?);
    if world.port != SINK_PORT {
        println!("port {SINK_PORT} is taken; the sinks use {}", world.port);
    }
    let config = dir.path().join("skein.toml");
    std::fs::write(&config, node_config(&world, dir.path(), smtp, admin, http))
        .context("writing the node's configuration")?;
    println!("SMTP in    {smtp}\nadmin API  http://{admin}\nHTTP       http://{http}/metrics");
    println!(
        "data       {}\nDNS        {} (fake)\nsinks      127.0.0.2 to .{}, port {}\n",
        dir.path().display(),
        world.dns.address(),
        DOMAINS.len() + 1,
        world.port
    );
    let mut node = Node::start(NodeConfig::serve(skein, &config, http))?;
    node.ready(READY_WITHIN).await?;

    let mut screen = Screen::default();
    let ledger = Arc::new(Ledger::default());
    let injected = inject(&mut world, smtp, &ledger, &mut screen).await?;
    let verdict = reconcile(&mut world, &injected, &ledger, &mut screen).await?;
    show_status(skeinctl, admin);
    let clean = summarise(&injected, &verdict, &mut node);
    if !clean {
        println!("\nend of the node's log:\n{}", node.log_end());
    }
    let skeinctl = format!("{} --server http://{admin}", skeinctl.display());
    println!(
        "\nto try next{}:\n  {skeinctl} status\n  {skeinctl} queue list\n  curl http://{http}/metrics",
        if keep_running {
            ""
        } else {
            " (with --keep-running)"
        }
    );
    if keep_running {
        println!("\nleft running; stop with Ctrl-C");
        tokio::signal::ctrl_c()
            .await
            .context("waiting for Ctrl-C")?;
    }
    node.term()?;
    if node.wait(Duration::from_secs(20)).await.is_err() {
        println!("the node did not end within 20 s of SIGTERM");
        return Ok(false);
    }
    Ok(clean)
}

/// The port on 127.0.0.1, or a free one if it is taken.
fn local(port: u16) -> Result<SocketAddr> {
    let wanted = SocketAddr::from(([127, 0, 0, 1], port));
    let address = free_address(wanted).context("looking for a free port")?;
    if address != wanted {
        println!("port {port} is taken; using {} instead", address.port());
    }
    Ok(address)
}

/// Hands all messages to the node while the table moves.
async fn inject(
    world: &mut World,
    smtp: SocketAddr,
    ledger: &Arc<Ledger>,
    screen: &mut Screen,
) -> Result<Vec<Injected>> {
    let injector = Injector::new(InjectorConfig {
        connections: CONNECTIONS,
        messages_per_connection: MESSAGES_PER_CONNECTION,
        sizes: vec![1_500, 4_000, 20_000],
        domains: DOMAINS
            .iter()
            .map(|(domain, _)| (*domain).to_owned())
            .collect(),
        sender: format!("news@{SENDER_DOMAIN}"),
        prefix: "demo".to_owned(),
        rate: Some(MESSAGES_PER_SECOND),
        ..InjectorConfig::to(smtp)
    });
    let noted = Arc::clone(ledger);
    let injector = injector.on_answered(move |message| noted.note(message));
    let mut running = tokio::spawn(injector.run());
    loop {
        world.wake().await.context("starting a late destination")?;
        let (lines, line) = view(&rows(world, &[ledger.as_ref()]));
        screen.show(&lines, &line)?;
        tokio::select! {
            injected = &mut running => return injected.context("injecting"),
            () = tokio::time::sleep(REDRAW_EVERY) => {}
        }
    }
}

/// Waits until every acknowledged recipient is accounted for, then a little for duplicates.
async fn reconcile(
    world: &mut World,
    injected: &[Injected],
    ledger: &Ledger,
    screen: &mut Screen,
) -> Result<Reconciliation> {
    let deadline = Instant::now() + ARRIVED_WITHIN;
    let mut watch_until: Option<Instant> = None;
    loop {
        world.wake().await.context("starting a late destination")?;
        let (lines, line) = view(&rows(world, &[ledger]));
        screen.show(&lines, &line)?;
        let verdict = judge(injected, &world.records());
        let now = Instant::now();
        if verdict.lost.is_empty() {
            watch_until.get_or_insert(now + WATCH_FOR_DUPLICATES);
        }
        if now >= watch_until.unwrap_or(deadline) {
            return Ok(verdict);
        }
        tokio::time::sleep(REDRAW_EVERY).await;
    }
}

fn show_status(skeinctl: &Path, admin: SocketAddr) {
    println!("\n$ skeinctl --server http://{admin} status");
    let server = format!("http://{admin}");
    match Command::new(skeinctl)
        .args(["--server", &server, "status"])
        .status()
    {
        Ok(status) if status.success() => {}
        Ok(status) => println!("(skeinctl ended with {status})"),
        Err(error) => println!("(skeinctl could not be run: {error})"),
    }
}

fn summarise(injected: &[Injected], verdict: &Reconciliation, node: &mut Node) -> bool {
    let acked = injected.iter().filter(|message| message.acked()).count();
    let all_acked = acked == injected.len();
    let clean = all_acked && verdict.is_clean() && node.running();
    println!(
        "\n{acked} of {} messages accepted by the node: {}",
        injected.len(),
        verdict.summary()
    );
    for message in injected.iter().filter(|message| !message.acked()).take(5) {
        println!("  not accepted: {} {:?}", message.id, message.outcome);
    }
    for delivery in verdict.lost.iter().take(5) {
        println!("  lost: {} to {}", delivery.id, delivery.recipient);
    }
    println!(
        "{}",
        if clean {
            "OK: every message is accounted for, exactly once"
        } else {
            "FAILED"
        }
    );
    clean
}
