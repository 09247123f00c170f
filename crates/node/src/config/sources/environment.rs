//! Which variables of the environment are settings. Pure.
//!
//! `SKEIN_CLUSTER__ADDRESS` is the key `cluster.address`: what is before the first `__` is a section, and each `__` a dot. Keys
//! without a section are `SKEIN_ROLE` and `SKEIN_DATA_DIR`. Others that begin with `SKEIN_` are no settings: Kubernetes sets
//! such as `SKEIN_CONTROL_PORT_7000_TCP` for services that are called skein-something.

use skein_policy::nearest;

const PREFIX: &str = "SKEIN_";
/// Keys that stand before all sections.
const TOP: [&str; 2] = ["role", "data_dir"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// The key that it sets.
    Setting(String),
    /// Not for us.
    Other,
    /// Nothing that is known, though its author seems to have meant a setting; what is to be said of it.
    Doubtful(String),
    /// Refused, with the reason.
    Unknown(String),
}

/// Reads the name of a variable. `sections` are those of the configuration; `keys` are all that have a default.
pub fn read(name: &str, value: &str, sections: &[String], keys: &[String]) -> Variable {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return Variable::Other;
    };
    let lower = rest.to_ascii_lowercase();
    if TOP.contains(&lower.as_str()) {
        return Variable::Setting(lower);
    }
    if let Some((section, _)) = lower.split_once("__") {
        if sections.iter().any(|known| known == section) {
            return Variable::Setting(lower.replace("__", "."));
        }
        if is_service_link(rest, value) {
            return Variable::Other;
        }
        let known = sections.iter().map(String::as_str);
        let hint = match nearest(section, known.clone()) {
            Some(meant) => {
                let name = lower.replacen(section, meant, 1).to_ascii_uppercase();
                format!("did you mean {PREFIX}{name}?")
            }
            None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
        };
        return Variable::Unknown(format!(
            "there is no section {section:?} to set a key of; {hint}"
        ));
    }
    if is_service_link(rest, value) {
        return Variable::Other;
    }
    // A single underscore where there must be two, or a slip in a name.
    let split = sections.iter().find_map(|section| {
        let key = lower.strip_prefix(section.as_str())?.strip_prefix('_')?;
        let key = format!("{section}.{key}");
        keys.contains(&key).then(|| name_of(&key))
    });
    let meant = split.or_else(|| nearest(&lower, TOP).map(name_of));
    match meant {
        Some(meant) => Variable::Doubtful(format!(
            "is no setting and has no effect; did you mean {meant}?"
        )),
        None => Variable::Other,
    }
}

/// The variable that sets a key.
pub fn name_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// What Kubernetes sets in pods for each service of their namespace, unless `enableServiceLinks` is false.
fn is_service_link(rest: &str, value: &str) -> bool {
    let is_port = rest.ends_with("_PORT") && value.contains("://");
    let of_service = rest.ends_with("_SERVICE_HOST") || rest.contains("_SERVICE_PORT");
    let of_port = ["_TCP", "_UDP", "_SCTP"];
    is_port
        || of_service
        || (rest.contains("_PORT_") && of_port.iter().any(|end| rest.contains(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_from_what_others_set() {
        let sections = ["cluster", "egress", "http", "log", "smtp"].map(str::to_owned);
        let keys = ["cluster.address", "log.level", "smtp.limits.recipients"].map(str::to_owned);
        let setting = |key: &str| Variable::Setting(key.to_owned());
        for (name, value, expected) in [
            ("SKEIN_ROLE", "all", setting("role")),
            ("SKEIN_DATA_DIR", "/data", setting("data_dir")),
            ("SKEIN_CLUSTER__ADDRESS", "a:1", setting("cluster.address")),
            (
                "SKEIN_SMTP__LIMITS__RECIPIENTS",
                "5",
                setting("smtp.limits.recipients"),
            ),
            ("SKEIN_SMTP__NONSENSE", "5", setting("smtp.nonsense")),
            ("PATH", "/bin", Variable::Other),
            ("SKEIN_BIN", "/x", Variable::Other),
            ("SKEIN_FAULTS_FROM", "/x", Variable::Other),
            ("SKEIN_SEED", "7", Variable::Other),
            ("SKEIN_SERVICE_HOST", "10.0.0.1", Variable::Other),
            ("SKEIN_SERVICE_PORT_HTTP", "80", Variable::Other),
            ("SKEIN_PORT", "tcp://10.0.0.1:80", Variable::Other),
            (
                "SKEIN_CONTROL_PORT_7000_TCP",
                "tcp://10.0.0.1:7000",
                Variable::Other,
            ),
            (
                "SKEIN_CONTROL_PORT_7000_TCP_ADDR",
                "10.0.0.1",
                Variable::Other,
            ),
            ("SKEIN_A__B_SERVICE_HOST", "10.0.0.1", Variable::Other),
        ] {
            assert_eq!(read(name, value, &sections, &keys), expected, "{name}");
        }
        for (name, part) in [
            (
                "SKEIN_CLUSTER_ADDRESS",
                "did you mean SKEIN_CLUSTER__ADDRESS?",
            ),
            ("SKEIN_LOG_LEVEL", "did you mean SKEIN_LOG__LEVEL?"),
            ("SKEIN_DATADIR", "did you mean SKEIN_DATA_DIR?"),
        ] {
            let Variable::Doubtful(said) = read(name, "x", &sections, &keys) else {
                panic!("{name} is taken");
            };
            assert!(said.ends_with(part), "{name}: {said}");
        }
        for (name, part) in [
            (
                "SKEIN_CLUSTR__ADDRESS",
                "did you mean SKEIN_CLUSTER__ADDRESS?",
            ),
            ("SKEIN_XYZZY__ADDRESS", "there are cluster, egress"),
        ] {
            let Variable::Unknown(said) = read(name, "x", &sections, &keys) else {
                panic!("{name} is taken");
            };
            assert!(said.contains(part), "{name}: {said}");
        }
    }
}
