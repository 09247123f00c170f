//! gRPC calls whose messages are bytes.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A call that is not answered by then is given up.
const WITHIN: Duration = Duration::from_secs(4);
/// Answers of a stream that are waited for.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Sends these messages, and hears what is answered at once; the first answer, or why there is none.
pub async fn call(channel: Channel, path: &str, messages: Vec<Bytes>) -> Result<Bytes, Status> {
    let path: PathAndQuery = path.parse().map_err(|_| Status::internal("no path"))?;
    let exchange = async {
        let mut client = Grpc::new(channel);
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let requests = Request::new(futures::stream::iter(messages));
        let mut answers = client.streaming(requests, path, Raw).await?.into_inner();
        let answer = tokio::time::timeout(ANSWER_WITHIN, answers.message()).await;
        Ok(answer.ok().transpose()?.flatten().unwrap_or_default())
    };
    match tokio::time::timeout(WITHIN, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

/// What the fields of this number hold that are messages or texts.
pub fn fields(message: &[u8], number: u64) -> Vec<Bytes> {
    let (mut found, mut rest) = (Vec::new(), message);
    while let Some(tag) = varint(&mut rest) {
        let Some(value) = varint(&mut rest) else {
            break;
        };
        // Fields that are no numbers have their length first.
        if tag & 7 == 2 {
            let Some((bytes, after)) = rest.split_at_checked(value as usize) else {
                break;
            };
            rest = after;
            if tag >> 3 == number {
                found.push(Bytes::copy_from_slice(bytes));
            }
        }
    }
    found
}

/// A message with one field, which is a message.
pub fn field(number: u8, message: &[u8]) -> Bytes {
    let mut out = vec![number << 3 | 2];
    let mut length = message.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(message);
    out.into()
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}
