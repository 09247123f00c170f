//! What the build and the tests need from the system.

use std::path::Path;
use std::process::Command;

use crate::run::{Result, exists};
use crate::tools;

struct Need {
    package: &'static str,
    why: &'static str,
    present: fn() -> bool,
}

/// Of the build.
const BUILD: &[Need] = &[
    Need {
        package: "build-essential",
        why: "C and C++ compilers",
        present: || exists("c++"),
    },
    Need {
        package: "libclang-dev",
        why: "RocksDB's bindings",
        present: has_libclang,
    },
    Need {
        package: "cmake",
        why: "AWS-LC",
        present: || exists("cmake"),
    },
    Need {
        package: "ccache",
        why: "RocksDB is compiled once",
        present: || exists("ccache"),
    },
];

/// Of the tests, the image and the benchmarks.
const TESTS: &[Need] = &[
    Need {
        package: "swaks",
        why: "tests with a real client",
        present: || exists("swaks"),
    },
    Need {
        package: "libnet-ssleay-perl",
        why: "TLS of swaks",
        present: has_ssleay,
    },
    Need {
        package: "gsasl",
        why: "logins by SCRAM with a client of others",
        present: || exists("gsasl"),
    },
    Need {
        package: "postfix",
        why: "tests with a real next hop, benchmarks beside it",
        present: || Path::new("/usr/sbin/smtp-source").exists(),
    },
    Need {
        package: "sasl2-bin",
        why: "users of the real next hop",
        present: || Path::new("/usr/sbin/saslpasswd2").exists(),
    },
    Need {
        package: "libsasl2-modules",
        why: "their logins by PLAIN and LOGIN",
        present: has_sasl_plain,
    },
    Need {
        package: "haproxy",
        why: "tests with a real proxy on the way out",
        present: || exists("haproxy") || Path::new("/usr/sbin/haproxy").exists(),
    },
    Need {
        package: "dovecot-lmtpd",
        why: "tests with a real server of mailboxes",
        present: || Path::new("/usr/lib/dovecot/lmtp").exists(),
    },
    Need {
        package: "opendkim-tools",
        why: "libopendkim, which verifies signatures",
        present: || exists("opendkim-testmsg"),
    },
    Need {
        package: "prometheus",
        why: "promtool, which judges metrics and rules",
        present: || exists("promtool"),
    },
    Need {
        package: "iproute2",
        why: "fault tests: a network for each node",
        present: || exists("ip") || Path::new("/usr/sbin/ip").exists(),
    },
    Need {
        package: "iptables",
        why: "fault tests: links that carry nothing",
        present: || exists("iptables") || Path::new("/usr/sbin/iptables").exists(),
    },
    Need {
        package: "python3",
        why: "tests with a real client",
        present: || exists("python3"),
    },
    Need {
        package: "python3-venv",
        why: "linters of the chart, in a folder of their own",
        present: has_venv,
    },
    Need {
        package: "mmdebstrap",
        why: "the base of the image",
        present: || exists("mmdebstrap"),
    },
    Need {
        package: "buildah",
        why: "the image",
        present: || exists("buildah"),
    },
    Need {
        package: "docker.io",
        why: "tests with containers",
        present: || Path::new("/usr/sbin/dockerd").exists(),
    },
    Need {
        package: "docker-compose",
        why: "deploy/compose.yaml",
        present: || exists("docker-compose"),
    },
];

/// libclang.so in any of the places where distributions put it.
fn has_libclang() -> bool {
    let versions = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    let in_llvm = versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"))
        .any(|entry| entry.path().join("lib/libclang.so").exists());
    in_llvm
        || ["/usr/lib/libclang.so", "/usr/lib64/libclang.so"]
            .iter()
            .any(|path| Path::new(path).exists())
}

/// Below the folder of the machine's architecture.
fn has_sasl_plain() -> bool {
    let folders = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    folders
        .map(|entry| entry.path().join("sasl2/libplain.so"))
        .any(|path| path.exists())
}

fn has_ssleay() -> bool {
    succeeds("perl", &["-MNet::SSLeay", "-e", "1"])
}

fn has_venv() -> bool {
    succeeds("python3", &["-c", "import ensurepip, venv"])
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// `setup` and `setup --tests`.
pub fn run(rest: &[String]) -> Result {
    match rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => for_build(),
        ["--tests"] => for_tests(),
        _ => Err("there is `cargo xtask setup`, and `cargo xtask setup --tests`".to_owned()),
    }
}

pub fn for_build() -> Result {
    packages(BUILD.iter())
}

/// With what the build needs.
pub fn for_tests() -> Result {
    packages(BUILD.iter().chain(TESTS))?;
    tools::install()
}

fn packages(needs: impl Iterator<Item = &'static Need>) -> Result {
    let missing: Vec<&Need> = needs.filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = missing
        .iter()
        .map(|need| format!("{} ({})", need.package, need.why))
        .collect();
    if !exists("apt-get") {
        return Err(format!(
            "please install, by your system's names for these Debian packages: {}",
            list.join(", ")
        ));
    }
    println!("installing {}", list.join(", "));
    apt(&["update"])?;
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(missing.iter().map(|need| need.package));
    apt(&args)
}

fn apt(args: &[&str]) -> Result {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout == b"0\n");
    let mut command = if is_root {
        Command::new("apt-get")
    } else {
        Command::new("sudo")
    };
    if !is_root {
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    }
    let status = command
        .args(["-qq", "-o", "Dpkg::Use-Pty=0"])
        // Another one may run at the start of a machine.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .map_err(|error| format!("apt-get: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("failed: apt-get {}", args.join(" ")))
    }
}
