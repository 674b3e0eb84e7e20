//! The ledger over the control API.

use super::letters::{instant, malformed};
use super::{Control, LISTED, LISTED_MAX, query, reply};
use crate::runtime::RuntimeError;
use crate::runtime::ledger::{LedgerQuery, Of, state_named};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/control/v1/ledger", get(ask))
}

/// What may be asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    event: Option<String>,
    user: Option<String>,
    stream: Option<String>,
    state: Option<String>,
    #[serde(default)]
    possible_duplicates: bool,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
}

async fn ask(
    State(control): State<Control>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    match query(asked).and_then(understood) {
        Ok(query) => reply(control.runtime.ledger(query).await),
        Err(error) => reply::<()>(Err(error)),
    }
}

fn understood(asked: Asked) -> Result<LedgerQuery, RuntimeError> {
    let Asked { event, user, stream, state, possible_duplicates, from, to, limit } = asked;
    let of = match (event, user, stream) {
        (Some(event), None, None) => Of::Event(event),
        (None, Some(user), None) => Of::User(user),
        (None, None, Some(stream)) => Of::Stream(stream),
        _ => return Err(malformed("say one of `event`, `user` and `stream`")),
    };
    let limit = limit.unwrap_or(LISTED);
    if !(1..=LISTED_MAX).contains(&limit) {
        return Err(malformed(&format!("`limit` is from 1 to {LISTED_MAX}, not {limit}")));
    }
    Ok(LedgerQuery {
        of,
        state: state.map(|name| state_named(&name)).transpose().map_err(RuntimeError::Malformed)?,
        possible_duplicates,
        from: instant("from", from)?,
        to: instant("to", to)?,
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let uri = format!("/?{text}").parse().unwrap();
        let asked = Query::<Asked>::try_from_uri(&uri);
        match query(asked).and_then(understood) {
            Err(RuntimeError::Malformed(why)) => why,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_question_that_cannot_be_understood_is_refused_with_the_field() {
        assert_eq!(refused("limit=3"), "say one of `event`, `user` and `stream`");
        assert_eq!(refused("event=a&user=b"), "say one of `event`, `user` and `stream`");
        assert_eq!(refused("event=a&limit=0"), "`limit` is from 1 to 10000, not 0");
        assert!(refused("event=a&limit=many").contains("limit"));
        assert!(refused("event=a&state=lost").contains("in_flight"));
        assert!(refused("event=a&to=now").starts_with("`to` is no ISO 8601 instant"));
        assert!(refused("event=a&colour=red").contains("unknown field `colour`"));
    }
}
