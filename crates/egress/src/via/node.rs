//! Through the egress node that an IP is on.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::error::{RouteFault, ViaError};
use crate::Stream;
use crate::dial::TargetFault;
use crate::protocol::{EPOCH, ERROR, IP, SOURCE, TIMEOUT_MS};

/// The egress node counts the time of its attempt, and its answer has to come back. Later than that, it is the node that is
/// broken and not the target.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// The least that hyper allows.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// A sentence.
const TEXT_BYTES_MAX: usize = 1 << 10;

pub(super) async fn connect(
    stream: Stream,
    ip: &str,
    epoch: u64,
    target: SocketAddr,
    limit: Duration,
) -> Result<(Stream, String), ViaError> {
    let request = Request::connect(target.to_string())
        .header(HOST, target.to_string())
        .header(IP, ip)
        .header(EPOCH, epoch)
        .header(TIMEOUT_MS, limit.as_millis().to_string())
        .body(Empty::new())
        .map_err(|_| {
            ViaError::route(RouteFault::Protocol, format!("ip {ip} cannot be asked for"))
        })?;
    match timeout(limit + ANSWER_MARGIN, ask(stream, request)).await {
        Ok(answer) => answer,
        Err(_) => {
            let text = format!("the egress node of {ip} did not answer");
            Err(ViaError::route(RouteFault::Unreachable, text))
        }
    }
}

async fn ask(stream: Stream, request: Request<Empty<Bytes>>) -> Result<(Stream, String), ViaError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let source = source(response.headers());
        // With it come the bytes that were read behind the header.
        let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
        let stream: Stream = Box::new(TokioIo::new(upgraded));
        Ok((stream, source))
    };
    let connection = connection.with_upgrades();
    tokio::pin!(answered, connection);
    tokio::select! {
        answer = &mut answered => answer,
        // It ended with the upgrade, or with an error that the request has as well.
        _ = &mut connection => answered.await,
    }
}

fn broken(error: hyper::Error) -> ViaError {
    match error.is_parse() {
        true => ViaError::route(
            RouteFault::Protocol,
            "the egress node's answer cannot be read",
        ),
        false => ViaError::route(
            RouteFault::Unreachable,
            "the egress node ended the connection",
        ),
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// The address without its port.
fn source(headers: &HeaderMap) -> String {
    let text = text(headers, SOURCE);
    match text.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => text,
    }
}

async fn refusal(response: Response<Incoming>) -> ViaError {
    let status = response.status();
    let word = text(response.headers(), ERROR);
    let body = Limited::new(response.into_body(), TEXT_BYTES_MAX);
    let text = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    judge(status, &word, &text)
}

/// What an answer other than 200 says. An unknown word of a later version is judged by its status.
pub(super) fn judge(status: StatusCode, word: &str, text: &str) -> ViaError {
    let text = format!("the egress node: {status} {text}");
    let target = |fault| ViaError::Target {
        fault,
        text: text.clone(),
    };
    let fault = match (word, status) {
        ("refused", _) => return target(TargetFault::Refused),
        ("timeout", _) => return target(TargetFault::Timeout),
        ("unreachable", _) => return target(TargetFault::Unreachable),
        ("bind", _) => RouteFault::Bind,
        ("family", _) => RouteFault::Family,
        ("ahead", _) => RouteFault::Ahead,
        ("target" | "role", _) => RouteFault::Forbidden,
        (_, StatusCode::NOT_FOUND) => RouteFault::NotHeld,
        (_, StatusCode::CONFLICT) => RouteFault::Stale,
        (_, StatusCode::FORBIDDEN) => RouteFault::Suspended,
        (_, StatusCode::TOO_MANY_REQUESTS) => RouteFault::Cap,
        (_, StatusCode::SERVICE_UNAVAILABLE) => RouteFault::Full,
        _ => RouteFault::Protocol,
    };
    ViaError::route(fault, text)
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
