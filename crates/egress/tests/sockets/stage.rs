//! What the tests share: an egress node at a port, and destinations.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use skein_egress::via::{self, EgressRoute, ViaError};
use skein_egress::{
    Config, Egress, Metrics, Placement, PlacementState, Placements, Stream, Targets,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Far more than any step needs.
pub const SOON: Duration = Duration::from_secs(10);
pub const LIMIT: Duration = Duration::from_secs(5);

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn placement(bind: &str, epoch: u64) -> Placement {
    Placement {
        bind: ip(bind),
        epoch,
        connections_max: None,
        state: PlacementState::Active,
    }
}

pub fn placements(named: &[(&str, Placement)]) -> Placements {
    let named = named.iter();
    named
        .map(|(name, placement)| ((*name).to_owned(), *placement))
        .collect()
}

/// Of a node whose targets are on this machine, as all are here.
pub fn near() -> Config {
    Config {
        targets: Targets {
            allow_local: true,
            ..Targets::default()
        },
        ..Config::default()
    }
}

/// An egress node that accepts connections.
pub struct Node {
    pub egress: Egress,
    pub address: SocketAddr,
}

impl Node {
    pub async fn start(named: &[(&str, Placement)]) -> Self {
        Self::start_with(&near(), named).await
    }

    pub async fn start_with(config: &Config, named: &[(&str, Placement)]) -> Self {
        let egress = Egress::new(config, Metrics::default());
        egress.set(placements(named));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = egress.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream, Ok(())).await });
            }
        });
        Self { egress, address }
    }

    pub async fn connect(
        &self,
        ip: &str,
        epoch: u64,
        target: SocketAddr,
    ) -> Result<(Stream, String), ViaError> {
        let way = EgressRoute::Node {
            stream: Box::new(TcpStream::connect(self.address).await.unwrap()),
            ip: ip.into(),
            epoch,
        };
        via::connect(way, target, LIMIT).await
    }

    pub fn tunnels(&self) -> u32 {
        self.egress.open().iter().map(|open| open.tunnels).sum()
    }

    pub async fn wait_for_tunnels(&self, expected: u32) {
        let reached = async {
            while self.tunnels() != expected {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let is_reached = timeout(SOON, reached).await.is_ok();
        assert!(is_reached, "{} tunnels, not {expected}", self.tunnels());
    }
}

pub async fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A destination that answers no attempt to connect: its queue is full, and Linux drops what comes then.
pub struct Silent {
    pub address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Silent {
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(connected) =
            timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queue.push(connected.unwrap());
            assert!(queue.len() < 10, "a queue for one takes any number");
        }
        Self {
            address,
            _listener: listener,
            _queue: queue,
        }
    }
}

pub async fn read(stream: &mut (impl AsyncRead + Unpin + ?Sized), bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    let done = timeout(SOON, stream.read_exact(&mut read)).await;
    done.unwrap().unwrap();
    read
}

/// What comes until the end, which is a clean one.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> Vec<u8> {
    let mut read = Vec::new();
    let done = timeout(SOON, stream.read_to_end(&mut read)).await;
    done.unwrap().unwrap();
    read
}

/// Whatever an end looks like, it comes soon and nothing before it.
pub async fn expect_closed(stream: &mut (impl AsyncRead + Unpin + ?Sized)) {
    let read = timeout(SOON, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}
