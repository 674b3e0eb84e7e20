//! What the server says of itself, over its control API.

use crate::harness::comparison::{Listed, Uids};
use crate::harness::http;
use crate::harness::lab::Lab;
use serde_json::Value;

/// As many as the control API lists at most; a round has fewer.
const LISTED_MAX: usize = 10_000;

/// `GET path`.
fn get(lab: &Lab, path: &str) -> Value {
    let token = std::fs::read_to_string(lab.folder().join("data/control.token")).unwrap();
    let authorization = format!("Bearer {}", token.trim());
    let headers = [("authorization", authorization.as_str())];
    let answer = http::send(lab.server().address(), "GET", path, &headers, b"").unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// Every stream, and the destination.
pub(crate) fn streams(lab: &Lab) -> Value {
    get(lab, "/control/v1/streams")
}

/// Requests to Braze that have no answer yet.
pub(crate) fn in_flight(lab: &Lab) -> u64 {
    streams(lab)["destinations"][0]["requests_in_flight"].as_u64().unwrap()
}

/// What the stream lists as possibly doubled.
pub(crate) fn listed(lab: &Lab, stream: &str) -> Listed {
    Listed::Uids(ledger(lab, stream, "possible_duplicates=true"))
}

/// What the stream lists as unknown for good.
pub(crate) fn unknown(lab: &Lab, stream: &str) -> Uids {
    ledger(lab, stream, "state=unknown")
}

/// What the stream's destination refused.
pub(crate) fn refused(lab: &Lab, stream: &str) -> Uids {
    let path =
        format!("/control/v1/streams/{stream}/dead-letters?cause=rejected&limit={LISTED_MAX}");
    let letters = get(lab, &path);
    uids(&letters["dead_letters"])
}

fn ledger(lab: &Lab, stream: &str, query: &str) -> Uids {
    let path = format!("/control/v1/ledger?stream={stream}&{query}&limit={LISTED_MAX}");
    let report = get(lab, &path);
    assert_eq!(report["truncated"], false, "a round has more than is listed");
    uids(&report["items"])
}

/// The names of the events in a list of objects, by insert id or as they were encoded for Braze.
fn uids(list: &Value) -> Uids {
    let uid = |item: &Value| -> Option<String> {
        if let Some(insert_id) = item["insert_id"].as_str() {
            return Some(insert_id.to_owned());
        }
        let object: Value = serde_json::from_str(item["payload"].as_str()?).ok()?;
        object["properties"]["uid"].as_str().map(str::to_owned)
    };
    list.as_array().unwrap().iter().map(|item| uid(item).unwrap()).collect()
}
