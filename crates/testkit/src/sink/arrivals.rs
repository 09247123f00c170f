//! When bytes arrived, as the kernel noted it. A sink on a busy machine looks later than that, and in any order.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use tokio::net::TcpStream;

/// The socket of a session, which outlives this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrivals(RawFd);

impl Arrivals {
    pub(super) fn of(stream: &TcpStream) -> Self {
        Self(stream.as_raw_fd())
    }

    /// How long ago the latest bytes came, in ticks of the kernel; nothing if it does not say.
    pub(super) fn since_bytes(self) -> Duration {
        let ago = self.info().map_or(0, |info| info.tcpi_last_data_recv);
        Duration::from_millis(ago.into())
    }

    /// How long ago anything came: of a connection that has said nothing, since when it stands; of one that has ended, since
    /// when.
    pub(super) fn since_anything(self) -> Duration {
        let ago = self.info().map_or(0, |info| info.tcpi_last_ack_recv);
        Duration::from_millis(ago.into())
    }

    #[expect(unsafe_code, reason = "no safe crate of ours reads TCP_INFO")]
    fn info(self) -> Option<libc::tcp_info> {
        let size = std::mem::size_of::<libc::tcp_info>();
        let mut length = libc::socklen_t::try_from(size).ok()?;
        // SAFETY: the structure is plain numbers, for which zeros are valid; the kernel writes `length` bytes of it at most.
        let (info, result) = unsafe {
            let mut info: libc::tcp_info = std::mem::zeroed();
            let at = std::ptr::from_mut(&mut info).cast();
            let result =
                libc::getsockopt(self.0, libc::IPPROTO_TCP, libc::TCP_INFO, at, &mut length);
            (info, result)
        };
        (result == 0).then_some(info)
    }
}
