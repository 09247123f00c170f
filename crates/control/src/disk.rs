//! Keeps this node within its disk: looks how full it is, and beyond a mark gives back what can be given back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_model::disk::Room;
use skein_model::spool::{Command, Response};
use skein_model::{DurationMs, GroupId, codec};
use skein_store::{Disk, Store};

use crate::cluster::Members;
use crate::spool::SpoolGroup;

/// A look costs microseconds, and a disk that takes 500 MB/s fills by 25 MB between two. Bodies look for themselves before
/// they claim space.
const LOOK: Duration = Duration::from_millis(50);
/// Purging and compacting costs writes too, and frees nothing new sooner than results come in.
const RELIEVE: Duration = Duration::from_secs(5);
/// Rows that one trim removes, so that an apply stays short, and trims of one round.
const TRIM_LIMIT: u32 = 4000;
const TRIMS: usize = 25;

pub async fn watch(disk: Arc<Disk>) {
    let mut before = disk.status().room;
    loop {
        let look = disk.clone();
        match skein_runtime::blocking(move || look.look()).await {
            Ok(status) => {
                if status.room != before {
                    tell(status.room, status.used_percent);
                }
                before = status.room;
            }
            Err(error) => tracing::warn!(%error, "the disk cannot be looked at"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(room: Room, used_percent: u8) {
    match room {
        Room::Enough => tracing::info!(used_percent, "the disk has room again"),
        Room::Soft => tracing::warn!(
            used_percent,
            "the disk is filled beyond storage.soft_mark: this node takes no new mail"
        ),
        Room::Hard => tracing::error!(
            used_percent,
            "the disk is filled beyond storage.hard_mark: this node takes nothing but results"
        ),
    }
}

/// What is done about a full disk.
pub struct Relief {
    pub store: Arc<Store>,
    pub spools: Arc<BTreeMap<GroupId, SpoolGroup>>,
    pub members: Members,
}

impl Relief {
    pub async fn run(self) {
        loop {
            tokio::time::sleep(RELIEVE).await;
            let room = self.store.disk().status().room;
            if room == Room::Enough {
                continue;
            }
            if room == Room::Hard {
                self.members.hand_over_all().await;
            }
            for group in self.members.forward.groups.values() {
                group.purge().await;
            }
            for spool in self.spools.values() {
                forget(spool, room).await;
            }
            let store = self.store.clone();
            skein_runtime::blocking(move || store.relieve()).await;
        }
    }
}

/// Forgets finished messages that are otherwise known for a day: open ones need the room.
async fn forget(spool: &SpoolGroup, room: Room) {
    let kept = match room {
        Room::Enough => return,
        Room::Soft => DurationMs::from_secs(3600),
        Room::Hard => DurationMs::from_secs(60),
    };
    for _ in 0..TRIMS {
        if !spool.group.is_leader() {
            return;
        }
        let trim = Command::Trim {
            events_before: 0,
            finished_before: spool.dispatch.forget_before(kept),
            limit: TRIM_LIMIT,
        };
        let reply = spool.group.propose(codec::encode(&trim)).await;
        let removed = reply.ok().and_then(|reply| codec::decode(&reply).ok());
        if !matches!(removed, Some(Response::Count(1..))) {
            return;
        }
    }
}
