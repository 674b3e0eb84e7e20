//! Whom a request wants forgotten, in all the spellings that clients use.

use serde_json::{Map, Value};

/// Ids of one request, of both kinds together.
const IDS_MAX: usize = 100;

/// A request that makes sense.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) amplitude_ids: Vec<u64>,
    pub(super) user_ids: Vec<String>,
    pub(super) requester: String,
    pub(super) ignores_invalid: bool,
    pub(super) from_org: bool,
    /// Whether the answer names user ids.
    pub(super) names_users: bool,
}

impl Order {
    /// Reads the body; an error names the field.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Err("body must be a JSON object".to_owned());
        };
        let amplitude_ids = list(&members, "amplitude_ids", number, "integers")?;
        let user_ids = list(&members, "user_ids", text, "strings")?;
        match amplitude_ids.len() + user_ids.len() {
            0 => return Err("amplitude_ids or user_ids is required".to_owned()),
            1..=IDS_MAX => {}
            _ => return Err("amplitude_ids and user_ids hold more than 100 ids".to_owned()),
        }
        let requester = match members.get("requester") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(requester)) => requester.clone(),
            Some(_) => return Err("requester must be a string".to_owned()),
        };
        let from_org = flag(&members, "delete_from_org")?;
        let ignores = [flag(&members, "ignore_invalid_id")?, flag(&members, "ignore_invalid_ids")?];
        Ok(Self {
            amplitude_ids,
            user_ids,
            requester,
            ignores_invalid: from_org || ignores.contains(&true),
            from_org,
            names_users: flag(&members, "include_mapped_user_ids")?,
        })
    }
}

fn list<T>(
    members: &Map<String, Value>,
    name: &str,
    read: fn(&Value) -> Option<T>,
    what: &str,
) -> Result<Vec<T>, String> {
    let wrong = || format!("{name} must be an array of {what}");
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(read).collect::<Option<_>>().ok_or_else(wrong),
        Some(_) => Err(wrong()),
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn flag(members: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(format!("{name} must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Result<Order, String> {
        Order::read(body.to_string().as_bytes())
    }

    #[test]
    fn ids_and_flags_are_read_in_every_spelling() {
        let order = read(&json!({
            "amplitude_ids": [100, "101"], "user_ids": ["ana", 7], "requester": "dpo@example.org",
            "ignore_invalid_id": "true", "include_mapped_user_ids": true,
        }));
        assert_eq!(
            order,
            Ok(Order {
                amplitude_ids: vec![100, 101],
                user_ids: vec!["ana".to_owned(), "7".to_owned()],
                requester: "dpo@example.org".to_owned(),
                ignores_invalid: true,
                from_org: false,
                names_users: true,
            })
        );
        let one =
            |name: &str, flag: Value| read(&json!({ "user_ids": ["ana"], name: flag })).unwrap();
        assert!(one("ignore_invalid_ids", json!(true)).ignores_invalid);
        assert!(!one("ignore_invalid_id", json!("false")).ignores_invalid);
        assert!(!one("requester", Value::Null).ignores_invalid);
        let org = one("delete_from_org", json!("True"));
        assert!(org.from_org && org.ignores_invalid);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let many: Vec<_> = (0..60).collect();
        for (body, why) in [
            (json!([]), "body must be a JSON object"),
            (json!({}), "amplitude_ids or user_ids is required"),
            (json!({ "amplitude_ids": [] }), "amplitude_ids or user_ids is required"),
            (json!({ "amplitude_ids": ["x"] }), "amplitude_ids must be an array of integers"),
            (json!({ "amplitude_ids": [-1] }), "amplitude_ids must be an array of integers"),
            (json!({ "user_ids": "ana" }), "user_ids must be an array of strings"),
            (json!({ "user_ids": [null] }), "user_ids must be an array of strings"),
            (
                json!({ "user_ids": many, "amplitude_ids": many }),
                "amplitude_ids and user_ids hold more than 100 ids",
            ),
            (json!({ "user_ids": [1], "requester": 5 }), "requester must be a string"),
            (
                json!({ "user_ids": [1], "delete_from_org": 1 }),
                "delete_from_org must be true or false",
            ),
        ] {
            assert_eq!(read(&body), Err(why.to_owned()), "{body}");
        }
    }
}
