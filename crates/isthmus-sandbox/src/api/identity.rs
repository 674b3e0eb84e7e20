//! `/users/identify`, `/users/alias/...`, `/users/merge`, `/users/delete`,
//! `/users/external_ids/...`: what they take and answer.
//!
//! Counters tell of accepted entries, never of what came of them.

use super::Call;
use super::answer::{Answer, Fields};
use crate::model::{
    AliasRename, Effect, IdRename, Identifier, Identify, Priority, Reason, Selector, alias,
    external_id,
};
use serde_json::{Map, Value, json};

/// Entries per request.
const ENTRIES_MAX: usize = 50;

const BAD_IDENTIFIER: &str = "identifiers must be objects with an 'external_id' property that is a string, 'user_alias' property that is an object, 'email' property that is a string, or 'phone' property that is a string";

impl Call<'_> {
    /// The body, which must be an object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Answer> {
        match serde_json::from_slice(self.body) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(Answer::message(
                400,
                "Error while parsing request body. Please check your syntax.",
            )),
        }
    }

    fn submit(&self, effect: Effect) {
        self.room.lock().submit(effect, self.now);
    }

    pub(super) fn identify(&self) -> Result<Answer, Answer> {
        const KINDS: [(&str, &str, &str, &str); 3] = [
            ("aliases_to_identify", "user_identifiers", "user_alias", "aliases_processed"),
            ("emails_to_identify", "emails_to_identify", "email", "emails_processed"),
            (
                "phone_numbers_to_identify",
                "phone_numbers_to_identify",
                "phone",
                "phone_numbers_processed",
            ),
        ];
        let body = self.object()?;
        let merges = body.get("merge_behavior").and_then(Value::as_str) != Some("none");
        let mut fields = Fields::default();
        let (mut entries, mut errors, mut sent) = (Vec::new(), Vec::new(), 0);
        for (key, input_array, member, counter) in KINDS {
            let Some(list) = list(&body, key)? else { continue };
            sent += list.len();
            let before = entries.len();
            for (index, entry) in list.iter().enumerate() {
                match identify_entry(entry, member, merges) {
                    Ok(entry) => entries.push(entry),
                    Err(reason) => errors.push(
                        json!({ "type": reason, "input_array": input_array, "index": index }),
                    ),
                }
            }
            fields = fields.with(counter, entries.len() - before);
        }
        check_count(sent, "identifiers")?;
        if sent == 0 {
            let text = "'aliases_to_identify', 'emails_to_identify' or 'phone_numbers_to_identify' is required";
            return Err(Answer::message(400, text));
        }
        self.submit(Effect::Identify(entries));
        Ok(fields.with("message", "success").with_list("errors", errors).answer(201))
    }

    pub(super) fn alias_new(&self) -> Result<Answer, Answer> {
        let body = self.object()?;
        let list = required_list(&body, "user_aliases")?;
        check_count(list.len(), "aliases")?;
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for (index, entry) in list.iter().enumerate() {
            let read = || -> Result<_, Reason> {
                let id = match entry.get("external_id") {
                    None | Some(Value::Null) => None,
                    Some(id) => Some(read_external_id(id)?),
                };
                Ok((id, text(entry, "alias_label")?, text(entry, "alias_name")?))
            };
            match read() {
                Ok(entry) => entries.push(entry),
                Err(reason) => errors
                    .push(json!({ "type": reason, "input_array": "user_aliases", "index": index })),
            }
        }
        let accepted = entries.len();
        self.submit(Effect::AliasNew(entries));
        let fields = Fields::default().with("aliases_processed", accepted);
        Ok(fields.with("message", "success").with_list("errors", errors).answer(201))
    }

    /// The answer's shape is not documented.
    pub(super) fn alias_update(&self) -> Result<Answer, Answer> {
        let body = self.object()?;
        let list = required_list(&body, "alias_updates")?;
        check_count(list.len(), "alias updates")?;
        let read = |entry: &Value| -> Result<AliasRename, Reason> {
            Ok(AliasRename {
                label: text(entry, "alias_label")?,
                old_name: text(entry, "old_alias_name")?,
                new_name: text(entry, "new_alias_name")?,
            })
        };
        let renames = list
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(|reason| bad_request(&reason))?;
        self.submit(Effect::AliasUpdate(renames));
        Ok(Answer::message(202, "success"))
    }

    pub(super) fn merge(&self) -> Result<Answer, Answer> {
        let refuse = |text| Answer::message(400, text);
        let body = self.object()?;
        let list = body.get("merge_updates").and_then(Value::as_array);
        let list = list.filter(|list| !list.is_empty() && list.iter().all(Value::is_object));
        let list = list.ok_or_else(|| refuse("'merge_updates' must be an array of objects"))?;
        if list.len() > ENTRIES_MAX {
            return Err(refuse("a single request may not contain more than 50 merge updates"));
        }
        let mut pairs = Vec::with_capacity(list.len());
        for entry in list.iter().filter_map(Value::as_object) {
            let keys = ["identifier_to_merge", "identifier_to_keep"];
            let [source, target] = keys.map(|key| entry.get(key));
            let (Some(source), Some(target), 2) = (source, target, entry.len()) else {
                return Err(refuse(
                    "'merge_updates' must only have 'identifier_to_merge' and 'identifier_to_keep'",
                ));
            };
            let read = |raw| selector(raw).map_err(|_| refuse(BAD_IDENTIFIER));
            pairs.push((read(source)?, read(target)?));
        }
        self.submit(Effect::Merge(pairs));
        Ok(Answer::message(202, "success"))
    }

    /// The text of the documentation allows one kind of identifier per request, its sample mixes
    /// them; the text holds.
    pub(super) fn delete(&self) -> Result<Answer, Answer> {
        const KINDS: [(&str, Option<&str>); 5] = [
            ("external_ids", Some("external_id")),
            ("braze_ids", Some("braze_id")),
            ("user_aliases", Some("user_alias")),
            ("email_addresses", None),
            ("phone_numbers", None),
        ];
        let body = self.object()?;
        let mut selectors = Vec::new();
        let mut kinds = 0;
        for (key, member) in KINDS {
            let Some(list) = list(&body, key)? else { continue };
            kinds += usize::from(!list.is_empty());
            for entry in list {
                let wrapped = member.map(|member| json!({ member: entry }));
                let selector = selector(wrapped.as_ref().unwrap_or(entry));
                selectors.push(selector.map_err(|reason| bad_request(&reason))?);
            }
        }
        if kinds != 1 {
            return Err(Answer::message(400, "exactly one kind of identifiers is required"));
        }
        if selectors.len() > ENTRIES_MAX {
            return Err(Answer::message(400, "The max number of ids per request was exceeded"));
        }
        let queued = selectors.len();
        self.submit(Effect::Delete(selectors));
        Ok(Fields::default().with("deleted", queued).with("message", "success").answer(201))
    }

    pub(super) fn rename(&self) -> Result<Answer, Answer> {
        let body = self.object()?;
        let list = required_list(&body, "external_id_renames")?;
        check_count(list.len(), "renames")?;
        let (mut renamed, mut errors) = (Vec::new(), Vec::new());
        let mut workspace = self.room.lock();
        workspace.catch_up(self.now);
        for (index, entry) in list.iter().enumerate() {
            let id = |key: &str| {
                let id =
                    entry.get(key).ok_or_else(|| Reason::Owned(format!("'{key}' is required")))?;
                read_external_id(id)
            };
            let mut rename = || -> Result<String, Reason> {
                let rename =
                    IdRename { current: id("current_external_id")?, new: id("new_external_id")? };
                workspace.rename(&rename, self.now).map_err(Reason::Borrowed)?;
                Ok(rename.new)
            };
            match rename() {
                Ok(new) => renamed.push(Value::String(new)),
                Err(reason) => errors.push(json!({ "index": index, "message": reason })),
            }
        }
        drop(workspace);
        let fields = Fields::default().with("message", "success").with("external_ids", renamed);
        Ok(fields.with("rename_errors", errors).answer(201))
    }

    pub(super) fn remove_external_ids(&self) -> Result<Answer, Answer> {
        let body = self.object()?;
        let list = required_list(&body, "external_ids")?;
        check_count(list.len(), "external ids")?;
        let (mut removed, mut errors) = (Vec::new(), Vec::new());
        let mut workspace = self.room.lock();
        workspace.catch_up(self.now);
        for (index, id) in list.iter().enumerate() {
            match read_external_id(id) {
                Ok(id) if workspace.remove_deprecated(&id) => removed.push(Value::String(id)),
                Ok(_) => errors.push(json!({
                    "index": index,
                    "message": "external_id is not a deprecated external_id",
                })),
                Err(reason) => errors.push(json!({ "index": index, "message": reason })),
            }
        }
        drop(workspace);
        let fields = Fields::default().with("message", "success").with("removed_ids", removed);
        Ok(fields.with("removal_errors", errors).answer(201))
    }
}

fn bad_request(reason: &Reason) -> Answer {
    Answer::message(400, reason)
}

/// The array under `key`, which may be missing.
pub(super) fn list<'a>(
    body: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a Vec<Value>>, Answer> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(_) => Err(Answer::message(400, &format!("'{key}' must be an array"))),
    }
}

fn required_list<'a>(body: &'a Map<String, Value>, key: &str) -> Result<&'a Vec<Value>, Answer> {
    let missing = || Answer::message(400, &format!("'{key}' must be an array of objects"));
    list(body, key)?.filter(|list| !list.is_empty()).ok_or_else(missing)
}

/// The documentation gives a text for merges only; this one follows it.
fn check_count(count: usize, what: &str) -> Result<(), Answer> {
    if count <= ENTRIES_MAX {
        return Ok(());
    }
    let text = format!("a single request may not contain more than {ENTRIES_MAX} {what}");
    Err(Answer::message(400, &text))
}

/// A text that is there and not empty.
fn text(entry: &Value, key: &str) -> Result<String, Reason> {
    let text = entry.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| Reason::Owned(format!("'{key}' is required")))
}

pub(super) fn read_external_id(id: &Value) -> Result<String, Reason> {
    external_id(&id.to_string()).map(std::borrow::Cow::into_owned)
}

/// Reads `{alias_name, alias_label}`.
pub(super) fn read_alias(value: &Value) -> Option<Identifier<'static>> {
    let text = value.to_string();
    match alias(&text)? {
        Identifier::Alias { name, label } => Some(Identifier::Alias {
            name: name.into_owned().into(),
            label: label.into_owned().into(),
        }),
        _ => None,
    }
}

fn identify_entry(entry: &Value, member: &str, merges: bool) -> Result<Identify, Reason> {
    let id = entry.get("external_id").filter(|id| !id.is_null() && **id != "");
    let id = id.ok_or(Reason::Borrowed("'external_id' is required"))?;
    let external_id = read_external_id(id)?;
    let named =
        entry.get(member).ok_or_else(|| Reason::Owned(format!("'{member}' is required")))?;
    let source =
        selector(&json!({ member: named, "prioritization": entry.get("prioritization") }))?;
    Ok(Identify { source, external_id, merges })
}

/// Reads an object with exactly one identifier, and the priorities that addresses need.
fn selector(value: &Value) -> Result<Selector, Reason> {
    let text = |key: &str| value.get(key).filter(|found| !found.is_null());
    let members = ["external_id", "user_alias", "email", "phone", "braze_id"].map(text);
    if members.iter().flatten().count() != 1 {
        return Err(Reason::Borrowed(BAD_IDENTIFIER));
    }
    let invalid = |key: &str| Reason::Owned(format!("'{key}' is not valid"));
    let string = |value: &Value, key: &str| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| invalid(key))
    };
    let [external_id, user_alias, email, phone, braze_id] = members;
    let identifier = if let Some(id) = external_id {
        Identifier::ExternalId(read_external_id(id)?.into())
    } else if let Some(alias) = user_alias {
        read_alias(alias).ok_or_else(|| invalid("user_alias"))?
    } else if let Some(address) = email {
        Identifier::Email(string(address, "email")?.into())
    } else if let Some(number) = phone {
        Identifier::Phone(string(number, "phone")?.into())
    } else {
        let id = braze_id.ok_or(Reason::Borrowed(BAD_IDENTIFIER))?;
        Identifier::BrazeId(string(id, "braze_id")?.into())
    };
    let by_address = email.or(phone).is_some();
    let priorities = match text("prioritization") {
        None if by_address => return Err(Reason::Borrowed("'prioritization' is required")),
        None => Vec::new(),
        Some(list) => priorities(list).ok_or_else(|| invalid("prioritization"))?,
    };
    Ok(Selector { identifier, priorities })
}

/// At most one of `identified` and `unidentified`.
fn priorities(list: &Value) -> Option<Vec<Priority>> {
    let read = |word: &Value| {
        Some(match word.as_str()? {
            "identified" => Priority::Identified,
            "unidentified" => Priority::Unidentified,
            "most_recently_updated" => Priority::MostRecentlyUpdated,
            "least_recently_updated" => Priority::LeastRecentlyUpdated,
            _ => return None,
        })
    };
    let list: Vec<Priority> = list.as_array()?.iter().map(read).collect::<Option<_>>()?;
    let kinds = list
        .iter()
        .filter(|priority| matches!(priority, Priority::Identified | Priority::Unidentified));
    (kinds.count() <= 1).then_some(list)
}
