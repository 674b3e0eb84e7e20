//! What the intake log keeps of a Currents event in `fields`: everything that has no field of its own.

use isthmus_core::json;
use std::borrow::Cow;

/// Written and read as `{"user_id": ..., "timezone": ..., "known_as": ..., "other": {...}}`, each
/// where it is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Beside<'a> {
    /// Braze's own id of the user.
    pub(crate) braze_id: Option<Cow<'a, str>>,
    /// IANA time zone of the user, or what stands for it.
    pub(crate) timezone: Option<Cow<'a, str>>,
    /// Device id under which a stream of ours told Braze of the user, where the event is the echo.
    pub(crate) known_as: Option<Cow<'a, str>>,
    /// Raw JSON object of what is in no documentation.
    pub(crate) other: Option<&'a str>,
}

impl<'a> Beside<'a> {
    pub(crate) fn read(fields: Option<&'a str>) -> Self {
        let mut beside = Self::default();
        for (key, value) in fields.into_iter().flat_map(json::members) {
            match &*key {
                "user_id" => beside.braze_id = json::text_of(value),
                "timezone" => beside.timezone = json::text_of(value),
                "known_as" => beside.known_as = json::text_of(value),
                "other" => beside.other = Some(value),
                _ => {}
            }
        }
        beside
    }

    /// `None` where there is nothing to say.
    pub(crate) fn write(&self) -> Option<String> {
        let mut out = String::from("{");
        let name = |out: &mut String, name| {
            if out.len() > 1 {
                out.push(',');
            }
            json::push_text(out, name);
            out.push(':');
        };
        let texts = [
            ("user_id", &self.braze_id),
            ("timezone", &self.timezone),
            ("known_as", &self.known_as),
        ];
        for (key, text) in texts {
            let Some(text) = text else { continue };
            name(&mut out, key);
            json::push_text(&mut out, text);
        }
        if let Some(other) = self.other {
            name(&mut out, "other");
            out.push_str(other);
        }
        out.push('}');
        (out.len() > 2).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            braze_id in any::<Option<String>>(),
            timezone in any::<Option<String>>(),
            known_as in any::<Option<String>>(),
            other: bool,
        ) {
            let beside = Beside {
                braze_id: braze_id.as_deref().map(Cow::Borrowed),
                timezone: timezone.as_deref().map(Cow::Borrowed),
                known_as: known_as.as_deref().map(Cow::Borrowed),
                other: other.then_some(r#"{"shiny":[1]}"#),
            };
            let written = beside.write();
            prop_assert_eq!(written.is_none(), beside == Beside::default());
            prop_assert_eq!(Beside::read(written.as_deref()), beside);
        }
    }
}
