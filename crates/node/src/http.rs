//! Metrics and health on one HTTP port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use skein_client::connection::Line;
use skein_client::ports::{Places, network_of};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::health::{Health, Probe, answer};
use crate::telemetry::{Format, expose};

/// A monitor of a node has one or two; mail needs the descriptors.
const CONNECTIONS_MAX: usize = 64;
/// Until the head of a request is there, the next one's included: a client that asks seldom connects again.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// The least that hyper allows; a request here has some hundred bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Until a connection has taken all of its answers, however slowly it reads. Metrics of a large node are about a MiB.
const LASTS_MAX: Duration = Duration::from_secs(60);
/// When no descriptor is left, others end meanwhile.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        // As it is called by older configurations.
        .route("/healthz", get(livez))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// Serves as long as the process runs. Of too many connections, those of the client that has most are ended.
pub async fn serve(listener: TcpListener, router: Router) {
    let since = Instant::now();
    let places = Arc::new(Mutex::new(Places::new(CONNECTIONS_MAX)));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection to http.listen is not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let line = Arc::new(Line::new(since));
        let entered = places
            .lock()
            .enter(network_of(peer.ip()), false, line.clone());
        let Ok((id, displaced)) = entered else {
            continue;
        };
        if let Some(displaced) = displaced {
            displaced.cut();
        }
        let (places, router) = (places.clone(), router.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = line.ended() => {}
                _ = tokio::time::timeout(LASTS_MAX, converse(stream, router)) => {}
            }
            places.lock().leave(id);
        });
    }
}

async fn converse(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(
                router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let answered = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = answered.await {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

async fn livez(State(health): State<Arc<Health>>, query: RawQuery) -> impl IntoResponse {
    probe(&health, Probe::Live, &query).await
}

async fn startupz(State(health): State<Arc<Health>>, query: RawQuery) -> impl IntoResponse {
    probe(&health, Probe::Startup, &query).await
}

async fn readyz(State(health): State<Arc<Health>>, query: RawQuery) -> impl IntoResponse {
    probe(&health, Probe::Ready, &query).await
}

/// `?verbose` lists all checks.
async fn probe(health: &Health, probe: Probe, query: &RawQuery) -> (StatusCode, String) {
    let query = query.0.as_deref().unwrap_or_default();
    let is_verbose = query
        .split('&')
        .any(|part| part.split('=').next() == Some("verbose"));
    let (is_well, text) = answer(probe, &health.checks(probe).await, is_verbose);
    let status = match is_well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, text)
}

/// Empty before the start is done.
async fn metrics(State(health): State<Arc<Health>>, asked: HeaderMap) -> impl IntoResponse {
    let accept = asked.get(header::ACCEPT);
    let format = Format::of(accept.and_then(|accept| accept.to_str().ok()));
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    let exposed = match health.registry() {
        Some(registry) => expose(registry, format),
        None => expose(&Registry::default(), format),
    };
    match exposed {
        Ok(text) => (StatusCode::OK, content_type, text),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            content_type,
            String::new(),
        ),
    }
}
