//! Two senders that were given one name: the second is refused, and both hear where the other is.

use std::time::Duration;

use anyhow::Result;
use skein_testkit::process::{Node, NodeConfig};
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::{READY, loopback, skein};

/// How often each is looked at, and for how long: as long as the two once took the session from each other 36 times.
const LOOK: Duration = Duration::from_millis(200);
const LOOKS: usize = 20;

/// Another process with the file of the first sender, but for its own ports and folder.
fn twin(fleet: &Fleet) -> Result<Node> {
    let file = fleet.senders[0].data_dir.with_extension("toml");
    let text = std::fs::read_to_string(file)?;
    let (smtp, http) = (loopback()?, loopback()?);
    // Its other port is the first one's.
    let lines = text.lines().filter(|line| !line.contains("egress.listen"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text
        .replace(&fleet.senders[0].smtp.to_string(), &smtp.to_string())
        .replace(&fleet.senders[0].http.to_string(), &http.to_string())
        .replace(
            &fleet.senders[0].data_dir.display().to_string(),
            &fleet.folder.path().join("twin").display().to_string(),
        );
    let file = fleet.folder.path().join("twin.toml");
    std::fs::write(&file, text)?;
    Ok(Node::start(NodeConfig::serve(&skein()?, &file, http))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sender_of_one_name_is_refused_and_the_first_goes_on() {
    let plan = Plan {
        control: 1,
        senders: 1,
        ..Plan::default()
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let session = |fleet: &Fleet| {
        let nodes = fleet.ask(&["node", "list"]).unwrap();
        let sender = &nodes["senders"][0];
        let text = |key: &str| sender[key].as_str().unwrap_or_default().to_owned();
        (text("name"), text("session"), text("state"))
    };
    let (name, first, _) = session(&fleet);
    let mut second = twin(&fleet).unwrap();
    let refused = format!("the name {name} is in use from");
    let said = || Some(second.log_end()).filter(|log| log.contains(&refused));
    let log = skein_tests::until("the refusal", READY, LOOK, said)
        .await
        .unwrap();
    assert!(
        log.contains("set cluster.name") && log.contains("twin"),
        "{log}"
    );
    for _ in 0..LOOKS {
        let (_, now, state) = session(&fleet);
        assert_eq!((now, state.as_str()), (first.clone(), "contested"));
        tokio::time::sleep(LOOK).await;
    }
    let log = fleet.control[0].data_dir.with_extension("log");
    let of_control = std::fs::read_to_string(log).unwrap();
    assert!(
        of_control.contains("two senders have one name"),
        "{of_control}"
    );
    second.kill9().unwrap();
    // One that is started again in its own folder is the same sender, and waits for no lease.
    let begun = tokio::time::Instant::now();
    fleet.senders[0].node.as_mut().unwrap().kill9().unwrap();
    fleet.senders[0].start().await.unwrap();
    let (_, anew, _) = session(&fleet);
    assert_ne!(anew, first);
    println!("ready again after {:.1?}", begun.elapsed());
}
