//! An egress node that is the last of its cluster ends by itself.

use std::time::Instant;

use skein_tests::READY;

use super::lending::{STOPS_WITHIN, egress_node};
use super::stage::{NO_LIMITS, Plan, Stage, ip, pool};

/// How the control nodes go.
#[derive(Debug, Clone, Copy)]
enum End {
    Term,
    Kill,
}

async fn ends(end: End) {
    let mut stage = Stage::new(Plan {
        control: 3,
        has_certificates: true,
        ..Plan::default()
    })
    .await;
    let mut egress = egress_node(&stage);
    egress.start().await.unwrap();
    let policy = format!(
        "{}{}{NO_LIMITS}",
        ip("lent", 53, "home: egress-1"),
        pool("default", "{ip: lent}"),
    );
    stage.fleet.apply(&policy).unwrap();
    stage.placed(&[("lent", "egress-1")]).await;
    stage.fleet.senders[0].stop().await.unwrap();
    match end {
        End::Term => {
            for control in &mut stage.fleet.control {
                control.node.as_mut().unwrap().term().unwrap();
            }
            for control in &mut stage.fleet.control {
                let ended = control.node.as_mut().unwrap().wait(READY).await;
                assert!(ended.unwrap().success());
            }
        }
        End::Kill => {
            for control in &mut stage.fleet.control {
                control.kill().unwrap();
            }
        }
    }
    // Its IP is placed on its session, and nobody is there to take it back.
    let mut process = egress.node.take().unwrap();
    let began = Instant::now();
    process.term().unwrap();
    let status = process.wait(STOPS_WITHIN).await.unwrap();
    assert!(status.success(), "{end:?}: {status}\n{}", process.log());
    println!("{end:?}: ended after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_egress_node_ends_after_all_control_nodes_have() {
    ends(End::Term).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_egress_node_ends_after_all_control_nodes_were_killed() {
    ends(End::Kill).await;
}
