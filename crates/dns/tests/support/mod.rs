//! A name server whose answers are a function, on a loopback port.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

/// What the server says for (name without trailing dot, type).
pub enum Say {
    Records(Vec<RData>),
    /// And they, or that there are none, are validated.
    Signed(Vec<RData>),
    Code(ResponseCode),
    Silence,
}

pub type Zone = fn(&str, RecordType) -> Say;

pub struct NameServer {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<HashMap<(String, RecordType), usize>>>,
    _server: Server<Handler>,
}

pub async fn serve(zone: Zone) -> NameServer {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::default();
    let mut server = Server::new(Handler {
        zone,
        asked: Arc::clone(&asked),
    });
    server.register_socket(socket);
    NameServer {
        address,
        asked,
        _server: server,
    }
}

pub fn a(ip: &str) -> RData {
    RData::A(A(ip.parse().unwrap()))
}

pub fn aaaa(ip: &str) -> RData {
    RData::AAAA(AAAA(ip.parse().unwrap()))
}

pub fn mx(preference: u16, exchange: &str) -> RData {
    RData::MX(MX::new(preference, Name::from_ascii(exchange).unwrap()))
}

pub fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(Name::from_ascii(target).unwrap()))
}

pub fn soa(zone: &str) -> RData {
    let name = Name::from_ascii(zone).unwrap();
    RData::SOA(SOA::new(name.clone(), name, 1, 3600, 600, 86_400, 60))
}

pub fn ptr(target: &str) -> RData {
    RData::PTR(PTR(Name::from_ascii(target).unwrap()))
}

struct Handler {
    zone: Zone,
    asked: Arc<Mutex<HashMap<(String, RecordType), usize>>>,
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
        Box::pin(self.answer(request, response_handle))
    }
}

impl Handler {
    async fn answer<R: ResponseHandler>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let info = request.request_info().unwrap();
        let name = Name::from(info.query.name());
        let key = name.to_ascii().trim_end_matches('.').to_lowercase();
        *self
            .asked
            .lock()
            .unwrap()
            .entry((key.clone(), info.query.query_type()))
            .or_default() += 1;
        let mut metadata = Metadata::response_from_request(info.metadata);
        let said = (self.zone)(&key, info.query.query_type());
        metadata.authentic_data = matches!(said, Say::Signed(_));
        let records = match said {
            Say::Silence => {
                return Header {
                    metadata,
                    counts: HeaderCounts::default(),
                }
                .into();
            }
            Say::Code(code) => {
                metadata.response_code = code;
                Vec::new()
            }
            Say::Records(data) | Say::Signed(data) => data
                .into_iter()
                .map(|data| Record::from_rdata(name.clone(), 60, data))
                .collect(),
        };
        let builder = MessageResponseBuilder::from_message_request(request);
        out.send_response(builder.build(metadata, &records, [], [], []))
            .await
            .unwrap()
    }
}
