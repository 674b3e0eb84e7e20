//! What Amplitude is certain to refuse of one object, told without asking it: by the rules of our own
//! door, which are Amplitude's.

use super::{EVENTS, GROUP_IDENTIFY, IDENTIFY};
use crate::{EndpointRules, Refusal, ShortIds, parse_upload};
use isthmus_config::resource::Upload;
use isthmus_core::destination::Message;
use serde_json::{Map, Value};

/// Why Amplitude would refuse the object of `message`, naming the field.
pub(super) fn object(
    message: &Message,
    upload: Upload,
    min_id_length: Option<u32>,
) -> Result<(), String> {
    let object: Map<String, Value> = serde_json::from_str(&message.payload)
        .map_err(|error| format!("the object is not a JSON object: {error}"))?;
    let text = |field: &str| {
        object.get(field).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    };
    match message.section {
        EVENTS if text("insert_id").is_none() => {
            return Err(
                "`insert_id` is required: without it, sending again may double it".to_owned()
            );
        }
        IDENTIFY if object.contains_key("event_type") => {
            return Err("`event_type` has no meaning here".to_owned());
        }
        EVENTS | IDENTIFY => {}
        GROUP_IDENTIFY => {
            let missing =
                ["group_type", "group_value"].into_iter().find(|field| text(field).is_none());
            return missing.map_or(Ok(()), |field| Err(format!("`{field}` is required")));
        }
        section => return Err(format!("Amplitude has no section {}", section.0)),
    }
    let mut rules = match upload {
        Upload::HttpV2 => EndpointRules::http_api(),
        Upload::Batch => EndpointRules { short_ids: ShortIds::Reject, ..EndpointRules::batch() },
    };
    if message.section == IDENTIFY {
        rules.source = isthmus_core::record::Source::Identify;
    }
    // Without a length of its own, a request asks for the shortest of its ids to be taken.
    let length = min_id_length.map_or(1, |length| usize::try_from(length).unwrap_or(usize::MAX));
    rules.id_length_min = length;
    let body = format!("{{\"api_key\":\"x\",\"events\":[{}]}}", message.payload);
    let refusal = match parse_upload(body.as_bytes(), &rules)
        .and_then(|upload| upload.check(&rules).map(drop))
    {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    let Refusal::Events(problems) = &refusal else { return Err(refusal.to_string()) };
    let first = |fields: &crate::refusal::Indexes| fields.keys().next().copied();
    Err(if let Some(field) = first(&problems.missing) {
        format!("`{field}` is required")
    } else if let Some(field) = first(&problems.id_lengths) {
        format!("`{field}` is shorter or longer than Amplitude takes it")
    } else if let Some(field) = first(&problems.invalid) {
        format!("`{field}` has a value that Amplitude does not take")
    } else {
        refusal.to_string()
    })
}
