//! The real binary as a child process, and what the system says of it.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for a child to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running command of the binary; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
}

impl Process {
    /// Starts `isthmus NAME ARGUMENTS --port-file ...` and waits until it listens.
    pub(crate) async fn start(
        name: &'static str,
        folder: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let port_file = folder.join(format!("{name}.port"));
        drop(std::fs::remove_file(&port_file));
        let mut child = Command::new(env!("CARGO_BIN_EXE_isthmus"))
            .arg("--log=warn")
            .arg(name)
            .args(arguments)
            .arg("--port-file")
            .arg(&port_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let mut waited = Duration::ZERO;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended early: {status}");
            }
            if let Ok(address) = std::fs::read_to_string(&port_file) {
                return Ok(Self { child, url: format!("http://{}", address.trim()) });
            }
            if waited > READY_WITHIN {
                bail!("{name} is not ready after {READY_WITHIN:?}");
            }
            pause(Duration::from_millis(20)).await;
            waited += Duration::from_millis(20);
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap_or(&self.url)
    }

    /// CPU time used so far, user and system.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(&format!("/proc/{}/stat", self.child.id()))
    }

    /// Largest resident size so far, in MiB.
    pub(crate) fn peak_memory_mib(&self) -> anyhow::Result<u64> {
        self.status_mib("VmHWM:")
    }

    /// Resident size now, in MiB.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<u64> {
        self.status_mib("VmRSS:")
    }

    fn status_mib(&self, key: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(key));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.with_context(|| format!("no {key}"))?.parse::<u64>()? / 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// CPU time of this process so far.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of("/proc/self/stat")
}

fn cpu_of(file: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(file)?;
    // Fields after the name in brackets; user and system time are the 12th and 13th of them, in
    // ticks of 10 ms (proc(5)).
    let rest = stat.rsplit_once(')').context("no command name")?.1;
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// A folder for one run, on the disk that the build uses.
pub(crate) fn folder() -> anyhow::Result<tempfile::TempDir> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    Ok(tempfile::tempdir_in(target)?)
}
