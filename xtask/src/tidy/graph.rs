//! Which crate uses which, as cargo resolved it.

use crate::shell::{cargo, output};
use anyhow::Context;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Crates of the workspace and everything that they use when they are built, without what only
/// tests use.
#[derive(Debug, Default)]
pub(super) struct Graph {
    uses: BTreeMap<String, BTreeSet<String>>,
    /// Dependencies of the workspace's crates on a registry, as `(crate, dependency, requirement)`.
    pub(super) requirements: Vec<(String, String, String)>,
}

impl Graph {
    /// Asks cargo.
    pub(super) fn load() -> anyhow::Result<Self> {
        let text = output(&mut cargo(&["metadata", "--format-version", "1"]))?;
        let metadata = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
        Ok(Self::read(&metadata))
    }

    fn read(metadata: &Value) -> Self {
        let mut names = BTreeMap::new();
        let mut graph = Self::default();
        for package in list(&metadata["packages"]) {
            let name = text(&package["name"]);
            names.insert(text(&package["id"]), name);
            if package["source"].is_null() {
                for dependency in list(&package["dependencies"]) {
                    if dependency["path"].is_null() {
                        let (on, needs) = (text(&dependency["name"]), text(&dependency["req"]));
                        graph.requirements.push((name.to_owned(), on.to_owned(), needs.to_owned()));
                    }
                }
            }
        }
        let resolve = &metadata["resolve"];
        for node in list(&resolve["nodes"]) {
            let Some(user) = names.get(text(&node["id"])) else { continue };
            let used = list(&node["deps"])
                .iter()
                .filter(|dependency| is_built(dependency))
                .filter_map(|dependency| names.get(text(&dependency["pkg"])))
                .map(|&name| name.to_owned());
            // Two versions of one crate count as one.
            graph.uses.entry((*user).to_owned()).or_default().extend(used);
        }
        graph
    }

    /// A graph for tests.
    #[cfg(test)]
    pub(super) fn of(crates: &[&str], uses: &[(&str, &str)]) -> Self {
        let mut graph = Self::default();
        for name in crates {
            graph.uses.entry((*name).to_owned()).or_default();
        }
        for (user, used) in uses {
            graph.uses.entry((*user).to_owned()).or_default().insert((*used).to_owned());
        }
        graph
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.uses.contains_key(name)
    }

    /// What `name` uses itself.
    pub(super) fn uses(&self, name: &str) -> impl Iterator<Item = &str> {
        self.uses.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Everything that `name` reaches, each with a shortest way there, `name` first.
    pub(super) fn reach(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let mut ways = BTreeMap::new();
        let mut queue = VecDeque::from([vec![name.to_owned()]]);
        while let Some(way) = queue.pop_front() {
            let Some(last) = way.last() else { continue };
            for used in self.uses(last) {
                if !ways.contains_key(used) {
                    let mut longer = way.clone();
                    longer.push(used.to_owned());
                    ways.insert(used.to_owned(), longer.clone());
                    queue.push_back(longer);
                }
            }
        }
        ways
    }
}

/// Whether a dependency is more than a test's.
fn is_built(dependency: &Value) -> bool {
    list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Graph;
    use serde_json::json;

    #[test]
    fn ways_are_shortest_and_include_the_start() {
        let graph = Graph::of(&[], &[("a", "b"), ("b", "c"), ("c", "d"), ("a", "c"), ("d", "a")]);
        let ways = graph.reach("a");
        assert_eq!(ways["d"], ["a", "c", "d"]);
        assert_eq!(ways.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_only_tests_use_is_left_out() {
        let metadata = json!({
            "packages": [
                { "id": "1", "name": "ours", "source": null, "dependencies": [
                    { "name": "theirs", "req": "^1", "path": null },
                    { "name": "near", "req": "*", "path": "near" },
                ] },
                { "id": "2", "name": "theirs", "source": "registry", "dependencies": [] },
                { "id": "3", "name": "near", "source": null, "dependencies": [] },
            ],
            "resolve": { "nodes": [
                { "id": "1", "deps": [
                    { "pkg": "2", "dep_kinds": [{ "kind": null }, { "kind": "dev" }] },
                    { "pkg": "3", "dep_kinds": [{ "kind": "dev" }] },
                ] },
            ] },
        });
        let graph = Graph::read(&metadata);
        assert_eq!(graph.uses("ours").collect::<Vec<_>>(), ["theirs"]);
        assert_eq!(graph.requirements, [("ours".into(), "theirs".into(), "^1".into())]);
    }
}
