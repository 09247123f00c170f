use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use skein_testkit::process::{Node, NodeConfig};

use crate::{READY, loopback, skein};

/// A process and where it is reached.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    /// None while it does not run.
    pub node: Option<Node>,
    /// Where other nodes reach a control node.
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub smtp: SocketAddr,
    /// Where it tells how it does.
    pub http: SocketAddr,
    /// Its file and its log are beside that.
    pub data_dir: PathBuf,
}

impl Member {
    /// One that has no file yet, and its own place in the folder.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            node: None,
            address: loopback()?,
            admin: loopback()?,
            smtp: loopback()?,
            http: loopback()?,
            data_dir: folder.join(name),
        })
    }

    fn file(&self) -> PathBuf {
        self.data_dir.with_extension("toml")
    }

    /// Writes its file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.file(), text)?)
    }

    /// Starts it, which takes a while.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        self.spawn_with(&[])
    }

    /// The same, with variables in its environment.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn_with(&mut self, env: &[(&str, &str)]) -> Result<()> {
        let mut config = NodeConfig::serve(&skein()?, &self.file(), self.http);
        let env = env.iter();
        config.env = env
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.node = Some(Node::start(config)?);
        Ok(())
    }

    /// Waits until it does its work.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        let node = self.node.as_mut().context("it does not run")?;
        Ok(node.ready(READY).await?)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut node = self.node.take().context("it does not run")?;
        node.kill9()?;
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub async fn ended(&mut self, within: Duration) -> Result<()> {
        let mut node = self.node.take().context("it does not run")?;
        node.wait(within).await?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It does not run, does not end in time, or says that something went wrong.
    pub async fn stop(&mut self) -> Result<()> {
        let mut node = self.node.take().context("it does not run")?;
        node.term()?;
        let status = node.wait(READY).await?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}
