//! Which span of a trace something came from (W3C Trace Context), kept with a task until it is delivered, hours later perhaps.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// A span that others refer to: of 25 bytes as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub flags: u8,
}

const BYTES: usize = 25;
const SAMPLED: u8 = 1;

impl TraceContext {
    /// The value of a `traceparent` field; none if it is malformed, which W3C Trace Context 3.2.2 says is ignored.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let [version] = hex::<1>(parts.next()?)?;
        let trace_id = hex(parts.next()?)?;
        let span_id = hex(parts.next()?)?;
        let [flags] = hex::<1>(parts.next()?)?;
        // A later version may have more parts behind these.
        let has_more = parts.next().is_some();
        let is_known = version != 0xff && (version > 0 || !has_more);
        let context = Self {
            trace_id,
            span_id,
            flags,
        };
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        (is_known && is_valid).then_some(context)
    }

    /// Whether the span is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = self.flags;
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; BYTES] = bytes.try_into().ok()?;
        Some(Self {
            trace_id: bytes[..16].try_into().ok()?,
            span_id: bytes[16..24].try_into().ok()?,
            flags: bytes[24],
        })
    }
}

/// Lower case only (W3C Trace Context 3.2.2).
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

impl<C> Encode<C> for TraceContext {
    fn encode<W: encode::Write>(
        &self,
        to: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        to.bytes(&self.bytes())?;
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for TraceContext {
    fn decode(from: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = from.bytes()?;
        let wrong = || decode::Error::message("a trace context has 25 bytes");
        Self::of_bytes(bytes).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::codec;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn malformed_contexts_are_none() {
        let good = |version: &str, rest: &str| format!("{version}-{TRACE}-{SPAN}-01{rest}");
        for (text, is_good) in [
            (good("00", ""), true),
            (format!(" {} ", good("00", "")), true),
            (good("cc", "-what-comes-later"), true),
            (good("00", "-more"), false),
            (good("ff", ""), false),
            (good("0", ""), false),
            (String::new(), false),
            (format!("00-{TRACE}-{SPAN}"), false),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), false),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), false),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), false),
            (format!("00-{TRACE}-{SPAN}0-01"), false),
            (format!("00-{TRACE}-{SPAN}-xx"), false),
            (format!("00-{TRACE}-{}\u{e4}-01", &SPAN[..14]), false),
        ] {
            assert_eq!(TraceContext::parse(&text).is_some(), is_good, "{text:?}");
        }
        let sampled = TraceContext::parse(&good("00", "")).unwrap();
        assert!(sampled.is_sampled() && sampled.span_id[0] == 0xb7);
        let not = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-02")).unwrap();
        assert!(!not.is_sampled());
    }

    #[test]
    fn it_takes_25_bytes_and_comes_back() {
        let context = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let encoded = codec::encode(&context);
        assert_eq!(encoded.len(), 2 + BYTES, "with the head of a byte string");
        assert_eq!(codec::decode::<TraceContext>(&encoded).unwrap(), context);
        let short = codec::encode(&minicbor::bytes::ByteVec::from(vec![1; 24]));
        assert!(codec::decode::<TraceContext>(&short).is_err());
    }
}
