//! Something foreign that takes the room on a disk.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

const PIECE: u64 = 64 << 10;
const BLOCK: u64 = 4 << 10;

/// Takes the room that is left now on the file system of `file`, which is made.
///
/// It goes piece by piece: what a node gives up for itself meanwhile is its own, and no piece that does not fit takes for a
/// moment what the node is about to use.
///
/// # Errors
/// The file cannot be made, or the file system fails in another way than by being full.
pub fn take(file: &Path) -> io::Result<()> {
    let opened = File::create(file)?;
    let room = rustix::fs::fstatvfs(&opened)?;
    let bytes = room.f_bavail * room.f_frsize;
    let (mut taken, mut piece) = (0, PIECE);
    while taken < bytes && piece >= BLOCK {
        let next = piece.min(bytes - taken);
        match rustix::fs::fallocate(&opened, FallocateFlags::empty(), taken, next) {
            Ok(()) => taken += next,
            // The file system keeps some blocks for itself, or something else took them.
            Err(Errno::NOSPC) => piece /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
