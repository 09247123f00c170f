//! An HTTPS server with many names, whose answers and certificates change while it runs: policy hosts of MTA-STS, and takers of
//! reports.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Of a request's body; tests send a few kilobytes.
const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Certificate {
    /// Of the CA, for the name that was asked for.
    #[default]
    Good,
    Expired,
    OtherName,
    SelfSigned,
}

/// What a host answers to every request.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: u16,
    pub media_type: String,
    /// Further fields.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Before the answer begins.
    pub delay: Duration,
    pub certificate: Certificate,
}

impl Page {
    pub fn text(body: &str) -> Self {
        Self {
            status: 200,
            media_type: "text/plain".to_owned(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
            delay: Duration::ZERO,
            certificate: Certificate::Good,
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::text("")
        }
    }
}

/// A request that a host got.
#[derive(Debug, Clone)]
pub struct Asked {
    pub host: String,
    pub method: String,
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// The running server; it stops when dropped.
#[derive(Debug)]
pub struct WebHost {
    address: SocketAddr,
    ca: Arc<Ca>,
    state: Arc<Mutex<State>>,
    stop: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    pages: HashMap<String, Page>,
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl WebHost {
    /// # Errors
    /// The address cannot be bound.
    ///
    /// # Panics
    /// If no certificate can be made.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (ca, state) = (Arc::new(Ca::new()), Arc::new(Mutex::new(State::default())));
        let resolver = Arc::new(Names {
            ca: ca.clone(),
            state: state.clone(),
            made: Mutex::default(),
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serving = state.clone();
        let stop = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    // Clients that refuse the certificate go away.
                    let _ = serve(&acceptor, stream, &state).await;
                });
            }
        });
        Ok(Self {
            address,
            ca,
            state,
            stop,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the CA that its good certificates are of.
    pub fn ca_pem(&self) -> &str {
        &self.ca.pem
    }

    /// What a host answers from now on.
    pub fn set(&self, host: &str, page: Page) {
        self.state.lock().pages.insert(host.to_owned(), page);
    }

    /// All requests to a host so far, oldest first.
    pub fn asked(&self, host: &str) -> Vec<Asked> {
        let state = self.state.lock();
        let of_host = state.asked.iter().filter(|asked| asked.host == host);
        of_host.cloned().collect()
    }
}

impl Drop for WebHost {
    fn drop(&mut self) {
        self.stop.abort();
    }
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        let name = "CA of the web hosts of a test";
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("it can be signed").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn certify(&self, name: &str, kind: Certificate) -> CertifiedKey {
        let name = match kind {
            Certificate::OtherName => "other.test",
            _ => name,
        };
        let mut params =
            CertificateParams::new([name.to_owned()]).expect("a test names valid hosts");
        if kind == Certificate::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = match kind {
            Certificate::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        let certificate = certificate.expect("it can be signed");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = any_supported_type(&key).expect("a fresh key can be used");
        CertifiedKey::new(vec![certificate.der().clone()], key)
    }
}

/// Certificates by name and kind.
#[derive(Debug)]
struct Names {
    ca: Arc<Ca>,
    state: Arc<Mutex<State>>,
    made: Mutex<HashMap<(String, Certificate), Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_owned();
        let page = self.state.lock().pages.get(&name).cloned();
        let kind = page.map(|page| page.certificate).unwrap_or_default();
        let mut made = self.made.lock();
        let key = made.entry((name.clone(), kind));
        let key = key.or_insert_with(|| Arc::new(self.ca.certify(&name, kind)));
        Some(key.clone())
    }
}

async fn serve(acceptor: &TlsAcceptor, stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0).min(BODY_BYTES_MAX)];
    stream.read_exact(&mut body).await?;
    let host = headers.get("host").map_or("", String::as_str);
    let host = host.split(':').next().unwrap_or_default().to_owned();
    let page = {
        let mut state = state.lock();
        state.asked.push(Asked {
            host: host.clone(),
            method,
            path,
            headers,
            body,
        });
        state.pages.get(&host).cloned()
    };
    let page = page.unwrap_or_else(|| Page::status(404));
    tokio::time::sleep(page.delay).await;
    let mut head = format!(
        "HTTP/1.1 {} -\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
        page.status,
        page.media_type,
        page.body.len()
    );
    for (name, value) in &page.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&page.body).await?;
    stream.shutdown().await
}
