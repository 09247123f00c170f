//! What tracking one message costs: HTML of 60 KB with 30 links, 8bit and quoted-printable.
//!
//! Run: `cargo run --release -p skein-tracking --example rewrite_cost`.
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use skein_attribution::{Key, Keys, KeysError, Purpose, TenantHash, Token};
use skein_mail::encode::Encoding;
use skein_model::{MessageId, UnixMs};
use skein_tracking::{ClickSealer, Mark, Options, rewrite, rewrite_message};

const NOW: UnixMs = UnixMs(1_764_547_200_000);
const MEASURED: Duration = Duration::from_millis(1500);

fn main() -> Result<(), KeysError> {
    let keys = Keys::new(vec![Key::new(1, UnixMs(0), &[7; 32])])?;
    let about = Token {
        tenant: TenantHash::of("acme"),
        message: MessageId([9; 16]),
        recipient: 0,
    };
    let options = Options {
        host: "t.example.com",
        clicks: true,
        opens: true,
        utm: &[("utm_source", "newsletter")],
        leave_url_texts: false,
        unsubscribe_urls: &[],
    };
    let sealed = || {
        let sealer = ClickSealer::new(&keys, about, UnixMs(NOW.0 + 1_000_000_000), NOW);
        let keys = &keys;
        move |mark: Mark<'_>| match mark {
            Mark::Link { index, target } => sealer.seal(index, target),
            Mark::Pixel => Some(keys.sign(Purpose::Open, &about, NOW).to_string()),
        }
    };
    let html = html();
    let message = |encoding: Option<Encoding>| {
        let label = encoding.map_or("8bit", Encoding::name);
        let mut out = format!(
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: {label}\r\n\r\n"
        )
        .into_bytes();
        match encoding {
            Some(encoding) => encoding.encode(html.as_bytes(), true, &mut out),
            None => out.extend_from_slice(html.as_bytes()),
        }
        out
    };
    println!("{} octets of HTML; microseconds", html.len());
    print_cost("seals of 30 links", || {
        let sign = sealed();
        for index in 0..30 {
            black_box(sign(Mark::Link {
                index,
                target: "https://www.example.com/articles/2026?id=1",
            }));
        }
    });
    print_cost("HTML without seals", || {
        let sign = |_: Mark<'_>| Some("x".repeat(120));
        black_box(rewrite(html.as_bytes(), &options, true, 0, sign).is_ok());
    });
    print_cost("HTML", || {
        black_box(rewrite(html.as_bytes(), &options, true, 0, sealed()).is_ok());
    });
    for (name, encoding) in [
        ("message, 8bit", None),
        ("message, quoted-printable", Some(Encoding::QuotedPrintable)),
        ("message, base64", Some(Encoding::Base64)),
    ] {
        let message = message(encoding);
        print_cost(name, || {
            black_box(rewrite_message(&message, &options, sealed()).links.len());
        });
    }
    Ok(())
}

/// Tables with styles, as newsletters have them.
fn html() -> String {
    let mut html =
        String::from("<!doctype html><html><head><style>td{padding:0}</style></head><body>\r\n");
    for n in 0..30 {
        html.push_str(&format!(
            "<a href=\"https://www.example.com/articles/2026?id={n}&amp;from=mail\">Read on</a>\r\n"
        ));
        for _ in 0..9 {
            html.push_str(
                "<table width=\"100%\" cellpadding=\"0\" style=\"border:0;font-family:Arial\"><tr><td>All work and no play makes Jack \
                 a dull boy.\r\nAll play and no work makes him a mere toy, as they say in \u{d6}sterreich.</td></tr></table>\r\n",
            );
        }
    }
    html.push_str("</body></html>\r\n");
    html
}

fn print_cost(name: &str, mut once: impl FnMut()) {
    let began = Instant::now();
    let mut times = 0u32;
    while began.elapsed() < MEASURED {
        once();
        times += 1;
    }
    let micros = began.elapsed().as_secs_f64() * 1e6 / f64::from(times);
    println!("{name:<28}{micros:>10.1}");
}
