//! Messages with values that are random, or nearly right.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use skein_model::spool::{self, FlushScope};
use skein_model::{
    Epoch, GroupId, LimitMs, MessageId, NodeId, QueueId, SessionId, Slot, TaskId, UnixMs, codec,
    meta,
};

use super::proto::{Field, Protos};

/// What is true of the cluster that is called, so that some of what is said about it is nearly right.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    pub node: u64,
    pub address: String,
    pub sender: String,
    pub session: u64,
    /// Of a message, of which there are some.
    pub messages: Vec<String>,
    pub spool_groups: u16,
}

const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    255,
    1023,
    1024,
    65_535,
    65_536,
    1 << 31,
    u32::MAX as u64,
    1 << 40,
    1 << 48,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];
const TEXTS: [&str; 22] = [
    "",
    "default",
    "google",
    "bad host:1",
    "127.0.0.1:7000",
    "[::1]:0",
    "a:99999",
    "a\r\nb",
    "\0",
    "ä\u{202e}",
    "00000000000000000000000000",
    "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "d1.test",
    "192.0.2.1",
    "ip/a",
    "kind: pool\nname: p\n",
    "0123456789abcdef",
    "-1",
    "transactional",
    "sent",
    "..",
    "*",
];
/// Messages within messages: requests have three levels.
const DEPTH_MAX: usize = 4;
const LIST_MAX: usize = 4;

pub struct Values<'a> {
    pub protos: &'a Protos,
    pub truth: &'a Truth,
    pub random: StdRng,
}

impl Values<'_> {
    /// What one call sends.
    pub fn requests(&mut self, request: &str, is_stream: bool) -> Vec<Bytes> {
        let count = match is_stream {
            true => self.random.random_range(0..LIST_MAX),
            false => 1,
        };
        (0..count).map(|_| self.request(request)).collect()
    }

    fn request(&mut self, name: &str) -> Bytes {
        let mut bytes = self.message(name, 0);
        match self.random.random_range(0..12) {
            0 => bytes = self.noise(),
            1 if !bytes.is_empty() => {
                let place = self.random.random_range(0..bytes.len());
                bytes[place] = self.random.random();
            }
            _ => {}
        }
        bytes.into()
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.random.random_range(0..64);
        (0..length).map(|_| self.random.random()).collect()
    }

    fn message(&mut self, name: &str, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let fields: Vec<Field> = self.protos.fields(name).unwrap_or_default().to_vec();
        for field in fields {
            let times = match (field.is_repeated, self.random.random_range(0..8)) {
                (_, 0) => 0,
                (true, _) => self.random.random_range(0..LIST_MAX),
                (false, _) => 1,
            };
            for _ in 0..times {
                self.field(&field, depth, &mut out);
            }
        }
        out
    }

    fn field(&mut self, field: &Field, depth: usize, out: &mut Vec<u8>) {
        let bytes = match field.kind.as_str() {
            "string" => self.text(&field.name).into_bytes(),
            "bytes" => self.bytes(&field.name),
            "fixed64" => {
                tag(field.number, 1, out);
                out.extend(self.number(&field.name).to_le_bytes());
                return;
            }
            kind if self.protos.fields(kind).is_some() && depth < DEPTH_MAX => {
                self.message(kind, depth + 1)
            }
            _ => {
                tag(field.number, 0, out);
                varint(self.number(&field.name), out);
                return;
            }
        };
        tag(field.number, 2, out);
        varint(bytes.len() as u64, out);
        out.extend(bytes);
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    fn number(&mut self, name: &str) -> u64 {
        if self.one_in(3) {
            return *NUMBERS.choose(&mut self.random).unwrap();
        }
        match name {
            "target" | "node" => self.truth.node,
            "session" => self.truth.session,
            "group" => self
                .random
                .random_range(0..=u64::from(self.truth.spool_groups)),
            "slot" => self.random.random_range(0..1024),
            "spool_groups" => self.truth.spool_groups.into(),
            "epoch" | "term" | "index" | "version" | "order" => self.random.random_range(0..50),
            _ if self.one_in(2) => self.random.random_range(0..10),
            _ => self.random.random(),
        }
    }

    fn text(&mut self, name: &str) -> String {
        match self.random.random_range(0..8) {
            0 => "x".repeat(self.random.random_range(0..2000)),
            1 | 2 => (*TEXTS.choose(&mut self.random).unwrap()).to_owned(),
            _ => match name {
                "id" | "message" | "message_id" => self.message_id().to_string(),
                "address" => self.truth.address.clone(),
                "sender" | "name" | "to" => self.truth.sender.clone(),
                "node" => format!("{:016x}", self.truth.node),
                "kind" => "ip".to_owned(),
                _ => (*TEXTS.choose(&mut self.random).unwrap()).to_owned(),
            },
        }
    }

    /// One that is there, or that looks like one: one digit is another, or the group is.
    fn message_id(&mut self) -> MessageId {
        let known = self.truth.messages.choose(&mut self.random);
        let mut id = known
            .and_then(|id| id.parse().ok())
            .unwrap_or_else(|| MessageId::new(UnixMs(1), GroupId(1), 7));
        if self.one_in(2) {
            let place = self.random.random_range(0..16);
            id.0[place] = self.random.random();
        }
        if self.one_in(4) {
            id.0[6..8].copy_from_slice(&[0, self.random.random_range(0..3)]);
        }
        id
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        let mut bytes = match name {
            "id" | "message_id" => self.message_id().0.to_vec(),
            "command" => self.command(),
            "report" | "reports" | "refile" | "accept" | "told" | "asks" => {
                // A row of some other kind.
                codec::encode(&self.task())
            }
            _ => self.noise(),
        };
        if self.one_in(6) && !bytes.is_empty() {
            let place = self.random.random_range(0..bytes.len());
            bytes[place] = self.random.random();
        }
        bytes
    }

    fn task(&mut self) -> TaskId {
        TaskId {
            message: self.message_id(),
            number: self.random.random_range(0..3),
        }
    }

    /// One of either machine, in no order and of no sense.
    fn command(&mut self) -> Vec<u8> {
        let session = SessionId(self.number("session"));
        let slot = Slot(self.number("slot") as u16);
        let epoch = Epoch(self.number("epoch"));
        let node = NodeId(self.number("node"));
        let (address, message) = (self.text("address"), self.message_id());
        let spool = |command: spool::Command| codec::encode(&command);
        let meta = |command: meta::Command| codec::encode(&command);
        match self.random.random_range(0..16) {
            0 => spool(spool::Command::Delete {
                message,
                by: self.text("by"),
            }),
            1 => spool(spool::Command::Flush(FlushScope::Message(message))),
            2 => spool(spool::Command::MoveTasks {
                queue: QueueId(self.random.random()),
                pool: self.text("pool"),
            }),
            3 => spool(spool::Command::OpenSlots(spool::OpenSlots {
                session,
                slots: vec![(slot, epoch)],
            })),
            4 => spool(spool::Command::Trim {
                events_before: self.number("before"),
                finished_before: UnixMs(self.number("before")),
                limit: self.number("limit") as u32,
            }),
            5 => meta(meta::Command::Invite(address)),
            6 => meta(meta::Command::Withdraw(address)),
            7 => meta(meta::Command::Join(meta::Join {
                node,
                address,
                version: self.text("version"),
                spool_groups: self.number("spool_groups") as u16,
            })),
            8 => meta(meta::Command::RemoveNode(node)),
            9 => meta(meta::Command::Found {
                cluster: meta::ClusterRow {
                    id: 1,
                    spool_groups: 4,
                },
                nodes: vec![(node, address)],
            }),
            10 => meta(meta::Command::MoveSlot { slot, to: session }),
            11 => meta(meta::Command::OpenSession {
                session,
                sender: self.text("sender"),
                order: self.number("order"),
            }),
            12 => meta(meta::Command::SetWeight {
                tenant: self.text("tenant"),
                weight: self.number("weight") as u32,
            }),
            13 => meta(meta::Command::Import(meta::Import {
                epochs: vec![(slot, epoch)],
                removed: vec![node],
                ..meta::Import::default()
            })),
            14 => meta(meta::Command::TendLimits {
                at: LimitMs(self.number("at")),
                limits: Vec::new(),
            }),
            _ => self.noise(),
        }
    }
}

fn tag(number: u32, wire: u8, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | u64::from(wire), out);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
