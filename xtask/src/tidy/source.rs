//! Habits of the files themselves.

use crate::shell::{command, complain, output, say};
use std::fmt::Display;
use std::path::Path;

/// Lines beyond which a file probably holds two ideas.
const LINES_MAX: usize = 900;

/// Crates that do no I/O, and the words that would give it away.
const PURE: [&str; 3] =
    ["crates/isthmus-core/", "crates/isthmus-amplitude/", "crates/isthmus-braze/"];
const IO: [&str; 7] =
    ["std::fs", "std::process", "std::thread", "tokio::", "TcpStream", "TcpListener", "UdpSocket"];

// Written in two parts, so that this file does not hold what it looks for.
const UNWANTED: [(&str, &str); 3] = [
    (concat!("#[", "ignore"), "a test that does not run proves nothing"),
    (concat!("to", "do!("), "unfinished"),
    (concat!("unimple", "mented!("), "unfinished"),
];
const MACHINE_PATHS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/t", "mp/"),
];

/// What was found: `file:line: message`. Warnings do not fail.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) errors: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Problems {
    /// Something wrong in `file`, at `line` from 1, or 0 for the whole file.
    pub(crate) fn error(&mut self, file: &str, line: usize, message: impl Display) {
        self.errors.push(place(file, line, message));
    }

    fn warn(&mut self, file: &str, line: usize, message: impl Display) {
        self.warnings.push(place(file, line, message));
    }

    /// Prints all of them.
    pub(crate) fn show(&self) {
        self.warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
        self.errors.iter().for_each(complain);
    }
}

fn place(file: &str, line: usize, message: impl Display) -> String {
    if line == 0 { format!("{file}: {message}") } else { format!("{file}:{line}: {message}") }
}

/// Files that git tracks, or would after `git add`.
pub(crate) fn tracked_files() -> anyhow::Result<Vec<String>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let text = output(&mut command("git", &list))?;
    let root = crate::shell::root();
    let is_there = |file: &&str| root.join(file).is_file();
    Ok(text.lines().filter(is_there).map(str::to_owned).collect())
}

/// Whether the name of `file` ends in `.EXTENSION`.
pub(crate) fn is_a(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

/// Checks every file that is text.
pub(super) fn check(root: &Path, files: &[String], problems: &mut Problems) -> anyhow::Result<()> {
    for file in files {
        // What is not UTF-8 is a picture or a fixture of foreign bytes.
        let Ok(text) = String::from_utf8(std::fs::read(root.join(file))?) else { continue };
        if is_a(file, "rs") {
            rust(file, &text, problems);
        }
        if file.ends_with("package-lock.json") && text.contains("\"resolved\"") {
            problems.error(file, 0, "names the registry it was made with");
        }
        if !is_a(file, "lock") && !file.ends_with("package-lock.json") {
            paths(file, &text, problems);
        }
    }
    Ok(())
}

fn rust(file: &str, text: &str, problems: &mut Problems) {
    if file == "mod.rs" || file.ends_with("/mod.rs") {
        problems.error(file, 0, "a module is `foo.rs` next to `foo/`");
    }
    // What `foo/tests.rs` is, its name says.
    let is_named = file.ends_with("/tests.rs");
    let opens = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !is_named && !opens.is_some_and(|line| line.starts_with("//!")) {
        problems.error(file, 1, "does not open with `//!`: what it is");
    }
    // A crate's own `tests/` folder may read and write the files that it compares with.
    let is_code = |rest: &str| !rest.starts_with("benches/") && !rest.starts_with("tests/");
    let is_pure = PURE.iter().any(|folder| file.strip_prefix(folder).is_some_and(is_code));
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        for (words, because) in UNWANTED {
            if code.contains(words) {
                problems.error(file, number + 1, format_args!("`{words}`: {because}"));
            }
        }
        for words in IO {
            if is_pure && code.contains(words) {
                problems.error(
                    file,
                    number + 1,
                    format_args!("`{words}` in a crate that does no I/O"),
                );
            }
        }
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        problems.warn(
            file,
            0,
            format_args!("{lines} lines; {LINES_MAX} are usually enough for one idea"),
        );
    }
}

/// Absolute paths of one machine.
fn paths(file: &str, text: &str, problems: &mut Problems) {
    for (number, line) in text.lines().enumerate() {
        for path in MACHINE_PATHS {
            let is_one = |at: usize| {
                let before = line.get(..at).and_then(|start| start.chars().next_back());
                before.is_none_or(|c| !c.is_alphanumeric() && !"._-~/}>*".contains(c))
            };
            if line.match_indices(path).any(|(at, _)| is_one(at)) {
                problems.error(file, number + 1, format_args!("`{path}` is a path of one machine"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(file: &str, text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        rust(file, text, &mut problems);
        paths(file, text, &mut problems);
        problems.errors
    }

    #[test]
    fn a_file_says_what_it_is_first() {
        assert!(errors_of("a.rs", "//! What.\n").is_empty());
        assert!(errors_of("a.rs", "#![no_main]\n//! What.\n").is_empty());
        assert_eq!(errors_of("a.rs", "use x;\n"), ["a.rs:1: does not open with `//!`: what it is"]);
        assert_eq!(errors_of("a.rs", "").len(), 1);
        assert!(errors_of("src/a/tests.rs", "use super::*;\n").is_empty());
    }

    #[test]
    fn unwanted_words_count_in_code_only() {
        let unwanted = UNWANTED[1].0;
        assert!(errors_of("a.rs", &format!("//! What.\n// {unwanted}\n")).is_empty());
        let found = errors_of("a.rs", &format!("//! What.\n{unwanted})\n"));
        assert_eq!(found, [format!("a.rs:2: `{unwanted}`: unfinished")]);
    }

    #[test]
    fn pure_crates_do_no_input_or_output() {
        let text = "//! What.\nuse std::fs::File;\n";
        assert_eq!(errors_of("crates/isthmus-core/src/a.rs", text).len(), 1);
        assert_eq!(errors_of("crates/isthmus-core/src/tests/a.rs", text).len(), 1);
        assert!(errors_of("crates/isthmus-core/tests/a/main.rs", text).is_empty());
        assert!(errors_of("crates/isthmus-log/src/a.rs", text).is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found_and_urls_are_not() {
        let path = MACHINE_PATHS[0];
        assert_eq!(errors_of("a.rs", &format!("//! See `{path}x`.\n")).len(), 1);
        assert!(errors_of("a.rs", &format!("//! See https://example.com{path}x.\n")).is_empty());
    }

    #[test]
    fn modules_are_not_named_mod() {
        assert_eq!(errors_of("src/a/mod.rs", "//! What.\n").len(), 1);
        assert!(errors_of("src/amod.rs", "//! What.\n").is_empty());
    }

    #[test]
    fn long_files_are_a_warning() {
        let mut problems = Problems::default();
        rust("a.rs", &"//! x\n".repeat(LINES_MAX + 1), &mut problems);
        assert!(problems.errors.is_empty());
        assert_eq!(problems.warnings.len(), 1);
    }
}
