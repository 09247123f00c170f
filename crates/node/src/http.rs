//! Metrics and health on one HTTP port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use skein_client::connection::Line;
use skein_client::ports::{Places, network_of};
use skein_control::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::health::{Health, Probe, answer};

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

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let mut text = String::new();
    for Gauge { name, help, value } in health.gauges() {
        text.push_str(&format!(
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
        ));
    }
    let encoded = match health.registry() {
        Some(registry) => encode(&mut text, registry),
        None => encode(&mut text, &Registry::default()),
    };
    if encoded.is_err() {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            String::new(),
        );
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], text)
}
