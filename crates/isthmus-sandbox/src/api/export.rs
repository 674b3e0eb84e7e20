//! `/users/export/ids`.

use super::Call;
use super::answer::{Answer, Fields};
use super::identity::{list, read_alias, read_external_id};
use crate::model::{Identifier, Lookup};
use serde_json::{Map, Value};

/// `external_ids` and `user_aliases` together.
const IDS_MAX: usize = 50;

impl Call<'_> {
    pub(super) fn export(&self) -> Result<Answer, Answer> {
        let body = self.object()?;
        let fields = fields(&body)?;
        if fields.is_none() && self.shared.config.export_fields_required {
            return Err(Answer::message(400, "'fields_to_export' is required"));
        }
        let lookups = lookups(&body)?;
        let mut workspace = self.room.lock();
        workspace.catch_up(self.now);
        let (mut users, mut invalid) = (Vec::new(), Vec::new());
        for (asked_as, lookup) in lookups {
            let found = workspace.look_up(&lookup);
            let exported = found
                .iter()
                .filter_map(|key| workspace.exported(*key, fields.as_deref(), self.now));
            let before = users.len();
            users.extend(exported);
            if users.len() == before {
                invalid.push(asked_as);
            }
        }
        drop(workspace);
        let answer = Fields::default().with("message", "success").with("users", users);
        Ok(answer.with_list("invalid_user_ids", invalid).answer(201))
    }
}

fn fields(body: &Map<String, Value>) -> Result<Option<Vec<String>>, Answer> {
    let Some(fields) = list(body, "fields_to_export")? else { return Ok(None) };
    let text = |field: &Value| field.as_str().map(str::to_owned);
    let fields = fields.iter().map(text).collect::<Option<_>>();
    let wrong = || Answer::message(400, "'fields_to_export' must be an array of strings");
    fields.map(Some).ok_or_else(wrong)
}

/// Whom the body asks for, each with the value to name when nobody is found.
fn lookups(body: &Map<String, Value>) -> Result<Vec<(Value, Lookup)>, Answer> {
    let wrong = |key: &str| Answer::message(400, &format!("'{key}' is not valid"));
    let mut lookups = Vec::new();
    for id in list(body, "external_ids")?.into_iter().flatten() {
        let read = read_external_id(id).map_err(|_| wrong("external_ids"))?;
        lookups.push((id.clone(), Lookup::Identifier(Identifier::ExternalId(read.into()))));
    }
    for alias in list(body, "user_aliases")?.into_iter().flatten() {
        let read = read_alias(alias).ok_or_else(|| wrong("user_aliases"))?;
        lookups.push((alias.clone(), Lookup::Identifier(read)));
    }
    if lookups.len() > IDS_MAX {
        let text = "The max number of external_ids and aliases per request was exceeded";
        return Err(Answer::message(400, text));
    }
    let mut addresses = 0;
    for key in ["device_id", "email_address", "phone", "braze_id"] {
        let Some(value) = body.get(key).filter(|value| !value.is_null()) else { continue };
        let text = value.as_str().ok_or_else(|| wrong(key))?.to_owned();
        addresses += usize::from(key != "braze_id");
        let lookup = match key {
            "device_id" => Lookup::Device(text),
            "email_address" => Lookup::Identifier(Identifier::Email(text.into())),
            "phone" => Lookup::Identifier(Identifier::Phone(text.into())),
            _ => Lookup::Identifier(Identifier::BrazeId(text.into())),
        };
        lookups.push((value.clone(), lookup));
    }
    if addresses > 1 {
        let text = "only one of 'device_id', 'email_address' and 'phone' is allowed";
        return Err(Answer::message(400, text));
    }
    if lookups.is_empty() {
        return Err(Answer::message(400, "at least one identifier is required"));
    }
    Ok(lookups)
}
