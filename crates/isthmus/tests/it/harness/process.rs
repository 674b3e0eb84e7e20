//! The real program as a child process, killed when the test is over.

use super::patience::{PATIENCE, eventually, pause};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The key that `{ env: ISTHMUS_TEST_REST_KEY }` stands for.
pub(crate) const REST_KEY: &str = "rest-key-for-tests";

/// How a command ended, and what it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary, with nothing in its environment that could change what it does.
pub(crate) fn isthmus(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ISTHMUS_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).env("ISTHMUS_TEST_REST_KEY", REST_KEY).stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself, in `folder`.
pub(crate) fn ended(folder: &Path, arguments: &[&str]) -> Ended {
    let out = folder.join(format!("{}.out", arguments[0]));
    let log = folder.join(format!("{}.err", arguments[0]));
    let mut command = isthmus(arguments);
    command.current_dir(folder);
    let status = bounded(&mut command, &out, &log);
    let read = |file: &Path| std::fs::read_to_string(file).unwrap();
    Ended { status, stdout: read(&out), stderr: read(&log) }
}

/// Runs `command` with its output in files, and kills it when it takes too long.
pub(crate) fn bounded(command: &mut Command, out: &Path, log: &Path) -> ExitStatus {
    command.stdout(File::create(out).unwrap()).stderr(File::create(log).unwrap());
    let mut child = Guard(command.spawn().unwrap());
    let mut rounds = 0;
    loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            return status;
        }
        rounds += 1;
        // Programs that drive SDKs give up after a minute by themselves.
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(rounds < 6_000, "{command:?} does not end; it says: {}", said());
        pause();
    }
}

/// A command that runs until it is told to stop.
pub(crate) struct Process {
    child: Guard,
    name: String,
    address: String,
    log: PathBuf,
}

impl Process {
    /// Starts `isthmus NAME ARGUMENTS`, with its files in `folder`, and returns once it listens.
    pub(crate) fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let port_file = folder.join(format!("{name}.port"));
        drop(std::fs::remove_file(&port_file));
        let log = folder.join(format!("{name}.log"));
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let child = isthmus(&[name])
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--port-file"])
            .arg(&port_file)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut child = Guard(child);
        let address = eventually(&format!("{name} listens"), || {
            if let Some(status) = child.0.try_wait().unwrap() {
                let said = std::fs::read_to_string(&log).unwrap();
                panic!("{name} ended before it listened: {status}\n{said}");
            }
            std::fs::read_to_string(&port_file).map_err(|_| "no port file".to_owned())
        });
        Self { child, name: name.to_owned(), address: address.trim().to_owned(), log }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The URL of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        let name = self.name.clone();
        eventually(&format!("{name} stops"), || {
            self.child
                .0
                .try_wait()
                .unwrap()
                .ok_or_else(|| format!("still running after {PATIENCE:?}"))
        })
    }

    /// Sends it the signal called `name`, as in `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success(), "{name} does not reach {}", self.name);
    }

    /// What it wrote on standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Memory that it occupies now, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = lines.split_at(lines.len().saturating_sub(40)).1;
            eprintln!("--- {} said last\n{}", self.name, last.join("\n"));
        }
    }
}

/// Takes the child along when the test ends.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // An error means that it is gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
