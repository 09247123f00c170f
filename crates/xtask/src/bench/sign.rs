//! DKIM signatures of one core: the example of the crate that signs, which no other process is part of.

use crate::run::{Result, cargo};

pub fn run() -> Result {
    let package = ["-p", "skein-dkim", "--example", "sign_rate"];
    cargo(
        &[&["run", "--release", "--locked"][..], &package].concat(),
        &[],
    )
}
