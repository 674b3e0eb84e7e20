//! Installs the published clients that the end-to-end tests drive: SDKs from their lock files,
//! Chromium from the distribution's packages.
//!
//! What is already there in the locked version is left alone, so a second run needs no network.

use crate::shell::{command, output, root, run, say, which, works};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that Chromium goes by, one a line; the end-to-end tests read the same file.
const CHROMIUM_NAMES: &str = include_str!("../../tests/clients/chromium-names.txt");
/// Oldest Node that the locked packages run on.
const NODE_MIN: u32 = 20;

/// What a distribution calls things, and how it installs them.
struct Packages {
    program: &'static str,
    update: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    chromium: &'static str,
    python_venv: &'static str,
}

const PACKAGES: [Packages; 3] = [
    Packages {
        program: "apt-get",
        update: Some(&["update", "--quiet"]),
        install: &["install", "--yes", "--quiet", "--no-install-recommends"],
        chromium: "chromium",
        python_venv: "python3-venv",
    },
    Packages {
        program: "dnf",
        update: None,
        install: &["install", "--assumeyes", "--quiet"],
        chromium: "chromium",
        python_venv: "python3",
    },
    Packages {
        program: "apk",
        update: None,
        install: &["add", "--no-cache"],
        chromium: "chromium",
        python_venv: "python3",
    },
];

/// Where what is installed for tests goes, unless it must be elsewhere.
pub(crate) fn folder() -> PathBuf {
    root().join("target").join("clients")
}

/// Installs whatever is missing.
pub(crate) fn install() -> anyhow::Result<()> {
    node().context("the Node SDKs are not installed")?;
    python().context("the Python SDK is not installed")?;
    chromium().context("Chromium is not installed")
}

fn node() -> anyhow::Result<()> {
    let version = output(&mut command("node", &["--version"]))
        .context("Node is needed; install Node 20 or newer, with npm")?;
    if major(&version).is_none_or(|major| major < NODE_MIN) {
        bail!("Node {NODE_MIN} or newer is needed, this is {}", version.trim());
    }
    let programs = root().join("tests/clients/node");
    let lock = programs.join("package-lock.json");
    let installed = programs.join("node_modules/.locked");
    if same(&lock, &installed) {
        say("Node SDKs: installed already");
        return Ok(());
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    run(command("npm", &arguments).current_dir(&programs))
        .context("npm needs its registry for the packages of package-lock.json")?;
    copy(&lock, &installed)
}

fn python() -> anyhow::Result<()> {
    let requirements = root().join("tests/clients/python/requirements.txt");
    let venv = folder().join("venv");
    let installed = venv.join(".locked");
    if same(&requirements, &installed) {
        say("Python SDK: installed already");
        return Ok(());
    }
    let python = ["python3", "python"]
        .into_iter()
        .find(|name| works(&mut command(name, &["--version"])))
        .context("Python 3 is needed")?;
    std::fs::create_dir_all(folder())?;
    let make = |options: &[&str]| {
        let mut make = command(python, &["-m", "venv"]);
        make.args(options).arg(&venv);
        make
    };
    if run(&mut make(&["--clear"])).is_err() {
        let packages = packages().context("Python's venv module is needed")?;
        install_package(packages, packages.python_venv)?;
        run(&mut make(&["--clear"]))?;
    }
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"];
    let requirement = requirements.to_string_lossy();
    run(command(venv.join("bin/python"), &pip).args(["--no-deps", "-r", &requirement]))
        .context("pip needs its registry for the package of requirements.txt")?;
    copy(&requirements, &installed)
}

fn chromium() -> anyhow::Result<()> {
    if let Some(found) = CHROMIUM_NAMES.lines().find_map(which) {
        say(format_args!("Chromium: {}", found.display()));
        return Ok(());
    }
    let names = CHROMIUM_NAMES.lines().collect::<Vec<_>>().join(", ");
    let hint = || format!("install it so that one of these is on the search path: {names}");
    let packages = packages().with_context(hint)?;
    install_package(packages, packages.chromium).with_context(hint)?;
    if CHROMIUM_NAMES.lines().find_map(which).is_none() {
        bail!("{} installed something else; {}", packages.program, hint());
    }
    Ok(())
}

/// The package manager of this machine.
fn packages() -> anyhow::Result<&'static Packages> {
    PACKAGES
        .iter()
        .find(|packages| which(packages.program).is_some())
        .context("no package manager was found: none of apt-get, dnf, apk")
}

fn install_package(packages: &Packages, package: &str) -> anyhow::Result<()> {
    if let Some(update) = packages.update {
        run(&mut as_root(packages.program, update)?)?;
    }
    run(as_root(packages.program, packages.install)?.arg(package))
}

/// The command as it is for root, through sudo (which must not ask) for everybody else.
fn as_root(program: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = if output(&mut command("id", &["-u"]))?.trim() == "0" {
        command(program, arguments)
    } else if which("sudo").is_some() {
        let mut sudo = command("sudo", &["--non-interactive", program]);
        sudo.args(arguments);
        sudo
    } else {
        bail!("{program} needs root, and there is no sudo");
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

/// `v20.11.1` -> 20.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Whether both files are there and hold the same.
fn same(one: &Path, other: &Path) -> bool {
    match (std::fs::read(one), std::fs::read(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Remembers what was installed, last, so that an installation cut short is repeated.
fn copy(lock: &Path, installed: &Path) -> anyhow::Result<()> {
    std::fs::copy(lock, installed)
        .map(drop)
        .with_context(|| format!("{} cannot be written", installed.display()))
}

#[cfg(test)]
mod tests {
    use super::{CHROMIUM_NAMES, major, same};

    #[test]
    fn major_version_is_read_from_what_node_prints() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("20"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn a_missing_lock_is_never_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        assert!(!same(&one, &other));
        std::fs::write(&one, "x").unwrap();
        assert!(!same(&one, &other));
        std::fs::write(&other, "x").unwrap();
        assert!(same(&one, &other));
    }

    #[test]
    fn chromium_names_are_plain_words() {
        let plain =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '-');
        assert!(CHROMIUM_NAMES.lines().all(plain));
    }
}
