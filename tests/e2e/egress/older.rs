//! A command that not every control node reads is not used.

use std::time::Duration;

use skein_testkit::process::http_get;

use super::lending::egress_node;
use super::stage::{NO_LIMITS, Plan, Stage, ip, pool, wait_for};

/// An egress node asks again and again meanwhile.
const REFUSED_FOR: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn an_egress_node_is_refused_until_the_last_control_node_is_upgraded() {
    let mut stage = Stage::new(Plan {
        control: 3,
        has_certificates: true,
        ..Plan::default()
    })
    .await;
    stage.fleet.make_last_older(0).await.unwrap();
    let address = stage.fleet.control.last().unwrap().address;

    let mut egress = egress_node(&stage);
    egress.spawn().unwrap();
    let words = [address.to_string(), "does not know egress nodes".to_owned()];
    wait_for("the refusal", || {
        let log = egress.node.as_ref().unwrap().log();
        let mut lines = log.lines();
        lines.find(|line| words.iter().all(|word| line.contains(word.as_str())))?;
        Some(())
    })
    .await;
    tokio::time::sleep(REFUSED_FOR).await;
    let (code, _) = http_get(egress.http, "/readyz").await.unwrap();
    assert_ne!(code, 200);
    let listed = stage.fleet.skeinctl(&["node", "list"]).unwrap();
    assert!(!listed.contains("egress-1"), "{listed}");

    // The upgrade ends, and the same process is let in.
    stage.fleet.upgrade_last().await.unwrap();
    egress.ready().await.unwrap();
    let policy = format!(
        "{}{}{NO_LIMITS}",
        ip("lent", 54, "home: egress-1"),
        pool("default", "{ip: lent}"),
    );
    stage.fleet.apply(&policy).unwrap();
    stage.placed(&[("lent", "egress-1")]).await;
    for control in &mut stage.fleet.control {
        assert!(control.node.as_mut().unwrap().running());
    }
}
