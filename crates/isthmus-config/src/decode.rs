//! From a tree of located values to plain values, collecting every problem on the way.
//!
//! A value that cannot be read is reported and, where it has a default, replaced by it, so that
//! reading goes on and the next problem is found too.

use crate::diagnostic::{Diagnostic, Location, Problem, clip, listed, meant};
use crate::duration::{parse_duration, show_duration};
use crate::node::{Entry, Node, Value};
use crate::secret::{Secret, SecretRef};
use isthmus_core::ByteSize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Problems reported of one text; a person mends these first and asks again.
const FINDINGS_MAX: usize = 100;

/// Something read from a [`Node`].
pub(crate) trait Decode: Sized {
    /// What a message says is expected: "a whole number".
    const EXPECTED: &'static str;

    /// Reads `node`; when it cannot, `report` has the reason.
    fn decode(node: &Node, report: &mut Report) -> Option<Self>;

    /// The value when its key is absent and no default is declared; `None` makes the key required.
    fn absent() -> Option<Self> {
        None
    }

    /// What the reference page says is expected.
    fn expected_on_page() -> String {
        Self::EXPECTED.to_owned()
    }

    /// How a default is shown on the reference page.
    fn show(&self) -> String;
}

/// Why a value is wrong; its key is put in front.
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The problems found so far in one resource or file, and where reading stands.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What messages call the whole: ``stream `product-events` ``; empty for a settings file.
    subject: String,
    /// Path of the value being read.
    path: String,
    found: Vec<Finding>,
}

#[derive(Debug)]
struct Finding {
    path: String,
    at: Location,
    message: String,
    hint: Option<String>,
}

impl Report {
    pub(crate) fn of(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether more problems would not be shown anyway.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() > FINDINGS_MAX
    }

    /// Reports `message`, which already says what it is about.
    pub(crate) fn say(&mut self, at: Location, message: String, hint: Option<String>) {
        if !self.is_full() {
            self.found.push(Finding { path: self.path.clone(), at, message, hint });
        }
    }

    /// Reports that the value being read is wrong.
    pub(crate) fn wrong(&mut self, at: Location, wrong: Wrong) {
        let name = if self.path.is_empty() { "this" } else { self.path.as_str() };
        let message = format!("`{name}` {}", wrong.message);
        self.say(at, message, wrong.hint);
    }

    /// Reports that `node` is not what is expected here.
    fn unexpected(&mut self, node: &Node, expected: &str, hint: Option<String>) {
        let message = format!("must be {expected}, found {}", node.found());
        let hint = match node.value {
            Value::Null { blank: true } => Some("give it a value, or remove the key".to_owned()),
            _ => hint,
        };
        self.wrong(node.at, Wrong { message, hint });
    }

    /// Reads further inside: `step` is `key` or `[3]`.
    pub(crate) fn inside<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let read = read(self);
        self.path.truncate(length);
        read
    }

    /// ` in `limits` of destination `braze``: where reading stands, for a message.
    fn place(&self) -> String {
        match (self.path.as_str(), self.subject.as_str()) {
            ("", "") => String::new(),
            ("", subject) => format!(" in {subject}"),
            (path, "") => format!(" in `{path}`"),
            (path, subject) => format!(" in `{path}` of {subject}"),
        }
    }

    /// Adds what `check` says of a value that was read, except about parts that were wrong already.
    pub(crate) fn check(&mut self, problems: Vec<Problem>, at: impl Fn(&str) -> Location) {
        let wrong_already: Vec<_> = self.found.iter().map(|found| found.path.clone()).collect();
        for problem in problems {
            let about_it = |path: &String| {
                path_around(path, &problem.path) || path_around(&problem.path, path)
            };
            if !wrong_already.iter().any(about_it) {
                let at = at(&problem.path);
                let (message, hint) = (problem.message, problem.hint);
                self.found.push(Finding { path: problem.path, at, message, hint });
            }
        }
    }

    /// The problems in the order of their lines.
    pub(crate) fn into_diagnostics(mut self, file: &str) -> Vec<Diagnostic> {
        self.found.sort_by_key(|found| found.at);
        let more = self.found.len() > FINDINGS_MAX;
        self.found.truncate(FINDINGS_MAX);
        let located = |found: Finding| Diagnostic::at(file, found.at, found.message, found.hint);
        let mut diagnostics: Vec<_> = self.found.into_iter().map(located).collect();
        if more {
            diagnostics.push(Diagnostic::of_file(file, "more problems than are shown"));
        }
        diagnostics
    }
}

/// Whether the value at `outer` is the one at `inner`, or around it.
fn path_around(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| outer.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The keys of one mapping, taken one by one.
pub(crate) struct Fields<'n> {
    at: Location,
    entries: &'n [Entry],
    known: Vec<&'static str>,
    missing: Vec<&'static str>,
    /// Whether keys that nobody asked for are passed over.
    lenient: bool,
}

impl<'n> Fields<'n> {
    /// Opens `node`, in which the keys `beside` are somebody else's; anything but a mapping is
    /// reported as not being what is `expected`.
    pub(crate) fn open(
        node: &'n Node,
        expected: &str,
        beside: &[&'static str],
        report: &mut Report,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            report.unexpected(node, expected, None);
            return None;
        };
        Some(Self {
            at: node.at,
            entries,
            known: beside.to_vec(),
            missing: Vec::new(),
            lenient: false,
        })
    }

    /// Reads the value of a key, or its default where it is absent or wrong.
    pub(crate) fn take<T: Decode>(&mut self, rule: &Rule<T>, report: &mut Report) -> Option<T> {
        self.known.push(rule.key);
        let written = self
            .entries
            .iter()
            .find(|entry| entry.key == rule.key)
            .filter(|entry| !matches!(entry.value.value, Value::Null { blank: false }));
        let Some(entry) = written else {
            let value = rule.otherwise();
            if value.is_none() {
                self.missing.push(rule.key);
            }
            return value;
        };
        report
            .inside(rule.key, |report| {
                let value = (rule.decode)(&entry.value, report)?;
                if let Some(Err(wrong)) = rule.check.map(|check| check(&value)) {
                    report.wrong(entry.value.at, wrong);
                }
                Some(value)
            })
            .or_else(|| rule.otherwise())
    }

    /// Says that a key must be there which others may leave out.
    pub(crate) fn require(&mut self, key: &'static str) {
        if !self.entries.iter().any(|entry| entry.key == key) {
            self.missing.push(key);
        }
    }

    /// Passes over keys that nobody asked for, except where they look like a missing one.
    pub(crate) fn lenient(&mut self) {
        self.lenient = true;
    }

    /// Reports keys that nobody asked for and keys that nobody wrote.
    pub(crate) fn close(mut self, report: &mut Report) {
        let place = report.place();
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) || report.is_full() {
                continue;
            }
            let hint = match meant(&entry.key, self.known.iter().copied()) {
                Some(known) if !self.lenient || self.missing.contains(&known) => {
                    // One mistake, one message.
                    self.missing.retain(|missing| *missing != known);
                    format!("did you mean `{known}`?")
                }
                _ if self.lenient => continue,
                _ if entry.key == "<<" => "merge keys are not supported".to_owned(),
                _ => format!("known keys: {}", self.known.join(", ")),
            };
            let message = format!("unknown key `{}`{place}", clip(&entry.key));
            report.inside(&entry.key, |report| report.say(entry.key_at, message, Some(hint)));
        }
        for missing in self.missing {
            let message = format!("missing key `{missing}`{place}");
            report.inside(missing, |report| report.say(self.at, message, None));
        }
    }
}

/// What is asked of a value beyond its type.
pub(crate) type Check<T> = fn(&T) -> Result<(), Wrong>;

/// How one key of a mapping is read.
pub(crate) struct Rule<T> {
    key: &'static str,
    decode: fn(&Node, &mut Report) -> Option<T>,
    default: Option<fn() -> T>,
    check: Option<Check<T>>,
}

impl<T: Decode> Rule<T> {
    pub(crate) fn new(key: &'static str) -> Self {
        Self { key, decode: T::decode, default: None, check: None }
    }

    /// The key is written otherwise than the field.
    pub(crate) fn key(mut self, key: &'static str) -> Self {
        self.key = key;
        self
    }

    /// Read by `decode` instead.
    pub(crate) fn decode(mut self, decode: fn(&Node, &mut Report) -> Option<T>) -> Self {
        self.decode = decode;
        self
    }

    /// `default` where the key is absent.
    pub(crate) fn or(mut self, default: fn() -> T) -> Self {
        self.default = Some(default);
        self
    }

    /// Good only when `check` says so.
    pub(crate) fn check(mut self, check: Check<T>) -> Self {
        self.check = Some(check);
        self
    }

    fn otherwise(&self) -> Option<T> {
        self.default.map_or_else(T::absent, |default| Some(default()))
    }

    /// The key's row of the reference page.
    pub(crate) fn about(&self, doc: &[&str]) -> FieldAbout {
        let doc: Vec<_> = doc.iter().map(|line| line.trim()).collect();
        FieldAbout {
            key: self.key,
            expected: T::expected_on_page(),
            default: self.otherwise().map(|value| value.show()),
            doc: doc.join(" "),
        }
    }
}

/// A row of the reference page.
pub(crate) struct FieldAbout {
    pub(crate) key: &'static str,
    pub(crate) expected: String,
    /// `None` when the key is required.
    pub(crate) default: Option<String>,
    pub(crate) doc: String,
}

/// Reads the items of a list with `decode`; those that cannot be read are left out.
pub(crate) fn list<T>(
    node: &Node,
    report: &mut Report,
    decode: impl Fn(&Node, &mut Report) -> Option<T>,
) -> Option<Vec<T>> {
    let Value::List(items) = &node.value else {
        let hint = match &node.value {
            Value::Scalar { text, plain: true } => Some(format!("write `[{}]`", clip(text))),
            Value::Scalar { text, plain: false } => Some(format!("write `[\"{}\"]`", clip(text))),
            _ => None,
        };
        report.unexpected(node, "a list", hint);
        return None;
    };
    let item = |(index, item): (usize, &Node)| {
        if report.is_full() {
            return None;
        }
        report.inside(&format!("[{index}]"), |report| decode(item, report))
    };
    Some(items.iter().enumerate().filter_map(item).collect())
}

/// Reads a word out of `words`.
pub(crate) fn word<T: Copy>(
    node: &Node,
    report: &mut Report,
    words: &[(&'static str, T)],
) -> Option<T> {
    let names = || words.iter().map(|(name, _)| *name);
    let Some(text) = node.text() else {
        report.unexpected(node, &listed(names()), None);
        return None;
    };
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
        return Some(*value);
    }
    let hint = meant(text, names()).map(|near| format!("did you mean `{near}`?"));
    report.unexpected(node, &listed(names()), hint);
    None
}

/// Reads a scalar by parsing its text.
fn scalar<T>(
    node: &Node,
    report: &mut Report,
    expected: &str,
    hint: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let value = node.text().and_then(parse);
    if value.is_none() {
        report.unexpected(node, expected, (!hint.is_empty()).then(|| hint.to_owned()));
    }
    value
}

impl Decode for String {
    const EXPECTED: &'static str = "text";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        scalar(node, report, Self::EXPECTED, "", |text| Some(text.to_owned()))
    }

    fn show(&self) -> String {
        format!("`{self}`")
    }
}

impl Decode for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let value = match &node.value {
            Value::Scalar { text, plain: true } => match text.as_str() {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            report.unexpected(node, Self::EXPECTED, None);
        }
        value
    }

    fn show(&self) -> String {
        format!("`{self}`")
    }
}

impl Decode for u32 {
    const EXPECTED: &'static str = "a whole number";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let is_number = node.text().is_some_and(|text| text.parse::<u64>().is_ok());
        let hint = if is_number { "at most 4294967295" } else { "" };
        scalar(node, report, Self::EXPECTED, hint, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        format!("`{self}`")
    }
}

impl Decode for usize {
    const EXPECTED: &'static str = "a whole number";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        scalar(node, report, Self::EXPECTED, "", |text| text.parse().ok())
    }

    fn show(&self) -> String {
        format!("`{self}`")
    }
}

impl Decode for f64 {
    const EXPECTED: &'static str = "a number";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let finite = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
        scalar(node, report, Self::EXPECTED, "", finite)
    }

    fn show(&self) -> String {
        format!("`{self}`")
    }
}

impl Decode for ByteSize {
    const EXPECTED: &'static str = "a size";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let hint = "write a whole number and a unit, like 512KB or 16MiB";
        scalar(node, report, Self::EXPECTED, hint, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        format!("`{self}`")
    }
}

impl Decode for Duration {
    const EXPECTED: &'static str = "a duration";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let hint = "write a whole number and a unit, like 20ms, 30s or 7d";
        scalar(node, report, Self::EXPECTED, hint, |text| parse_duration(text).ok())
    }

    fn show(&self) -> String {
        format!("`{}`", show_duration(*self))
    }
}

impl Decode for SocketAddr {
    const EXPECTED: &'static str = "an address and a port";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let hint = "write numbers, like 127.0.0.1:8400 or [::]:8400";
        scalar(node, report, Self::EXPECTED, hint, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        format!("`{self}`")
    }
}

impl Decode for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let path = |text: &str| (!text.is_empty()).then(|| Self::from(text));
        scalar(node, report, Self::EXPECTED, "", path)
    }

    fn show(&self) -> String {
        format!("`{}`", self.display())
    }
}

impl Decode for SecretRef {
    const EXPECTED: &'static str = "`{ env: NAME }` or `{ file: PATH }`";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        if let Value::Scalar { text, .. } = &node.value {
            return Some(Self::Literal(Secret::new(text)));
        }
        let mut fields = Fields::open(node, Self::EXPECTED, &[], report)?;
        let before = report.found.len();
        let env = fields.take(&Rule::<Option<String>>::new("env"), report)?;
        let file = fields.take(&Rule::<Option<PathBuf>>::new("file"), report)?;
        fields.close(report);
        match (env, file) {
            (Some(env), None) if !env.trim().is_empty() => return Some(Self::Env(env)),
            (None, Some(file)) => return Some(Self::File(file)),
            // What is wrong inside was said already.
            _ if report.found.len() > before => {}
            (Some(_), Some(_)) => {
                report.wrong(node.at, Wrong::new(format!("must be {}, not both", Self::EXPECTED)));
            }
            _ => report.unexpected(node, Self::EXPECTED, None),
        }
        None
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl<T: Decode> Decode for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        T::decode(node, report).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn expected_on_page() -> String {
        T::expected_on_page()
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Decode::show)
    }
}

impl<T: Decode> Decode for Vec<T> {
    const EXPECTED: &'static str = "a list";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        list(node, report, T::decode)
    }

    fn expected_on_page() -> String {
        format!("a list; each {}", T::expected_on_page())
    }

    fn show(&self) -> String {
        let items: Vec<_> = self.iter().map(Decode::show).collect();
        format!("`[{}]`", items.join(", ").replace('`', ""))
    }
}
