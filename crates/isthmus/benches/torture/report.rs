//! The table.

use crate::rows::Row;
use crate::scenario::{Finding, Policy};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Names shown of what is wrong.
const SHOWN: usize = 10;

/// What one row came to with one policy, over all rounds.
#[derive(Debug, Default)]
struct Tally {
    events: u64,
    lost: u64,
    doubled: u64,
    unlisted: u64,
    listed: u64,
    unknown: u64,
    refused: u64,
    invented: u64,
}

impl Tally {
    fn add(&mut self, finding: &Finding) {
        self.events += finding.events;
        self.lost += finding.compared.lost.len() as u64;
        self.doubled += finding.compared.doubled.len() as u64;
        self.unlisted += finding.unlisted();
        self.listed += finding.listed.len();
        self.unknown += finding.unknown;
        self.refused += finding.refused;
        self.invented += finding.compared.invented.len() as u64;
    }

    /// Titles and numbers, in the order of the table.
    fn columns(&self) -> [(&'static str, u64); 8] {
        [
            ("events", self.events),
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("doubled_unlisted", self.unlisted),
            ("listed", self.listed),
            ("unknown", self.unknown),
            ("refused", self.refused),
            ("invented", self.invented),
        ]
    }
}

/// Everything found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Line>,
}

/// One row of the table.
#[derive(Debug)]
struct Line {
    name: &'static str,
    about: &'static str,
    rounds: u64,
    /// Rounds that did not come to an end.
    failed: u64,
    tallies: BTreeMap<Policy, Tally>,
}

impl Report {
    /// Adds what a round of `row` found; `None` when it did not come to an end.
    pub(crate) fn add(&mut self, row: &Row, findings: Option<Vec<Finding>>) {
        if self.rows.last().is_none_or(|line| line.name != row.name) {
            let (name, about) = (row.name, row.about);
            self.rows.push(Line { name, about, rounds: 0, failed: 0, tallies: BTreeMap::new() });
        }
        let Some(line) = self.rows.last_mut() else { return };
        line.rounds += 1;
        line.failed += u64::from(findings.is_none());
        for finding in findings.into_iter().flatten() {
            complain(row, &finding);
            line.tallies.entry(finding.policy).or_default().add(&finding);
        }
    }

    /// Whether nothing is lost, doubled unnoticed or invented, and every round came to an end.
    pub(crate) fn is_proof(&self) -> bool {
        self.rows.iter().all(|line| {
            let fine = |tally: &Tally| tally.lost + tally.unlisted + tally.invented == 0;
            line.failed == 0 && line.tallies.values().all(fine)
        })
    }

    /// A table for people.
    pub(crate) fn markdown(&self) -> String {
        let titles = Tally::default().columns().map(|(title, _)| title.replace('_', " "));
        let mut lines = vec![
            format!("| fault | policy | rounds | {} |", titles.join(" | ")),
            format!("{}|", "| --- ".repeat(titles.len() + 3)),
        ];
        for line in &self.rows {
            let (name, about) = (line.name, line.about);
            let rounds = match line.failed {
                0 => line.rounds.to_string(),
                failed => format!("{}, {failed} failed", line.rounds),
            };
            for (policy, tally) in &line.tallies {
                let numbers = tally.columns().map(|(_, number)| number.to_string()).join(" | ");
                let policy = policy_name(*policy);
                lines.push(format!("| `{name}`: {about} | {policy} | {rounds} | {numbers} |"));
            }
            if line.tallies.is_empty() {
                lines.push(format!("| `{name}`: {about} | | {rounds} |"));
            }
        }
        lines.join("\n")
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let mut rows = Vec::new();
        for line in &self.rows {
            for (policy, tally) in &line.tallies {
                let mut row = json!({
                    "fault": line.name, "about": line.about, "policy": policy_name(*policy),
                    "rounds": line.rounds, "rounds_failed": line.failed,
                });
                for (title, number) in tally.columns() {
                    row[title] = json!(number);
                }
                rows.push(row);
            }
            if line.tallies.is_empty() {
                rows.push(json!({
                    "fault": line.name, "about": line.about,
                    "rounds": line.rounds, "rounds_failed": line.failed,
                }));
            }
        }
        json!({ "rows": rows, "proven": self.is_proof() })
    }
}

fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::AtLeastOnce => "at least once",
        Policy::AtMostOnce => "at most once",
        Policy::Forwarded => "products to Amplitude",
        Policy::Returned => "Currents to Amplitude",
    }
}

/// Says what is wrong, as soon as it is known.
fn complain(row: &Row, finding: &Finding) {
    let some = |names: Vec<&String>| {
        let shown: Vec<_> = names.iter().take(SHOWN).map(|name| name.as_str()).collect();
        format!("{} of {}: {}", shown.len(), names.len(), shown.join(" "))
    };
    let compared = &finding.compared;
    if !compared.lost.is_empty() {
        eprintln!("{}: LOST {}", row.name, some(compared.lost.iter().collect()));
    }
    if finding.unlisted() > 0 {
        let doubled = some(compared.doubled.keys().collect());
        let listed = finding.listed.len();
        eprintln!("{}: DOUBLED, with {listed} listed: {doubled}", row.name);
    }
    if !compared.invented.is_empty() {
        eprintln!("{}: INVENTED {}", row.name, some(compared.invented.iter().collect()));
    }
}
