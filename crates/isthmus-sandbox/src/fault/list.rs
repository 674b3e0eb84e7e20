//! Rules as somebody wrote them: one, or a list.

use super::Fault;

/// Rules that one sandbox holds; more are refused.
pub(super) const RULES_MAX: usize = 1_000;

/// What is wrong with rules. Whoever wrote them mends them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// Not JSON, or not the fields of a rule.
    #[error("line {line}, column {column}: {problem}")]
    Shape { line: usize, column: usize, problem: String },
    /// Fields that cannot be as they are. Rules are counted from 1.
    #[error("rule {rule}: {problem}")]
    Impossible { rule: usize, problem: &'static str },
    #[error("more than {RULES_MAX} rules; remove some first")]
    TooMany,
}

impl Fault {
    /// Reads one rule or an array of rules from JSON; all of them are possible then.
    pub fn read(text: &[u8]) -> Result<Vec<Self>, FaultError> {
        let faults = if text.trim_ascii_start().starts_with(b"{") {
            serde_json::from_slice(text).map(|fault| vec![fault])
        } else {
            serde_json::from_slice(text)
        };
        let faults = faults.map_err(|error| {
            let text = error.to_string();
            let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
            let (line, column) = (error.line(), error.column());
            FaultError::Shape { line, column, problem: problem.to_owned() }
        })?;
        check(&faults)?;
        Ok(faults)
    }
}

/// Whether all of them are possible.
pub(super) fn check(faults: &[Fault]) -> Result<(), FaultError> {
    for (rule, fault) in (1..).zip(faults) {
        if let Some(problem) = fault.problem() {
            return Err(FaultError::Impossible { rule, problem });
        }
    }
    Ok(())
}
