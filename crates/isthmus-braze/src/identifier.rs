//! Who a Braze object is about: the identifier that a stream takes from each item.
//!
//! One stream uses one source and one target for events and users alike. A value that Braze would
//! refuse, or that stands for nobody, is never sent: such ids collect the data of many people in
//! one profile until Braze blocks it.

use crate::calls::{DELETE_ALIASES, DELETE_BRAZE_IDS, DELETE_EMAILS, DELETE_EXTERNAL_IDS};
use isthmus_core::destination::{Lane, Section};
use isthmus_core::json;
use std::borrow::Cow;

/// Longest `external_id`, in bytes ("User attributes object", Braze documentation, read 2026-09).
/// The same bound serves the other targets, for which none is documented.
const IDENTIFIER_BYTES_MAX: usize = 987;

/// Values that stand for nobody, in any case: Amplitude's list of invalid ids, and what broken
/// clients write for a missing value.
const PLACEHOLDERS: [&str; 17] = [
    "anonymous",
    "nil",
    "none",
    "null",
    "n/a",
    "na",
    "nan",
    "undefined",
    "unknown",
    "00000000-0000-0000-0000-000000000000",
    "{}",
    "\"\"",
    "lmy47d",
    "0",
    "-1",
    "(none)",
    "[object Object]",
];

/// Why an item has nobody to be delivered to. A closed set: reasons are counted by their text.
pub mod reason {
    /// The source has no value on this item.
    pub const MISSING: &str = "no identifier";
    /// The value stands for nobody (`null`, `undefined`, `0`, `anonymous`, ...).
    pub const PLACEHOLDER: &str = "identifier is a placeholder";
    /// The value is longer than Braze takes.
    pub const TOO_LONG: &str = "identifier is longer than 987 bytes";
    /// The value is a boolean, an array or an object.
    pub const NOT_TEXT: &str = "identifier is neither text nor a number";
    /// The target is `email` and the value is not an address.
    pub const NOT_EMAIL: &str = "identifier is not an email address";
}

/// The Braze identifier that a value becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    ExternalId,
    BrazeId,
    UserAlias { label: String },
    Email,
}

/// Writes identifiers for one target.
#[derive(Debug, Clone)]
pub(crate) struct Identifiers {
    target: Target,
    /// What precedes and follows the value as a JSON string: `"external_id":` and nothing.
    before: String,
    after: String,
    /// What precedes the value in the text that names the lane.
    lane_prefix: String,
}

impl Identifiers {
    pub(crate) fn new(target: Target) -> Self {
        let (before, after, lane_prefix) = match &target {
            Target::ExternalId => ("\"external_id\":", String::new(), "external_id:".to_owned()),
            Target::BrazeId => ("\"braze_id\":", String::new(), "braze_id:".to_owned()),
            Target::Email => ("\"email\":", String::new(), "email:".to_owned()),
            Target::UserAlias { label } => {
                let mut after = ",\"alias_label\":".to_owned();
                json::push_text(&mut after, label);
                after.push('}');
                ("\"user_alias\":{\"alias_name\":", after, format!("user_alias:{label}:"))
            }
        };
        Self { target, before: before.to_owned(), after, lane_prefix }
    }

    /// Whether Braze updates but never creates users with this target unless it is told to.
    pub(crate) fn is_alias(&self) -> bool {
        matches!(self.target, Target::UserAlias { .. })
    }

    /// The list by which Braze is asked to delete people.
    pub(crate) fn section_to_delete(&self) -> Section {
        match self.target {
            Target::ExternalId => DELETE_EXTERNAL_IDS,
            Target::UserAlias { .. } => DELETE_ALIASES,
            Target::BrazeId => DELETE_BRAZE_IDS,
            Target::Email => DELETE_EMAILS,
        }
    }

    /// What stands beside the identifier of somebody to delete. Braze deletes one of those that
    /// share an address, and nobody where it is left to choose ("Delete users endpoint", read
    /// 2026-09): the one that was updated last.
    pub(crate) fn choice_to_delete(&self) -> &'static str {
        if self.target == Target::Email {
            r#","prioritization":["most_recently_updated"]"#
        } else {
            ""
        }
    }

    /// The value to send for `text`, or why there is none.
    pub(crate) fn accept<'a>(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>, &'static str> {
        let text = trimmed(text);
        if text.is_empty() {
            return Err(reason::MISSING);
        }
        if PLACEHOLDERS.iter().any(|placeholder| placeholder.eq_ignore_ascii_case(&text)) {
            return Err(reason::PLACEHOLDER);
        }
        if text.len() > IDENTIFIER_BYTES_MAX {
            return Err(reason::TOO_LONG);
        }
        if self.target != Target::Email {
            return Ok(text);
        }
        if !is_email(&text) {
            return Err(reason::NOT_EMAIL);
        }
        // Braze's own case handling is undocumented; one spelling per address keeps one profile.
        if text.chars().any(char::is_uppercase) {
            return Ok(Cow::Owned(text.to_lowercase()));
        }
        Ok(text)
    }

    /// The value to send for a property's raw JSON, or why there is none. Numbers keep their text.
    pub(crate) fn accept_raw<'a>(
        &self,
        raw: Option<&'a str>,
    ) -> Result<Cow<'a, str>, &'static str> {
        let raw = raw.ok_or(reason::MISSING)?;
        match raw.as_bytes().first() {
            Some(b'"') => self.accept(json::text_of(raw).ok_or(reason::NOT_TEXT)?),
            Some(b'-' | b'0'..=b'9') => self.accept(Cow::Borrowed(raw)),
            Some(b'n') | None => Err(reason::MISSING),
            Some(_) => Err(reason::NOT_TEXT),
        }
    }

    /// Appends the identifier as the first member of an object: `"external_id":"u-1"`.
    pub(crate) fn push(&self, value: &str, out: &mut String) {
        out.push_str(&self.before);
        json::push_text(out, value);
        out.push_str(&self.after);
    }

    /// Most bytes that [`Self::push`] appends for `value` when nothing in it is escaped.
    pub(crate) fn length(&self, value: &str) -> usize {
        self.before.len() + value.len() + 2 + self.after.len()
    }

    /// The lane of the user called `value`. `scratch` is empty before and after: the lane's text
    /// is put together there, so that mapping an item allocates nothing for it.
    pub(crate) fn lane(&self, value: &str, scratch: &mut String) -> Lane {
        scratch.push_str(&self.lane_prefix);
        scratch.push_str(value);
        let lane = Lane::of(scratch);
        scratch.clear();
        lane
    }
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// Whether `text` has the form of an address: one `@`, a local part of at most 64 bytes, and a
/// domain of dot-separated labels. Stricter than the standard where nobody's mailbox is lost.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let local_is_fine = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && !local
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "@,;:<>()[]\\\"".contains(c));
    let label_is_fine = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    local_is_fine
        && text.len() <= 254
        && domain.contains('.')
        && domain.split('.').all(label_is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn alias() -> Identifiers {
        Identifiers::new(Target::UserAlias { label: "amplitude \"device\"".to_owned() })
    }

    fn pushed(identifiers: &Identifiers, value: &str) -> String {
        let mut out = String::new();
        identifiers.push(value, &mut out);
        out
    }

    #[test]
    fn each_target_has_its_member() {
        for (target, member) in [
            (Target::ExternalId, r#""external_id":"u\"1""#),
            (Target::BrazeId, r#""braze_id":"u\"1""#),
            (Target::Email, r#""email":"u\"1""#),
        ] {
            assert_eq!(pushed(&Identifiers::new(target), "u\"1"), member);
        }
        assert_eq!(
            pushed(&alias(), "d-1"),
            r#""user_alias":{"alias_name":"d-1","alias_label":"amplitude \"device\""}"#
        );
    }

    #[test]
    fn the_lane_is_the_identifier_that_braze_sees() {
        let mut scratch = String::new();
        let external = Identifiers::new(Target::ExternalId);
        assert_eq!(external.lane("u-1", &mut scratch), Lane::of("external_id:u-1"));
        assert_ne!(alias().lane("u-1", &mut scratch), Lane::of("external_id:u-1"));
        assert!(scratch.is_empty());
    }

    #[test]
    fn raw_values_become_identifiers_or_a_reason() {
        let external = Identifiers::new(Target::ExternalId);
        let email = Identifiers::new(Target::Email);
        let long = format!("\"{}\"", "x".repeat(988));
        let longest = "x".repeat(987);
        let quoted = format!("\"{longest}\"");
        let cases: &[(&Identifiers, Option<&str>, Result<&str, &str>)] = &[
            (&external, Some("\" u-1 \""), Ok("u-1")),
            (&external, Some("\"u\\u002d1\""), Ok("u-1")),
            (&external, Some("12345678901234567890"), Ok("12345678901234567890")),
            (&external, Some(&quoted), Ok(&longest)),
            (&external, None, Err(reason::MISSING)),
            (&external, Some("null"), Err(reason::MISSING)),
            (&external, Some("\"  \""), Err(reason::MISSING)),
            (&external, Some("\"Undefined\""), Err(reason::PLACEHOLDER)),
            (&external, Some("0"), Err(reason::PLACEHOLDER)),
            (&external, Some("\"anonymous\""), Err(reason::PLACEHOLDER)),
            (&external, Some(&long), Err(reason::TOO_LONG)),
            (&external, Some("true"), Err(reason::NOT_TEXT)),
            (&external, Some("[\"u-1\"]"), Err(reason::NOT_TEXT)),
            (&external, Some("\"\\ud800\""), Err(reason::NOT_TEXT)),
            (&email, Some("\"Ada@Example.COM\""), Ok("ada@example.com")),
            (&email, Some("\"ada@example\""), Err(reason::NOT_EMAIL)),
            (&email, Some("\"a@b@example.com\""), Err(reason::NOT_EMAIL)),
            (&email, Some("\"ada..l@example.com\""), Err(reason::NOT_EMAIL)),
            (&email, Some("\"ada@-example.com\""), Err(reason::NOT_EMAIL)),
            (&email, Some("\"ada lovelace@example.com\""), Err(reason::NOT_EMAIL)),
        ];
        for (identifiers, raw, expected) in cases {
            let accepted = identifiers.accept_raw(*raw);
            assert_eq!(accepted.as_deref().map_err(|reason| *reason), *expected, "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_identifier_is_sent_as_it_is(text: String) {
            for identifiers in [Identifiers::new(Target::ExternalId), alias()] {
                let Ok(value) = identifiers.accept(Cow::Borrowed(&text)) else { continue };
                let object = format!("{{{}}}", pushed(&identifiers, &value));
                let object: serde_json::Value = serde_json::from_str(&object).expect("valid");
                let sent = object.get("external_id").or(object.pointer("/user_alias/alias_name"));
                prop_assert_eq!(sent.and_then(|sent| sent.as_str()), Some(text.trim()));
            }
        }

        #[test]
        fn any_raw_value_is_answered(raw: String) {
            drop(Identifiers::new(Target::Email).accept_raw(Some(&raw)));
        }
    }
}
