#![expect(clippy::unwrap_used, reason = "tests")]
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_leader_is_waited_for_and_asked_once() {
    let known = KnownSigning::default();
    let asked = AtomicUsize::new(0);
    let domains = vec!["a.test".to_owned()];
    let ask = |domains: Vec<String>| {
        let nth = asked.fetch_add(1, Ordering::Relaxed);
        async move {
            match nth {
                0..3 => Err(SpoolError::Unavailable("no leader".into())),
                _ => Ok(GetSigningReply {
                    version: 5,
                    domains: vec![Default::default(); domains.len()],
                    operator_keys: Vec::new(),
                }),
            }
        }
    };
    for _ in 0..3 {
        let found = find(&known, &domains, ask).await.unwrap();
        assert!(found.domains[0].is_none());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    let silent = |_| async { Err(SpoolError::Unavailable("no leader".into())) };
    let other = vec!["c.test".to_owned()];
    let began = Instant::now();
    assert!(find(&known, &other, silent).await.is_err());
    assert!(began.elapsed() <= ASK_WITHIN);
    // What is known does not need one.
    assert!(find(&known, &domains, silent).await.is_ok());
}
