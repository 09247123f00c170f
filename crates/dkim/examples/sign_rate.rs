//! How many messages of 10 kB one core signs in a second, and where the time goes. `cargo xtask bench sign` runs it.
//!
//! Time is that of the processor, as Linux counts it for the thread, so that what else runs on the machine changes little.
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_dkim::key::KeyError;
use skein_dkim::{MessageSigner, PrivateKey, Signer};
use skein_model::UnixMs;

const MESSAGE_BYTES: usize = 10 << 10;
const MEASURED: Duration = Duration::from_secs(3);
const HEADER: &[u8] =
    b"From: news@example.com\r\nTo: someone@recipient.test\r\nSubject: What is new in November\r\n\
Date: Mon, 2 Jun 2025 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n\
Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\
List-Unsubscribe: <https://example.com/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";

fn main() -> Result<(), KeyError> {
    let rsa = |selector| -> Result<Signer, KeyError> {
        let key = Arc::new(PrivateKey::generate_rsa()?);
        Ok(Signer::new("example.com", selector, key))
    };
    let (first, second) = (rsa("sk1")?, rsa("sk2")?);
    let ed25519 = Arc::new(PrivateKey::ed25519_of(&[7; 32])?);
    let ed25519 = Signer::new("example.com", "ed", ed25519);
    let line = "<p>All work and no play makes Jack a dull boy.</p>\r\n";
    let body = line.repeat(MESSAGE_BYTES / line.len());
    println!("{:<28}{:>12}{:>14}", "", "messages/s", "microseconds");
    let mut none = 0.0;
    for (name, signers) in [
        ("hashed, not signed", vec![]),
        ("RSA-2048", vec![&first]),
        ("two RSA-2048", vec![&first, &second]),
        ("Ed25519", vec![&ed25519]),
        ("RSA-2048 and Ed25519", vec![&first, &ed25519]),
    ] {
        let per_s = rate(&signers, body.as_bytes());
        let micros = 1e6 / per_s;
        let share = match signers.is_empty() {
            true => {
                none = micros;
                String::new()
            }
            false => format!("  hashing is {:.1} %", 100.0 * none / micros),
        };
        println!("{name:<28}{per_s:>12.0}{micros:>14.1}{share}");
    }
    Ok(())
}

fn rate(signers: &[&Signer], body: &[u8]) -> f64 {
    let (began, before, mut count) = (Instant::now(), processor_s(), 0_u32);
    while began.elapsed() < MEASURED {
        let Ok(mut signer) = MessageSigner::new(HEADER) else {
            break;
        };
        signer.body(body);
        let signed = signer.finish(signers.iter().copied(), UnixMs(1_750_000_000_000));
        std::hint::black_box(signed.is_ok());
        count += 1;
    }
    let took = processor_s()
        .zip(before)
        .map(|(after, before)| after - before);
    f64::from(count) / took.unwrap_or(began.elapsed().as_secs_f64())
}

/// Time of this thread on a processor, in seconds; none on other systems.
fn processor_s() -> Option<f64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = told.split(' ').next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
