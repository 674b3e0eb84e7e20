//! How much Amplitude takes ("HTTP V2 API", "Batch Event Upload API", "Identify API", read 2026-03).

use super::{GROUP_IDENTIFY_CALL, IDENTIFY_CALL};
use isthmus_config::Problem;
use isthmus_config::resource::{AmplitudeDestination, Upload};
use isthmus_core::ByteSize;
use isthmus_core::destination::{CallLimits, Limits, Pace, Rate};
use std::time::Duration;

/// Events of one request, of either API.
const EVENTS_MAX: usize = 2_000;
/// Identifications of one request: a form grows when it is written, and 1 MB is the limit.
const IDENTIFICATIONS_MAX: usize = 100;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// What one of the two APIs takes.
struct Takes {
    bytes_max: u64,
    bytes: u64,
    /// Events of a project in a second.
    project: u32,
    /// Events of one user or device in a second: where it throttles, and what we send.
    throttles: u32,
    events_per_second: u32,
}

/// The engine's limits for `destination`, or every problem with them.
pub(super) fn build(destination: &AmplitudeDestination) -> Result<Limits, Vec<Problem>> {
    let limits = &destination.limits;
    let takes = match destination.upload {
        Upload::HttpV2 => Takes {
            bytes_max: 1 << 20,
            bytes: 900_000,
            project: 50_000,
            throttles: 30,
            events_per_second: 27,
        },
        Upload::Batch => Takes {
            bytes_max: 20 << 20,
            bytes: 10_000_000,
            project: 100_000,
            throttles: 1_000,
            events_per_second: 300,
        },
    };
    let mut problems = Vec::new();
    let mut refuse = |key: &str, message: String, hint: String| {
        problems.push(Problem::new(format!("limits.{key}"), message).hint(hint));
    };
    if limits.events_per_request > EVENTS_MAX {
        refuse(
            "events_per_request",
            format!("{} events per request is not possible", limits.events_per_request),
            format!("Amplitude takes {EVENTS_MAX}"),
        );
    }
    let bytes = limits.bytes_per_request.unwrap_or(ByteSize::bytes(takes.bytes));
    if bytes.as_u64() > takes.bytes_max {
        refuse(
            "bytes_per_request",
            format!("a request of {bytes} is not possible"),
            format!(
                "with `upload: {}` Amplitude takes {}",
                destination.upload,
                ByteSize::bytes(takes.bytes_max)
            ),
        );
    }
    let of_one = limits.events_per_second.unwrap_or(takes.events_per_second);
    if of_one > takes.throttles {
        refuse(
            "events_per_second",
            format!("{of_one} events of one user in a second are too many"),
            format!(
                "with `upload: {}` Amplitude throttles at {}",
                destination.upload, takes.throttles
            ),
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let full = u32::try_from(limits.events_per_request).unwrap_or(u32::MAX);
    let requests =
        limits.requests_per_second.unwrap_or((takes.project / 10 * 9 / full).clamp(1, 100));
    let call = |call| CallLimits {
        call,
        objects_per_request: IDENTIFICATIONS_MAX,
        one_section: true,
        settle: Duration::ZERO,
    };
    Ok(Limits {
        objects_per_request: limits.events_per_request,
        objects_per_section: limits.events_per_request,
        bytes_per_object: bytes,
        bytes_per_request: bytes,
        requests_in_flight: limits.requests_in_flight,
        rates: vec![Rate { requests, per: SECOND }],
        shares: limits.shares.shares(),
        linger: limits.linger,
        calls: vec![call(IDENTIFY_CALL), call(GROUP_IDENTIFY_CALL)],
        paces: vec![
            Pace { objects: of_one, per: SECOND },
            Pace { objects: limits.events_per_day, per: DAY },
        ],
    })
}
