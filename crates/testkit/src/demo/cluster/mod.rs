//! The demonstration of a cluster: three control nodes and three senders, of which one sender and one leader are killed
//! while mail flows.

mod nodes;
mod operator;
mod story;
mod summary;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{DOMAINS, Ledger, SENDER_DOMAIN, World};
use crate::load::{Injected, Injector, InjectorConfig};
use crate::oracle::judge;
use nodes::{Nodes, SENDERS};
use operator::Operator;
use story::Story;

/// To each sender.
const CONNECTIONS: usize = 4;
/// Over all senders; the load lasts a little longer than what happens to the nodes.
const MESSAGES_PER_SECOND: f64 = 45.0;
const MESSAGES_PER_CONNECTION: usize = 180;
/// Tries of one message: a client waits for a sender that was killed to come back.
const TRIES: usize = 60;
/// Mail for a host that defers is open for some seconds more.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// A duplicate would come from a retry, and those are at most 2 s apart.
const WATCH_FOR_DUPLICATES: Duration = Duration::from_secs(3);

/// Whether everything is accounted for.
///
/// # Errors
/// The cluster or its surroundings cannot be started, or a step of the story does not come about.
pub async fn run(skein: &Path, skeinctl: &Path, sink_port: u16) -> Result<bool> {
    let dir = tempfile::Builder::new()
        .prefix("skein-demo-")
        .tempdir()
        .context("making a temporary folder")?;
    let world = World::start(sink_port)
        .await
        .context("starting the fake outside world")?;
    let nodes = Nodes::new(skein, dir.path(), &world)?;
    println!("{}", nodes.addresses());
    let operator = Operator {
        skeinctl: skeinctl.to_owned(),
    };
    let ledgers: Vec<Arc<Ledger>> = (0..SENDERS).map(|_| Arc::default()).collect();
    let mut story = Story::new(nodes, operator, world, ledgers.clone());
    story.start().await?;
    let clients: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let noted = ledgers[sender].clone();
            let client = Injector::new(load(sender, story.nodes.smtp(sender)));
            tokio::spawn(client.on_answered(move |message| noted.note(message)).run())
        })
        .collect();
    story.unfold().await?;
    let mut injected: Vec<Injected> = Vec::new();
    for client in clients {
        injected.extend(story.meanwhile(client).await?.context("injecting")?);
    }
    let everything_ended = |story: &Story| judge(&injected, &story.world.records()).lost.is_empty();
    story.wait(SETTLED_WITHIN, everything_ended).await?;
    story.wait(WATCH_FOR_DUPLICATES, |_| false).await?;
    Ok(summary::show(&injected, &mut story))
}

fn load(sender: usize, target: std::net::SocketAddr) -> InjectorConfig {
    InjectorConfig {
        connections: CONNECTIONS,
        messages_per_connection: MESSAGES_PER_CONNECTION,
        sizes: vec![1_500, 4_000, 20_000],
        domains: DOMAINS.map(|(domain, _)| domain.to_owned()).into(),
        sender: format!("news@{SENDER_DOMAIN}"),
        prefix: format!("demo{sender}"),
        rate: Some(MESSAGES_PER_SECOND / SENDERS as f64),
        tries: TRIES,
        reply_wait: Duration::from_secs(25),
        ..InjectorConfig::to(target)
    }
}
