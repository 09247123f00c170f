//! Metrics and health on one HTTP port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::future::BoxFuture;
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

/// What the port tells of.
pub struct Health {
    pub registry: Registry,
    /// Why this process must be started again, if it must.
    pub broken: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// The first thing that is not ready, if any.
    pub not_ready: Box<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>,
}

pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
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
                _ = tokio::time::timeout(LASTS_MAX, answer(stream, router)) => {}
            }
            places.lock().leave(id);
        });
    }
}

async fn answer(stream: TcpStream, router: Router) {
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
async fn healthz(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match (health.broken)() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("broken: {why}\n")),
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match (health.not_ready)().await {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(what) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {what}\n"),
        ),
    }
}

async fn metrics(State(health): State<Arc<Health>>, asked: HeaderMap) -> impl IntoResponse {
    let accept = asked.get(header::ACCEPT);
    let format = Format::of(accept.and_then(|accept| accept.to_str().ok()));
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    match expose(&health.registry, format) {
        Ok(text) => (StatusCode::OK, content_type, text),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            content_type,
            String::new(),
        ),
    }
}
