//! Tokens of the policy say who manages, as certificates do, and every change has its line in the audit log.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use skein_testkit::load::Probe;
use skein_testkit::process::http_get;
use skein_tests::fleet::{Fleet, Plan};

/// What an operator waits for at most until a change is in force.
const WITHIN: Duration = Duration::from_secs(2);

/// One control node and a sender with certificates, and `skeinctl` without any.
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
        let fleet = Fleet::start(plan).await.unwrap();
        Self { fleet }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(std::env::var("SKEINCTL_BIN").unwrap());
        let server = format!("https://{}", self.fleet.control[0].admin);
        let ca = self.fleet.folder.path().join("ca/ca.pem");
        command
            .args(["--server", &server, "--json", "--ca"])
            .arg(ca);
        command
    }

    /// As somebody who has nothing but a token, or not even that.
    fn with(&self, token: Option<&str>, args: &[&str]) -> Output {
        let mut command = self.command();
        if let Some(token) = token {
            command.env("SKEINCTL_TOKEN", token);
        }
        command.args(args).output().unwrap()
    }

    /// As the admin with a certificate.
    fn ask(&self, args: &[&str]) -> anyhow::Result<Value> {
        let file = |name: &str| self.fleet.folder.path().join("ca").join(name);
        let mut command = self.command();
        command.arg("--cert").arg(file("operator.pem"));
        command.arg("--key").arg(file("operator-key.pem"));
        let output = command.args(args).output()?;
        anyhow::ensure!(output.status.success(), "{args:?}: {}", told(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn made(&self, args: &[&str]) -> String {
        let said = self.ask(&[&["credential"], args].concat()).unwrap();
        said["secret"].as_str().unwrap().to_owned()
    }

    /// The id of a message that was handed in without a login.
    async fn hand_in(&self, to: &str) -> String {
        let mut probe = Probe::connect(self.fleet.senders[0].smtp).await.unwrap();
        probe.reply().await.unwrap();
        let to = format!("RCPT TO:<{to}>");
        for line in ["EHLO c", "MAIL FROM:<a@here.test>", &to, "DATA"] {
            let reply = probe.cmd(line).await.unwrap();
            assert!(reply.code < 400, "{line}: {reply:?}");
        }
        let reply = probe.cmd("Subject: x\r\n\r\nx\r\n.").await.unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
        reply.lines[0].split(" ").last().unwrap().to_owned()
    }

    fn audit(&self) -> Vec<Value> {
        let said = self.ask(&["audit", "--limit", "1000"]).unwrap();
        said.as_array().unwrap().clone()
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_do_what_its_role_may_until_it_is_revoked() {
    let stage = Stage::new().await;
    let token = |name: &str, role: &str| stage.made(&["create", name, "--role", role, "--wait"]);
    let (admin, ops, view) = (
        token("root", "admin"),
        token("ops", "operator"),
        token("view", "viewer"),
    );
    let acme = stage.made(&[
        "create", "acme", "--role", "tenant", "--tenant", "acme", "--wait",
    ]);
    let smtp = stage.made(&["create", "app", "--tenant", "acme", "--wait"]);
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), "kind: tenant\nname: acme\n").unwrap();
    let path = file.path().to_str().unwrap();
    let (look, hold) = (
        &["node", "list"][..],
        &["suspend", "--domain", "x.test", "--for", "1h"][..],
    );
    let (apply, secrets) = (
        &["apply", "-f", path][..],
        &["policy", "get", "--secrets"][..],
    );
    let (queues, log) = (&["queue", "list"][..], &["audit"][..]);
    for (who, token, args, refused) in [
        ("admin", &admin, look, ""),
        ("admin", &admin, hold, ""),
        ("admin", &admin, apply, ""),
        ("admin", &admin, secrets, ""),
        ("operator", &ops, look, ""),
        ("operator", &ops, hold, ""),
        ("operator", &ops, log, ""),
        (
            "operator",
            &ops,
            apply,
            "the token of ops has the role operator, and this needs admin",
        ),
        ("operator", &ops, secrets, "secrets: the token of ops"),
        ("viewer", &view, look, ""),
        ("viewer", &view, queues, ""),
        (
            "viewer",
            &view,
            hold,
            "the role viewer, and this needs admin or operator",
        ),
        ("viewer", &view, log, "the role viewer"),
        ("tenant", &acme, queues, ""),
        ("tenant", &acme, look, "the role tenant"),
        ("tenant", &acme, hold, "the role tenant"),
        ("a login", &smtp, look, "begins with skn_api_"),
    ] {
        let output = stage.with(Some(token), args);
        let said = told(&output);
        assert_eq!(
            output.status.success(),
            refused.is_empty(),
            "{who} {args:?}: {said}"
        );
        assert!(said.contains(refused), "{who} {args:?}: {said}");
    }
    let nobody = stage.with(None, look);
    assert!(
        told(&nobody).contains("neither a certificate nor a token"),
        "{nobody:?}"
    );
    let mistyped = stage.with(Some(&view.replace("api_", "api_x")), look);
    assert!(
        told(&mistyped).contains("the token is not whole"),
        "{mistyped:?}"
    );

    stage.ask(&["credential", "revoke", "view"]).unwrap();
    let revoked = Instant::now();
    while stage.with(Some(&view), look).status.success() {
        assert!(revoked.elapsed() < WITHIN, "a revoked token is good");
    }
    let gone = stage.with(Some(&view), look);
    assert!(told(&gone).contains("was it revoked?"), "{gone:?}");
    let secret = &view["skn_api_".len() + 8..];
    assert!(!told(&gone).contains(secret), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_its_own_mail_and_nobody_elses() {
    let stage = Stage::new().await;
    let (ours, theirs) = (
        stage.made(&[
            "create", "ours", "--role", "tenant", "--tenant", "default", "--wait",
        ]),
        stage.made(&[
            "create", "theirs", "--role", "tenant", "--tenant", "other", "--wait",
        ]),
    );
    let hold = [
        "suspend",
        "--domain",
        "there.test",
        "--for",
        "1h",
        "--why",
        "to look at it",
    ];
    stage.ask(&hold).unwrap();
    let id = stage.hand_in("user@there.test").await;
    let shown = stage.with(Some(&ours), &["message", "show", &id]);
    assert!(shown.status.success(), "{shown:?}");
    for args in [
        &["message", "show", &id][..],
        &["queue", "show", "there.test"],
    ] {
        let none = stage.with(Some(&theirs), args);
        let unknown = stage.with(
            Some(&theirs),
            &["message", "show", "01JQZZZZZZZZZZZZZZZZZZZZZZ"],
        );
        assert!(
            !none.status.success() && !unknown.status.success(),
            "{none:?}"
        );
        let own = stage.with(Some(&ours), args);
        assert!(own.status.success(), "{own:?}");
    }
    let list = |token: &str| {
        let output = stage.with(Some(token), &["queue", "list"]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list(&ours).contains("there.test"), "{}", list(&ours));
    assert!(!list(&theirs).contains("there.test"), "{}", list(&theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_in_the_audit_log_with_who_made_it() {
    let stage = Stage::new().await;
    let ops = stage.made(&["create", "ops", "--role", "operator", "--wait"]);
    let hold = [
        "suspend",
        "--domain",
        "x.test",
        "--for",
        "1h",
        "--why",
        "they asked",
    ];
    assert!(stage.with(Some(&ops), &hold).status.success());
    let denied = stage.with(Some(&ops), &["credential", "revoke", "ops"]);
    assert!(!denied.status.success());
    let failed = stage.with(Some(&ops), &["node", "drain", "nobody"]);
    assert!(!failed.status.success());
    stage.with(None, &["status"]);
    let audit = stage.audit();
    let find = |call: &str, who: &str| {
        let found = audit
            .iter()
            .find(|entry| entry["call"] == call && entry["who"] == who);
        found
            .unwrap_or_else(|| panic!("{call} by {who}: {audit:#?}"))
            .clone()
    };
    let made = find("ApplyPolicy", "operator");
    assert_eq!(made["code"], 0, "{made}");
    assert!(
        made["asked"].as_str().unwrap().contains("credential"),
        "{made}"
    );
    let held = find("Suspend", "token ops");
    assert_eq!(held["code"], 0, "{held}");
    let asked = held["asked"].as_str().unwrap();
    assert!(
        asked.contains("x.test") && asked.contains("they asked"),
        "{held}"
    );
    assert!(
        held["from"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{held}"
    );
    assert_eq!(find("DrainNode", "token ops")["code"], 5);
    let refused = audit.iter().filter(|entry| entry["code"] == 7).count();
    assert!(refused >= 2, "{audit:#?}");
    let (_, metrics) = http_get(stage.fleet.control[0].http, "/metrics")
        .await
        .unwrap();
    let counted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("skein_admin_calls_refused_total "));
    assert!(counted.unwrap().parse::<u64>().unwrap() >= 2, "{counted:?}");
    // Whoever only looks changes nothing.
    assert!(
        audit.iter().all(|entry| entry["call"] != "ListNodes"),
        "{audit:#?}"
    );
    assert!(!format!("{audit:?}").contains("skn_api_"), "{audit:#?}");
    check_events(&stage, &ops).await;
}

/// The event log has what the audit log has: each call when it begins and when it ends.
async fn check_events(stage: &Stage, token: &str) {
    let number = |entry: &Value, key: &str| entry[key].as_u64().unwrap();
    let is_told = |fleet: &Fleet| {
        let mut told = fleet.events().unwrap();
        told.retain(|event| event["event"] == "audit");
        // The log begins as soon as the group has a leader.
        let first = number(told.first()?, "entry");
        let audit = stage.audit();
        let mut since = audit
            .iter()
            .filter(|entry| number(entry, "number") >= first);
        let is_whole = since.all(|entry| {
            let of_entry = |event: &&Value| event["entry"] == entry["number"];
            let codes: Vec<_> = told
                .iter()
                .filter(of_entry)
                .map(|one| &one["code"])
                .collect();
            codes.contains(&&entry["code"])
        });
        is_whole.then_some(told)
    };
    let within = Duration::from_secs(30);
    let told = stage.fleet.until("all audit events", within, is_told);
    let told = told.await.unwrap();
    let seqs: Vec<u64> = told.iter().map(|event| number(event, "seq")).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
    let of = |call: &str| -> Vec<&Value> {
        let of_call = told.iter().filter(|event| event["call"] == call);
        of_call.collect()
    };
    let held = of("Suspend");
    let [begun, ended] = held[..] else {
        panic!("{held:#?}")
    };
    assert_eq!(begun["entry"], ended["entry"]);
    assert_eq!((&begun["code"], &ended["code"]), (&Value::Null, &0.into()));
    assert_eq!(ended["by"], "token ops");
    // A call that is refused is not begun.
    assert!(of("ApplyPolicy").iter().any(|event| event["code"] == 7));
    let text = format!("{told:?}");
    assert!(
        !text.contains("skn_api_") && !text.contains(token),
        "{text}"
    );
}
