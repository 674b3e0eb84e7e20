//! The envelope of an upload, and the check of its events.
//!
//! The order of checks is fixed: size, JSON, required fields, number of events (all in
//! [`parse_upload`]), then the caller looks up the key, then [`Upload::check`] collects every problem
//! of every event. An upload is accepted or refused as a whole.

use crate::event::{self, Element, Field};
use crate::identity::{Worth, device_id_worth, user_id_worth};
use crate::refusal::{EventProblems, NOT_AN_OBJECT, Refusal};
use crate::rules::{EndpointRules, ShortIds};
use crate::scan::{Kind, Malformed, Scanner, Value};
use isthmus_core::Timestamp;
use isthmus_core::json;
use isthmus_core::record::{IntakeEvent, Source};
use std::borrow::Cow;

/// The largest `min_id_length` that makes sense: no id may be longer.
const ID_LENGTH_MIN_MAX: usize = crate::rules::TEXT_LENGTH_MAX;

/// A parsed upload whose key is not looked up and whose events are not checked yet.
#[derive(Debug)]
pub struct Upload<'a> {
    api_key: Cow<'a, str>,
    decoded: CheckedUpload<'a>,
}

/// An upload that may be accepted.
#[derive(Debug)]
pub struct CheckedUpload<'a> {
    client_upload_time: Option<i64>,
    id_length_min: Option<usize>,
    elements: Vec<Element<'a>>,
    /// Other fields of all elements.
    fields: String,
}

/// Parses the body of `/2/httpapi` or `/batch`: JSON, whatever its content type says.
///
/// Reads the text once; memory stays within a small multiple of it, whatever it holds. Unknown
/// members are ignored, and of a repeated member the last one counts.
pub fn parse_upload<'a>(body: &'a [u8], rules: &EndpointRules) -> Result<Upload<'a>, Refusal> {
    if body.len() > rules.body_max.as_usize() {
        return Err(Refusal::TooLarge);
    }
    if body.trim_ascii().is_empty() {
        return Err(Refusal::MissingBody);
    }
    let text = std::str::from_utf8(body).map_err(|_| Refusal::InvalidJson)?;
    let envelope = Envelope::read(text, rules).map_err(|Malformed| Refusal::InvalidJson)?;
    let api_key = envelope.api_key.ok_or(Refusal::MissingField("api_key"))?;
    let elements = envelope.elements.ok_or(Refusal::MissingField("events"))?;
    let decoded = CheckedUpload {
        client_upload_time: envelope.client_upload_time,
        id_length_min: envelope.id_length_min,
        elements: elements.all(rules)?,
        fields: envelope.fields,
    };
    Ok(Upload { api_key, decoded })
}

impl<'a> Upload<'a> {
    /// An upload of `identification`, JSON text of one object or an array of them.
    pub(crate) fn of_identification(
        api_key: Cow<'a, str>,
        options: Option<&str>,
        identification: &'a str,
        rules: &EndpointRules,
    ) -> Result<Self, Refusal> {
        let mut fields = String::new();
        let elements = read_identification(identification, rules, &mut fields);
        let elements = elements.ok().flatten().ok_or(Refusal::MissingIdentification)?;
        let decoded = CheckedUpload {
            client_upload_time: None,
            id_length_min: options.and_then(id_length_min),
            elements: elements.all(rules)?,
            fields,
        };
        Ok(Self { api_key, decoded })
    }

    /// The project key as sent; never blank.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Number of events, or identifications.
    pub fn event_count(&self) -> usize {
        self.decoded.event_count()
    }

    /// Checks all events and lists every problem of every event, or accepts the upload.
    ///
    /// Under [`ShortIds::Strip`] unusable ids are removed where another one is left.
    pub fn check(mut self, rules: &EndpointRules) -> Result<CheckedUpload<'a>, Refusal> {
        let mut problems = EventProblems::default();
        let length_min = self.decoded.id_length_min.unwrap_or(rules.id_length_min);
        for (index, element) in self.decoded.elements.iter_mut().enumerate() {
            check_element(element, index, rules, length_min, &mut problems);
        }
        if problems.is_empty() {
            Ok(self.decoded)
        } else {
            Err(Refusal::Events(Box::new(problems)))
        }
    }
}

impl CheckedUpload<'_> {
    /// Number of events, or identifications.
    pub fn event_count(&self) -> usize {
        self.elements.len()
    }

    /// The client's clock at upload in milliseconds since the Unix epoch, if it said.
    pub fn client_upload_time(&self) -> Option<i64> {
        self.client_upload_time
    }

    /// The events in the order they were sent, so that positions are the indexes to answer with.
    pub fn events(&self) -> impl ExactSizeIterator<Item = IntakeEvent<'_>> {
        self.elements.iter().map(|element| element.view(&self.fields))
    }
}

/// The members of the request object.
#[derive(Default)]
struct Envelope<'a> {
    api_key: Option<Cow<'a, str>>,
    client_upload_time: Option<i64>,
    id_length_min: Option<usize>,
    elements: Option<Elements<'a>>,
    fields: String,
}

/// Elements read so far; those beyond the allowed number are only counted.
#[derive(Default)]
struct Elements<'a> {
    kept: Vec<Element<'a>>,
    beyond: usize,
    properties: usize,
}

impl<'a> Envelope<'a> {
    fn read(text: &'a str, rules: &EndpointRules) -> Result<Self, Malformed> {
        let mut envelope = Self::default();
        let mut scanner = Scanner::new(text);
        if !scanner.enter(b'{') {
            return Err(Malformed);
        }
        let mut first = true;
        while let Some(key) = scanner.next_member(&mut first)? {
            match key.text().as_ref() {
                "events" if scanner.byte() == Some(b'[') => {
                    envelope.fields.clear();
                    // Other fields are commonly a third of an event.
                    envelope.fields.reserve(text.len() / 2);
                    let mut elements = Elements::default();
                    elements.read_array(&mut scanner, rules, &mut envelope.fields)?;
                    envelope.elements = Some(elements);
                }
                "events" => {
                    scanner.value()?;
                    envelope.elements = None;
                }
                "api_key" => envelope.api_key = api_key(&scanner.value()?),
                "options" => envelope.id_length_min = id_length_min(scanner.value()?.raw),
                "client_upload_time" => {
                    envelope.client_upload_time = upload_time(&scanner.value()?);
                }
                _ => {
                    scanner.value()?;
                }
            }
        }
        if scanner.at_end() { Ok(envelope) } else { Err(Malformed) }
    }
}

impl<'a> Elements<'a> {
    fn read_array(
        &mut self,
        scanner: &mut Scanner<'a>,
        rules: &EndpointRules,
        fields: &mut String,
    ) -> Result<(), Malformed> {
        scanner.enter(b'[');
        let mut first = true;
        while scanner.next_element(&mut first)? {
            self.read_one(scanner, rules, fields)?;
        }
        Ok(())
    }

    fn read_one(
        &mut self,
        scanner: &mut Scanner<'a>,
        rules: &EndpointRules,
        fields: &mut String,
    ) -> Result<(), Malformed> {
        if self.kept.len() >= rules.events_max {
            scanner.value()?;
            self.beyond += 1;
            return Ok(());
        }
        let element = match (scanner.byte(), rules.source) {
            (Some(b'{'), Source::HttpApi | Source::Batch) => event::event(scanner, fields)?,
            (Some(b'{'), Source::Identify) => event::identification(scanner, fields)?,
            (Some(b'{'), Source::GroupIdentify) => event::group_identification(scanner, fields)?,
            _ => {
                scanner.value()?;
                Element::not_an_object()
            }
        };
        if rules.properties_max < usize::MAX {
            self.properties += element.group_property_count();
        }
        self.kept.push(element);
        Ok(())
    }

    /// All elements, if there are not too many.
    fn all(self, rules: &EndpointRules) -> Result<Vec<Element<'a>>, Refusal> {
        if self.beyond > 0 || self.properties > rules.properties_max {
            return Err(Refusal::TooLarge);
        }
        Ok(self.kept)
    }
}

/// Reads one identification or an array of them; `None` when it is neither.
fn read_identification<'a>(
    text: &'a str,
    rules: &EndpointRules,
    fields: &mut String,
) -> Result<Option<Elements<'a>>, Malformed> {
    let mut elements = Elements::default();
    let mut scanner = Scanner::new(text);
    match scanner.byte() {
        Some(b'[') => elements.read_array(&mut scanner, rules, fields)?,
        Some(b'{') => elements.read_one(&mut scanner, rules, fields)?,
        _ => return Ok(None),
    }
    if scanner.at_end() { Ok(Some(elements)) } else { Err(Malformed) }
}

/// A key is text that is not blank.
fn api_key<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    value.whole_text().filter(|key| !key.trim().is_empty())
}

/// `min_id_length` of the JSON text `options`; a value without sense is ignored.
fn id_length_min(options: &str) -> Option<usize> {
    let length = json::member(options, "min_id_length")?.parse().ok()?;
    (length <= ID_LENGTH_MIN_MAX).then_some(length)
}

/// ISO 8601 text, or milliseconds since the Unix epoch; anything else is ignored.
fn upload_time(value: &Value<'_>) -> Option<i64> {
    match value.kind {
        Kind::Number => value.raw.parse().ok(),
        _ => value.text().and_then(|text| Timestamp::parse_iso(&text)).map(Timestamp::as_millis),
    }
}

/// Notes every problem of `element`, and removes ids that it can do without.
fn check_element(
    element: &mut Element<'_>,
    index: usize,
    rules: &EndpointRules,
    length_min: usize,
    problems: &mut EventProblems,
) {
    if element.not_an_object {
        problems.invalid(NOT_AN_OBJECT, index);
        return;
    }
    element.missing.names().for_each(|name| problems.missing(name, index));
    element.invalid.names().for_each(|name| problems.invalid(name, index));
    if rules.source != Source::GroupIdentify {
        check_ids(element, index, rules.short_ids, length_min, problems);
    }
}

/// Applies the rules of ids: length, the list of invalid ids, and that one must be left.
fn check_ids(
    element: &mut Element<'_>,
    index: usize,
    short_ids: ShortIds,
    length_min: usize,
    problems: &mut EventProblems,
) {
    let user = user_id_worth(element.user_id.as_deref(), length_min);
    let device = device_id_worth(element.device_id.as_deref(), length_min);
    let strip = short_ids == ShortIds::Strip;
    // An invalid user id stands for nobody, which `/batch` and a device id can live with; an
    // invalid device id is dropped everywhere. What is removed must leave something.
    let user_removed = matches!(user, Worth::TooShort | Worth::Invalid) && strip;
    let device_removed = device == Worth::Invalid || device == Worth::TooShort && strip;
    let left = user == Worth::Good || device == Worth::Good || element.is_group_identify();
    for (field, worth, removed) in
        [(Field::UserId, user, user_removed), (Field::DeviceId, device, device_removed)]
    {
        match worth {
            Worth::Absent | Worth::Good => {}
            _ if removed && left => {
                let id = match field {
                    Field::UserId => &mut element.user_id,
                    _ => &mut element.device_id,
                };
                *id = None;
            }
            Worth::TooShort | Worth::TooLong => problems.id_length(field.name(), index),
            Worth::Invalid => problems.invalid(field.name(), index),
        }
    }
    let of_wrong_type =
        element.invalid.contains(Field::UserId) || element.invalid.contains(Field::DeviceId);
    if user == Worth::Absent && device == Worth::Absent && !left && !of_wrong_type {
        problems.missing(Field::UserId.name(), index);
        problems.missing(Field::DeviceId.name(), index);
    }
}

#[cfg(test)]
mod tests;
