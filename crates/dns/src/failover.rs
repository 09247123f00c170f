//! All configured name servers as the one that hickory asks: a server that errs is not DNS's answer.
//!
//! Hickory keeps responses, follows CNAMEs and knows search domains. By itself it takes an error of the first of its
//! servers for the answer (0.26), so below it stands this handle, and hickory sees one server.

use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::{self, FuturesUnordered, Stream};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender};
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Query};
use hickory_resolver::{ConnectionProvider, PoolContext};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::debug;

use crate::answer::{Meaning, Trouble, may_dislike_edns, meaning};
use crate::question::{Question, Said, Step};
use crate::servers::Servers;

/// Servers that a reply names, so that it stays a line.
const NAMED_MAX: usize = 4;
/// The port that goes without saying.
pub(crate) const DNS_PORT: u16 = 53;

/// Cheap to clone; clones share what is known of the servers.
#[derive(Clone, Debug)]
pub(crate) struct Failover {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    addresses: Vec<SocketAddr>,
    /// Whether the AD bit of each counts.
    trusted: Vec<bool>,
    /// What they say of broken names was looked at, and no AD bit counts.
    distrusted: AtomicBool,
    servers: Mutex<Servers>,
    timeout: Duration,
    rounds: usize,
}

impl Failover {
    /// `timeout` is what one server has for one question, and a question takes at most `rounds` times that.
    pub(crate) fn new(addresses: Vec<SocketAddr>, timeout: Duration, rounds: usize) -> Self {
        let servers = Mutex::new(Servers::new(addresses.len()));
        let inner = Inner {
            trusted: vec![false; addresses.len()],
            distrusted: AtomicBool::new(false),
            addresses,
            servers,
            timeout,
            rounds,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same servers, not used yet, of which these are believed when they say that an answer is validated (RFC 6840 5.8).
    pub(crate) fn trusting(self, trusted: Vec<bool>) -> Self {
        let inner = Arc::try_unwrap(self.inner);
        let inner = inner.map(|inner| Arc::new(Inner { trusted, ..inner }));
        Self {
            inner: inner.unwrap_or_else(|shared| shared),
        }
    }

    /// Whether any of them is believed.
    pub(crate) fn is_trusted(&self) -> bool {
        self.inner.trusted.contains(&true)
    }

    /// Believes those that are trusted, or none for the time being.
    pub(crate) fn trust(&self, is_trusted: bool) {
        self.inner.distrusted.store(!is_trusted, Ordering::Relaxed);
    }

    async fn answer(self, mut request: DnsRequest) -> Result<DnsResponse, NetError> {
        let Some(query) = request.queries.first().cloned() else {
            return Err(NetError::Message("a request without a question"));
        };
        let inner = &*self.inner;
        // Without it a server need not tell (RFC 6840 5.7).
        request.metadata.authentic_data = self.is_trusted();
        let order = inner.servers.lock().order(Instant::now());
        let mut question = Question::new(order, inner.timeout, inner.rounds, Instant::now());
        let mut asked = FuturesUnordered::new();
        let mut weak = None;
        loop {
            let until = match question.next(Instant::now()) {
                Step::Ask(server) => {
                    asked.push(inner.ask(server, request.clone(), &query));
                    continue;
                }
                Step::Wait(until) => until,
                Step::Over => break,
            };
            let (server, response) = tokio::select! {
                Some(heard) = asked.next() => heard,
                () = tokio::time::sleep_until(until.into()) => continue,
            };
            let now = Instant::now();
            match response {
                Ok((response, true)) => {
                    inner.learn(server, &question, now);
                    return Ok(response);
                }
                Ok((response, false)) => {
                    weak = Some(response);
                    question.heard(server, Said::Weak, now);
                }
                Err(trouble) => {
                    debug!(server = %inner.addresses[server], %query, %trouble, "a name server has no answer");
                    question.heard(server, Said::Trouble(trouble), now);
                }
            }
        }
        match weak {
            Some(response) if question.is_weakly_answered() => Ok(response),
            _ => Err(NetError::Msg(inner.told(&question))),
        }
    }
}

impl Inner {
    /// The answer of a server, and whether it is more than a weak one.
    async fn ask(
        &self,
        server: usize,
        request: DnsRequest,
        query: &Query,
    ) -> (usize, Result<(DnsResponse, bool), Trouble>) {
        let asking = self.ask_with_and_without_edns(server, request, query);
        let answer = match tokio::time::timeout(self.timeout, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Silent(self.timeout)),
        };
        (server, answer)
    }

    async fn ask_with_and_without_edns(
        &self,
        server: usize,
        mut request: DnsRequest,
        query: &Query,
    ) -> Result<(DnsResponse, bool), Trouble> {
        let address = self.addresses[server];
        let (mut response, mut means) = self.ask_over_both(address, &request, query).await?;
        if may_dislike_edns(&means) && request.edns.take().is_some() {
            (response, means) = self.ask_over_both(address, &request, query).await?;
        }
        let is_believed = self.trusted[server] && !self.distrusted.load(Ordering::Relaxed);
        response.metadata.authentic_data &= is_believed;
        match means {
            Meaning::Answer => Ok((response, true)),
            Meaning::Weak => Ok((response, false)),
            Meaning::Truncated => Err(Trouble::Nonsense("cut its answer short over TCP too")),
            Meaning::Trouble(trouble) => Err(trouble),
        }
    }

    /// Over UDP, then over TCP if the answer did not fit, or was cut on its way.
    async fn ask_over_both(
        &self,
        server: SocketAddr,
        request: &DnsRequest,
        query: &Query,
    ) -> Result<(DnsResponse, Meaning), Trouble> {
        match self.ask_over_udp(server, request.clone()).await {
            Ok(response) => match meaning(&response, query) {
                Meaning::Truncated => {}
                means => return Ok((response, means)),
            },
            Err(NetError::Proto(_)) => {}
            Err(error) => return Err(self.trouble(&error, "UDP")),
        }
        let response = self.ask_over_tcp(server, request.clone()).await;
        let response = response.map_err(|error| self.trouble(&error, "TCP"))?;
        let means = meaning(&response, query);
        Ok((response, means))
    }

    async fn ask_over_udp(
        &self,
        server: SocketAddr,
        request: DnsRequest,
    ) -> Result<DnsResponse, NetError> {
        let mut udp = UdpClientStream::builder(server, TokioRuntimeProvider::default())
            .with_timeout(Some(self.timeout))
            .build();
        let mut answers = udp.send_message(request);
        answers.next().await.unwrap_or(Err(NetError::Timeout))
    }

    /// Truncated answers are rare, so that a connection for each costs less than keeping them.
    async fn ask_over_tcp(
        &self,
        server: SocketAddr,
        request: DnsRequest,
    ) -> Result<DnsResponse, NetError> {
        let query = request.to_vec()?;
        let length =
            u16::try_from(query.len()).map_err(|_| NetError::Message("a long question"))?;
        let mut tcp = TcpStream::connect(server).await?;
        tcp.write_all(&[&length.to_be_bytes()[..], &query].concat())
            .await?;
        let mut answer = vec![0; usize::from(tcp.read_u16().await?)];
        tcp.read_exact(&mut answer).await?;
        let response = DnsResponse::from_buffer(answer)?;
        match response.id == request.id {
            true => Ok(response),
            false => Err(NetError::Proto(ProtoError::NotAResponse)),
        }
    }

    fn trouble(&self, error: &NetError, over: &str) -> Trouble {
        match error {
            NetError::Timeout => Trouble::Silent(self.timeout),
            NetError::Io(error) => Trouble::Unreachable(format!("{over}: {}", error.kind())),
            NetError::Proto(_) => Trouble::Nonsense("sent an answer that cannot be read"),
            _ => Trouble::Unreachable(format!("{over}: the connection ended without an answer")),
        }
    }

    /// One server has answered: those that failed at the same question have failed.
    fn learn(&self, answered: usize, question: &Question, now: Instant) {
        let mut servers = self.servers.lock();
        for server in question.blamed(now).filter(|server| *server != answered) {
            servers.failed(server, now);
        }
        servers.answered(answered);
    }

    /// Each server and what it said.
    fn told(&self, question: &Question) -> String {
        let troubles = question.troubles(Instant::now());
        if troubles.is_empty() {
            return "no name server is configured".into();
        }
        let named = troubles.iter().take(NAMED_MAX).map(|(server, trouble)| {
            let address = self.addresses[*server];
            match address.port() {
                DNS_PORT => format!("{} {trouble}", address.ip()),
                _ => format!("{address} {trouble}"),
            }
        });
        let mut text = named.collect::<Vec<_>>().join("; ");
        if troubles.len() > NAMED_MAX {
            text += &format!("; and so on with {} more", troubles.len() - NAMED_MAX);
        }
        text
    }
}

impl DnsHandle for Failover {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        Box::pin(stream::once(self.clone().answer(request)))
    }
}

impl ConnectionProvider for Failover {
    type Conn = Self;
    type FutureConn = Ready<Result<Self, NetError>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        _ip: IpAddr,
        _config: &ConnectionConfig,
        _cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        Ok(ready(Ok(self.clone())))
    }

    fn runtime_provider(&self) -> &Self::RuntimeProvider {
        static RUNTIME: std::sync::OnceLock<TokioRuntimeProvider> = std::sync::OnceLock::new();
        RUNTIME.get_or_init(TokioRuntimeProvider::default)
    }
}

#[cfg(test)]
#[path = "failover_tests.rs"]
mod tests;
