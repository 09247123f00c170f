//! The image and the chart's pods as containers that run: not as root, on a read-only root file system, without capabilities,
//! under seccomp. Needs root and Debian's dockerd, which is started for this test alone.

#![expect(clippy::unwrap_used, reason = "tests")]

mod compose;
mod engine;
mod pods;
mod rendered;
