//! Whether the process works, has started, and may be given work: what `/livez`, `/startupz` and `/readyz` answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use skein_control::Control;

use crate::config::Role;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Whether the process must be started again.
    Live,
    /// Whether it has opened what it keeps, and listens.
    Startup,
    /// Whether work may be sent here.
    Ready,
}

/// One thing that a probe looks at, by name; none is wrong with it unless a fault is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub fault: Option<String>,
}

impl Check {
    fn new(name: &str, fault: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            fault,
        }
    }

    fn unless(is_fine: bool, name: &str, fault: &str) -> Self {
        Self::new(name, (!is_fine).then(|| fault.to_owned()))
    }
}

/// What a start consists of, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Logs and bodies are opened, and what they hold is applied.
    Stores,
    /// All ports are bound.
    Ports,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Stores => "stores",
            Self::Ports => "ports",
        }
    }

    fn lacking(self) -> &'static str {
        match self {
            Self::Stores => "what the data directory holds is being opened and replayed",
            Self::Ports => "not all ports are bound yet",
        }
    }
}

/// What the parts of the node say of themselves, as they come.
pub struct Health {
    /// Those that are not done yet.
    steps: Mutex<Vec<Step>>,
    all_steps: Vec<Step>,
    control: OnceLock<Arc<Control>>,
    sending: OnceLock<Sending>,
    lending: OnceLock<Arc<AtomicBool>>,
    draining: AtomicBool,
    registry: OnceLock<Registry>,
}

struct Sending {
    working: Arc<AtomicBool>,
    drained: Arc<AtomicBool>,
}

impl Health {
    pub fn new(role: Role) -> Self {
        let steps = match role.controls() {
            true => vec![Step::Stores, Step::Ports],
            false => vec![Step::Ports],
        };
        Self {
            steps: Mutex::new(steps.clone()),
            all_steps: steps,
            control: OnceLock::new(),
            sending: OnceLock::new(),
            lending: OnceLock::new(),
            draining: AtomicBool::new(false),
            registry: OnceLock::new(),
        }
    }

    pub fn done(&self, step: Step) {
        self.steps.lock().retain(|left| *left != step);
    }

    // Each is set once, when the node starts.

    pub fn set_control(&self, control: Arc<Control>) {
        let _ = self.control.set(control);
    }

    pub fn set_sending(&self, working: Arc<AtomicBool>, drained: Arc<AtomicBool>) {
        let _ = self.sending.set(Sending { working, drained });
    }

    pub fn set_lending(&self, working: Arc<AtomicBool>) {
        let _ = self.lending.set(working);
    }

    pub fn set_registry(&self, registry: Registry) {
        let _ = self.registry.set(registry);
    }

    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// None before the start is done.
    pub fn registry(&self) -> Option<&Registry> {
        self.registry.get()
    }

    /// Everything that a probe looks at.
    pub async fn checks(&self, probe: Probe) -> Vec<Check> {
        match probe {
            Probe::Live => self.live(),
            Probe::Startup => self.startup(),
            Probe::Ready => self.ready().await,
        }
    }

    fn live(&self) -> Vec<Check> {
        let mut checks = vec![Check::new("ping", None)];
        let control = self.control.get();
        checks.extend(control.map(|control| Check::new("groups", control.broken())));
        checks
    }

    fn startup(&self) -> Vec<Check> {
        let left = self.steps.lock();
        let steps = self.all_steps.iter();
        steps
            .map(|step| Check::unless(!left.contains(step), step.name(), step.lacking()))
            .collect()
    }

    async fn ready(&self) -> Vec<Check> {
        let is_draining = self.draining.load(Ordering::Acquire);
        let mut checks = vec![Check::unless(!is_draining, "shutdown", "draining")];
        checks.extend(self.startup());
        if let Some(control) = self.control.get() {
            let found = control.readiness().await.into_iter();
            checks.extend(found.map(|(name, fault)| Check { name, fault }));
        }
        let holds = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        if let Some(sending) = self.sending.get() {
            let is_working = holds(&sending.working);
            checks.push(Check::unless(
                is_working,
                "sender-session",
                "the sender has no session",
            ));
            let is_drained = holds(&sending.drained);
            checks.push(Check::unless(
                !is_drained,
                "in-service",
                "drained by an operator",
            ));
        }
        if let Some(working) = self.lending.get() {
            let fault = "the egress node has no session";
            checks.push(Check::unless(holds(working), "egress-session", fault));
        }
        checks
    }
}

/// What a probe answers: whether all is well, and a text. With `is_verbose` each check has a line, as Kubernetes' own servers
/// have it; otherwise the first fault is told.
pub fn answer(probe: Probe, checks: &[Check], is_verbose: bool) -> (bool, String) {
    let first = checks.iter().find_map(|check| check.fault.as_deref());
    if !is_verbose {
        let text = match (probe, first) {
            (Probe::Live, None) => "ok\n".to_owned(),
            (Probe::Startup, None) => "started\n".to_owned(),
            (Probe::Ready, None) => "ready\n".to_owned(),
            (Probe::Live, Some(why)) => format!("broken: {why}\n"),
            (Probe::Startup, Some(why)) => format!("not started: {why}\n"),
            (Probe::Ready, Some(why)) => format!("not ready: {why}\n"),
        };
        return (first.is_none(), text);
    }
    let mut text = String::new();
    for Check { name, fault } in checks {
        match fault {
            None => text.push_str(&format!("[+]{name} ok\n")),
            Some(why) => text.push_str(&format!("[-]{name} failed: {why}\n")),
        }
    }
    let name = match probe {
        Probe::Live => "livez",
        Probe::Startup => "startupz",
        Probe::Ready => "readyz",
    };
    let result = if first.is_none() { "passed" } else { "failed" };
    text.push_str(&format!("{name} check {result}\n"));
    (first.is_none(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(health: &Health, probe: Probe) -> (bool, String) {
        answer(probe, &health.checks(probe).await, false)
    }

    #[tokio::test]
    async fn a_node_lives_before_it_has_started_and_is_ready_after_that() {
        let health = Health::new(Role::Control);
        assert_eq!(told(&health, Probe::Live).await, (true, "ok\n".into()));
        let (is_started, why) = told(&health, Probe::Startup).await;
        assert!(
            !is_started && why.starts_with("not started: what the data directory holds"),
            "{why}"
        );
        health.done(Step::Stores);
        let (is_started, why) = told(&health, Probe::Startup).await;
        assert!(!is_started && why.contains("ports"), "{why}");
        assert!(!told(&health, Probe::Ready).await.0);
        health.done(Step::Ports);
        assert_eq!(
            told(&health, Probe::Startup).await,
            (true, "started\n".into())
        );
        assert_eq!(told(&health, Probe::Ready).await, (true, "ready\n".into()));
        health.set_draining();
        assert_eq!(
            told(&health, Probe::Ready).await,
            (false, "not ready: draining\n".into())
        );
        assert!(
            told(&health, Probe::Startup).await.0,
            "a node that stops is not killed for it"
        );
        assert!(told(&health, Probe::Live).await.0);
    }

    #[tokio::test]
    async fn senders_and_egress_nodes_are_ready_while_they_have_a_session() {
        let flag = |is: bool| Arc::new(AtomicBool::new(is));
        for (working, drained, expected) in [
            (false, false, "not ready: the sender has no session\n"),
            (true, true, "not ready: drained by an operator\n"),
            (true, false, "ready\n"),
        ] {
            let health = Health::new(Role::Sender);
            health.done(Step::Ports);
            health.set_sending(flag(working), flag(drained));
            assert_eq!(told(&health, Probe::Ready).await.1, expected);
        }
        let (health, working) = (Health::new(Role::Egress), flag(false));
        health.done(Step::Ports);
        health.set_lending(working.clone());
        let (is_ready, why) = told(&health, Probe::Ready).await;
        assert!(!is_ready && why.contains("egress node"), "{why}");
        working.store(true, Ordering::Release);
        assert!(told(&health, Probe::Ready).await.0);
    }

    #[test]
    fn all_checks_are_listed_when_asked_for() {
        let checks = [
            Check::new("ping", None),
            Check::new(
                "group-1",
                Some("of group 1, this node has no leader".into()),
            ),
        ];
        let expected = "[+]ping ok\n[-]group-1 failed: of group 1, this node has no leader\nreadyz check failed\n";
        assert_eq!(
            answer(Probe::Ready, &checks, true),
            (false, expected.to_owned())
        );
        let expected = "[+]ping ok\nlivez check passed\n";
        assert_eq!(
            answer(Probe::Live, &checks[..1], true),
            (true, expected.to_owned())
        );
    }
}
