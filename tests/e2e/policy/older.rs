//! Resources that not every control node can read are refused while one cannot: it could not read the policy any more.

use skein_tests::fleet::{Fleet, Plan};

const DISCARD: &str =
    "kind: inbound\nname: h\ndomains: [hosted.test]\naddresses: [{address: x, discard: true}]\n";
const HOOK: &str = "kind: inbound\nname: h\ndomains: [hosted.test]\naddresses: [{address: x, http: 'https://h.test/', \
                    signing_secret_file: /run/skein/hook}]\n";
const TASKS: &str = "kind: tenant\nname: t\nquota: {tasks: 5}\n";
const BYTES: &str = "kind: tenant\nname: t\nquota: {bytes: 5GB}\n";

async fn fleet() -> Fleet {
    let plan = Plan {
        control: 3,
        senders: 0,
        ..Plan::default()
    };
    Fleet::start(plan).await.unwrap()
}

/// What an operator is told of a policy; none: it is taken.
fn refusal(fleet: &Fleet, policy: &str) -> Option<String> {
    fleet.apply(policy).err().map(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_with_resources_of_a_later_version_waits_for_the_last_control_node() {
    let mut fleet = fleet().await;
    for (version, refused, taken) in [
        (
            2,
            &[
                (DISCARD, "resources of kind inbound"),
                (HOOK, "of kind inbound"),
            ][..],
            TASKS,
        ),
        (
            3,
            &[
                (HOOK, "files with signing secrets"),
                (BYTES, "quotas of recipients and octets"),
            ],
            DISCARD,
        ),
    ] {
        fleet.make_last_older(version).await.unwrap();
        let older = fleet.control.last().unwrap().address.to_string();
        for (policy, says) in refused {
            let told = refusal(&fleet, policy).expect(policy);
            for part in [&older, *says, "upgrade all control nodes first"] {
                assert!(told.contains(part), "{version}: {part}: {told}");
            }
        }
        assert_eq!(refusal(&fleet, taken), None, "{version}: {taken}");
    }
    fleet.upgrade_last().await.unwrap();
    for policy in [HOOK, BYTES] {
        assert_eq!(refusal(&fleet, policy), None, "{policy}");
    }
    for control in &mut fleet.control {
        assert!(control.node.as_mut().unwrap().running());
    }
}
