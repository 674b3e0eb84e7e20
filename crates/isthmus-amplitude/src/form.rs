//! `/identify` and `/groupidentify`: the request is a form, a query or a JSON object.
//!
//! Clients differ: URL-encoded forms, multipart forms, everything in the query, a JSON body, and
//! the literal text `undefined` for options that are not set. All of them are read; a member of
//! the body wins over one of the query.

mod multipart;

use crate::refusal::Refusal;
use crate::rules::EndpointRules;
use crate::scan::{Malformed, Scanner};
use crate::upload::Upload;
use std::borrow::Cow;

/// The members of an identify request; borrows from the request where nothing is escaped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Form<'a> {
    api_key: Option<Cow<'a, str>>,
    /// JSON text of an object or an array.
    identification: Option<Cow<'a, str>>,
    /// JSON text of an object or an array; only `/usermap` has it.
    mapping: Option<Cow<'a, str>>,
    /// JSON text, or anything.
    options: Option<Cow<'a, str>>,
}

impl<'a> Form<'a> {
    /// Reads the members, wherever the client put them. `query` is without its question mark.
    pub fn parse(
        content_type: Option<&'a str>,
        query: Option<&'a str>,
        body: &'a [u8],
        rules: &EndpointRules,
    ) -> Result<Self, Refusal> {
        if body.len() > rules.body_max.as_usize() {
            return Err(Refusal::TooLarge);
        }
        let mut form = Self::default();
        form.read_encoded(query.unwrap_or_default().as_bytes());
        if let Some(boundary) = content_type.and_then(multipart::boundary) {
            for (name, value) in multipart::parts(body, boundary) {
                form.set(name, || Cow::Borrowed(value));
            }
        } else if body.trim_ascii_start().starts_with(b"{") {
            form.read_json(body).map_err(|Malformed| Refusal::InvalidJson)?;
        } else {
            form.read_encoded(body);
        }
        Ok(form)
    }

    /// The identifications as an upload, which borrows from the form.
    pub fn upload(&self, rules: &EndpointRules) -> Result<Upload<'_>, Refusal> {
        let api_key = self.api_key()?;
        let identification =
            self.identification.as_deref().ok_or(Refusal::MissingIdentification)?;
        let options = self.options.as_deref();
        Upload::of_identification(Cow::Borrowed(api_key), options, identification, rules)
    }

    /// The key that opens the project.
    pub fn api_key(&self) -> Result<&str, Refusal> {
        let api_key = self.api_key.as_deref().filter(|key| !key.trim().is_empty());
        api_key.ok_or(Refusal::MissingField("api_key"))
    }

    pub(crate) fn mapping(&self) -> Option<&str> {
        self.mapping.as_deref()
    }

    /// `min_id_length` of the options, where it can be read.
    pub(crate) fn id_length_min(&self) -> Option<usize> {
        let options: serde_json::Value = serde_json::from_str(self.options.as_deref()?).ok()?;
        let length = options.get("min_id_length")?.as_u64()?;
        usize::try_from(length).ok()
    }

    fn read_encoded(&mut self, text: &'a [u8]) {
        for (name, value) in url::form_urlencoded::parse(text) {
            self.set(&name, || value);
        }
    }

    fn read_json(&mut self, body: &'a [u8]) -> Result<(), Malformed> {
        let text = std::str::from_utf8(body).map_err(|_| Malformed)?;
        let mut scanner = Scanner::new(text);
        scanner.enter(b'{');
        let mut first = true;
        while let Some(key) = scanner.next_member(&mut first)? {
            let value = scanner.value()?;
            // A member may be JSON, or JSON once more as text, as in a form.
            self.set(&key.text(), || value.whole_text().unwrap_or(Cow::Borrowed(value.raw)));
        }
        if scanner.at_end() { Ok(()) } else { Err(Malformed) }
    }

    fn set(&mut self, name: &str, value: impl FnOnce() -> Cow<'a, str>) {
        match name {
            "api_key" => self.api_key = Some(value()),
            "identification" => self.identification = Some(value()),
            "mapping" => self.mapping = Some(value()),
            "options" => self.options = Some(value()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
