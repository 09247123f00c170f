//! The disk of the data directory.

use std::fmt;

use skein_model::disk::Room;

use super::page::Page;
use crate::Control;

pub fn encode(page: &mut Page<'_>, control: &Control) -> fmt::Result {
    let disk = control.store.disk().status();
    page.gauge(
        "skein_disk_capacity_bytes",
        "Size of the file system that holds the data directory.",
        disk.usage.capacity,
    )?;
    page.gauge(
        "skein_disk_available_bytes",
        "What is left of it.",
        disk.usage.available,
    )?;
    page.gauge(
        "skein_disk_used_percent",
        "How full it counts as; the ballast counts as used, held or not.",
        disk.used_percent.into(),
    )?;
    page.gauge(
        "skein_disk_mark",
        "The mark that is passed: 0 none, 1 the soft one, 2 the hard one.",
        match disk.room {
            Room::Enough => 0,
            Room::Soft => 1,
            Room::Hard => 2,
        },
    )?;
    page.gauge(
        "skein_disk_ballast_bytes",
        "Size of the ballast; 0 while it is given up.",
        disk.ballast_bytes,
    )
}
