//! How much Braze takes, by the contract of the workspace.
//!
//! "/users/track" and "API limits", Braze documentation, read 2026-09: 75 objects per request over
//! all arrays, on legacy contracts 75 in each array; 4 MB per request; 100 KB per object; 3,000
//! requests per 3 seconds, and on newer contracts an hourly limit besides.

use crate::calls::{DELETE_USERS, IDENTIFY_USERS};
use crate::track::OBJECT_BYTES_MAX;
use isthmus_config::Problem;
use isthmus_config::resource::{BrazeDestination, Contract};
use isthmus_core::ByteSize;
use isthmus_core::destination::{CallLimits, Limits, Priority, Rate};
use std::time::Duration;

/// Arrays of a track request.
const SECTIONS: usize = 3;
/// Braze answers 413 above.
const REQUEST_BYTES_MAX: u64 = 4_000_000;
/// What surrounds the objects of a request, and the commas between them.
const ENVELOPE_BYTES: u64 = 4_096;
/// Objects of a request that identifies or deletes ("Identify users endpoint" and "Delete users
/// endpoint", read 2026-09).
pub(crate) const IDENTIFIERS_MAX: usize = 50;
/// More objects than any contract allows: a typing error rather than a contract.
const OBJECTS_MAX: usize = 1_000;

/// The engine's limits for `destination`, or every problem with them.
pub(crate) fn build(destination: &BrazeDestination) -> Result<Limits, Vec<Problem>> {
    let limits = &destination.limits;
    let mut problems = Vec::new();
    let mut refuse = |key: &str, message: String, hint: &str| {
        problems.push(Problem::new(format!("limits.{key}"), message).hint(hint));
    };
    if !(1..=OBJECTS_MAX).contains(&limits.objects_per_request) {
        refuse(
            "objects_per_request",
            format!("{} objects per request is not possible", limits.objects_per_request),
            "Braze takes 75",
        );
    }
    let object_bytes = OBJECT_BYTES_MAX as u64;
    let bytes = limits.bytes_per_request;
    if bytes.as_u64() > REQUEST_BYTES_MAX || bytes.as_u64() < object_bytes + ENVELOPE_BYTES {
        refuse(
            "bytes_per_request",
            format!("a request of {bytes} is not possible"),
            "Braze takes 4MB, and one object alone may have 100KiB; 3500KB leaves a margin",
        );
    }
    if limits.requests_in_flight == 0 {
        refuse(
            "requests_in_flight",
            "no request could ever be sent".to_owned(),
            "write at least 1",
        );
    }
    if limits.timeout.is_zero() {
        refuse("timeout", "no reply could ever arrive".to_owned(), "write a duration such as 30s");
    }
    let windows = [
        ("requests_per_3s", Some(limits.requests_per_3s), Duration::from_secs(3)),
        ("requests_per_minute", limits.requests_per_minute, Duration::from_mins(1)),
        ("requests_per_hour", limits.requests_per_hour, Duration::from_hours(1)),
    ];
    let mut rates = Vec::new();
    for (key, requests, per) in windows {
        match requests {
            Some(0) => refuse(key, "no request could ever be sent".to_owned(), "write at least 1"),
            Some(requests) => rates.push(Rate { requests, per }),
            None => {}
        }
    }
    let shares = limits.shares.shares();
    for priority in Priority::ALL {
        let share = shares.of(priority);
        if !(share > 0.0 && share <= 1.0) {
            refuse(
                &format!("shares.{}", priority.name()),
                format!("a share of {share} is not possible"),
                "write a number that is more than 0 and at most 1",
            );
        }
    }
    if limits.company.as_deref().is_some_and(|company| company.trim().is_empty()) {
        refuse("company", "the company has no name".to_owned(), "name it, or leave the key out");
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let per_section = limits.objects_per_request;
    Ok(Limits {
        objects_per_request: match limits.contract {
            Contract::Combined => per_section,
            Contract::Legacy => per_section * SECTIONS,
        },
        objects_per_section: per_section,
        bytes_per_object: ByteSize::bytes(object_bytes),
        bytes_per_request: bytes,
        requests_in_flight: limits.requests_in_flight,
        rates,
        shares,
        linger: limits.linger,
        paces: Vec::new(),
        calls: vec![
            CallLimits {
                call: IDENTIFY_USERS.call,
                objects_per_request: IDENTIFIERS_MAX,
                one_section: false,
                settle: destination.identify_settle,
            },
            CallLimits {
                call: DELETE_USERS.call,
                objects_per_request: IDENTIFIERS_MAX,
                // One kind of identifier, says the text; the sample beside it mixes them.
                one_section: true,
                // What arrives after its deletion would bring a person back.
                settle: destination.identify_settle,
            },
        ],
    })
}
