//! Who may not manage at the admin API: a customer's token at every call, its own calls at somebody else's data, and the
//! certificate of a node. What each role may is a test of its own (`access::roles`).

use std::collections::BTreeSet;
use std::time::Duration;

use skein_client::{Channel, tls};
use skein_testkit::load::Probe;
use skein_tests::fleet::{Fleet, Plan};
use skein_wire::v1::admin_client::AdminClient;
use skein_wire::v1::{GetMessageRequest, GetQueueRequest, GetStatusRequest, ListQueuesRequest};
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::metric;
use crate::access::roles::calls;

/// A customer may make these, and sees its own mail in them.
const OWN: [&str; 3] = ["GetMessage", "GetQueue", "ListQueues"];
/// Refused calls that are written down in a minute; all are counted.
const NOTED_MAX: usize = 30;

const REFUSED: &str = "skein_admin_calls_refused_total";

struct Stage {
    fleet: Fleet,
}

impl Stage {
    async fn new() -> Self {
        let plan = Plan {
            has_certificates: true,
            has_operators: true,
            ..Plan::default()
        };
        Self {
            fleet: Fleet::start(plan).await.unwrap(),
        }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.fleet.folder.path().join("ca").join(name)
    }

    /// What `skeinctl --json` says to an admin.
    fn ask(&self, args: &[&str]) -> serde_json::Value {
        let server = format!("https://{}", self.fleet.control[0].admin);
        let mut command = std::process::Command::new(std::env::var("SKEINCTL_BIN").unwrap());
        command
            .args(["--server", &server, "--json", "--ca"])
            .arg(self.file("ca.pem"));
        command.arg("--cert").arg(self.file("operator.pem"));
        command.arg("--key").arg(self.file("operator-key.pem"));
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn token(&self, name: &str, tenant: &str) -> String {
        let args = [
            "credential",
            "create",
            name,
            "--role",
            "tenant",
            "--tenant",
            tenant,
            "--wait",
        ];
        self.ask(&args)["secret"].as_str().unwrap().to_owned()
    }

    /// To the admin API, with a certificate of this name or none.
    fn channel(&self, certificate: Option<&str>) -> Channel {
        let read = |name: &str| std::fs::read(self.file(name)).unwrap();
        let own = certificate.map(|name| {
            let chain = tls::own_chain(&read(&format!("{name}.pem"))).unwrap();
            tls::identity(chain, tls::key(&read(&format!("{name}-key.pem"))).unwrap()).unwrap()
        });
        let config = tls::client_config(tls::roots(&read("ca.pem")).unwrap(), own).unwrap();
        tls::connect(&self.fleet.control[0].admin.to_string(), config).unwrap()
    }

    async fn refused(&self) -> u64 {
        metric(self.fleet.control[0].http, REFUSED).await
    }

    /// Calls in the audit log that were refused to this caller.
    fn refused_to(&self, who: &str) -> BTreeSet<String> {
        let audit = self.ask(&["audit", "--limit", "1000", "--who", who]);
        let entries = audit.as_array().unwrap().iter();
        let refused = entries.filter(|entry| entry["code"] == 7);
        refused
            .map(|entry| entry["call"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits for so many of them: they are written down behind the answer.
    async fn until_noted(&self, who: &str, calls: &BTreeSet<String>) {
        let noted = || {
            let noted = self.refused_to(who);
            assert!(noted.is_subset(calls), "{noted:?}");
            (noted.len() >= calls.len().min(NOTED_MAX / 2)).then_some(())
        };
        let (within, every) = (Duration::from_secs(20), Duration::from_millis(200));
        skein_tests::until("the audit log", within, every, noted)
            .await
            .unwrap();
    }
}

fn with_token<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// An empty message is the same for every type.
async fn call(channel: &Channel, token: Option<&str>, service: &str, method: &str) -> Status {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = format!("/{service}/{method}").parse().unwrap();
    let codec = ProstCodec::<GetStatusRequest, GetStatusRequest>::default();
    let answered = client
        .unary(with_token(token, GetStatusRequest {}), path, codec)
        .await;
    answered.map_or_else(|status| status, |_| Status::new(Code::Ok, ""))
}

/// The calls of the port, with their services.
fn of_the_port() -> Vec<(String, String)> {
    let of_people = |service: &str| service == "skein.v1.Admin" || service.ends_with(".Backup");
    calls()
        .into_iter()
        .filter(|(service, _)| of_people(service))
        .collect()
}

/// Hands in a message of the tenant `default`, which stays.
async fn hand_in(stage: &Stage) -> String {
    stage.ask(&[
        "suspend",
        "--domain",
        "there.test",
        "--for",
        "1h",
        "--why",
        "to look at it",
    ]);
    let mut probe = Probe::connect(stage.fleet.senders[0].smtp).await.unwrap();
    probe.reply().await.unwrap();
    for line in [
        "EHLO c",
        "MAIL FROM:<a@here.test>",
        "RCPT TO:<u@there.test>",
        "DATA",
    ] {
        assert!(probe.cmd(line).await.unwrap().code < 400, "{line}");
    }
    let reply = probe.cmd("Subject: x\r\n\r\nx\r\n.").await.unwrap();
    reply.text().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_token_reaches_nothing_of_another_by_any_call() {
    let stage = Stage::new().await;
    let id = hand_in(&stage).await;
    let (ours, theirs) = (
        stage.token("ours", "default"),
        stage.token("theirs", "other"),
    );
    let channel = stage.channel(None);
    let before = stage.refused().await;
    let mut denied = BTreeSet::new();
    for (service, method) in of_the_port() {
        if OWN.contains(&method.as_str()) {
            continue;
        }
        let status = call(&channel, Some(&theirs), &service, &method).await;
        assert_eq!(
            status.code(),
            Code::PermissionDenied,
            "{service}/{method}: {status}"
        );
        assert!(
            status
                .message()
                .contains("the token of theirs has the role tenant"),
            "{status}"
        );
        denied.insert(method);
    }
    assert!(denied.len() > 40, "{denied:?}");
    assert_eq!(stage.refused().await - before, denied.len() as u64);
    stage.until_noted("token theirs", &denied).await;

    // Its own calls show the mail to whose it is, and say nothing of it to others: not even that it is there.
    let mut client = AdminClient::new(channel.clone());
    let message = GetMessageRequest { id };
    let unknown = GetMessageRequest {
        id: "01JQZZZZZZZZZZZZZZZZZZZZZZ".into(),
    };
    assert!(
        client
            .get_message(with_token(Some(&ours), message.clone()))
            .await
            .is_ok()
    );
    let not_theirs = client
        .get_message(with_token(Some(&theirs), message))
        .await
        .unwrap_err();
    let not_there = client
        .get_message(with_token(Some(&theirs), unknown))
        .await
        .unwrap_err();
    assert_eq!(not_theirs.code(), not_there.code(), "{not_theirs}");
    let all = client
        .list_queues(with_token(Some(&ours), ListQueuesRequest::default()))
        .await;
    let queues = all.unwrap().into_inner().queues;
    let queue = queues
        .iter()
        .find(|queue| queue.domain == "there.test")
        .unwrap();
    for queue in ["there.test", &queue.id] {
        let request = GetQueueRequest {
            queue: queue.into(),
            limit: 0,
        };
        assert!(
            client
                .get_queue(with_token(Some(&ours), request.clone()))
                .await
                .is_ok()
        );
        let shown = client.get_queue(with_token(Some(&theirs), request)).await;
        let status = shown.map(|shown| shown.into_inner()).unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{queue}: {status}");
    }
    for request in [
        ListQueuesRequest::default(),
        ListQueuesRequest {
            domain: "there.test".into(),
            ..Default::default()
        },
        ListQueuesRequest {
            selector: Some(skein_wire::v1::MailSelector {
                tenant: "default".into(),
                ..Default::default()
            }),
            ..Default::default()
        },
        ListQueuesRequest {
            order: 1,
            ..Default::default()
        },
    ] {
        let listed = client
            .list_queues(with_token(Some(&theirs), request.clone()))
            .await;
        let listed = listed.map(|listed| listed.into_inner());
        let shows = listed.is_ok_and(|listed| !listed.queues.is_empty() || listed.all_tasks > 0);
        assert!(!shows, "{request:?}");
    }
    // A token that nobody has is as good as none.
    for token in [
        None,
        Some("x"),
        Some("skn_api_0000000000000000000000000000000000000"),
    ] {
        let status = call(&channel, token, "skein.v1.Admin", "ListNodes").await;
        assert!(
            matches!(
                status.code(),
                Code::Unauthenticated | Code::PermissionDenied
            ),
            "{token:?}: {status}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_a_node_manages_nothing() {
    let stage = Stage::new().await;
    let channel = stage.channel(Some("node.test"));
    let before = stage.refused().await;
    let mut denied = BTreeSet::new();
    for (service, method) in of_the_port() {
        let status = call(&channel, None, &service, &method).await;
        assert_eq!(
            status.code(),
            Code::PermissionDenied,
            "{service}/{method}: {status}"
        );
        denied.insert(method);
    }
    assert_eq!(stage.refused().await - before, denied.len() as u64);
    stage.until_noted("node.test", &denied).await;
}
