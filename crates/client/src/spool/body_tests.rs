use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A voter with a body, and how its answers ended.
#[derive(Clone)]
struct Fake {
    body: Bytes,
    knows_length: bool,
    /// Answers that go wrong after this many bytes.
    breaks_at: u64,
    asked: Arc<AtomicUsize>,
    /// Dropped before their end: streams that are reset.
    reset: Arc<AtomicUsize>,
}

/// The size of the pieces that a node sends.
const PIECE: usize = 256 << 10;

impl Fake {
    fn with(bytes: usize) -> Self {
        let body: Vec<u8> = (0..bytes).map(|n| (n / 7) as u8).collect();
        Self {
            body: body.into(),
            knows_length: true,
            breaks_at: u64::MAX,
            asked: Arc::default(),
            reset: Arc::default(),
        }
    }

    fn reading(voters: &[Self], offset: u64, length: u64) -> Reading<Self> {
        let last = SpoolError::Unavailable("no voter".to_owned());
        Reading::new(voters.iter().cloned().collect(), offset, length, last)
    }
}

struct FakeAnswer {
    pieces: VecDeque<Result<Bytes, Status>>,
    reset: Arc<AtomicUsize>,
    is_over: bool,
}

impl Drop for FakeAnswer {
    fn drop(&mut self) {
        if !self.is_over {
            self.reset.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Answer for FakeAnswer {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Status>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let piece = self.pieces.pop_front().transpose();
            self.is_over = !matches!(piece, Ok(Some(_)));
            piece
        })
    }
}

impl Ask for Fake {
    type Parts = FakeAnswer;

    fn ask(&mut self, offset: u64, length: u64) -> BoxFuture<'_, Result<FakeAnswer, Status>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let from = self.body.len().min(offset as usize);
        let mut rest = self.body.slice(from..);
        if self.knows_length {
            rest.truncate(usize::try_from(length).expect("it is bounded"));
        }
        let mut pieces: VecDeque<_> = rest
            .chunks(PIECE)
            .map(|piece| Ok(rest.slice_ref(piece)))
            .collect();
        if offset + length > self.breaks_at {
            pieces.truncate(1);
            pieces.push_back(Err(Status::data_loss("damaged")));
        }
        let answer = FakeAnswer {
            pieces,
            reset: self.reset.clone(),
            is_over: false,
        };
        Box::pin(async move { Ok(answer) })
    }
}

async fn all(mut reading: Reading<Fake>) -> Result<Vec<u8>, SpoolError> {
    let mut bytes = Vec::new();
    while let Some(part) = reading.next().await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bodies_come_whole_and_parts_to_their_length() {
    for knows_length in [true, false] {
        for bytes in [0, 1, 300_000, 1 << 20, (1 << 20) + 1, 3_500_000] {
            let voter = Fake {
                knows_length,
                ..Fake::with(bytes)
            };
            for (offset, length) in [(0, u64::MAX), (0, 262_144), (7, 5), (1 << 20, 1 << 20)] {
                let read = all(Fake::reading(std::slice::from_ref(&voter), offset, length)).await;
                let from = bytes.min(offset as usize);
                let to = bytes.min(from.saturating_add(usize::try_from(length).unwrap_or(bytes)));
                let expected = voter.body.slice(from..to).to_vec();
                assert_eq!(read.ok(), Some(expected), "{bytes} {offset} {length}");
            }
            settle().await;
            assert_eq!(voter.reset.load(Ordering::Relaxed), 0);
        }
    }
}

/// Attack A 13: a stream that was dropped in its middle is reset, and a thousand of them end the connection.
#[tokio::test]
async fn no_answer_is_dropped_half_read() {
    let voter = Fake::with(4_000_000);
    for _ in 0..6000 {
        let mut reading = Fake::reading(std::slice::from_ref(&voter), 0, u64::MAX);
        let first = reading.next().await;
        assert!(matches!(first, Ok(Some(_))));
        drop(reading);
    }
    settle().await;
    assert_eq!(voter.asked.load(Ordering::Relaxed), 6000);
    assert_eq!(voter.reset.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_next_voter_goes_on_where_one_broke() {
    let broken = Fake {
        breaks_at: 2 << 20,
        ..Fake::with(3_000_000)
    };
    let good = Fake::with(3_000_000);
    let read = all(Fake::reading(&[broken.clone(), good.clone()], 0, u64::MAX)).await;
    assert_eq!(read.ok(), Some(good.body.to_vec()));
    assert!(good.asked.load(Ordering::Relaxed) < 3, "it began anew");
    let none = all(Fake::reading(&[broken], 0, u64::MAX)).await;
    assert!(none.is_err());
}
