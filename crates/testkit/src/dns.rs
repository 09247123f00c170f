//! A name server for tests whose records and faults change while it runs.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
pub use hickory_server::proto::rr::RecordType;
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TLSA, TXT};
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::proto::serialize::txt::{ParseError, Parser};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use parking_lot::Mutex;
use tokio::net::{TcpListener, UdpSocket};

/// Lifetime of answers unless told otherwise, in seconds.
const TTL_DEFAULT: u32 = 60;
/// A CNAME chain longer than this is a loop in the test's own table.
const CNAMES_MAX: usize = 8;
/// Ports tried until one is free for both UDP and TCP.
const PORT_TRIES: usize = 32;

/// What a name answers instead of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    ServFail,
    Refused,
    NotImp,
    FormErr,
    NxDomain,
    /// The query is swallowed.
    NoAnswer,
    /// The right answer, late.
    Delay(Duration),
    /// `MX 0 .`: the domain takes no mail (RFC 7505).
    NullMx,
}

#[derive(Debug, Default)]
struct Table {
    records: HashMap<String, Vec<RData>>,
    faults: HashMap<String, Fault>,
    faults_of: HashMap<(String, RecordType), Fault>,
    /// Of all names.
    broken: Option<Fault>,
    wildcard: Vec<IpAddr>,
    /// The MX host of all names that have no records, by a wildcard.
    wildcard_mx: Option<Name>,
    asked: HashMap<String, u64>,
    ttl: u32,
    /// Zones whose answers are validated, and those within them whose answers are not.
    signed: HashMap<String, bool>,
}

/// Signed for whoever looks whether this server validates.
const SIGNED_PROBE: &str = "org";
/// Broken for the same.
const BROKEN_PROBE: &str = "dnssec-failed.org";

/// The running server; it stops when dropped. Names are given without or with the trailing dot.
pub struct FakeDns {
    address: SocketAddr,
    table: Arc<Mutex<Table>>,
    _server: Server<Handler>,
}

impl std::fmt::Debug for FakeDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeDns")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl FakeDns {
    /// Listens on UDP and TCP of the address; port 0 takes a free one. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let (udp, tcp) = bind(address).await?;
        let address = udp.local_addr()?;
        let table = Arc::new(Mutex::new(Table {
            ttl: TTL_DEFAULT,
            signed: HashMap::from([(SIGNED_PROBE.to_owned(), true)]),
            records: HashMap::from([(SIGNED_PROBE.to_owned(), vec![soa()])]),
            faults: HashMap::from([(BROKEN_PROBE.to_owned(), Fault::ServFail)]),
            ..Table::default()
        }));
        let mut server = Server::new(Handler {
            table: Arc::clone(&table),
        });
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(30), 16);
        Ok(Self {
            address,
            table,
            _server: server,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an A or AAAA record.
    pub fn host(&self, name: &str, ip: IpAddr) {
        let data = match ip {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        self.add(name, data);
    }

    pub fn mx(&self, name: &str, preference: u16, exchange: &str) {
        self.add(name, RData::MX(MX::new(preference, absolute(exchange))));
    }

    pub fn cname(&self, name: &str, target: &str) {
        self.add(name, RData::CNAME(CNAME(absolute(target))));
    }

    pub fn ptr(&self, ip: IpAddr, target: &str) {
        self.add(
            &Name::from(ip).to_ascii(),
            RData::PTR(PTR(absolute(target))),
        );
    }

    /// A TXT record, in character strings of 255 octets.
    pub fn txt(&self, name: &str, text: &str) {
        let octets: Vec<&[u8]> = match text.is_empty() {
            true => vec![b""],
            false => text.as_bytes().chunks(255).collect(),
        };
        self.add(name, RData::TXT(TXT::from_bytes(octets)));
    }

    /// Adds the records of a zone file (RFC 1035 5).
    ///
    /// # Errors
    /// The text is none; nothing of it was added.
    pub fn zone(&self, text: String) -> Result<(), ParseError> {
        let (_, sets) = Parser::new(text, None, Some(Name::root())).parse()?;
        for record in sets.values().flat_map(|set| set.records_without_rrsigs()) {
            self.add(&record.name.to_ascii(), record.data.clone());
        }
        Ok(())
    }

    /// Answers about this name and those below it are validated from now on, or not any more.
    pub fn sign(&self, zone: &str, is_signed: bool) {
        self.table.lock().signed.insert(key(zone), is_signed);
    }

    /// A TLSA record for SMTP at this port of a host: usage, selector, matching type, data.
    pub fn tlsa(
        &self,
        host: &str,
        port: u16,
        (usage, selector, matching): (u8, u8, u8),
        data: &[u8],
    ) {
        let record = TLSA::new(
            usage.into(),
            selector.into(),
            matching.into(),
            data.to_vec(),
        );
        self.add(&format!("_{port}._tcp.{host}"), RData::TLSA(record));
    }

    /// Sets or, with `None`, ends a fault of one type at a name: other types are answered as they are.
    pub fn fault_of(&self, name: &str, kind: RecordType, fault: Option<Fault>) {
        let mut table = self.table.lock();
        match fault {
            Some(fault) => table.faults_of.insert((key(name), kind), fault),
            None => table.faults_of.remove(&(key(name), kind)),
        };
    }

    /// A domain whose mail goes to one host at one address: an MX record and the host's A record.
    pub fn domain(&self, name: &str, ip: IpAddr) {
        let host = format!("mx.{name}");
        self.mx(name, 10, &host);
        self.host(&host, ip);
    }

    /// Addresses of every name that has no records of its own. Empty turns the wildcard off.
    pub fn wildcard(&self, ips: &[IpAddr]) {
        self.table.lock().wildcard = ips.to_vec();
    }

    /// Sends the mail of every domain that has no records of its own to this host, at this address.
    pub fn all_domains(&self, exchange: &str, ip: IpAddr) {
        self.host(exchange, ip);
        self.table.lock().wildcard_mx = Some(absolute(exchange));
    }

    /// Sets or, with `None`, ends a fault of a name.
    pub fn fault(&self, name: &str, fault: Option<Fault>) {
        let mut table = self.table.lock();
        match fault {
            Some(fault) => table.faults.insert(key(name), fault),
            None => table.faults.remove(&key(name)),
        };
    }

    /// Sets or, with `None`, ends a fault of the whole server, whatever is asked.
    pub fn break_down(&self, fault: Option<Fault>) {
        self.table.lock().broken = fault;
    }

    /// Removes all records and faults of a name.
    pub fn remove(&self, name: &str) {
        let mut table = self.table.lock();
        table.records.remove(&key(name));
        table.faults.remove(&key(name));
    }

    /// Lifetime of all answers from now on, in seconds.
    pub fn ttl(&self, seconds: u32) {
        self.table.lock().ttl = seconds;
    }

    /// How often a name was asked for, all types together.
    pub fn asked(&self, name: &str) -> u64 {
        self.table
            .lock()
            .asked
            .get(&key(name))
            .copied()
            .unwrap_or(0)
    }

    fn add(&self, name: &str, data: RData) {
        self.table
            .lock()
            .records
            .entry(key(name))
            .or_default()
            .push(data);
    }
}

async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(address).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(_) if address.port() == 0 && tries < PORT_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_utf8(name).expect("a test names valid hosts");
    name.set_fqdn(true);
    name
}

/// Of a zone about which nothing else is asked.
fn soa() -> RData {
    let name = absolute("ns.org");
    RData::SOA(SOA::new(name.clone(), name, 1, 3600, 600, 86_400, 60))
}

struct Handler {
    table: Arc<Mutex<Table>>,
}

enum Answer {
    /// And whether all of it is validated.
    Records(Vec<Record>, bool),
    /// No such name, and whether that is validated.
    Nothing(bool),
    Code(ResponseCode),
    Silence,
}

impl Table {
    fn answer(&mut self, asked: &Name, kind: RecordType) -> Answer {
        *self.asked.entry(key(&asked.to_ascii())).or_default() += 1;
        let mut name = asked.clone();
        let mut answers = Vec::new();
        let mut is_secure = true;
        for _ in 0..CNAMES_MAX {
            let name_key = key(&name.to_ascii());
            is_secure &= self.is_signed(&name_key);
            match self.fault_at(&name_key, kind) {
                Some(Fault::ServFail) => return Answer::Code(ResponseCode::ServFail),
                Some(Fault::Refused) => return Answer::Code(ResponseCode::Refused),
                Some(Fault::NotImp) => return Answer::Code(ResponseCode::NotImp),
                Some(Fault::FormErr) => return Answer::Code(ResponseCode::FormErr),
                Some(Fault::NxDomain) => return Answer::Code(ResponseCode::NXDomain),
                Some(Fault::NoAnswer) => return Answer::Silence,
                Some(Fault::NullMx) if kind == RecordType::MX => {
                    answers.push(self.record(&name, RData::MX(MX::new(0, Name::root()))));
                    return Answer::Records(answers, is_secure);
                }
                Some(Fault::NullMx | Fault::Delay(_)) | None => {}
            }
            let Some(records) = self.records.get(&name_key) else {
                return self.unknown(&name, kind, answers, is_secure);
            };
            let alias = records.iter().find_map(|data| match data {
                RData::CNAME(target) if kind != RecordType::CNAME => Some(target.0.clone()),
                _ => None,
            });
            let Some(target) = alias else {
                let matching = records.iter().filter(|data| data.record_type() == kind);
                answers.extend(matching.map(|data| self.record(&name, data.clone())));
                return Answer::Records(answers, is_secure);
            };
            answers.push(self.record(&name, RData::CNAME(CNAME(target.clone()))));
            name = target;
        }
        Answer::Code(ResponseCode::ServFail)
    }

    /// As the nearest zone that is named says.
    fn is_signed(&self, name: &str) -> bool {
        let mut zone = name;
        loop {
            if let Some(is_signed) = self.signed.get(zone) {
                return *is_signed;
            }
            match zone.split_once('.') {
                Some((_, parent)) => zone = parent,
                None => return false,
            }
        }
    }

    fn fault_at(&self, name: &str, kind: RecordType) -> Option<Fault> {
        let of_type = self.faults_of.get(&(name.to_owned(), kind)).copied();
        of_type.or_else(|| self.fault(name))
    }

    fn fault(&self, name: &str) -> Option<Fault> {
        self.broken.or_else(|| self.faults.get(name).copied())
    }

    fn delay(&self, asked: &Name) -> Duration {
        match self.fault(&key(&asked.to_ascii())) {
            Some(Fault::Delay(delay)) => delay,
            _ => Duration::ZERO,
        }
    }

    /// A name without records: the wildcard's addresses, else it does not exist. A name above a
    /// known one exists without records.
    fn unknown(
        &self,
        name: &Name,
        kind: RecordType,
        mut answers: Vec<Record>,
        is_secure: bool,
    ) -> Answer {
        if let Some(exchange) = self.wildcard_mx.clone() {
            // Every name is there then, if only for its mail.
            if kind == RecordType::MX {
                answers.push(self.record(name, RData::MX(MX::new(10, exchange))));
            }
            return Answer::Records(answers, is_secure);
        }
        if !self.wildcard.is_empty() {
            let matching = self.wildcard.iter().filter_map(|ip| match (ip, kind) {
                (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(*v4))),
                (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(*v6))),
                _ => None,
            });
            answers.extend(matching.map(|data| self.record(name, data)));
            return Answer::Records(answers, is_secure);
        }
        let below = format!(".{}", key(&name.to_ascii()));
        let fault = self.faults.get(&below[1..]);
        let faulty = fault.is_some_and(|fault| !matches!(fault, Fault::Delay(_)));
        if faulty || self.records.keys().any(|known| known.ends_with(&below)) {
            return Answer::Records(answers, is_secure);
        }
        Answer::Nothing(is_secure)
    }

    fn record(&self, name: &Name, data: RData) -> Record {
        Record::from_rdata(name.clone(), self.ttl, data)
    }
}

impl RequestHandler for Handler {
    fn handle_request<'a, 'b, 'f, R, T>(
        &'a self,
        request: &'b Request,
        response_handle: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'f>>
    where
        R: ResponseHandler + 'f,
        T: Time + 'f,
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(self.respond(request, response_handle))
    }
}

impl Handler {
    async fn respond<R: ResponseHandler>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = true;
        let (answer, delay) = match request.request_info() {
            Ok(info) => {
                let name = Name::from(info.query.name());
                let mut table = self.table.lock();
                let answer = table.answer(&name, info.query.query_type());
                (answer, table.delay(&name))
            }
            Err(_) => (Answer::Code(ResponseCode::FormErr), Duration::ZERO),
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let unsent = move || {
            Header {
                metadata,
                counts: HeaderCounts::default(),
            }
            .into()
        };
        let (code, records, is_secure) = match answer {
            Answer::Records(records, is_secure) => (ResponseCode::NoError, records, is_secure),
            Answer::Nothing(is_secure) => (ResponseCode::NXDomain, Vec::new(), is_secure),
            Answer::Code(code) => (code, Vec::new(), false),
            Answer::Silence => return unsent(),
        };
        metadata.response_code = code;
        metadata.authentic_data = is_secure;
        let builder = MessageResponseBuilder::from_message_request(request);
        let response = builder.build(metadata, &records, [], [], []);
        match out.send_response(response).await {
            Ok(info) => info,
            // The asker has gone away.
            Err(_) => unsent(),
        }
    }
}
