//! A control node and a sender in processes of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use skein_testkit::process::{Node, NodeConfig};
use skein_testkit::sink::{Sink, SinkConfig};
use tempfile::TempDir;

use crate::{READY, loopback, skein};

/// Their files and addresses; the sender's smarthost is a sink.
#[derive(Debug)]
pub struct Apart {
    pub sink: Sink,
    pub smtp: SocketAddr,
    pub admin: SocketAddr,
    /// Where the control node listens to senders.
    pub peer: SocketAddr,
    control_http: SocketAddr,
    sender_http: SocketAddr,
    folder: TempDir,
}

impl Apart {
    /// `limits` and `delivery` are lines of these sections of the sender's file.
    pub async fn new(limits: &str, delivery: impl AsRef<str>) -> Result<Self> {
        let sink = Sink::start(SinkConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
        let apart = Self {
            sink,
            smtp: loopback()?,
            admin: loopback()?,
            peer: loopback()?,
            control_http: loopback()?,
            sender_http: loopback()?,
            folder: TempDir::new()?,
        };
        let peer = apart.peer;
        let folder = apart.folder.path().display();
        let control = format!(
            r#"
            role = "control"
            data_dir = "{folder}/control"
            [cluster]
            listen = "{peer}"
            peers = ["{peer}"]
            [admin]
            listen = "{admin}"
            [http]
            listen = "{http}"
            "#,
            admin = apart.admin,
            http = apart.control_http
        );
        let sender = format!(
            r#"
            role = "sender"
            data_dir = "{folder}/sender"
            [cluster]
            peers = ["{peer}"]
            name = "sender-1"
            [smtp]
            hostname = "mx.skein.test"
            [smtp.limits]
            {limits}
            [[smtp.listener]]
            address = "{smtp}"
            [http]
            listen = "{http}"
            [delivery]
            smarthost = "{sink}"
            {delivery}
            [delivery.retry]
            first = "200ms"
            cap = "1s"
            "#,
            smtp = apart.smtp,
            http = apart.sender_http,
            sink = apart.sink.address(),
            delivery = delivery.as_ref(),
        );
        std::fs::write(apart.config("control"), control)?;
        std::fs::write(apart.config("sender"), sender)?;
        Ok(apart)
    }

    fn config(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).with_extension("toml")
    }

    /// Starts the control node and waits until it is ready.
    pub async fn control(&self) -> Result<Node> {
        let config = NodeConfig::serve(&skein()?, &self.config("control"), self.control_http);
        let mut node = Node::start(config)?;
        node.ready(READY).await?;
        Ok(node)
    }

    /// Starts the sender.
    pub fn sender(&self, env: &[(&str, &str)]) -> Result<Node> {
        let mut config = NodeConfig::serve(&skein()?, &self.config("sender"), self.sender_http);
        let env = env.iter();
        config.env = env
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Ok(Node::start(config)?)
    }

    /// What the sender has said so far, in all of its lives.
    pub fn sender_log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.config("sender").with_extension("log"),
        )?)
    }
}
