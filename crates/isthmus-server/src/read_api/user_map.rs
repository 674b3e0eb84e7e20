//! `GET /api/2/usermap`: which user ids are mapped to which (`amplitude-read.md` section 8).
//!
//! Clients differ in where they put the ids: repeated query parameters, a comma list, a JSON array in
//! one parameter, a form or a JSON body of the GET request. All of them are read, and the keys may
//! stand among them instead of in the header.

use super::{ReadApi, Refusal};
use axum::extract::Request;
use axum::http::StatusCode;
use isthmus_state::StateError;
use isthmus_state::people::IdKind;
use serde_json::{Map, Value, json};

/// Where it is, as at Amplitude.
pub(super) const PATH: &str = "/api/2/usermap";

const USER_IDS_MAX: usize = 100;
/// Largest body that is read.
const BODY_BYTES_MAX: usize = 256 << 10;
/// User ids listed that are mapped to one.
const MAPPED_FROM_MAX: usize = 1_000;

/// What a request says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    user_ids: Vec<String>,
    api_key: Option<String>,
    secret_key: Option<String>,
}

pub(super) async fn answer(api: &ReadApi, request: Request) -> Result<String, Refusal> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body too large"))?;
    let mut asked = Asked::default();
    asked.read_form(head.uri.query().unwrap_or_default().as_bytes());
    asked.read_body(&body);
    let project = match (&asked.api_key, &asked.secret_key) {
        (Some(api_key), Some(secret)) => api.project_of(api_key, secret)?,
        _ => api.project(&head.headers)?,
    };
    let bad = |why: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, why));
    match asked.user_ids.len() {
        0 => return bad("user_ids is required: from 1 to 100 user ids"),
        1..=USER_IDS_MAX => {}
        _ => return bad("user_ids holds more than 100 user ids"),
    }
    mapped(api, &project, &asked.user_ids).map_err(|error| {
        tracing::error!(%error, "user mappings cannot be read");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "user mappings cannot be read now")
    })
}

fn mapped(api: &ReadApi, project: &str, user_ids: &[String]) -> Result<String, StateError> {
    let mut answer = Map::new();
    for user_id in user_ids {
        let from = api.map.mapped_from(project, user_id, MAPPED_FROM_MAX)?;
        let to = api.map.mapped_to(project, user_id)?;
        let amplitude_id = api.people.find(project, IdKind::User, user_id)?;
        let known = amplitude_id.is_some() || to.is_some() || !from.is_empty();
        let one = |user_id: &String| -> Result<Value, StateError> {
            let id = api.people.find(project, IdKind::User, user_id)?.map(|id| id.0);
            Ok(json!({ "amplitude_id": id, "user_id": user_id }))
        };
        let list = |ids: &[String]| ids.iter().map(one).collect::<Result<Vec<_>, _>>();
        let told = if known {
            json!({
                "amplitude_id": amplitude_id.map(|id| id.0),
                "mapped_from": list(&from)?,
                "mapped_to": list(to.as_slice())?,
            })
        } else {
            json!({})
        };
        answer.insert(user_id.clone(), told);
    }
    Ok(Value::Object(answer).to_string())
}

impl Asked {
    fn read_form(&mut self, form: &[u8]) {
        for (name, value) in url::form_urlencoded::parse(form) {
            match &*name {
                "user_ids" | "user_ids[]" => self.read_ids(&value),
                "api_key" => self.api_key = Some(value.into_owned()),
                "secret_key" => self.secret_key = Some(value.into_owned()),
                _ => {}
            }
        }
    }

    fn read_body(&mut self, body: &[u8]) {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => {
                if let Some(ids) = members.get("user_ids") {
                    self.read_json(ids);
                }
                let text = |name| members.get(name).and_then(Value::as_str).map(str::to_owned);
                self.api_key = text("api_key").or(self.api_key.take());
                self.secret_key = text("secret_key").or(self.secret_key.take());
            }
            Ok(_) | Err(_) => self.read_form(body),
        }
    }

    /// A JSON array, or a list with commas, or one id.
    fn read_ids(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(array @ Value::Array(_)) => self.read_json(&array),
            _ => text.split(',').for_each(|id| self.add(id)),
        }
    }

    fn read_json(&mut self, ids: &Value) {
        match ids {
            Value::String(text) => self.read_ids(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(ids) => {
                for id in ids {
                    match id {
                        Value::String(id) => self.add(id),
                        other => self.add(&other.to_string()),
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, id: &str) {
        let id = id.trim();
        if !id.is_empty() && !self.user_ids.iter().any(|known| known == id) {
            self.user_ids.push(id.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_wherever_clients_put_them() {
        let query = |text: &str| {
            let mut asked = Asked::default();
            asked.read_form(text.as_bytes());
            asked.user_ids
        };
        let body = |text: &str| {
            let mut asked = Asked::default();
            asked.read_body(text.as_bytes());
            asked
        };
        let wanted = ["ana@home", "cust-1"];
        assert_eq!(query("user_ids=ana%40home&user_ids=cust-1"), wanted);
        assert_eq!(query("user_ids=ana%40home,cust-1,cust-1"), wanted);
        assert_eq!(query("user_ids=%5B%22ana@home%22,%22cust-1%22%5D"), wanted);
        assert_eq!(body("user_ids=ana%40home&user_ids=cust-1").user_ids, wanted);
        assert_eq!(body(r#"{"user_ids":["ana@home","cust-1"]}"#).user_ids, wanted);
        let keys = body("user_ids=7&api_key=k&secret_key=s");
        assert_eq!(keys.user_ids, ["7"]);
        assert_eq!((keys.api_key.as_deref(), keys.secret_key.as_deref()), (Some("k"), Some("s")));
    }
}
