//! The image that is fetched when a message is shown.

pub const PIXEL_BYTES: usize = 43;

/// A transparent GIF of one pixel. Servers send it with `Cache-Control: no-store`.
#[must_use]
pub fn pixel() -> &'static [u8; PIXEL_BYTES] {
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x21\xf9\x04\x01\x00\x00\x00\x00\
\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b"
}
