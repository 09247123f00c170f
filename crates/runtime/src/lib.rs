//! Tasks that run as long as the process, and the end of a process that has broken its invariants.
//!
//! A node some of whose loops are gone looks alive and is not: it answers, and mail stands still. So it ends instead, says
//! why, and is started again by whoever looks after it.

use std::any::Any;
use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "failpoints")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Context;
use std::time::Duration;

/// The status of a process that has broken an invariant: EX_SOFTWARE of sysexits(3).
pub const BROKEN: i32 = 70;

/// Another task that fails says so within microseconds after what it served has seen that it is gone.
const CAUSE_SAID_WITHIN: Duration = Duration::from_millis(200);

/// Before it runs, and in tests, what ends is nobody's loss.
const STARTING: u8 = 0;
const RUNNING: u8 = 1;
const STOPPING: u8 = 2;
static PHASE: AtomicU8 = AtomicU8::new(STARTING);

/// The process begins its work: permanent tasks are to run from now on.
pub fn running() {
    PHASE.store(RUNNING, Ordering::Release);
}

/// The process stops: permanent tasks may end from now on.
pub fn stopping() {
    PHASE.store(STOPPING, Ordering::Release);
}

/// Ends the process at once: nothing that it would do from here on could be trusted. The first reason is the one that is told.
pub fn end(reason: impl Display) -> ! {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    if IS_ENDING.swap(true, Ordering::AcqRel) {
        loop {
            std::thread::park();
        }
    }
    tracing::error!("ending the process: {reason}");
    // For whoever keeps no log: standard error has no buffer, and whatever follows may not be waited for.
    eprintln!("skein: {reason}");
    exit_at_once(BROKEN)
}

/// Waits for what has failed and is about to say so, which ends the process; whatever else there is to say follows from it.
pub fn hear_cause() {
    std::thread::sleep(CAUSE_SAID_WITHIN);
}

/// Ends the process for what may follow from something else that has failed, and is about to say so: that is heard first.
pub async fn end_after_cause(reason: impl Display) -> ! {
    // The runtime's own time may stand still with what has failed.
    let reason = reason.to_string();
    std::thread::spawn(move || {
        hear_cause();
        end(reason);
    });
    match std::future::pending::<Infallible>().await {}
}

/// Ends the process, and nothing else. What libraries do at the end of a process, such as RocksDB's destructors, would meet
/// the threads that still run.
#[expect(
    unsafe_code,
    reason = "the standard library ends a process with those destructors, or with a signal instead of a status"
)]
pub fn exit_at_once(status: i32) -> ! {
    // SAFETY: it takes a number, and does not return.
    unsafe { libc::_exit(status) }
}

/// Runs a task as long as the process. It ends the process if it panics, or is done while the process does not stop.
pub fn task(name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(watched(name, task));
}

/// A permanent task that its starter keeps, and may abort. It is watched as those of [`task`] are.
pub async fn watched(name: &'static str, task: impl Future<Output = ()> + Send) {
    let mut task = Box::pin(async {
        fail_if_planted(name);
        task.await;
    });
    // Nothing of a task that has panicked is looked at again.
    let step = |context: &mut Context<'_>| {
        let step = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        step.unwrap_or_else(|panic| panicked(name, &*panic))
    };
    std::future::poll_fn(step).await;
    ended(name);
}

/// Runs a thread as long as the process, as [`task`] does for a task. It may end when what it serves is gone, which it says
/// by returning true.
///
/// # Errors
/// The system has no thread for it.
pub fn thread(
    name: &'static str,
    thread: impl FnOnce() -> bool + Send + 'static,
) -> io::Result<()> {
    let watched = move || {
        let run = AssertUnwindSafe(|| {
            fail_if_planted(name);
            thread()
        });
        match catch_unwind(run) {
            Ok(true) => {}
            Ok(false) => ended(name),
            Err(panic) => panicked(name, &*panic),
        }
    };
    std::thread::Builder::new()
        .name(name.into())
        .spawn(watched)?;
    Ok(())
}

/// A task often ends because of something else that has failed, and is about to say so: that is heard first.
fn ended(name: &'static str) {
    if PHASE.load(Ordering::Acquire) != RUNNING {
        return;
    }
    std::thread::spawn(move || {
        hear_cause();
        if PHASE.load(Ordering::Acquire) == RUNNING {
            end(format_args!(
                "the task {name:?} has ended, which is to run as long as the process"
            ));
        }
    });
}

fn panicked(name: &str, panic: &(dyn Any + Send)) -> ! {
    end(format_args!(
        "the task {name:?} has panicked: {}",
        said(panic)
    ));
}

/// What a panic said.
pub fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it gave no reason")
}

/// Does work that blocks, on a thread of its own. A panic goes on here.
///
/// A runtime that ends cancels work that has not begun. Whoever waits for it is about to end as well, and waits until then.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(feature = "failpoints")]
static PLANTED: OnceLock<String> = OnceLock::new();

/// Lets the permanent task of this name panic when it begins. The first call counts.
#[cfg(feature = "failpoints")]
pub fn plant_panic(name: String) {
    let _ = PLANTED.set(name);
}

#[cfg(feature = "failpoints")]
fn fail_if_planted(name: &str) {
    if PLANTED.get().is_some_and(|planted| planted == name) {
        panic!("planted in {name}");
    }
}

#[cfg(not(feature = "failpoints"))]
fn fail_if_planted(_name: &str) {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn work_that_a_runtime_cancels_is_no_panic() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .build();
        let runtime = runtime.expect("a runtime can be made");
        let (begun, has_begun) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        // The only thread is busy, so that the second work does not begin before the runtime ends.
        runtime.spawn(blocking(move || {
            let _ = begun.send(());
            let _ = goes_on.recv_timeout(Duration::from_secs(10));
        }));
        assert!(has_begun.recv_timeout(Duration::from_secs(10)).is_ok());
        let (panicked, has_panicked) = mpsc::channel();
        runtime.spawn(async move {
            let watched = tokio::spawn(blocking(|| ()));
            if watched.await.is_err_and(|error| error.is_panic()) {
                let _ = panicked.send(());
            }
        });
        runtime.shutdown_background();
        drop(go_on);
        assert!(
            has_panicked
                .recv_timeout(Duration::from_millis(200))
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_panic_of_blocking_work_is_its_callers() {
        let caller = tokio::spawn(blocking(|| panic!("here")));
        let error = caller.await.expect_err("it panicked");
        assert_eq!(said(&*error.into_panic()), "here");
        assert_eq!(blocking(|| 7).await, 7);
    }
}
