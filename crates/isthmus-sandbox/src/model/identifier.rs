//! Who an object is about: the identifiers of a request and which of them decides.

use isthmus_core::json;
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Longest `external_id` in bytes ("User attributes object", read 2026-09).
const EXTERNAL_ID_BYTES_MAX: usize = 987;

/// What identifies one user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identifier<'a> {
    ExternalId(Cow<'a, str>),
    Alias {
        name: Cow<'a, str>,
        label: Cow<'a, str>,
    },
    BrazeId(Cow<'a, str>),
    /// As written; looked up without regard to case.
    Email(Cow<'a, str>),
    /// As written; looked up normalised.
    Phone(Cow<'a, str>),
    /// Nobody yet: push tokens of an anonymous user.
    PushToken,
}

impl Identifier<'_> {
    /// A hash that is the same for the same spelling of the same identifier.
    pub(crate) fn fingerprint(&self) -> u64 {
        match self {
            Self::ExternalId(id) => xxh3_64_with_seed(id.as_bytes(), 1),
            Self::Alias { name, label } => {
                xxh3_64_with_seed(name.as_bytes(), xxh3_64_with_seed(label.as_bytes(), 2))
            }
            Self::BrazeId(id) => xxh3_64_with_seed(id.as_bytes(), 3),
            Self::Email(address) => xxh3_64_with_seed(address.as_bytes(), 4),
            Self::Phone(number) => xxh3_64_with_seed(number.as_bytes(), 5),
            Self::PushToken => 6,
        }
    }
}

/// `external_id u-1`, for people.
impl std::fmt::Display for Identifier<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ExternalId(id) => write!(out, "external_id {id}"),
            Self::Alias { name, label } => write!(out, "user_alias {label}:{name}"),
            Self::BrazeId(id) => write!(out, "braze_id {id}"),
            Self::Email(address) => write!(out, "email {address}"),
            Self::Phone(number) => write!(out, "phone {number}"),
            Self::PushToken => out.write_str("push token"),
        }
    }
}

/// Why an object is refused, as its error entry says.
pub(crate) type Reason = Cow<'static, str>;

/// The identifying members of an object, as raw JSON.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Identifying<'a> {
    pub(crate) external_id: Option<&'a str>,
    pub(crate) user_alias: Option<&'a str>,
    pub(crate) braze_id: Option<&'a str>,
    pub(crate) email: Option<&'a str>,
    pub(crate) phone: Option<&'a str>,
}

impl<'a> Identifying<'a> {
    /// Takes a member if it is an identifying one. A null counts as absent.
    pub(crate) fn take(&mut self, key: &str, raw: &'a str) -> bool {
        let place = match key {
            "external_id" => &mut self.external_id,
            "user_alias" => &mut self.user_alias,
            "braze_id" => &mut self.braze_id,
            "email" => &mut self.email,
            "phone" => &mut self.phone,
            _ => return false,
        };
        *place = (raw != "null").then_some(raw);
        true
    }

    /// The one that decides: the only primary one, or else the email, or else the phone.
    ///
    /// An object with two primary identifiers is refused. So is one without any, unless
    /// `push_tokens` says that it brings the tokens of somebody unknown.
    pub(crate) fn deciding(&self, push_tokens: bool) -> Result<Identifier<'a>, Reason> {
        let primary = [self.external_id, self.user_alias, self.braze_id];
        if primary.iter().flatten().count() > 1 {
            return Err(Reason::Borrowed(
                "only one of 'external_id', 'braze_id' and 'user_alias' is allowed",
            ));
        }
        if let Some(raw) = self.external_id {
            return external_id(raw).map(Identifier::ExternalId);
        }
        if let Some(raw) = self.user_alias {
            return alias(raw).ok_or(Reason::Borrowed("'user_alias' is not valid"));
        }
        if let Some(raw) = self.braze_id {
            let id = json::text_of(raw).filter(|id| !id.is_empty());
            let id = id.ok_or(Reason::Borrowed("'braze_id' is not valid"))?;
            return Ok(Identifier::BrazeId(id));
        }
        if let Some(raw) = self.email {
            let address = json::text_of(raw).filter(|address| is_email(address));
            return address.map(Identifier::Email).ok_or(Reason::Borrowed(EMAIL_BAD_FORMAT));
        }
        if let Some(raw) = self.phone {
            let number = json::text_of(raw).filter(|number| normal_phone(number).is_some());
            return number.map(Identifier::Phone).ok_or(Reason::Borrowed("'phone' is not valid"));
        }
        if push_tokens {
            return Ok(Identifier::PushToken);
        }
        // The sentence seen in live answers.
        Err(Reason::Borrowed(
            "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required",
        ))
    }
}

/// The sentence seen in live answers for `EMAIL_BAD_FORMAT`.
pub(crate) const EMAIL_BAD_FORMAT: &str =
    "The value provided for the 'email' field is not a valid email.";

/// Reads an `external_id`: text, or an integer, which one published client sends.
pub(crate) fn external_id(raw: &str) -> Result<Cow<'_, str>, Reason> {
    let id = match raw.as_bytes().first() {
        Some(b'"') => json::text_of(raw),
        Some(b'-' | b'0'..=b'9') if !raw.contains(['.', 'e', 'E']) => Some(Cow::Borrowed(raw)),
        _ => None,
    };
    let id = id.filter(|id| !id.is_empty());
    let id = id.ok_or(Reason::Borrowed("'external_id' is not valid"))?;
    if id.len() > EXTERNAL_ID_BYTES_MAX {
        // The sentence seen in live answers for `EXTERNAL_USER_ID_TOO_LARGE`.
        return Err(Reason::Borrowed("'external_id' must be fewer than 988 bytes"));
    }
    Ok(id)
}

/// Reads `{alias_name, alias_label}`, both of them text and not empty.
pub(crate) fn alias(raw: &str) -> Option<Identifier<'_>> {
    let read = |key| json::text_of(json::member(raw, key)?).filter(|text| !text.is_empty());
    Some(Identifier::Alias { name: read("alias_name")?, label: read("alias_label")? })
}

/// The spelling under which an email address is looked up.
pub(crate) fn normal_email(address: &str) -> String {
    address.to_lowercase()
}

/// The spelling under which a phone number is looked up; `None` when it is no number.
///
/// After a leading `+` everything but digits is passed over; ten digits without one are a number
/// in the United States.
pub(crate) fn normal_phone(number: &str) -> Option<String> {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    match (number.trim_start().starts_with('+'), digits.len()) {
        (false, 10) => Some(format!("+1{digits}")),
        (true, 7..=15) | (false, 11..=15) => Some(format!("+{digits}")),
        _ => None,
    }
}

/// Whether `text` has the form of an address.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain =
        |part: &str| !part.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@');
    let dotted =
        |part: &str| !part.starts_with('.') && !part.ends_with('.') && !part.contains("..");
    text.len() <= 254
        && !local.is_empty()
        && plain(local)
        && plain(domain)
        && dotted(local)
        && dotted(domain)
        && domain.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deciding(object: &str) -> String {
        let mut identifying = Identifying::default();
        for (key, raw) in json::members(object) {
            identifying.take(&key, raw);
        }
        match identifying.deciding(false) {
            Ok(identifier) => identifier.to_string(),
            Err(reason) => reason.into_owned(),
        }
    }

    #[test]
    fn one_identifier_decides() {
        for (object, expected) in [
            (r#"{"external_id":"u-1","email":"a@b.example"}"#, "external_id u-1"),
            (r#"{"external_id":42}"#, "external_id 42"),
            (r#"{"external_id":null,"email":"a@b.example"}"#, "email a@b.example"),
            (r#"{"email":"a@b.example","phone":"+4915112345"}"#, "email a@b.example"),
            (r#"{"phone":"+4915112345"}"#, "phone +4915112345"),
            (r#"{"braze_id":"66e5"}"#, "braze_id 66e5"),
            (r#"{"user_alias":{"alias_name":"d","alias_label":"device"}}"#, "user_alias device:d"),
        ] {
            assert_eq!(deciding(object), expected, "{object}");
        }
    }

    #[test]
    fn unusable_identifiers_are_refused() {
        let required = "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required";
        let long = format!(r#"{{"external_id":"{}"}}"#, "x".repeat(988));
        for (object, expected) in [
            ("{}", required),
            (
                r#"{"external_id":"u","braze_id":"b"}"#,
                "only one of 'external_id', 'braze_id' and 'user_alias' is allowed",
            ),
            (r#"{"external_id":""}"#, "'external_id' is not valid"),
            (r#"{"external_id":1.5}"#, "'external_id' is not valid"),
            (r#"{"external_id":true}"#, "'external_id' is not valid"),
            (&long, "'external_id' must be fewer than 988 bytes"),
            (r#"{"user_alias":{"alias_name":"d"}}"#, "'user_alias' is not valid"),
            (r#"{"user_alias":{"alias_name":"","alias_label":"l"}}"#, "'user_alias' is not valid"),
            (r#"{"user_alias":"d"}"#, "'user_alias' is not valid"),
            (r#"{"email":"nobody"}"#, EMAIL_BAD_FORMAT),
            (r#"{"phone":"12"}"#, "'phone' is not valid"),
        ] {
            assert_eq!(deciding(object), expected, "{object}");
        }
    }

    #[test]
    fn phone_numbers_are_looked_up_normalised() {
        assert_eq!(normal_phone("+49 (151) 123-45").as_deref(), Some("+4915112345"));
        assert_eq!(normal_phone("(555) 123-4567").as_deref(), Some("+15551234567"));
        assert_eq!(normal_phone("call me"), None);
    }
}
