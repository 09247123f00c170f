use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::message::{Injected, Outcome};
use super::probe::Probe;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What to send.
#[derive(Debug, Clone)]
pub struct InjectorConfig {
    /// Connections begin with these in turn, and each goes on to the next when one fails.
    pub targets: Vec<SocketAddr>,
    pub connections: usize,
    pub messages_per_connection: usize,
    /// Message sizes in bytes, taken in turn.
    pub sizes: Vec<usize>,
    /// Recipient domains, taken in turn.
    pub domains: Vec<String>,
    pub recipients_per_message: usize,
    /// The return path.
    pub sender: String,
    /// Distinguishes the ids of several injectors.
    pub prefix: String,
    /// Messages per second over all connections; `None` is as fast as it goes.
    pub rate: Option<f64>,
    /// Whether MAIL, RCPTs and DATA go out in one packet.
    pub pipelining: bool,
    /// Tries to offer one message before it counts as refused; each may cost a reconnect.
    pub tries: usize,
    /// Waiting for one reply.
    pub reply_wait: Duration,
}

impl InjectorConfig {
    pub fn to(target: SocketAddr) -> Self {
        Self::to_all(vec![target])
    }

    /// `targets` must not be empty.
    pub fn to_all(targets: Vec<SocketAddr>) -> Self {
        Self {
            targets,
            connections: 4,
            messages_per_connection: 25,
            sizes: vec![2_000],
            domains: vec!["load.skein.test".to_owned()],
            recipients_per_message: 1,
            sender: "sender@from.skein.test".to_owned(),
            prefix: "m".to_owned(),
            rate: None,
            pipelining: true,
            tries: 40,
            reply_wait: Duration::from_secs(60),
        }
    }
}

/// Counts while an injector runs.
#[derive(Debug, Default)]
pub struct Progress {
    pub acked: AtomicU64,
    pub refused: AtomicU64,
    pub unknown: AtomicU64,
}

/// A load generator that remembers what it was promised.
pub struct Injector {
    config: Arc<InjectorConfig>,
    progress: Arc<Progress>,
    answered: OnAnswered,
}

/// Called for each message as soon as its outcome is known.
type OnAnswered = Arc<dyn Fn(&Injected) + Send + Sync>;

impl std::fmt::Debug for Injector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Injector")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Injector {
    pub fn new(config: InjectorConfig) -> Self {
        Self {
            config: Arc::new(config),
            progress: Arc::default(),
            answered: Arc::new(|_| {}),
        }
    }

    /// Calls this for each message as soon as its outcome is known. It must not block.
    #[must_use]
    pub fn on_answered(mut self, call: impl Fn(&Injected) + Send + Sync + 'static) -> Self {
        self.answered = Arc::new(call);
        self
    }

    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// The messages that will be offered, by connection.
    pub fn plan(&self) -> Vec<Vec<Injected>> {
        let config = &self.config;
        let message = |connection: usize, index: usize| {
            let number = index * config.connections + connection;
            let id = format!("{}-{connection}-{index}", config.prefix);
            let recipients = (0..config.recipients_per_message).map(|rcpt| {
                let domain = &config.domains[(number + rcpt) % config.domains.len()];
                format!("r{number}-{rcpt}@{domain}")
            });
            let bytes = config.sizes[number % config.sizes.len()];
            Injected::generated(&id, &config.sender, recipients.collect(), bytes)
        };
        let of = |connection| {
            (0..config.messages_per_connection)
                .map(|index| message(connection, index))
                .collect()
        };
        (0..config.connections).map(of).collect()
    }

    /// Offers everything and says what became of each message. Messages whose fate is unknown are
    /// not offered again.
    pub async fn run(self) -> Vec<Injected> {
        let plan = self.plan();
        self.run_plan(plan).await
    }

    /// The same with other messages: one list for each connection.
    pub async fn run_plan(self, plan: Vec<Vec<Injected>>) -> Vec<Injected> {
        let started = Instant::now();
        let lanes = plan.into_iter().enumerate().map(|(lane, messages)| {
            let (config, progress) = (Arc::clone(&self.config), Arc::clone(&self.progress));
            let answered = Arc::clone(&self.answered);
            tokio::spawn(run_lane(
                config, progress, answered, lane, messages, started,
            ))
        });
        let lanes: Vec<_> = lanes.collect();
        let mut all = Vec::new();
        for lane in lanes {
            all.extend(lane.await.expect("an injector lane does not panic"));
        }
        all
    }

    /// Offers the given messages one after the other on one connection.
    pub async fn offer(&self, messages: Vec<Injected>) -> Vec<Injected> {
        let unpaced = InjectorConfig {
            rate: None,
            ..(*self.config).clone()
        };
        run_lane(
            Arc::new(unpaced),
            self.progress(),
            Arc::clone(&self.answered),
            0,
            messages,
            Instant::now(),
        )
        .await
    }
}

async fn run_lane(
    config: Arc<InjectorConfig>,
    progress: Arc<Progress>,
    answered: OnAnswered,
    lane: usize,
    mut messages: Vec<Injected>,
    started: Instant,
) -> Vec<Injected> {
    let mut client = Client {
        target: lane,
        probe: None,
    };
    for (index, message) in messages.iter_mut().enumerate() {
        if let Some(rate) = config.rate.filter(|rate| *rate > 0.0) {
            let number = (index * config.connections + lane) as f64;
            sleep_until(started + Duration::from_secs_f64(number / rate)).await;
        }
        message.outcome = offer(&config, &mut client, message).await;
        message.answered_at_ms = crate::unix_ms();
        let counter = match message.outcome {
            Outcome::Acked { .. } => &progress.acked,
            Outcome::Refused { .. } => &progress.refused,
            Outcome::Unknown => &progress.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        answered(message);
    }
    if let Some(mut probe) = client.probe {
        // The messages are safe; a server that is gone already changes nothing.
        let _ = probe.cmd("QUIT").await;
    }
    messages
}

/// One connection after the other.
struct Client {
    /// Counts through the targets.
    target: usize,
    probe: Option<Probe>,
}

impl Client {
    async fn connect(&mut self, config: &InjectorConfig) -> Result<Probe, String> {
        let target = config.targets[self.target % config.targets.len()];
        match Probe::greet_within(target, config.reply_wait).await {
            Ok((_, ehlo)) if !ehlo.positive() => {
                Err(format!("EHLO: {} {}", ehlo.code, ehlo.text()))
            }
            Ok((probe, _)) => Ok(probe),
            Err(error) => Err(format!("connect: {error}")),
        }
    }
}

/// Offers one message, reconnecting as often as the configuration allows while it is safe to.
async fn offer(config: &InjectorConfig, client: &mut Client, message: &mut Injected) -> Outcome {
    let mut backoff = BACKOFF_FIRST;
    let mut last = "never connected".to_owned();
    for _ in 0..config.tries {
        match attempt(config, client, message).await {
            Attempt::Done(outcome) => return outcome,
            Attempt::Broken(why) => last = why,
        }
        client.probe = None;
        client.target += 1;
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    Outcome::Refused {
        code: 0,
        reply: last,
    }
}

enum Attempt {
    Done(Outcome),
    /// The connection ended before the dot, so nothing can have been accepted.
    Broken(String),
}

async fn attempt(config: &InjectorConfig, client: &mut Client, message: &mut Injected) -> Attempt {
    let mut probe = match client.probe.take() {
        Some(probe) => probe,
        None => match client.connect(config).await {
            Ok(probe) => probe,
            Err(why) => return Attempt::Broken(why),
        },
    };
    let accepted = match envelope(&mut probe, message, config.pipelining).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err((421, reply))) => return Attempt::Broken(format!("421 {reply}")),
        Ok(Err((code, reply))) => {
            if probe.cmd("RSET").await.is_ok() {
                client.probe = Some(probe);
            }
            return Attempt::Done(Outcome::Refused { code, reply });
        }
        Err(error) => return Attempt::Broken(format!("envelope: {error}")),
    };
    let wire = message.wire();
    message.recipients = accepted;
    // The bytes before the end mark cannot be accepted; only from the mark on is the fate open.
    let (body, mark) = wire.split_at(wire.len() - 3);
    if let Err(error) = probe.send(body).await {
        return Attempt::Broken(format!("data: {error}"));
    }
    let at_dot = Instant::now();
    let reply = match probe.send(mark).await {
        Ok(()) => probe.reply().await,
        Err(error) => Err(error),
    };
    message.waited = at_dot.elapsed();
    let outcome = match reply {
        Err(_) => return Attempt::Done(Outcome::Unknown),
        Ok(reply) if reply.positive() => Outcome::Acked {
            reply: reply.text(),
        },
        // "Commit not known": the server itself cannot say whether it has the message.
        Ok(reply) if reply.text().starts_with("4.4.5") => Outcome::Unknown,
        Ok(reply) if reply.code == 421 => return Attempt::Broken(format!("421 {}", reply.text())),
        Ok(reply) => Outcome::Refused {
            code: reply.code,
            reply: reply.text(),
        },
    };
    client.probe = Some(probe);
    Attempt::Done(outcome)
}

/// MAIL, RCPTs and DATA. Brings the accepted recipients once the server says 354, or the reply that
/// refused the message.
async fn envelope(
    probe: &mut Probe,
    message: &Injected,
    pipelining: bool,
) -> std::io::Result<Result<Vec<String>, (u16, String)>> {
    let mail = format!("MAIL FROM:<{}>\r\n", message.sender);
    let rcpts = message.recipients.iter();
    let rcpts = rcpts.map(|rcpt| format!("RCPT TO:<{rcpt}>\r\n"));
    let mut lines: Vec<String> = [mail].into_iter().chain(rcpts).collect();
    lines.push("DATA\r\n".to_owned());
    if pipelining {
        probe.send(lines.concat().as_bytes()).await?;
    }
    let mut refusal = None;
    let mut accepted = Vec::new();
    let last = lines.len() - 1;
    for (index, line) in lines.iter().enumerate() {
        if !pipelining {
            if index == last && accepted.is_empty() {
                break;
            }
            probe.send(line.as_bytes()).await?;
        }
        let reply = probe.reply().await?;
        if index == last && reply.code == 354 {
            if !accepted.is_empty() {
                return Ok(Ok(accepted));
            }
            // A server that says 354 with nobody to deliver to waits for an end mark.
            probe.send(b".\r\n").await?;
            probe.reply().await?;
        } else if !reply.positive() {
            let this = (reply.code, reply.text());
            if index == last && !accepted.is_empty() {
                // Some recipients were taken, so it is this reply that refuses the message.
                refusal = Some(this);
            } else {
                refusal.get_or_insert(this);
            }
            if reply.code == 421 || (index == 0 && !pipelining) {
                break;
            }
        } else if let Some(recipient) = index
            .checked_sub(1)
            .and_then(|at| message.recipients.get(at))
        {
            accepted.push(recipient.clone());
        }
    }
    Ok(Err(refusal.unwrap_or((0, "no recipients".to_owned()))))
}
