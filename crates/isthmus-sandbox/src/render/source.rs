//! A message as somebody wrote it, made into Liquid that the library reads.
//!
//! Braze's dialect has three things that plain Liquid lacks: `${name}`, `abort_message('...')`, and
//! the tag `connected_content`, whose options are no Liquid at all. Lines keep their numbers, so an
//! error in the result is an error in the source.

use super::TemplateError;
use std::fmt::Write;

/// Holds the standard attributes, which Braze names without an owner.
pub(super) const STANDARD: &str = "braze_standard_attributes";
/// The tag that stands for `{{ ... }}`.
pub(super) const PRINT: &str = "braze_print";
/// The tag that looks at a range before a loop makes a list of it.
pub(super) const RANGE: &str = "braze_range";
/// Blocks within blocks: more than any message needs, and far from the end of a stack.
const DEPTH_MAX: usize = 64;
/// Branches of conditions, each of which the library reads within the one before.
const ELSIFS_MAX: usize = 256;
/// Size of one tag, other than a call.
const TAG_BYTES_MAX: usize = 8 << 10;
/// Owners of `${name}` that the sandbox has values for.
const OWNERS: [&str; 2] = ["custom_attribute", "event_properties"];

/// What `source` says, in plain Liquid.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) text: String,
    /// By the number that the tags in `text` have.
    pub(super) calls: Vec<WrittenCall>,
    pub(super) warnings: Vec<String>,
    depth: usize,
    elsifs: usize,
}

/// What stands in a `connected_content` tag after its name.
#[derive(Debug)]
pub(super) struct WrittenCall {
    pub(super) line: usize,
    pub(super) text: String,
}

/// Makes `source` into plain Liquid. `first_line` is the line on which it begins.
pub(super) fn prepare(source: &str, first_line: usize) -> Result<Prepared, TemplateError> {
    let mut prepared = Prepared::default();
    let mut rest = source;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let (before, found) = rest.split_at(at);
        prepared.text.push_str(before);
        let line = first_line + newlines(source) - newlines(found);
        rest = match found.strip_prefix("{{") {
            Some(inside) => prepared.output(inside, line)?,
            None => prepared.tag(found.strip_prefix("{%").unwrap_or_default(), line)?,
        };
    }
    prepared.text.push_str(rest);
    Ok(prepared)
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// Where `close` is, outside of quotes and of `${...}`; for a call, outside of outputs.
fn end_of(text: &str, close: &str, is_call: bool) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with(close) {
            return Some(at);
        }
        let first = rest.chars().next()?;
        at += match first {
            '$' if rest.starts_with("${") => rest.find('}')? + 1,
            '{' if is_call && rest.starts_with("{{") => {
                end_of(rest.get(2..)?, "}}", false)? + "{{}}".len()
            }
            '\'' | '"' if !is_call => rest.get(1..)?.find(first)? + 2,
            _ => first.len_utf8(),
        };
    }
}

/// Splits `text` at the end of a word, which is white space outside of outputs.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && let Some(first) = rest.chars().next()
        && !first.is_whitespace()
    {
        let output = rest.strip_prefix("{{").and_then(|inside| end_of(inside, "}}", false));
        at += output.map_or(first.len_utf8(), |end| end + "{{}}".len());
    }
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// Splits `text`, which begins with a brace, after the brace that closes it.
pub(super) fn split_braces(text: &str) -> Option<(&str, &str)> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        let rest = text.get(at..)?;
        let first = rest.chars().next()?;
        // Two braces are an output, unless the text begins with them.
        let output = rest.strip_prefix("{{").filter(|_| at > 0);
        at += match first {
            '{' if let Some(end) = output.and_then(|inside| end_of(inside, "}}", false)) => {
                end + "{{}}".len()
            }
            '"' => end_of_string(rest)?,
            _ => first.len_utf8(),
        };
        match first {
            '{' if output.is_none() => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return text.split_at_checked(at);
        }
    }
}

/// Length of the JSON string that `text` begins with, in which outputs may have quotes.
fn end_of_string(text: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = text.get(at..)?;
        let first = rest.chars().next()?;
        at += match first {
            '"' => return Some(at + 1),
            '\\' => 1 + rest.chars().nth(1)?.len_utf8(),
            '{' if let Some(inside) = rest.strip_prefix("{{") => {
                end_of(inside, "}}", false)? + "{{}}".len()
            }
            _ => first.len_utf8(),
        };
    }
}

/// Takes the hyphens that trim white space off both ends.
fn trimming(inside: &str) -> (&'static str, &str, &'static str) {
    let (open, inside) = inside.strip_prefix('-').map_or(("", inside), |rest| ("-", rest));
    // A hyphen that is no word of its own belongs to the word, at the end of a URL for instance.
    match inside.strip_suffix('-') {
        Some(rest) if rest.ends_with(char::is_whitespace) => (open, rest, "-"),
        _ => (open, inside, ""),
    }
}

impl Prepared {
    /// Takes `{{ ... }}`, of which `text` is what follows the opening; returns what is left.
    fn output<'a>(&mut self, text: &'a str, line: usize) -> Result<&'a str, TemplateError> {
        let end = end_of(text, "}}", false);
        let end = end.ok_or_else(|| TemplateError::on(line, "`{{` without `}}`"))?;
        let (inside, rest) = text.split_at(end);
        // An identifier may end in a hyphen, an output that trims need not have a space before it.
        let (open, inside) = inside.strip_prefix('-').map_or(("", inside), |rest| ("-", rest));
        let (inside, close) = inside.strip_suffix('-').map_or((inside, ""), |rest| (rest, "-"));
        let inside = self.personal(inside, line)?;
        if inside.trim().is_empty() {
            self.text.push_str(&inside);
        } else {
            self.write(format_args!("{{%{open} {PRINT} {inside} {close}%}}"));
        }
        Ok(rest.strip_prefix("}}").unwrap_or_default())
    }

    /// Takes `{% ... %}`, of which `text` is what follows the opening; returns what is left.
    fn tag<'a>(&mut self, text: &'a str, line: usize) -> Result<&'a str, TemplateError> {
        let name = name_of(text);
        let is_call = name == "connected_content";
        let end = end_of(text, "%}", is_call);
        let end = end.ok_or_else(|| TemplateError::on(line, "`{%` without `%}`"))?;
        let (inside, rest) = text.split_at(end);
        let rest = rest.strip_prefix("%}").unwrap_or_default();
        let (open, inside, close) = trimming(inside);
        let arguments = inside.trim_start().strip_prefix(name).unwrap_or_default();
        match name {
            "connected_content" => {
                let (number, lines) = (self.calls.len(), "\n".repeat(newlines(inside)));
                self.write(format_args!("{{%{open} {name} {number}{lines} {close}%}}"));
                self.calls.push(WrittenCall { line, text: arguments.trim().to_owned() });
            }
            "abort_message" => {
                let reason = arguments.trim();
                let reason = reason.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
                let reason = self.personal(reason.unwrap_or(arguments), line)?;
                self.write(format_args!("{{%{open} {name} {reason} {close}%}}"));
            }
            "raw" | "comment" => return self.verbatim(name, rest, line),
            _ => {
                self.nest(name, line)?;
                let inside = self.personal(inside, line)?;
                let range = inside.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
                match range {
                    Some((range, _)) if name == "for" && range.contains("..") => self.write(
                        format_args!("{{%{open} {RANGE} ({range}) %}}{{%{inside}{close}%}}"),
                    ),
                    _ => self.write(format_args!("{{%{open}{inside}{close}%}}")),
                }
            }
        }
        Ok(rest)
    }

    /// Takes a block in which Liquid means nothing, up to its end.
    fn verbatim<'a>(
        &mut self,
        name: &str,
        text: &'a str,
        line: usize,
    ) -> Result<&'a str, TemplateError> {
        let mut tags = text.match_indices("{%");
        let end = tags.find_map(|(at, _)| {
            let (_, tag) = text.split_at_checked(at)?;
            let inside = tag.strip_prefix("{%")?;
            (name_of(inside).strip_prefix("end")? == name).then_some(at)
        });
        let unended = || TemplateError::on(line, &format!("`{name}` without `end{name}`"));
        let (inside, tag) = text.split_at(end.ok_or_else(unended)?);
        let (_, rest) = tag.split_once("%}").ok_or_else(unended)?;
        if name == "raw" {
            self.write(format_args!("{{% raw %}}{inside}{{% endraw %}}"));
        } else {
            self.text.push_str(&"\n".repeat(newlines(inside)));
        }
        Ok(rest)
    }

    fn nest(&mut self, name: &str, line: usize) -> Result<(), TemplateError> {
        match name {
            "if" | "unless" | "case" | "for" | "tablerow" | "capture" | "ifchanged" => {
                self.depth += 1;
            }
            "elsif" => self.elsifs += 1,
            _ if name.starts_with("end") => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > DEPTH_MAX {
            return Err(TemplateError::on(line, &format!("more than {DEPTH_MAX} nested blocks")));
        }
        if self.elsifs > ELSIFS_MAX {
            return Err(TemplateError::on(line, &format!("more than {ELSIFS_MAX} elsif")));
        }
        Ok(())
    }

    /// Replaces `${name}` and `owner.${name}` by what Liquid calls them.
    fn personal(&mut self, text: &str, line: usize) -> Result<String, TemplateError> {
        if text.matches('[').count() > DEPTH_MAX {
            return Err(TemplateError::on(line, &format!("more than {DEPTH_MAX} brackets")));
        }
        if text.len() > TAG_BYTES_MAX {
            let message = format!("more than {TAG_BYTES_MAX} bytes in one tag");
            return Err(TemplateError::on(line, &message));
        }
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| TemplateError::on(line, "`${` without a name and `}`"))?;
            let quote = if name.contains('"') { '\'' } else { '"' };
            if name.contains(quote) {
                return Err(TemplateError::on(line, "a name with both kinds of quotes"));
            }
            out.push_str(before);
            if out.ends_with('.') {
                out.pop();
                let owner = out.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
                let owner = owner.unwrap_or_default();
                if !OWNERS.contains(&owner) {
                    self.warnings.push(format!(
                        "line {line}: the sandbox has no `{owner}`, so `{name}` is empty"
                    ));
                }
            } else {
                if !super::personal::is_standard(name) {
                    self.warnings.push(format!(
                        "line {line}: the sandbox has no standard attribute `{name}`, so it is empty"
                    ));
                }
                out.push_str(STANDARD);
            }
            out.push('[');
            out.push(quote);
            out.push_str(name);
            out.push(quote);
            out.push(']');
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String takes everything");
    }
}

/// The name of the tag of which `inside` is what follows `{%`.
fn name_of(inside: &str) -> &str {
    let inside = inside.strip_prefix('-').unwrap_or(inside).trim_start();
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    end.and_then(|end| inside.get(..end)).unwrap_or(inside)
}
