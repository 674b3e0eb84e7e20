//! What streams cost, over the control API.

use super::letters::malformed;
use super::{Control, query, reply};
use crate::runtime::RuntimeError;
use crate::runtime::bill::BillQuery;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use isthmus_core::Timestamp;
use isthmus_state::delivery_history::Day;
use serde::Deserialize;

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/control/v1/bill", get(show))
}

/// What may be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    stream: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

async fn show(
    State(control): State<Control>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    match query(asked).and_then(understood) {
        Ok(query) => reply(control.runtime.bill(query).await),
        Err(error) => reply::<()>(Err(error)),
    }
}

fn understood(asked: Asked) -> Result<BillQuery, RuntimeError> {
    let Asked { stream, from, to } = asked;
    Ok(BillQuery { stream, from: day("from", from)?, to: day("to", to)? })
}

fn day(parameter: &str, text: Option<String>) -> Result<Option<Day>, RuntimeError> {
    let Some(text) = text else { return Ok(None) };
    let is_date = text.len() == "2026-02-17".len();
    let start = Timestamp::parse_iso(&format!("{text}T00:00:00Z")).filter(|_| is_date);
    match start {
        Some(start) => Ok(Some(Day::of(start))),
        None => {
            Err(malformed(&format!("`{parameter}` is no day written as in 2026-02-17: {text:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BillQuery, String> {
        let uri = format!("/?{text}").parse().unwrap();
        match query(Query::<Asked>::try_from_uri(&uri)).and_then(understood) {
            Ok(query) => Ok(query),
            Err(RuntimeError::Malformed(why)) => Err(why),
            Err(other) => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_understood_names_its_parameter() {
        for (text, parameter) in [
            ("from=2026-02-30", "`from`"),
            ("from=2026-2-3", "`from`"),
            ("to=today", "`to`"),
            ("to=2026-02-17T00:00:00Z", "`to`"),
            ("to=", "`to`"),
            ("colour=red", "colour"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(parameter), "{text}: {why}");
        }
    }

    #[test]
    fn days_are_read_in_utc() {
        let day = Day::of(Timestamp::parse_iso("2026-02-17T23:59:59Z").unwrap());
        let query = read("stream=shop&from=2026-02-17").unwrap();
        let stream = Some("shop".to_owned());
        assert_eq!(query, BillQuery { stream, from: Some(day), to: None });
    }
}
