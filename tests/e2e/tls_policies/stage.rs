//! A cluster whose domains publish policies at a host of the test.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use skein_model::codec;
use skein_model::sts::StsPolicy;
use skein_testkit::web_host::{Page, WebHost};
use skein_tests::fleet::{Fleet, Plan};
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{GetStsPolicyReply, GetStsPolicyRequest, OpenSessionRequest};
use tempfile::TempDir;
use tonic::transport::Channel;

pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Longer than a client waits for a call.
const ASK_AGAIN: Duration = Duration::from_millis(100);

pub struct Stage {
    pub fleet: Fleet,
    pub web: WebHost,
    _folder: TempDir,
}

/// What a control node needs to find policies here.
fn sections(web: &WebHost, folder: &TempDir, look_every: &str, more: &str) -> String {
    let ca = folder.path().join("web-ca.pem");
    std::fs::write(&ca, web.ca_pem()).unwrap();
    format!(
        "[delivery]\nallow_private_addresses = true\n[tls_policies]\nroots = {ca:?}\nhttps_port = {}\nlook_every = {look_every:?}\n\
         {more}\n",
        web.address().port()
    )
}

impl Stage {
    /// `look_every`: whether a policy that is used has changed.
    pub async fn new(control: usize, look_every: &str) -> Self {
        Self::with(control, 0, look_every, ("", "")).await
    }

    /// `more`: sections of control nodes, and of senders.
    pub async fn with(
        control: usize,
        senders: usize,
        look_every: &str,
        more: (&str, &str),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let web = WebHost::start(LOOPBACK).await.unwrap();
        let plan = Plan {
            control,
            senders,
            control_sections: sections(&web, &folder, look_every, more.0),
            sections: more.1.to_owned(),
            ..Plan::default()
        };
        let fleet = Fleet::start(plan).await.unwrap();
        fleet.dns.ttl(0);
        Self {
            fleet,
            web,
            _folder: folder,
        }
    }

    /// A domain announces a policy and its host answers so.
    pub fn publish(&self, domain: &str, id: &str, page: Page) {
        self.announce(domain, &[&format!("v=STSv1; id={id};")]);
        let host = format!("mta-sts.{domain}");
        self.fleet.dns.remove(&host);
        self.fleet.dns.host(&host, self.web.address().ip());
        self.web.set(&host, page);
    }

    /// The TXT records of a domain.
    pub fn announce(&self, domain: &str, records: &[&str]) {
        let name = format!("_mta-sts.{domain}");
        self.fleet.dns.remove(&name);
        for record in records {
            self.fleet.dns.txt(&name, record);
        }
    }

    /// How often a policy was fetched.
    pub fn fetches(&self, domain: &str) -> usize {
        self.web.asked(&format!("mta-sts.{domain}")).len()
    }

    /// The leader of the meta group, as senders call it; none while there is none.
    async fn try_leader(&self) -> Option<SessionsClient<Channel>> {
        let leader = self.fleet.meta_leader().ok()?;
        let address = format!("http://{}", self.fleet.control[leader].address);
        SessionsClient::connect(address).await.ok()
    }

    pub async fn leader(&self) -> SessionsClient<Channel> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(leader) = self.try_leader().await {
                return leader;
            }
            assert!(Instant::now() < until, "no leader");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Asks as a sender does: again while the policy is being fetched, or there is no leader.
    pub async fn ask(&self, domain: &str, again: bool) -> GetStsPolicyReply {
        let until = Instant::now() + PATIENCE;
        loop {
            let request = GetStsPolicyRequest {
                domain: domain.to_owned(),
                again,
            };
            let reply = self.leader().await.get_sts_policy(request).await;
            match reply {
                Ok(reply) if !reply.get_ref().pending => return reply.into_inner(),
                other => assert!(Instant::now() < until, "{other:?}"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    pub async fn policy(&self, domain: &str) -> Option<StsPolicy> {
        policy_of(&self.ask(domain, false).await)
    }

    /// Asks until the policy is as it should be.
    pub async fn until_policy(&self, domain: &str, is_so: impl Fn(Option<&StsPolicy>) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let policy = self.policy(domain).await;
            if is_so(policy.as_ref()) {
                return;
            }
            assert!(Instant::now() < until, "{domain}: {policy:?}");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Registers somebody who tells as a sender does, and takes no mail.
    pub async fn session(&self, sender: &str) -> u64 {
        let until = Instant::now() + PATIENCE;
        loop {
            let request = OpenSessionRequest {
                sender: sender.to_owned(),
                order: 1,
                process: 0,
                place: String::new(),
            };
            match self.leader().await.open_egress(request).await {
                Ok(opened) => return opened.into_inner().session,
                Err(status) => assert!(Instant::now() < until, "{status}"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

pub fn policy_of(reply: &GetStsPolicyReply) -> Option<StsPolicy> {
    let policy = &reply.policy;
    (!policy.is_empty()).then(|| codec::decode(policy).unwrap())
}

/// The text of a policy.
pub fn text(mode: &str, mx: &str, max_age_s: u32) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age_s}\r\n")
}
