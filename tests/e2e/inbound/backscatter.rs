//! Whoever is named as the sender of a stranger's message hears of it only if it is theirs.

use super::receiver::Receiver;
use super::{Host, message, send, stranger};

/// Mail that its destination refuses for good, from return paths that are proved and from others.
#[tokio::test(flavor = "multi_thread")]
async fn reports_go_to_proved_return_paths_alone() {
    let receiver = Receiver::start(|_| 410).await;
    let policy = format!(
        "kind: inbound\nname: hooks\ndomains: [hosted.test]\naddresses:\n  - address: '*'\n    http: 'http://{0}/'\n    \
         allow_private: true\n---\nkind: inbound\nname: unchecked\ndomains: [unchecked.test]\nchecks: off\naddresses:\n  \
         - address: '*'\n    http: 'http://{0}/'\n    allow_private: true\n",
        receiver.address
    );
    let host = Host::new(&policy).await;
    let dns = &host.dns;
    dns.txt("proved.test", "v=spf1 ip4:127.0.0.2 -all");
    dns.txt("forged.test", "v=spf1 ip4:192.0.2.1 -all");
    dns.txt("soft.test", "v=spf1 ip4:192.0.2.1 ~all");
    dns.txt("_dmarc.forged.test", "v=DMARC1; p=none");
    dns.txt("broken.test", "v=spf1 include:broken.test -all");
    let to = "<x@hosted.test>";
    let rows = [
        ("a@proved.test", to, true),
        ("a@forged.test", to, false),
        ("a@soft.test", to, false),
        ("a@nothing.test", to, false),
        ("a@broken.test", to, false),
        ("", to, false),
        ("b@proved.test", "<x@unchecked.test>", false),
        ("c@proved.test", "<x@hosted.test> NOTIFY=NEVER", false),
        ("d@proved.test", "<x@hosted.test> NOTIFY=SUCCESS", false),
        ("e@proved.test", "<x@hosted.test> NOTIFY=FAILURE", true),
        (
            "f@forged.test",
            "<x@hosted.test> NOTIFY=SUCCESS,FAILURE,DELAY",
            false,
        ),
    ];
    let mut client = stranger(2, host.bench.smtp).await;
    for (nth, (from, to, _)) in rows.iter().enumerate() {
        let text = message("author@other.test", &format!("m{nth}"));
        let (code, said) = send(&mut client, from, &[to], &text).await;
        assert_eq!(code, 250, "{from}: {said}");
    }
    // What became of each is recorded, whoever hears of it.
    host.events_such(rows.len(), |event| event["event"] == "bounced")
        .await;
    let expected = rows.iter().filter(|(_, _, told)| *told);
    let mut expected: Vec<&str> = expected.map(|(from, ..)| *from).collect();
    let sink = &host.bench.sink;
    let told = skein_tests::until("reports", super::WITHIN, super::LOOK, || {
        let records = sink.records();
        (records.len() >= expected.len()).then_some(records)
    });
    let told = told.await.unwrap();
    let told = told.iter().flat_map(|record| &record.recipients);
    let mut told: Vec<String> = told.map(|to| to.address.clone()).collect();
    told.sort();
    expected.sort_unstable();
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected), "{told} {expected}");
    }
}
