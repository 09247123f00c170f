//! A thread that lives at a host: its sockets are in that host's network, and so are the processes that it starts.

use std::future::Future;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::{Result, io_error, namespaces};

/// The thread ends when this is dropped, with all that runs on it.
#[derive(Debug)]
pub struct Outpost {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Outpost {
    /// `namespace` is where; none is here.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn start(namespace: Option<PathBuf>) -> Result<Self> {
        let (told, started) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = namespace
                .map_or(Ok(()), |namespace| namespaces::enter(&namespace))
                .and_then(|()| {
                    let mut runtime = Builder::new_current_thread();
                    runtime.enable_all().build().map_err(io_error("a runtime"))
                });
            match runtime {
                Ok(runtime) => {
                    // The caller waits for the answer.
                    let _ = told.send(Ok(runtime.handle().clone()));
                    let _ = runtime.block_on(stopped);
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            }
        });
        let runtime = started.recv().expect("the thread tells before it ends")?;
        Ok(Self {
            runtime,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// Runs this there and waits for it here.
    ///
    /// # Panics
    /// The work did.
    pub fn block_on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (told, done) = mpsc::channel();
        let task = self.spawn(async move {
            // The caller is there until this is told.
            let _ = told.send(work.await);
        });
        match done.recv() {
            Ok(result) => result,
            Err(_) => {
                let (told, reason) = mpsc::channel();
                self.spawn(async move {
                    let _ = told.send(task.await);
                });
                let reason = reason.recv().expect("the thread lives");
                let panic = reason.expect_err("work that told nothing did not end well");
                std::panic::resume_unwind(panic.into_panic())
            }
        }
    }
}

impl Drop for Outpost {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It has nothing left to say.
            let _ = thread.join();
        }
    }
}
