//! `cargo xtask docs`: what the documentation points at is there.
//!
//! Relative links of every Markdown file, the list of decisions, and the names of `cargo xtask`
//! commands. Reference pages are checked by tests of the crates that they describe.

use crate::shell::{root, say};
use crate::tidy::source::{Problems, is_a, tracked_files};
use anyhow::bail;
use std::path::Path;

const COMMANDS: [&str; 7] = ["test", "ci", "tidy", "docs", "bench", "sim", "torture"];

pub(crate) fn run() -> anyhow::Result<()> {
    let root = root();
    let mut problems = Problems::default();
    let mut pages = 0;
    for file in tracked_files()? {
        if !is_a(&file, "md") {
            continue;
        }
        let text = std::fs::read_to_string(root.join(&file))?;
        check(&root, &file, &text, &mut problems);
        pages += 1;
    }
    decisions(&root, &mut problems)?;
    problems.show();
    if !problems.errors.is_empty() {
        bail!("{} problems in the documentation", problems.errors.len());
    }
    say(format_args!("docs: {pages} pages, every link and command is there"));
    Ok(())
}

fn check(root: &Path, file: &str, text: &str, problems: &mut Problems) {
    let folder = root.join(file);
    let folder = folder.parent().unwrap_or(root);
    for (number, line) in text.lines().enumerate() {
        for link in links(line) {
            if !folder.join(link).exists() {
                problems.error(file, number + 1, format_args!("link to {link} leads nowhere"));
            }
        }
        for command in commands(line) {
            if !COMMANDS.contains(&command) {
                problems.error(
                    file,
                    number + 1,
                    format_args!("cargo xtask has no command {command}"),
                );
            }
        }
    }
}

/// Relative targets of `[text](target)`, without their fragment.
fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split('#').next())
        .filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
        })
        .collect()
}

/// The words that follow `cargo xtask`.
fn commands(line: &str) -> Vec<&str> {
    line.split("cargo xtask ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Every decision is in the list of decisions.
fn decisions(root: &Path, problems: &mut Problems) -> anyhow::Result<()> {
    let folder = root.join("docs/decisions");
    let list = std::fs::read_to_string(folder.join("README.md"))?;
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".md") && name != "README.md" && !list.contains(&*name) {
            problems.error(
                "docs/decisions/README.md",
                0,
                format_args!("{name} is not in the list"),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{commands, links};

    #[test]
    fn relative_links_are_found_without_fragments() {
        let line = "[a](docs/a.md#part), [b](https://example.com/x), [c](#here) and [d](../d.md).";
        assert_eq!(links(line), ["docs/a.md", "../d.md"]);
    }

    #[test]
    fn commands_are_found_wherever_they_are_named() {
        assert_eq!(
            commands("run `cargo xtask test --quick`, then cargo xtask ci."),
            ["test", "ci"]
        );
        assert_eq!(commands("`cargo xtask` alone"), Vec::<&str>::new());
    }
}
