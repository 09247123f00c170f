//! Reports that go by HTTPS (RFC 8460 5.4).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri};

use crate::https::Https;

const POST_WITHIN: Duration = Duration::from_secs(60);
/// Nothing is read of it but its status.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Posts a report, compressed by gzip.
///
/// # Errors
/// No server takes it: why.
pub async fn post(https: &Https, uri: &str, gzip: Bytes) -> Result<(), String> {
    let uri = uri
        .parse::<Uri>()
        .map_err(|error| format!("{uri}: {error}"))?;
    let host = uri
        .host()
        .ok_or_else(|| format!("{uri} names no host"))?
        .to_owned();
    let port = uri.port_u16().unwrap_or(https.port());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header("content-type", "application/tlsrpt+gzip")
        .body(Full::new(gzip))
        .map_err(|error| format!("{uri}: {error}"))?;
    let call = https.call(&host, port, request, ANSWER_BYTES_MAX);
    let answer = tokio::time::timeout(POST_WITHIN, call).await;
    let answer = answer.map_err(|_| format!("{host} does not answer"))?;
    let status = answer.map_err(|fault| fault.to_string())?.status;
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("{host} answers {status}")),
    }
}
