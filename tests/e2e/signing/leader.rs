//! A control node that says what the test wants of signing, and is else as it is: senders reach it through this.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body as AxumBody;
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{
    DomainSigning, GetSigningChangesReply, GetSigningChangesRequest, GetSigningReply,
    GetSigningRequest, HeartbeatRequest, SigningKey,
};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{ServiceExt, service_fn};

/// What the leader knows.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub version: u64,
    pub domains: BTreeMap<String, DomainSigning>,
    pub operator_keys: Vec<SigningKey>,
    /// It does not answer.
    pub is_silent: bool,
}

#[derive(Debug, Clone)]
pub struct Leader {
    said: Arc<Mutex<Said>>,
    node: Channel,
}

impl Leader {
    /// Serves at one address what the node at the other one does.
    pub fn start(at: SocketAddr, node: SocketAddr, said: Said) -> Self {
        let node = Endpoint::from_shared(format!("http://{node}")).unwrap();
        let leader = Self {
            said: Arc::new(Mutex::new(said)),
            node: node.connect_lazy(),
        };
        let answering = leader.clone();
        let router = axum::Router::new().fallback(move |request: http::Request<AxumBody>| {
            let leader = answering.clone();
            async move {
                leader
                    .answer(request.map(Body::new))
                    .await
                    .map(AxumBody::new)
            }
        });
        let server = Server::builder().add_routes(Routes::from(router));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::bind(at).unwrap()));
        leader
    }

    /// From here on it says something else of this domain.
    pub fn change(&self, change: impl FnOnce(&mut Said)) {
        let mut said = self.said.lock().unwrap();
        said.version += 1;
        change(&mut said);
    }

    pub fn set_silent(&self, is_silent: bool) {
        self.said.lock().unwrap().is_silent = is_silent;
    }

    fn said(&self) -> Said {
        self.said.lock().unwrap().clone()
    }

    async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        let said = self.said();
        let (_, call) = request.uri().path().rsplit_once('/').unwrap_or_default();
        match call {
            "GetSigning" | "GetSigningChanges" if said.is_silent => {
                Status::unavailable("silent").into_http()
            }
            "GetSigning" => {
                let answer = service_fn(move |request: Request<GetSigningRequest>| {
                    let answer = said.answer(&request.into_inner().domains);
                    async move { Ok::<_, Status>(Response::new(answer)) }
                });
                Grpc::new(ProstCodec::default())
                    .unary(answer, request)
                    .await
            }
            "GetSigningChanges" => {
                let answer = service_fn(move |_: Request<GetSigningChangesRequest>| {
                    let answer = GetSigningChangesReply {
                        version: said.version,
                        all: false,
                        domains: said.domains.keys().cloned().collect(),
                    };
                    async move { Ok::<_, Status>(Response::new(answer)) }
                });
                Grpc::new(ProstCodec::default())
                    .unary(answer, request)
                    .await
            }
            "Heartbeat" => {
                let node = self.node.clone();
                let answer = service_fn(move |request: Request<HeartbeatRequest>| {
                    let mut node = SessionsClient::new(node.clone());
                    let version = said.version;
                    async move {
                        let reply = node.heartbeat(request.into_inner()).await?;
                        Ok::<_, Status>(reply.map(|mut reply| {
                            reply.signing_version = version;
                            reply
                        }))
                    }
                });
                Grpc::new(ProstCodec::default())
                    .unary(answer, request)
                    .await
            }
            _ => match self.node.clone().oneshot(request).await {
                Ok(response) => response,
                Err(error) => Status::unavailable(error.to_string()).into_http(),
            },
        }
    }
}

impl Said {
    fn answer(&self, asked: &[String]) -> GetSigningReply {
        let of = |asked: &String| {
            let is_of = |domain: &&DomainSigning| {
                asked == &domain.domain || asked.ends_with(&format!(".{}", domain.domain))
            };
            let found = self.domains.values().find(is_of);
            found.cloned().unwrap_or_default()
        };
        GetSigningReply {
            version: self.version,
            domains: asked.iter().map(of).collect(),
            operator_keys: self.operator_keys.clone(),
        }
    }
}
