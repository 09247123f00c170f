//! The file system that a node's data is on: how full it is, and the ballast that is given up when it is nearly full.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use skein_model::disk::{Ballast, Policy, Room, Usage, decide};

const BALLAST: &str = "ballast";

/// What a look at the disk found.
#[derive(Debug, Clone, Copy)]
pub struct DiskStatus {
    pub room: Room,
    pub usage: Usage,
    pub used_percent: u8,
    /// 0 while the ballast is given up.
    pub ballast_bytes: u64,
}

#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    policy: RwLock<Policy>,
    looked: Mutex<DiskStatus>,
}

impl Disk {
    /// Looks for the first time, and gives the ballast up if the disk is full, so that the store can be opened.
    ///
    /// # Errors
    /// The directory cannot be made or looked at.
    pub(crate) fn open(dir: &Path, policy: Policy) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let usage = usage(dir)?;
        let held = fs::metadata(dir.join(BALLAST)).map_or(0, |file| file.len());
        let disk = Self {
            dir: dir.to_owned(),
            policy: RwLock::new(policy),
            looked: Mutex::new(DiskStatus {
                room: Room::Enough,
                usage,
                used_percent: policy.used_percent(usage, held),
                ballast_bytes: held,
            }),
        };
        disk.look()?;
        Ok(disk)
    }

    /// Percents of the file system; they hold from the next look on.
    pub fn set_marks(&self, soft_mark: u8, hard_mark: u8) {
        let mut policy = self.policy.write();
        (policy.soft_mark, policy.hard_mark) = (soft_mark, hard_mark);
    }

    pub fn policy(&self) -> Policy {
        *self.policy.read()
    }

    pub fn status(&self) -> DiskStatus {
        *self.looked.lock()
    }

    /// Looks how full the disk is, and gives the ballast up or makes it. May take as long as writing the ballast.
    ///
    /// # Errors
    /// The file system does not say how full it is.
    pub fn look(&self) -> io::Result<DiskStatus> {
        let mut looked = self.looked.lock();
        let before = *looked;
        let (policy, mut usage) = (self.policy(), usage(&self.dir)?);
        let (room, step) = decide(&policy, before.room, usage, before.ballast_bytes);
        let mut held = before.ballast_bytes;
        match step {
            Ballast::Keep => {}
            Ballast::GiveUp => {
                fs::remove_file(self.ballast())?;
                tracing::warn!(bytes = held, "the disk is full; the ballast is given up");
                held = 0;
            }
            Ballast::Make => match self.make_ballast(policy.ballast(usage.capacity)) {
                Ok(made) => held = made,
                Err(error) => tracing::warn!(%error, "the ballast cannot be made yet"),
            },
        }
        if step != Ballast::Keep {
            usage = self::usage(&self.dir)?;
        }
        *looked = DiskStatus {
            room,
            usage,
            used_percent: policy.used_percent(usage, held),
            ballast_bytes: held,
        };
        Ok(*looked)
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join(BALLAST)
    }

    fn make_ballast(&self, bytes: u64) -> io::Result<u64> {
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(self.ballast())?;
        match allocate(&file, bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => {
                fs::remove_file(self.ballast())?;
                Err(error)
            }
        }
    }

    /// Whether so much may be claimed for bodies, as the disk is at this moment.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn claim(&self, bytes: u64) -> io::Result<()> {
        let held = self.looked.lock().ballast_bytes;
        match self.policy().has_room(usage(&self.dir)?, held, bytes) {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the disk is filled up to its hard mark",
            )),
        }
    }
}

fn usage(dir: &Path) -> io::Result<Usage> {
    let stat = rustix::fs::statvfs(dir)?;
    // As df does: blocks that are kept for root are neither used nor free.
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    Ok(Usage {
        capacity: (used + stat.f_bavail) * stat.f_frsize,
        available: stat.f_bavail * stat.f_frsize,
    })
}

/// Claims space for a file, so that writing into it cannot fail for lack of it.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    #[expect(
        unsafe_code,
        reason = "the standard library cannot claim space for a file"
    )]
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    let result = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) };
    match result {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_ballast_is_made_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let policy = Policy {
            ballast_bytes: Some(1 << 20),
            ..Policy::default()
        };
        for _ in 0..2 {
            let disk = Disk::open(dir.path(), policy).unwrap();
            assert_eq!(disk.status().ballast_bytes, 1 << 20);
            assert_eq!(disk.status().room, Room::Enough);
        }
        let file = fs::metadata(dir.path().join(BALLAST)).unwrap();
        assert_eq!(file.len(), 1 << 20);
    }

    #[test]
    fn other_marks_hold_from_the_next_look_on() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), Policy::default()).unwrap();
        let file = File::create(dir.path().join("file")).unwrap();
        // However large the disk is, a percent of it counts as used.
        let percent = disk.status().usage.capacity / 100;
        let used = disk.status().used_percent;
        if used < 2 {
            allocate(&file, 2 * percent).unwrap();
        }
        disk.set_marks(1, 99);
        assert_eq!(disk.look().unwrap().room, Room::Soft);
        let used = disk.status().used_percent;
        disk.set_marks(used + 10, used + 11);
        assert_eq!(disk.look().unwrap().room, Room::Enough);
    }

    #[test]
    fn nothing_is_claimed_beyond_the_hard_mark() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), Policy::default()).unwrap();
        disk.claim(4 << 20).unwrap();
        let all = disk.status().usage.capacity;
        assert_eq!(
            disk.claim(all).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
