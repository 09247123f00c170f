//! Where the parts of each body are.

use std::collections::HashMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use parking_lot::Mutex;
use rocksdb::{DB, IteratorMode, WriteBatch};
use skein_model::{MessageId, codec};

use super::BodyInfo;
use crate::db::{BODIES, column, disk_failed};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Part {
    #[n(0)]
    pub segment: u64,
    /// Of the data, behind its header.
    #[n(1)]
    pub offset: u64,
    #[n(2)]
    pub bytes: u32,
    #[n(3)]
    pub crc32c: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    #[n(0)]
    pub parts: Vec<Part>,
    /// Of the whole. A row of an older build has none, and combining those of the parts takes longer than reading most bodies.
    #[n(1)]
    pub crc32c: Option<u32>,
}

impl Body {
    pub fn info(&self) -> BodyInfo {
        let bytes = self.parts.iter().map(|part| u64::from(part.bytes)).sum();
        let crc32c = self.crc32c.unwrap_or_else(|| self.combined());
        BodyInfo { bytes, crc32c }
    }

    fn combined(&self) -> u32 {
        let none = crc32c::crc32c(&[]);
        self.parts.iter().fold(none, |before, part| {
            crc32c::crc32c_combine(before, part.crc32c, part.bytes as usize)
        })
    }
}

pub struct Index {
    db: Arc<DB>,
    /// Held from reading a row to changing it, so that a body which is moved and freed at once is not found again.
    changing: Mutex<()>,
}

impl Index {
    pub fn new(db: Arc<DB>) -> Self {
        Self {
            db,
            changing: Mutex::new(()),
        }
    }

    pub fn get(&self, id: MessageId) -> Option<Body> {
        let bytes = match self.db.get_cf(column(&self.db, BODIES), id.0) {
            Ok(bytes) => bytes?,
            Err(error) => disk_failed("reading the index of bodies", &error),
        };
        Some(decode(&bytes))
    }

    pub fn put_all<'b>(&self, bodies: impl Iterator<Item = (MessageId, &'b Body)>) {
        let mut batch = WriteBatch::default();
        for (id, body) in bodies {
            batch.put_cf(column(&self.db, BODIES), id.0, codec::encode(body));
        }
        if let Err(error) = self.db.write(batch) {
            disk_failed("writing the index of bodies", &error);
        }
    }

    /// Points a part of a body to its new place; false when the body is no longer here or was moved before.
    pub fn replace(&self, id: MessageId, from: &Part, to: &Part) -> bool {
        let _changing = self.changing.lock();
        let Some(mut body) = self.get(id) else {
            return false;
        };
        let Some(part) = body.parts.iter_mut().find(|part| *part == from) else {
            return false;
        };
        *part = to.clone();
        self.put_all(std::iter::once((id, &body)));
        true
    }

    pub fn remove(&self, id: MessageId) -> Option<Body> {
        let _changing = self.changing.lock();
        let body = self.get(id)?;
        if let Err(error) = self.db.delete_cf(column(&self.db, BODIES), id.0) {
            disk_failed("writing the index of bodies", &error);
        }
        Some(body)
    }

    fn rows(&self) -> impl Iterator<Item = (MessageId, Body)> {
        self.db
            .iterator_cf(column(&self.db, BODIES), IteratorMode::Start)
            .map(|row| match row {
                Ok((key, value)) => {
                    let id = key[..]
                        .try_into()
                        .map(MessageId)
                        .expect("keys of the index are message ids");
                    (id, decode(&value))
                }
                Err(error) => disk_failed("reading the index of bodies", &error),
            })
    }

    pub fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.rows().map(|(id, _)| id)
    }

    /// Bytes in use by segment.
    pub fn live_bytes(&self) -> HashMap<u64, u64> {
        let mut live = HashMap::new();
        for (_, body) in self.rows() {
            for part in body.parts {
                *live.entry(part.segment).or_default() += u64::from(part.bytes);
            }
        }
        live
    }
}

fn decode(bytes: &[u8]) -> Body {
    match codec::decode(bytes) {
        Ok(body) => body,
        Err(error) => disk_failed("reading the index of bodies", &error),
    }
}
