//! What the vendor does to requests for a while.

use crate::scenario::{ORDERED, VIEWED};
use isthmus_core::seam::{Random, SeededRandom};
use isthmus_sandbox::{Fault, FaultEffect, Latency, RateLimitForm, When};
use std::collections::BTreeMap;
use std::time::Duration;

/// Draws the faults of the time to come: often none, sometimes several.
pub(crate) fn draw(random: &SeededRandom, users: u64) -> Vec<Fault> {
    match random.below(10) {
        0..4 => Vec::new(),
        4..9 => vec![fault(random, users)],
        _ => {
            let mut faults: Vec<Fault> = (0..3).map(|_| fault(random, users)).collect();
            // Of an answer that is lost nobody learns what it refused, and what is sent again then
            // comes after what was taken with it: that is nobody's fault.
            faults.retain(|fault| !matches!(fault.effect, FaultEffect::Partial { .. }));
            faults
        }
    }
}

fn fault(random: &SeededRandom, users: u64) -> Fault {
    let fault = Fault::on("*", effect(random, users));
    let fault = match random.below(4) {
        0 => fault.times(1 + random.below(5)),
        1 => fault.with_probability(0.5),
        2 => fault.with_probability(0.1),
        _ => fault,
    };
    match random.below(3) {
        0 => fault.during(
            Duration::from_secs(random.below(60)),
            Duration::from_secs(1 + random.below(4 * 3_600)),
        ),
        1 => fault.after(random.below(4)),
        _ => fault,
    }
}

fn effect(random: &SeededRandom, users: u64) -> FaultEffect {
    let when = if random.below(2) == 0 { When::Before } else { When::After };
    let who = (random.below(2) == 0).then(|| format!("user-{}", random.below(users)));
    let what = match random.below(3) {
        0 => Some(VIEWED.to_owned()),
        1 => Some(ORDERED.to_owned()),
        _ => None,
    };
    let status = |code, when| {
        let headers = BTreeMap::new();
        FaultEffect::Status { code, body: None, headers, when }
    };
    match random.below(20) {
        0 | 1 => FaultEffect::Reset { when },
        2 | 3 => FaultEffect::Hang { when },
        4 | 5 => status(500, when),
        6 => status(502, when),
        7 => status(503, when),
        8 => status(408, when),
        9 => status(401, When::Before),
        10 => status(403, When::Before),
        11 => {
            let (min_ms, max_ms) = (random.below(1_000), 1_000 + random.below(60_000));
            FaultEffect::Latency(Latency::Uniform { min_ms, max_ms, when })
        }
        12 => FaultEffect::Truncate { bytes: None },
        // A page in place of a 200 means that something stands in front of the vendor: nobody
        // claims that the vendor took the request all the same.
        13 => FaultEffect::Garbage { code: 200, when: When::Before },
        14 => FaultEffect::Garbage { code: 502, when },
        15 => FaultEffect::Refuse {},
        16 => FaultEffect::Partial {
            external_id: who,
            name: what,
            every: Some(1 + random.below(4)),
            error: "refused on purpose".to_owned(),
        },
        17 => {
            let message = "refused on purpose".to_owned();
            FaultEffect::Poison { external_id: who, name: what, message }
        }
        18 => {
            let message = "Max input length exceeded".to_owned();
            let max = usize::try_from(1 + random.below(10)).unwrap_or(1);
            FaultEffect::ObjectsMax { max, message }
        }
        _ => {
            let (form, seconds) = match random.below(7) {
                0 => (RateLimitForm::Epoch, true),
                1 => (RateLimitForm::Seconds, true),
                2 => (RateLimitForm::RetryAfter, true),
                3 => (RateLimitForm::Hour, false),
                4 => (RateLimitForm::StandardRetryAfter, true),
                5 => (RateLimitForm::StandardRetryAfterDate, true),
                _ => (RateLimitForm::Bare, false),
            };
            let seconds = seconds.then(|| 1 + random.below(120));
            FaultEffect::RateLimit { form, seconds }
        }
    }
}
