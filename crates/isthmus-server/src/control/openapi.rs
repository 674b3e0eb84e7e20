//! The description of the control API, as OpenAPI 3.1.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /control/v1/openapi.json`; needs no token.
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use super::DOCUMENT;

    #[test]
    fn describes_every_route() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let described: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
        let files = [
            include_str!("../control.rs"),
            include_str!("bill.rs"),
            include_str!("currents.rs"),
            include_str!("erasures.rs"),
            include_str!("jobs.rs"),
            include_str!("ledger.rs"),
            include_str!("letters.rs"),
            include_str!("profiles.rs"),
            include_str!("rebuild.rs"),
            include_str!("reconcile.rs"),
            include_str!("unmatched.rs"),
            include_str!("volume.rs"),
        ];
        let routed: Vec<_> = files
            .iter()
            .flat_map(|file| file.split(".route(\"").skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(routed.len(), described.len());
        for route in routed {
            assert!(described.iter().any(|path| *path == route), "{route} is not described");
        }
    }
}
