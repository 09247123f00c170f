//! Three control nodes and two senders, of which one dies: no mail for hosted domains is lost.

use std::collections::BTreeSet;

use skein_tests::fleet::{Fleet, Plan};

use super::receiver::Receiver;
use super::{message, send, stranger};

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_sender_loses_nothing() {
    const MESSAGES: usize = 120;
    let receiver = Receiver::start(|nth| if nth % 2 == 0 { 503 } else { 200 }).await;
    let plan = Plan {
        control: 3,
        senders: 2,
        relay_networks: "[\"127.0.0.1/32\"]",
        ..Plan::default()
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let policy = format!(
        "kind: inbound\nname: hooks\ndomains: [hosted.test]\nchecks: off\naddresses:\n  - address: 'b+*'\n    \
         http: 'http://{}/'\n    allow_private: true\n",
        receiver.address
    );
    fleet.apply(&policy).unwrap();
    let smtp = fleet.senders[1].smtp;
    let mut client = stranger(2, smtp).await;
    for nth in 0..MESSAGES {
        if nth == MESSAGES / 2 {
            fleet.senders[0].kill().unwrap();
        }
        let to = format!("<b+{nth}@hosted.test>");
        let text = message("a@sender.test", &format!("m{nth}"));
        let (code, said) = send(&mut client, "a@sender.test", &[&to], &text).await;
        assert_eq!(code, 250, "{said}");
    }
    let taken = skein_tests::until("mail", super::WITHIN, super::LOOK, || {
        let got = receiver.got();
        let taken = got.iter().filter(|one| one.status == 200);
        let ids: BTreeSet<String> = taken
            .map(|one| one.field("webhook-id").to_owned())
            .collect();
        (ids.len() >= MESSAGES).then_some(ids)
    });
    assert_eq!(taken.await.unwrap().len(), MESSAGES);
}
