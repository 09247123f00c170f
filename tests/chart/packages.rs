//! The Debian package and the unit for systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use skein_tests::helm::tools::{root, succeeds, tool};

#[test]
fn the_debian_package_has_programs_that_run_and_files_that_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let binaries = skein_tests::skein().unwrap();
    let mut build = Command::new(root().join("deploy/debian/build.sh"));
    succeeds(build.arg(binaries.parent().unwrap()).arg(folder.path()));
    let mut made = fs::read_dir(folder.path()).unwrap();
    let package = made.next().unwrap().unwrap().path();
    let installed = folder.path().join("installed");
    succeeds(
        Command::new("dpkg-deb")
            .arg("--raw-extract")
            .arg(&package)
            .arg(&installed),
    );

    for program in ["skein", "skeinctl"] {
        let version =
            succeeds(Command::new(installed.join("usr/bin").join(program)).arg("--version"));
        assert!(
            package
                .to_str()
                .unwrap()
                .contains(version.trim().rsplit(' ').next().unwrap()),
            "{version}"
        );
    }
    let mode = |path: &str| {
        fs::metadata(installed.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("etc/skein/skein.toml"), mode("usr/bin/skein")),
        (0o640, 0o755)
    );
    let conffiles = fs::read_to_string(installed.join("DEBIAN/conffiles")).unwrap();
    assert_eq!(conffiles, "/etc/skein/skein.toml\n");
    let config = fs::read_to_string(installed.join("etc/skein/skein.toml")).unwrap();
    let config = config.replace(
        "/var/lib/skein",
        &folder.path().join("data").display().to_string(),
    );
    let file = folder.path().join("skein.toml");
    fs::write(&file, config).unwrap();
    succeeds(
        Command::new(&binaries)
            .args(["config", "check", "--strict"])
            .arg(&file),
    );
    let scripts = ["postinst", "prerm", "postrm"].map(|name| installed.join("DEBIAN").join(name));
    succeeds(tool("shellcheck").args(scripts));
}

/// The unit's programs are not on this machine, so what would be verified has others.
#[test]
fn systemd_knows_what_the_unit_says_and_finds_it_confined() {
    let folder = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(root().join("deploy/systemd/skein.service")).unwrap();
    let unit = unit
        .replace("/usr/bin/skein ", "/bin/true ")
        .replace("=skein\nGroup=skein", "=daemon\nGroup=daemon");
    let file = folder.path().join("skein.service");
    fs::write(&file, unit).unwrap();
    verify(&file);
    // From 0, nothing is left open, to 10: the unit listens and connects out, which is 2 or so by itself.
    let mut security = Command::new("systemd-analyze");
    succeeds(
        security
            .args(["security", "--offline=true", "--threshold=25"])
            .arg(&file),
    );
}

fn verify(file: &Path) {
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let of_unit: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("skein.service"))
        .collect();
    assert!(of_unit.is_empty(), "{of_unit:#?}");
}
