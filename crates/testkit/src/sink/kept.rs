//! What a record keeps of a message.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::load::{TEST_BYTES_HEADER, TEST_ID_HEADER, header};

/// A null return path means a notification, which the oracle must read: kept up to this size.
const NOTIFICATION_BYTES_MAX: usize = 256 << 10;

/// The end of a message as the hash of as many bytes as its `X-Test-Bytes` header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    pub bytes: u64,
    /// In hexadecimal; empty if the message is shorter than that.
    pub sha256: String,
}

impl Tail {
    pub fn of(message: &[u8], bytes: u64) -> Self {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut sha256 = String::new();
        if let Some(start) = message.len().checked_sub(length) {
            for byte in Sha256::digest(&message[start..]) {
                write!(sha256, "{byte:02x}").expect("a String takes all text");
            }
        }
        Self { bytes, sha256 }
    }
}

pub(super) struct Kept {
    pub(super) message: Vec<u8>,
    pub(super) test_id: Option<String>,
    pub(super) tail: Option<Tail>,
}

impl Kept {
    pub(super) fn of(message: Vec<u8>, return_path: &str, keep_all: bool) -> Self {
        let test_id = header(&message, TEST_ID_HEADER);
        let notification = return_path.is_empty() && message.len() <= NOTIFICATION_BYTES_MAX;
        if keep_all || notification {
            return Self {
                message,
                test_id,
                tail: None,
            };
        }
        let bytes = header(&message, TEST_BYTES_HEADER).and_then(|text| text.parse().ok());
        Self {
            tail: bytes.map(|bytes| Tail::of(&message, bytes)),
            message: Vec::new(),
            test_id,
        }
    }
}
