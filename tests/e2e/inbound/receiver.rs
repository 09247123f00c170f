//! A program that takes mail by HTTP, and answers as the test says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request, with the status that it was answered with; 0: the connection was closed instead.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub status: u16,
}

impl Got {
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(known, _)| known == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }
}

/// The status for the nth request.
type Answer = Arc<dyn Fn(usize) -> u16 + Send + Sync>;

pub struct Receiver {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    pub async fn start(answer: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (all, answer): (_, Answer) = (got.clone(), Arc::new(answer));
        let count = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, all.clone(), answer.clone(), count.clone()));
            }
        });
        Self { address, got }
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    all: Arc<Mutex<Vec<Got>>>,
    answer: Answer,
    count: Arc<AtomicUsize>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let path = lines.next()?.split(' ').nth(1)?.to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields: Vec<(String, String)> = fields
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut got = Got {
            path,
            fields,
            body: Vec::new(),
            status: 0,
        };
        let length: usize = got.field("content-length").parse().unwrap();
        got.body = vec![0; length];
        stream.read_exact(&mut got.body).await.ok()?;
        let status = answer(count.fetch_add(1, Ordering::SeqCst));
        got.status = status;
        all.lock().unwrap().push(got);
        if status == 0 {
            return None;
        }
        let body = format!("status {status}");
        let location = match status {
            300..400 => "Location: http://127.0.0.1:1/\r\n",
            _ => "",
        };
        let text = format!(
            "HTTP/1.1 {status} Said\r\n{location}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await.ok()?;
    }
}
