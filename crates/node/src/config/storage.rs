//! How much of the disk a control node takes, and what for.

use anyhow::bail;
use serde::{Deserialize, Serialize};
use skein_model::disk::Policy;

/// Below this a segment could not hold a part of a body and its header.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const WAL_BYTES_MIN: u64 = 8 << 20;

/// Sizes that are not set follow from the size of the file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Percent of the file system beyond which no new mail is taken.
    pub soft_mark: u8,
    /// Percent beyond which nothing is taken but results.
    pub hard_mark: u8,
    /// A file that is given up when the disk is nearly full; a twentieth of the disk, from 8 to 256 MiB, unless set.
    #[serde(
        skip_serializing_if = "Option::is_none",
        with = "super::values::optional_size"
    )]
    pub ballast_bytes: Option<u64>,
    /// Of a file of bodies; a 64th of the disk, from 4 to 64 MiB, unless set.
    #[serde(
        skip_serializing_if = "Option::is_none",
        with = "super::values::optional_size"
    )]
    pub segment_bytes: Option<u64>,
    /// Of the write-ahead log; a 16th of the disk, from 16 to 512 MiB, unless set.
    #[serde(
        skip_serializing_if = "Option::is_none",
        with = "super::values::optional_size"
    )]
    pub wal_bytes: Option<u64>,
    /// For bodies that this node lacks, as after it was away.
    #[serde(with = "super::values::size")]
    pub pull_bytes_per_second: u64,
}

impl Default for Storage {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            soft_mark: policy.soft_mark,
            hard_mark: policy.hard_mark,
            ballast_bytes: policy.ballast_bytes,
            segment_bytes: None,
            wal_bytes: None,
            // Less than half of a gigabit link, and what a slow disk writes beside its intake.
            pull_bytes_per_second: 50_000_000,
        }
    }
}

impl Storage {
    pub fn check(&self) -> anyhow::Result<()> {
        if !(1..self.hard_mark).contains(&self.soft_mark) || self.hard_mark > 99 {
            bail!(
                "storage.soft_mark: marks are percents, soft_mark below hard_mark and hard_mark below 100"
            );
        }
        if self
            .segment_bytes
            .is_some_and(|size| size < SEGMENT_BYTES_MIN)
        {
            bail!("storage.segment_bytes: at least {SEGMENT_BYTES_MIN}, such as 64MiB");
        }
        if self.wal_bytes.is_some_and(|size| size < WAL_BYTES_MIN) {
            bail!("storage.wal_bytes: at least {WAL_BYTES_MIN}, such as 64MiB");
        }
        if self.pull_bytes_per_second == 0 {
            bail!("storage.pull_bytes_per_second: must be above zero");
        }
        Ok(())
    }

    pub fn options(&self) -> skein_control::StoreOptions {
        skein_control::StoreOptions {
            disk: Policy {
                soft_mark: self.soft_mark,
                hard_mark: self.hard_mark,
                ballast_bytes: self.ballast_bytes,
            },
            segment_bytes: self.segment_bytes,
            wal_bytes: self.wal_bytes,
            ..skein_control::StoreOptions::default()
        }
    }
}
