//! Sessions that log in, for `cargo xtask bench auth`: `auth_rate IP:PORT SECONDS [USER PASSWORD]` prints how many there were.

use std::time::Duration;

use anyhow::{Context, Result};
use skein_testkit::load::LoginLoad;

/// Enough to keep one core busy, and few enough that a client's place in line is not what is measured.
const SESSIONS: u32 = 16;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [target, seconds, login @ ..] = args.as_slice() else {
        anyhow::bail!("auth_rate IP:PORT SECONDS [USER PASSWORD]");
    };
    let login = match login {
        [user, password] => Some((user.clone(), password.clone())),
        _ => None,
    };
    let load = LoginLoad {
        target: target.parse().context("the address")?,
        login,
        sessions: SESSIONS,
        lasts: Duration::from_secs(seconds.parse().context("the seconds")?),
    };
    println!("{}", load.run().await?);
    Ok(())
}
