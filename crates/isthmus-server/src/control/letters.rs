//! Dead letters over the control API.

use super::{Control, LISTED, LISTED_MAX, query, reply, to_the_end};
use crate::runtime::RuntimeError;
use crate::runtime::letters::{Choice, Id, Listing, Matching};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use isthmus_core::Timestamp;
use isthmus_delivery::journal::Decision;
use isthmus_state::dead_letters::Cause;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/control/v1/streams/{name}/dead-letters", get(list))
        .route("/control/v1/streams/{name}/dead-letters/{id}", get(one).patch(edit))
        .route("/control/v1/streams/{name}/dead-letters/resend", post(resend))
        .route("/control/v1/streams/{name}/dead-letters/discard", post(discard))
        .route("/control/v1/streams/{name}/dead-letters/confirm", post(confirm))
}

/// What may be asked of a listing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    cause: Option<String>,
    name: Option<String>,
    reason: Option<String>,
    from: Option<String>,
    to: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Which letters a decision is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    ids: Option<Vec<String>>,
    #[serde(default)]
    all: bool,
    cause: Option<String>,
    name: Option<String>,
    reason: Option<String>,
    from: Option<String>,
    to: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    dry_run: bool,
}

/// What may be changed of a letter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    payload: Box<RawValue>,
}

async fn list(
    State(control): State<Control>,
    Path(name): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let listing = query(asked).and_then(|Asked { cause, name, reason, from, to, after, limit }| {
        let limit = limit.unwrap_or(LISTED).min(LISTED_MAX);
        let matching = matching(cause, name, reason, from, to)?;
        Ok(Listing { matching, after: after.map(|id| parse_id("after", &id)).transpose()?, limit })
    });
    match listing {
        Ok(listing) => reply(control.runtime.dead_letters(name, listing).await),
        Err(error) => reply::<()>(Err(error)),
    }
}

async fn one(State(control): State<Control>, Path((name, id)): Path<(String, String)>) -> Response {
    match parse_id("id", &id) {
        Ok(id) => reply(control.runtime.dead_letter(name, id).await),
        Err(error) => reply::<()>(Err(error)),
    }
}

async fn edit(
    State(control): State<Control>,
    Path((name, id)): Path<(String, String)>,
    body: String,
) -> Response {
    let read = || {
        let id = parse_id("id", &id)?;
        let Edit { payload } = json(&body)?;
        let payload = payload.get().to_owned();
        if !payload.starts_with('{') {
            return Err(malformed("`payload` must be a JSON object"));
        }
        Ok((id, payload))
    };
    match read() {
        Ok((id, payload)) => {
            let runtime = control.runtime;
            to_the_end(async move { runtime.edit_dead_letter(name, id, payload).await }).await
        }
        Err(error) => reply::<()>(Err(error)),
    }
}

async fn resend(state: State<Control>, path: Path<String>, body: String) -> Response {
    decide(state, path, Decision::Resend, &body).await
}

async fn discard(state: State<Control>, path: Path<String>, body: String) -> Response {
    decide(state, path, Decision::Discard, &body).await
}

async fn confirm(state: State<Control>, path: Path<String>, body: String) -> Response {
    decide(state, path, Decision::Confirm, &body).await
}

async fn decide(
    State(control): State<Control>,
    Path(name): Path<String>,
    decision: Decision,
    body: &str,
) -> Response {
    let read = || {
        let order: Order = json(body)?;
        let dry_run = order.dry_run;
        Ok((choice(decision, order)?, dry_run))
    };
    match read() {
        Ok((choice, dry_run)) => {
            let runtime = control.runtime;
            to_the_end(
                async move { runtime.decide_dead_letters(name, decision, choice, dry_run).await },
            )
            .await
        }
        Err(error) => reply::<()>(Err(error)),
    }
}

/// The letters that `order` means, which must say so.
fn choice(decision: Decision, order: Order) -> Result<Choice, RuntimeError> {
    let Order { ids, all, cause, name, reason, from, to, after, limit, dry_run } = order;
    let most = if dry_run { usize::MAX } else { LISTED_MAX };
    let limit = limit.unwrap_or(most).min(most);
    if limit == 0 {
        return Err(malformed("`limit` must be at least 1"));
    }
    let is_filtered = [&cause, &name, &reason, &from, &to, &after].into_iter().any(Option::is_some);
    match (ids, all) {
        (Some(_), true) => Err(malformed("`ids` and `all` exclude each other")),
        (Some(_), false) if is_filtered => {
            Err(malformed("`ids` says which ones; the filters go with `all: true`"))
        }
        (Some(ids), false) if ids.is_empty() => Err(malformed("`ids` is empty")),
        (Some(ids), false) if ids.len() > LISTED_MAX => {
            Err(malformed(&format!("`ids` has {} entries; say at most {LISTED_MAX}", ids.len())))
        }
        (Some(ids), false) => {
            let mut ids: Vec<Id> =
                ids.iter().map(|id| parse_id("ids", id)).collect::<Result<_, _>>()?;
            ids.sort_unstable();
            ids.dedup();
            Ok(Choice::These(ids))
        }
        (None, false) => Err(malformed("say which ones: `ids`, or `all: true` for all that match")),
        (None, true) => {
            let mut matching = matching(cause, name, reason, from, to)?;
            if decision == Decision::Confirm {
                if matching.cause.is_some_and(|cause| cause != Cause::Unknown) {
                    return Err(malformed(
                        "`cause` must be unknown: of the others it is known that they were not delivered",
                    ));
                }
                matching.cause = Some(Cause::Unknown);
            }
            let after = after.map(|id| parse_id("after", &id)).transpose()?;
            Ok(Choice::All { matching, after, limit })
        }
    }
}

fn matching(
    cause: Option<String>,
    name: Option<String>,
    reason: Option<String>,
    from: Option<String>,
    to: Option<String>,
) -> Result<Matching, RuntimeError> {
    let causes = [Cause::Rejected, Cause::Expired, Cause::Unknown];
    let cause = cause
        .map(|name| {
            causes.into_iter().find(|cause| cause.name() == name).ok_or_else(|| {
                let names = causes.map(Cause::name);
                malformed(&format!("`cause` is one of {}, not {name:?}", names.join(", ")))
            })
        })
        .transpose()?;
    Ok(Matching { cause, name, reason, from: instant("from", from)?, to: instant("to", to)? })
}

/// The instant that the field called `name` says.
pub(super) fn instant(name: &str, text: Option<String>) -> Result<Option<Timestamp>, RuntimeError> {
    let read = |text: String| {
        Timestamp::parse_iso(&text).ok_or_else(|| {
            malformed(&format!(
                "`{name}` is no ISO 8601 instant with a zone, as 2026-05-02T09:15:31Z is: {text:?}"
            ))
        })
    };
    text.map(read).transpose()
}

fn parse_id(name: &str, text: &str) -> Result<Id, RuntimeError> {
    text.parse().map_err(|error| malformed(&format!("`{name}`: {error}")))
}

fn json<T: DeserializeOwned>(body: &str) -> Result<T, RuntimeError> {
    serde_json::from_str(body).map_err(|error| malformed(&format!("the body is refused: {error}")))
}

pub(super) fn malformed(why: &str) -> RuntimeError {
    RuntimeError::Malformed(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(body: &str) -> String {
        let order = json(body).and_then(|order| choice(Decision::Confirm, order));
        match order {
            Ok(choice) => choice.to_string(),
            Err(RuntimeError::Malformed(why)) => why,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_order_says_which_letters_it_means_or_is_refused_with_the_field() {
        let cases = [
            (r#"{"ids":["7-1-0","7-0-0","7-1-0"]}"#, "ids 7-0-0 7-1-0"),
            (r#"{"all":true,"name":"x"}"#, "all cause=unknown name=\"x\""),
            ("{}", "say which ones: `ids`, or `all: true` for all that match"),
            (r#"{"cause":"unknown"}"#, "say which ones: `ids`, or `all: true` for all that match"),
            (r#"{"ids":[]}"#, "`ids` is empty"),
            (r#"{"ids":["7"],"all":true}"#, "`ids` and `all` exclude each other"),
            (
                r#"{"ids":["7-0-0"],"name":"x"}"#,
                "`ids` says which ones; the filters go with `all: true`",
            ),
            (
                r#"{"ids":["7"]}"#,
                "`ids`: \"7\" is no id of a dead letter, which is written OFFSET-INDEX-PART",
            ),
            (
                r#"{"all":true,"cause":"lost"}"#,
                "`cause` is one of rejected, expired, unknown, not \"lost\"",
            ),
            (
                r#"{"all":true,"cause":"rejected"}"#,
                "`cause` must be unknown: of the others it is known that they were not delivered",
            ),
            (
                r#"{"all":true,"from":"yesterday"}"#,
                "`from` is no ISO 8601 instant with a zone, as 2026-05-02T09:15:31Z is: \"yesterday\"",
            ),
            (r#"{"all":true,"limit":0}"#, "`limit` must be at least 1"),
        ];
        for (body, answer) in cases {
            assert_eq!(chosen(body), answer, "{body}");
        }
        assert!(chosen(r#"{"al":true}"#).contains("unknown field `al`"));
        assert!(chosen("all").starts_with("the body is refused"));
    }
}
