//! The crate map of ARCHITECTURE.md, and what follows from it.

use super::MAP;
use super::graph::Graph;
use super::source::Problems;
use anyhow::bail;
use std::collections::BTreeSet;

/// One line of the map.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Only tests and benchmarks may use it.
    pub(super) dev_only: bool,
    /// From 1.
    line: usize,
}

/// Reads the block under `## Map`, lowest crate first.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| *line != "## Map");
    if lines.find(|(_, line)| line.trim_end() == "```text").is_none() {
        bail!("{MAP} has no ```text block under `## Map`");
    }
    let mut map = Vec::<Entry>::new();
    for (number, line) in lines.take_while(|(_, line)| !line.starts_with("```")) {
        if line.starts_with("--") || line.trim().is_empty() {
            continue;
        }
        let dev_only = line.contains("(dev only)");
        match (line.starts_with(' '), map.last_mut()) {
            (true, Some(last)) => last.dev_only |= dev_only,
            _ => match line.split_once(' ') {
                Some((name, purpose)) if !purpose.trim().is_empty() => {
                    map.push(Entry { name: name.to_owned(), dev_only, line: number + 1 });
                }
                _ => bail!("{MAP}:{}: a crate and its purpose are expected", number + 1),
            },
        }
    }
    Ok(map)
}

/// The map, the folders under `crates/` and the workspace name the same crates.
pub(super) fn agree(
    map: &[Entry],
    folders: &BTreeSet<String>,
    graph: &Graph,
    problems: &mut Problems,
) {
    for (at, entry) in map.iter().enumerate() {
        if map.iter().take(at).any(|earlier| earlier.name == entry.name) {
            problems.error(MAP, entry.line, format_args!("{} is listed twice", entry.name));
        }
        if !folders.contains(&entry.name) {
            problems.error(MAP, entry.line, format_args!("there is no crates/{}", entry.name));
        } else if !graph.has(&entry.name) {
            let message = format_args!("crates/{0} holds no crate of the name {0}", entry.name);
            problems.error(MAP, entry.line, message);
        }
    }
    for folder in folders {
        if !map.iter().any(|entry| entry.name == *folder) {
            problems.error(MAP, 0, format_args!("crates/{folder} is not on the map"));
        }
    }
}

/// A crate uses only crates above it. What only its tests use is not held to that: a crate's tests
/// may well drive it through what stands on it.
pub(super) fn order(map: &[Entry], graph: &Graph, problems: &mut Problems) {
    for (at, entry) in map.iter().enumerate() {
        for used in graph.uses(&entry.name) {
            let Some(place) = map.iter().position(|other| other.name == used) else {
                continue;
            };
            if place >= at {
                let message = format_args!("{} uses {used}, which is below it", entry.name);
                problems.error(MAP, entry.line, message);
            }
            if map.get(place).is_some_and(|other| other.dev_only) && !entry.dev_only {
                let message = format_args!("{} uses {used}, which is for tests only", entry.name);
                problems.error(MAP, entry.line, message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Architecture

## Map

A crate uses only crates above it.

```text
low        ids and time,
           and more of it
tool       generators (dev only)
-------- the heavy part starts here --------
high       the rest
```
";

    fn complaints(map: &str, folders: &[&str], uses: &[(&str, &str)]) -> Vec<String> {
        let map = parse(map).unwrap();
        let graph = Graph::of(folders, uses);
        let folders = folders.iter().map(|&name| name.to_owned()).collect();
        let mut problems = Problems::default();
        agree(&map, &folders, &graph, &mut problems);
        order(&map, &graph, &mut problems);
        problems.errors
    }

    #[test]
    fn map_is_read_in_order_with_its_marks() {
        let map = parse(TEXT).unwrap();
        let read: Vec<_> = map.iter().map(|e| (e.name.as_str(), e.dev_only, e.line)).collect();
        assert_eq!(read, [("low", false, 8), ("tool", true, 10), ("high", false, 12)]);
    }

    #[test]
    fn a_page_without_a_map_is_refused() {
        assert!(parse("## Map\n\nnothing\n").is_err());
        assert!(parse("## Map\n```text\nnameless\n```\n").is_err());
    }

    #[test]
    fn what_agrees_and_points_up_is_fine() {
        let uses = [("high", "low"), ("tool", "low"), ("high", "serde")];
        assert_eq!(complaints(TEXT, &["low", "tool", "high"], &uses), Vec::<String>::new());
    }

    #[test]
    fn every_disagreement_is_reported() {
        let uses = [("low", "high"), ("high", "tool")];
        let found = complaints(TEXT, &["low", "high", "stray", "tool"], &uses);
        assert_eq!(
            found,
            [
                "ARCHITECTURE.md: crates/stray is not on the map",
                "ARCHITECTURE.md:8: low uses high, which is below it",
                "ARCHITECTURE.md:12: high uses tool, which is for tests only",
            ]
        );
        let found = complaints(TEXT, &["low", "tool"], &[]);
        assert_eq!(found, ["ARCHITECTURE.md:12: there is no crates/high"]);
    }
}
