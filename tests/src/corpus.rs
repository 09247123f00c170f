//! Messages of all kinds: the test data of mail-parser and mail-auth, and generated ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

/// A message and where it is from.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The test data of both, as it is and with whole line ends as a mail program sends it.
///
/// # Errors
/// Cargo does not tell where mail-parser is, or it has no messages.
pub fn collected() -> Result<Vec<Sample>> {
    let mut files = Vec::new();
    find(&mail_parser()?.join("resources"), &mut files)?;
    let parser = files.len();
    ensure!(parser >= 100, "mail-parser has {parser} messages");
    let own = crate::manifest_dir().join("corpus");
    find(&own, &mut files)?;
    ensure!(
        files.len() >= parser + 20,
        "mail-auth's messages are missing"
    );
    let mut samples = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file)?;
        let name = file.display().to_string();
        let whole = with_crlf(&bytes);
        if whole != bytes {
            let name = format!("{name} with CRLF");
            samples.push(Sample { name, bytes: whole });
        }
        samples.push(Sample { name, bytes });
    }
    Ok(samples)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "eml")
            || path.parent().is_some_and(|folder| folder.ends_with("cur"))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Where cargo keeps the sources of the version that is used.
fn mail_parser() -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let asked = |program: &str, args: &[&str]| -> Result<Vec<u8>> {
        let folder = crate::manifest_dir();
        let output = Command::new(program)
            .args(args)
            .current_dir(folder)
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(output.stdout)
    };
    // Packages that only other platforms need are not here.
    let compiler = String::from_utf8(asked("rustc", &["-vV"])?)?;
    let platform = compiler
        .lines()
        .find_map(|line| line.strip_prefix("host: "));
    let platform = platform.context("rustc does not say what it runs on")?;
    let question = ["metadata", "--format-version", "1", "--locked", "--offline"];
    let args = [&question[..], &["--filter-platform", platform]].concat();
    let output = asked(&cargo, &args)?;
    let metadata: serde_json::Value = serde_json::from_slice(&output)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let package = packages
        .iter()
        .find(|package| package["name"] == "mail-parser");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.context("mail-parser is not a dependency")?);
    Ok(manifest.parent().context("a folder")?.to_owned())
}

/// Each CRLF stays, each other CR or LF becomes one.
pub fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'\r', b'\n', ..] => {
                out.extend_from_slice(b"\r\n");
                at += 1;
            }
            [b'\r' | b'\n', ..] => out.extend_from_slice(b"\r\n"),
            [byte, ..] => out.push(*byte),
            [] => {}
        }
        at += 1;
    }
    out
}

/// Whether a CR or LF is no part of a CRLF.
pub fn has_bare(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        match rest[at..].strip_prefix(b"\r\n") {
            Some(after) => rest = after,
            None => return true,
        }
    }
    false
}

/// So many messages, the same for the same seed.
pub fn generated(seed: u64, count: usize) -> impl Iterator<Item = Sample> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(move |number| {
        let bytes = message(&mut rng);
        let name = format!("generated {seed}/{number}");
        Sample { name, bytes }
    })
}

fn message(rng: &mut StdRng) -> Vec<u8> {
    if rng.random_ratio(1, 20) {
        let mut bytes = vec![0; rng.random_range(0..600)];
        rng.fill_bytes(&mut bytes);
        return bytes;
    }
    let mut out = Vec::new();
    header(rng, &mut out);
    entity(rng, 3, &mut out);
    spoil(rng, &mut out);
    out
}

fn header(rng: &mut StdRng, out: &mut Vec<u8>) {
    let fields: &[(u32, &str)] = &[
        (90, "From: a@here.test\r\n"),
        (90, "Subject: hello\r\n"),
        (10, "Subject: gr\u{fc}n\r\n"),
        (10, "X-Folded: one\r\n\ttwo\r\n three\r\n"),
        (60, "MIME-Version: 1.0\r\n"),
        (
            10,
            "DKIM-Signature: v=1; a=rsa-sha256; d=here.test;\r\n\tb=abc=\r\n",
        ),
        (3, "ARC-Seal: i=1; b=abc\r\n"),
        (2, "no field at all\r\n"),
        (2, "From someone Thu Jan  1 00:00:00 1970\r\n"),
    ];
    for (percent, field) in fields {
        if rng.random_ratio(*percent, 100) {
            out.extend_from_slice(field.as_bytes());
        }
    }
    if rng.random_ratio(1, 50) {
        out.extend_from_slice(format!("X-Long: {}\r\n", "x".repeat(1200)).as_bytes());
    }
}

/// The fields of content and the content.
fn entity(rng: &mut StdRng, depth: u32, out: &mut Vec<u8>) {
    match rng.random_range(0..if depth == 0 { 6 } else { 10 }) {
        0 => out.extend_from_slice(b"\r\n"),
        1 => label(rng, "text/plain; charset=utf-8", out),
        2 => label(rng, "text/plain; charset=iso-8859-1", out),
        3 => label(rng, "text/html; charset=\"utf-8\"", out),
        4 => label(rng, "application/octet-stream", out),
        5 => label(rng, "text/plain (a comment); format=flowed", out),
        6 => {
            label(rng, "message/rfc822", out);
            header(rng, out);
            return entity(rng, depth - 1, out);
        }
        kind => return parts(rng, kind, depth, out),
    }
    for _ in 0..rng.random_range(0..8) {
        line(rng, out);
    }
}

fn label(rng: &mut StdRng, kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
    let encodings = [
        "",
        "7bit",
        "8bit",
        "8bit",
        "binary",
        "quoted-printable",
        "base64",
    ];
    match *encodings.choose(rng).unwrap_or(&"") {
        "" => {}
        encoding => {
            let field = format!("Content-Transfer-Encoding: {encoding}\r\n");
            out.extend_from_slice(field.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn parts(rng: &mut StdRng, kind: usize, depth: u32, out: &mut Vec<u8>) {
    let boundary = format!("=_{}", rng.random::<u32>());
    let kind = match kind {
        7 => "mixed",
        8 => "alternative",
        _ => *["signed", "digest", "related"]
            .choose(rng)
            .unwrap_or(&"mixed"),
    };
    let field = format!("Content-Type: multipart/{kind};\r\n\tboundary=\"{boundary}\"\r\n");
    out.extend_from_slice(field.as_bytes());
    if rng.random_ratio(1, 3) {
        out.extend_from_slice(b"Content-Transfer-Encoding: 8bit\r\n");
    }
    out.extend_from_slice(b"\r\nfor old readers\r\n");
    for _ in 0..rng.random_range(1..4) {
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        entity(rng, depth - 1, out);
        if !out.ends_with(b"\r\n") || rng.random_ratio(1, 2) {
            out.extend_from_slice(b"\r\n");
        }
    }
    if rng.random_ratio(19, 20) {
        out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    }
}

fn line(rng: &mut StdRng, out: &mut Vec<u8>) {
    let lines: &[&[u8]] = &[
        b"plain text",
        b"",
        b".",
        b"..",
        b".dot",
        b"From here",
        b"blanks at the end \t",
        b"a=b",
        "gr\u{fc}n und sch\u{f6}n".as_bytes(),
        "\u{4f60}\u{597d}\u{4e16}\u{754c}".as_bytes(),
        b"latin gr\xfcn",
        b"binary \x00\x01\xff",
        b"-----BEGIN PGP SIGNED MESSAGE-----",
        b"--=_0",
    ];
    let weights = [30, 10, 3, 3, 3, 3, 3, 3, 10, 5, 3, 1, 1, 1];
    let all: Vec<_> = lines.iter().zip(weights).collect();
    if let Ok((line, _)) = all.choose_weighted(rng, |(_, weight)| *weight) {
        out.extend_from_slice(line);
    }
    if rng.random_ratio(1, 100) {
        out.extend_from_slice(&b"long ".repeat(300));
    }
    out.extend_from_slice(b"\r\n");
}

/// Now and then something that no good client sends.
fn spoil(rng: &mut StdRng, out: &mut Vec<u8>) {
    let ends: &[&[u8]] = &[
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\n.\r",
        b"\r\r\n.\r\n",
        b"\n",
        b"\r",
    ];
    if rng.random_ratio(1, 10) {
        let end = ends.choose(rng).copied().unwrap_or_default();
        let at = rng.random_range(0..=out.len());
        let forged = b"MAIL FROM:<ceo@bank.test>\r\nRCPT TO:<smuggled@there.test>\r\nDATA\r\n";
        out.splice(at..at, [end, forged].concat());
    }
    if rng.random_ratio(1, 10) {
        out.truncate(out.len().saturating_sub(rng.random_range(1..5)));
    }
}
