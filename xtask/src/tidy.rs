//! `cargo xtask tidy`: the crate map, the absences and the habits that no compiler checks.
//!
//! It reads ARCHITECTURE.md, so the map that people read is the map that holds.

mod graph;
mod manifest;
mod map;
pub(crate) mod source;

use self::graph::Graph;
use self::source::Problems;
use crate::shell::{root, say};
use anyhow::{Context, bail};
use std::collections::BTreeSet;

const MAP: &str = "ARCHITECTURE.md";

/// What some crates never reach, by themselves or through what they use.
struct Absence {
    crates: &'static [&'static str],
    never: &'static [&'static str],
    because: &'static str,
}

const ABSENCES: [Absence; 2] = [
    Absence {
        crates: &["isthmus-core", "isthmus-amplitude", "isthmus-braze"],
        never: &["tokio", "mio", "reqwest", "axum", "hyper", "sqlx", "fjall"],
        because: "it does no I/O",
    },
    Absence {
        crates: &["isthmus-delivery"],
        never: &["isthmus-amplitude", "isthmus-braze", "axum", "reqwest"],
        because: "it has never heard of a vendor or of a socket",
    },
];

pub(crate) fn run() -> anyhow::Result<()> {
    let root = root();
    let text = std::fs::read_to_string(root.join(MAP)).context("ARCHITECTURE.md cannot be read")?;
    let map = map::parse(&text)?;
    let graph = Graph::load()?;
    let mut problems = Problems::default();
    let mut folders = BTreeSet::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            folders.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    map::agree(&map, &folders, &graph, &mut problems);
    map::order(&map, &graph, &mut problems);
    absences(&graph, &mut problems);
    manifest::check(&root, &folders, &graph, &mut problems)?;
    let files = source::tracked_files()?;
    source::check(&root, &files, &mut problems)?;
    problems.show();
    if !problems.errors.is_empty() {
        bail!("{} problems; see above", problems.errors.len());
    }
    say(format_args!(
        "tidy: {} crates, {} files, nothing wrong{}",
        map.len(),
        files.len(),
        if problems.warnings.is_empty() { "" } else { " beyond the warnings" },
    ));
    Ok(())
}

fn absences(graph: &Graph, problems: &mut Problems) {
    for absence in &ABSENCES {
        for name in absence.crates {
            for (reached, path) in graph.reach(name) {
                if absence.never.contains(&reached.as_str()) {
                    let path = path.join(" -> ");
                    problems.error(
                        MAP,
                        0,
                        format_args!("{path}: {name} must not, because {}", absence.because),
                    );
                }
            }
        }
    }
}
