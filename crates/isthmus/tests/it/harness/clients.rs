//! Programs that drive published SDKs; they live in `tests/clients/` of the workspace.

use super::process::bounded;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CHROMIUM_NAMES: &str = include_str!("../../../../../tests/clients/chromium-names.txt");
const HINT: &str = "`cargo xtask test` installs what this test needs";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `tests/clients/node/PROGRAM SCENARIO` and returns what it printed.
pub(crate) fn node(program: &str, scenario: &str, settings: &[(&str, &str)]) -> Value {
    let folder = workspace().join("tests/clients/node");
    assert!(
        folder.join("node_modules/.locked").exists(),
        "the Node SDKs are not installed; {HINT}"
    );
    let mut command = Command::new("node");
    command.arg(folder.join(program)).arg(scenario);
    drive(command, settings)
}

/// Runs `tests/clients/python/events.py SCENARIO` and returns what it printed.
pub(crate) fn python(scenario: &str, settings: &[(&str, &str)]) -> Value {
    let venv = workspace().join("target/clients/venv");
    assert!(venv.join(".locked").exists(), "the Python SDK is not installed; {HINT}");
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(workspace().join("tests/clients/python/events.py")).arg(scenario);
    drive(command, settings)
}

/// Where Chromium is.
pub(crate) fn chromium() -> String {
    let path = std::env::var_os("PATH").unwrap();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let found = CHROMIUM_NAMES
        .lines()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file());
    let found = found.unwrap_or_else(|| panic!("Chromium is not installed; {HINT}"));
    found.to_string_lossy().into_owned()
}

fn drive(mut command: Command, settings: &[(&str, &str)]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let (out, log) = (folder.path().join("out"), folder.path().join("log"));
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.envs(settings.iter().copied()).stdin(Stdio::null());
    let status = bounded(&mut command, &out, &log);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(status.success(), "{command:?} failed: {status}\n{said}");
    let text = std::fs::read_to_string(&out).unwrap();
    let outcome: Value = serde_json::from_str(text.trim()).unwrap();
    write_down(&outcome);
    outcome
}

/// Leaves a note for `cargo xtask test`, which lists what was driven.
fn write_down(outcome: &Value) {
    let Some(folder) = std::env::var_os("ISTHMUS_SDK_RUNS") else { return };
    let field = |name: &str| outcome[name].as_str().unwrap();
    let (sdk, version, scenario) = (field("sdk"), field("version"), field("scenario"));
    let file = format!("{}-{scenario}.txt", sdk.replace('/', "-"));
    std::fs::write(Path::new(&folder).join(file), format!("{sdk} {version} {scenario}\n")).unwrap();
}
