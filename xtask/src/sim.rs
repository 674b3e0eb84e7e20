//! `cargo xtask sim`: the engine on fake time, a fake disk and a fake Braze, seed by seed.
//!
//! It builds `isthmus-sim` in release and lets it run; what a seed is and what is checked is written
//! there.

use crate::shell::{cargo, run as execute};
use anyhow::{Context, bail};

const OPTIONS: &str = "--seeds N, --seed S, --steps N and --lines N";

pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    check(options)?;
    let build = ["run", "--release", "--quiet", "--package", "isthmus-sim", "--"];
    execute(cargo(&build).args(options))
}

/// What is wrong is said before anything is built.
fn check(options: &[&str]) -> anyhow::Result<()> {
    let mut words = options.iter();
    while let Some(word) = words.next() {
        if !matches!(*word, "--seeds" | "--seed" | "--steps" | "--lines") {
            bail!("{word} is not an option of this command; there are {OPTIONS}");
        }
        let value = words.next().with_context(|| format!("{word} takes a value"))?;
        value.parse::<u64>().with_context(|| format!("{word} takes a number, not {value}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn an_option_that_is_not_there_is_refused_before_anything_is_built() {
        assert!(check(&["--seeds", "5", "--seed", "7"]).is_ok());
        let refused = |options: &[&str]| check(options).unwrap_err().to_string();
        assert!(refused(&["--sedes", "5"]).starts_with("--sedes is not an option"));
        assert_eq!(refused(&["--seed"]), "--seed takes a value");
        assert_eq!(refused(&["--seed", "x"]), "--seed takes a number, not x");
    }
}
