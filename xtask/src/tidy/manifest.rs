//! What a `Cargo.toml` of this workspace looks like.

use super::graph::Graph;
use super::source::Problems;
use std::collections::BTreeSet;
use std::path::Path;

/// Versions live in the workspace, default features are chosen, lints are the workspace's.
pub(super) fn check(
    root: &Path,
    folders: &BTreeSet<String>,
    graph: &Graph,
    problems: &mut Problems,
) -> anyhow::Result<()> {
    for (user, used, requirement) in &graph.requirements {
        if requirement == "*" {
            problems.error("Cargo.toml", 0, format_args!("{user} takes any version of {used}"));
        }
    }
    workspace(&std::fs::read_to_string(root.join("Cargo.toml"))?, problems);
    let members = folders.iter().map(|folder| format!("crates/{folder}/Cargo.toml"));
    for file in members.chain(["xtask/Cargo.toml".to_owned()]) {
        member(&file, &std::fs::read_to_string(root.join(&file))?, problems);
    }
    Ok(())
}

fn workspace(text: &str, problems: &mut Problems) {
    for (number, line) in section(text, |name| name == "workspace.dependencies") {
        if !line.contains("path =") && !line.contains("default-features = false") {
            let name = line.split(' ').next().unwrap_or(line);
            let message = format_args!("{name} does not say `default-features = false`");
            problems.error("Cargo.toml", number, message);
        }
    }
}

fn member(file: &str, text: &str, problems: &mut Problems) {
    if !section(text, |name| name == "lints").any(|(_, line)| line == "workspace = true") {
        problems.error(file, 0, format_args!("`[lints]` is not the workspace's"));
    }
    if !text.lines().any(|line| line.starts_with("description = ")) {
        problems.error(file, 0, format_args!("no description"));
    }
    for (number, line) in section(text, |name| name.ends_with("dependencies")) {
        if !line.contains("workspace = true") {
            problems.error(file, number, format_args!("`{line}` has its own version"));
        }
    }
}

/// The lines `key = value` of the sections that `wanted` wants, numbered from 1.
fn section(text: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if let Some(name) = line.strip_prefix('[') {
            inside = wanted(name.trim_end().trim_end_matches(']'));
            return None;
        }
        let is_entry = inside && line.contains('=') && !line.starts_with('#');
        is_entry.then_some((number + 1, line.trim_end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_versions_and_default_features_are_reported() {
        let mut problems = Problems::default();
        workspace(
            "[workspace.dependencies]\nnear = { path = \"near\" }\nserde = { version = \"1\" }\n\
             log = { version = \"1\", default-features = false }\n[profile.dev]\ndebug = 1\n",
            &mut problems,
        );
        member(
            "crates/a/Cargo.toml",
            "[package]\nname = \"a\"\n[dependencies]\nserde.workspace = true\n\
             log = { workspace = true }\n[dev-dependencies]\nrand = \"1\"\n",
            &mut problems,
        );
        assert_eq!(
            problems.errors,
            [
                "Cargo.toml:3: serde does not say `default-features = false`",
                "crates/a/Cargo.toml: `[lints]` is not the workspace's",
                "crates/a/Cargo.toml: no description",
                "crates/a/Cargo.toml:7: `rand = \"1\"` has its own version",
            ]
        );
    }
}
