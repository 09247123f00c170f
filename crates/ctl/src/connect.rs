//! The way to the admin API, and who goes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use anyhow::{Context as _, bail};
use clap::Args;
use skein_client::tls;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tower::Service;

use crate::transport;

/// Of the help.
const CONNECTION: &str = "Connection";

#[derive(Debug, Args)]
pub struct Server {
    /// The admin API of any control node: http://host:port or https://host:port.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:7001"
    )]
    pub server: String,
    /// With https: the CA of the server's certificate, a PEM file. `send` and `probe` trust it too.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_CA",
        value_name = "FILE"
    )]
    pub ca: Option<PathBuf>,
    /// With https: the certificate that says who you are, a PEM file.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_CERT",
        value_name = "FILE"
    )]
    cert: Option<PathBuf>,
    /// A token that says who you are, in place of a certificate: a file with what `credential create --role` showed. Without
    /// it, SKEINCTL_TOKEN may be the token itself.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_TOKEN_FILE",
        value_name = "FILE"
    )]
    token_file: Option<PathBuf>,
    /// The token itself. Other users of the machine see command lines: it is for the variable.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_TOKEN",
        hide = true,
        hide_env_values = true
    )]
    token: Option<String>,
    /// The private key of --cert.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_KEY",
        value_name = "FILE"
    )]
    key: Option<PathBuf>,
}

/// Calls bring the token along, if there is one.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: skein_client::Channel,
    token: Option<HeaderValue>,
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <skein_client::Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        self.inner.call(request)
    }
}

pub fn channel(to: &Server) -> anyhow::Result<Channel> {
    Ok(Channel {
        token: token(to)?,
        inner: connect(to)?,
    })
}

fn token(to: &Server) -> anyhow::Result<Option<HeaderValue>> {
    let token = match &to.token_file {
        Some(file) => fs::read_to_string(file).with_context(|| name("--token-file", file))?,
        None => to.token.clone().unwrap_or_default(),
    };
    let token = token.trim();
    if token.is_empty() {
        match &to.token_file {
            Some(file) => bail!("{} has no token", name("--token-file", file)),
            None => return Ok(None),
        }
    }
    let is_private = transport::Target::parse(&to.server).is_ok_and(|target| target.is_private());
    if !is_private {
        bail!(
            "--server {}: a token goes over https, or to this machine itself: others could read it on its way",
            to.server
        );
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .context("the token has signs that none has")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn connect(to: &Server) -> anyhow::Result<skein_client::Channel> {
    let shape = || {
        format!(
            "--server {:?} is not like http://host:port or https://host:port",
            to.server
        )
    };
    let Some(address) = to.server.strip_prefix("https://") else {
        return skein_client::connect(to.server.clone()).with_context(shape);
    };
    let Some(ca) = &to.ca else {
        bail!(
            "--server {}: https needs --ca FILE, the CA of the server",
            to.server
        );
    };
    let roots = tls::roots(&read("--ca", ca)?).with_context(|| name("--ca", ca))?;
    let own = match (&to.cert, &to.key) {
        (Some(cert), Some(key)) => {
            let chain = tls::own_chain(&read("--cert", cert)?);
            let chain = chain.with_context(|| name("--cert", cert))?;
            let private = tls::key(&read("--key", key)?).with_context(|| name("--key", key))?;
            Some(tls::identity(chain, private).with_context(|| name("--key", key))?)
        }
        (None, None) => None,
        (Some(_), None) => bail!("--cert needs --key FILE, its private key"),
        (None, Some(_)) => bail!("--key needs --cert FILE, the certificate that it is of"),
    };
    let config = tls::client_config(roots, own)?;
    let address = address.trim_end_matches('/');
    tls::connect(address, config).with_context(shape)
}

fn read(option: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| name(option, path))
}

fn name(option: &str, path: &Path) -> String {
    format!("{option} {}", path.display())
}
