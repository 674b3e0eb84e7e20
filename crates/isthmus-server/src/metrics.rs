//! Names of what the server itself measures.

use axum::http::StatusCode;

/// Requests to the User Profile API, by `status`.
pub(crate) const PROFILE_REQUESTS: &str = "isthmus_profile_requests_total";
/// From reading a profile request to its answer, in seconds.
pub(crate) const PROFILE_SECONDS: &str = "isthmus_profile_answer_seconds";

/// Entries of the quarantine, by `source`.
pub(crate) const QUARANTINED: &str = "isthmus_currents_quarantined_entries";

/// The statuses the User Profile API answers, as a closed set of labels.
pub(crate) fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        400 => "400",
        401 => "401",
        404 => "404",
        405 => "405",
        429 => "429",
        500 => "500",
        _ => "other",
    }
}
