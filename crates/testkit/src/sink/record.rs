use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SinkConfig;
use super::kept::Tail;

/// One MAIL transaction as the sink saw it, also when it was refused or broke off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// When its last bytes arrived, in milliseconds since the Unix epoch, as the kernel of the sink noted it.
    pub at_ms: u64,
    /// Counts up from 0 for each sink.
    pub connection: u64,
    /// The transactions of this connection before this one.
    pub index: u64,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: bool,
    /// The argument of EHLO or HELO.
    pub helo: String,
    /// The user that had logged in.
    pub user: Option<String>,
    /// The raw MAIL line without CRLF.
    pub mail: String,
    pub recipients: Vec<RecordRecipient>,
    /// The message after unstuffing, empty if it never came or `keep_messages` is off.
    #[serde(serialize_with = "as_base64", deserialize_with = "from_base64")]
    pub message: Vec<u8>,
    pub message_bytes: u64,
    /// The `X-Test-Id` of the message, or of the one that a DSN is about.
    pub test_id: Option<String>,
    /// What remains of the bytes to compare when `keep_messages` is off.
    pub tail: Option<Tail>,
    /// Whether the sink took responsibility for the message.
    pub accepted: bool,
    /// The code of the last negative reply, 0 if there was none.
    pub refused_with: u16,
}

/// One RCPT of a transaction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordRecipient {
    /// The raw RCPT line without CRLF.
    pub line: String,
    pub address: String,
    pub accepted: bool,
    /// The code it was answered with.
    pub code: u16,
}

impl Record {
    /// The return path; empty for `<>`.
    pub fn sender(&self) -> &str {
        super::path_address(&self.mail).unwrap_or_default()
    }

    /// Recipients that the sink has taken the message for; none if the message was not accepted.
    pub fn delivered_to(&self) -> impl Iterator<Item = &str> {
        let taken = self
            .recipients
            .iter()
            .filter(|r| self.accepted && r.accepted);
        taken.map(|r| r.address.as_str())
    }
}

/// Reads back the file of a sink that ran in another process.
///
/// # Errors
/// The file cannot be read, or a line is not a record. A last line that was cut off by the end of
/// its process is left out: the sink had not answered that transaction.
pub fn read_jsonl(path: &Path) -> io::Result<Vec<Record>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut records = Vec::new();
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        if line.ends_with(b"\n") {
            records.push(serde_json::from_slice(&line)?);
        }
        line.clear();
    }
    Ok(records)
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

fn as_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

/// The sink's memory.
pub(super) struct Book {
    records: Mutex<Vec<Arc<Record>>>,
    records_max: usize,
    file: Option<Mutex<BufWriter<File>>>,
    accepted: AtomicU64,
    overflowed: AtomicU64,
}

impl Book {
    pub(super) fn open(config: &SinkConfig) -> io::Result<Self> {
        let file = match &config.jsonl {
            Some(path) => {
                let file = File::options().create(true).append(true).open(path)?;
                Some(Mutex::new(BufWriter::new(file)))
            }
            None => None,
        };
        Ok(Self {
            records: Mutex::default(),
            records_max: config.records_max,
            file,
            accepted: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        })
    }

    /// # Errors
    /// The JSONL file cannot be written. A sink that cannot record must not accept.
    pub(super) fn write(&self, record: Record) -> io::Result<()> {
        if let Some(file) = &self.file {
            let mut file = file.lock();
            serde_json::to_writer(&mut *file, &record)?;
            file.write_all(b"\n")?;
            file.flush()?;
        }
        if record.accepted {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        let mut records = self.records.lock();
        if records.len() < self.records_max {
            records.push(Arc::new(record));
        } else {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn records(&self) -> Vec<Arc<Record>> {
        self.records.lock().clone()
    }

    pub(super) fn clear(&self) {
        self.records.lock().clear();
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
}
