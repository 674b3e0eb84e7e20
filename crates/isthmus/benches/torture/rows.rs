//! What goes wrong, row by row of the table.

/// One row: what happens while the load runs.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) way: Way,
    /// `limits.timeout` of the destination.
    pub(crate) timeout: &'static str,
    /// In this order, each at a random moment after the one before.
    pub(crate) acts: &'static [Act],
}

/// Which way the events go that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From products to Braze.
    ToBraze,
    /// From products to Braze and to Amplitude, and from Braze's Currents to Amplitude.
    Circle,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// From now on these rules of the sandbox hold too.
    Fail(&'static [&'static str]),
    /// The sandbox behaves again.
    Mend,
    /// `kill -9` of the server, which then starts again.
    Kill,
    /// The same, at a moment when requests to Braze are unanswered.
    KillInFlight,
    /// The same twice: the second time while it takes up what the first one left.
    KillTwice,
    /// An orderly stop, and a start.
    Stop,
    /// The sandbox process stands still for a while and then goes on, with what it was sent
    /// meanwhile.
    Freeze,
}

/// Long enough that no answer on this machine takes so long.
const PATIENT: &str = "30s";
/// Shorter than the latencies and the standstills below.
const HASTY: &str = "250ms";

const LOST_ANSWERS: &[&str] =
    &[r#"{"path": "/users/track", "probability": 0.2, "effect": {"reset": {"when": "after"}}}"#];
const RESETS: &[&str] =
    &[r#"{"path": "/users/track", "probability": 0.3, "effect": {"reset": {"when": "before"}}}"#];
const SLOW_ANSWERS: &[&str] = &[
    r#"{"path": "/users/track", "effect": {"latency": {"min_ms": 50, "max_ms": 200, "when": "after"}}}"#,
];
/// Some requests take effect and their answers come too late, others are given up before they do.
const TOO_SLOW: &[&str] = &[
    r#"{"path": "/users/track", "probability": 0.3, "effect": {"latency": {"min_ms": 100, "max_ms": 600, "when": "after"}}}"#,
    r#"{"path": "/users/track", "probability": 0.2, "effect": {"latency": {"min_ms": 100, "max_ms": 600}}}"#,
];
const POISON: &[&str] = &[
    r#"{"path": "/users/track", "effect": {"partial": {"external_id": "load-user-7"}}}"#,
    r#"{"path": "/users/track", "probability": 0.2, "effect": {"partial": {"every": 9}}}"#,
];
const OUTAGE: &[&str] = &[r#"{"path": "/users/track", "effect": {"reset": {"when": "before"}}}"#];

const SLOW_AMPLITUDE: &[&str] = &[
    r#"{"path": "/2/httpapi", "effect": {"latency": {"min_ms": 50, "max_ms": 200, "when": "after"}}}"#,
];
const LOST_BY_AMPLITUDE: &[&str] =
    &[r#"{"path": "/2/httpapi", "probability": 0.2, "effect": {"reset": {"when": "after"}}}"#];
const SLUGGISH_AMPLITUDE: &[&str] = &[
    r#"{"path": "/2/httpapi", "probability": 0.3, "effect": {"latency": {"min_ms": 100, "max_ms": 600, "when": "after"}}}"#,
    r#"{"path": "/2/httpapi", "probability": 0.2, "effect": {"latency": {"min_ms": 100, "max_ms": 600}}}"#,
];

/// The table.
pub(crate) const ROWS: [Row; 26] = [
    Row {
        name: "kill",
        about: "kill -9 of the server, nothing else",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Kill, Act::Kill],
    },
    Row {
        name: "kill-in-flight",
        about: "kill -9 while requests to Braze are unanswered",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(SLOW_ANSWERS), Act::KillInFlight, Act::KillInFlight],
    },
    Row {
        name: "kill-twice",
        about: "kill -9, and again while the server takes up what was left",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(SLOW_ANSWERS), Act::KillTwice, Act::KillTwice],
    },
    Row {
        name: "stop",
        about: "orderly stop of the server",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(SLOW_ANSWERS), Act::Stop, Act::Stop],
    },
    Row {
        name: "lost-answers",
        about: "requests take effect, and their answers are lost in a reset",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(LOST_ANSWERS)],
    },
    Row {
        name: "lost-answers-kill",
        about: "lost answers, and kill -9",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(LOST_ANSWERS), Act::Kill, Act::KillTwice],
    },
    Row {
        name: "resets",
        about: "connections are reset before requests take effect",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(RESETS)],
    },
    Row {
        name: "5xx",
        about: "bursts of 500, 502, 503 and 504 without effect",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[
            Act::Fail(&[r#"{"path": "/users/track", "effect": {"status": {"code": 503}}}"#]),
            Act::Mend,
            Act::Fail(&[r#"{"path": "/users/track", "effect": {"status": {"code": 500}}}"#]),
            Act::Mend,
            Act::Fail(&[
                r#"{"path": "/users/track", "probability": 0.3, "effect": {"status": {"code": 502}}}"#,
                r#"{"path": "/users/track", "probability": 0.3, "effect": {"status": {"code": 504}}}"#,
            ]),
        ],
    },
    Row {
        name: "5xx-after",
        about: "requests take effect and are answered with 500",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(&[
            r#"{"path": "/users/track", "probability": 0.2, "effect": {"status": {"code": 500, "when": "after"}}}"#,
        ])],
    },
    Row {
        name: "429",
        about: "429 in five forms",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(&[
            r#"{"path": "/users/track", "skip": 1, "times": 2, "effect": {"rate_limit": {"form": "epoch", "seconds": 1}}}"#,
            r#"{"path": "/users/track", "skip": 5, "times": 2, "effect": {"rate_limit": {"form": "seconds", "seconds": 1}}}"#,
            r#"{"path": "/users/track", "skip": 9, "times": 2, "effect": {"rate_limit": {"form": "retry_after", "seconds": 1}}}"#,
            r#"{"path": "/users/track", "skip": 13, "times": 2, "effect": {"rate_limit": {"form": "standard_retry_after", "seconds": 1}}}"#,
            r#"{"path": "/users/track", "skip": 17, "times": 2, "effect": {"rate_limit": {"form": "bare", "seconds": 1}}}"#,
        ])],
    },
    Row {
        name: "timeouts",
        about: "answers take longer than the server waits",
        way: Way::ToBraze,
        timeout: HASTY,
        acts: &[Act::Fail(TOO_SLOW)],
    },
    Row {
        name: "timeouts-kill",
        about: "answers that come too late, and kill -9",
        way: Way::ToBraze,
        timeout: HASTY,
        acts: &[Act::Fail(TOO_SLOW), Act::KillInFlight, Act::KillTwice],
    },
    Row {
        name: "freeze",
        about: "Braze stands still, then does what it was sent meanwhile",
        way: Way::ToBraze,
        timeout: HASTY,
        acts: &[Act::Freeze, Act::Freeze],
    },
    Row {
        name: "poison",
        about: "Braze refuses some objects",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(POISON)],
    },
    Row {
        name: "poison-kill",
        about: "refused objects, and kill -9",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(POISON), Act::Kill, Act::KillInFlight],
    },
    Row {
        name: "outage",
        about: "no request reaches Braze for a while",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(OUTAGE), Act::Mend, Act::Fail(OUTAGE)],
    },
    Row {
        name: "outage-kill",
        about: "an outage, and kill -9 and an orderly stop meanwhile",
        way: Way::ToBraze,
        timeout: PATIENT,
        acts: &[Act::Fail(OUTAGE), Act::Kill, Act::Stop],
    },
    Row {
        name: "storm",
        about: "lost answers, timeouts, refusals, standstills and kill -9 at once",
        way: Way::ToBraze,
        timeout: HASTY,
        acts: &[
            Act::Fail(LOST_ANSWERS),
            Act::Fail(TOO_SLOW),
            Act::Fail(POISON),
            Act::KillInFlight,
            Act::Fail(RESETS),
            Act::Freeze,
            Act::KillTwice,
            Act::Stop,
        ],
    },
    Row {
        name: "circle-kill",
        about: "kill -9 of the server, between Braze's Currents and Amplitude",
        way: Way::Circle,
        timeout: PATIENT,
        acts: &[Act::Kill, Act::KillTwice],
    },
    Row {
        name: "circle-kill-in-flight",
        about: "kill -9 while requests to Amplitude are unanswered",
        way: Way::Circle,
        timeout: PATIENT,
        acts: &[Act::Fail(SLOW_AMPLITUDE), Act::KillInFlight, Act::KillInFlight],
    },
    Row {
        name: "circle-lost-answers",
        about: "Amplitude takes events, and its answers are lost in a reset; and kill -9",
        way: Way::Circle,
        timeout: PATIENT,
        acts: &[Act::Fail(LOST_BY_AMPLITUDE), Act::Kill],
    },
    Row {
        name: "circle-5xx",
        about: "Amplitude answers 500, 502 and 503, with and without effect",
        way: Way::Circle,
        timeout: PATIENT,
        acts: &[
            Act::Fail(&[r#"{"path": "/2/httpapi", "effect": {"status": {"code": 503}}}"#]),
            Act::Mend,
            Act::Fail(&[
                r#"{"path": "/2/httpapi", "probability": 0.3, "effect": {"status": {"code": 500, "when": "after"}}}"#,
                r#"{"path": "/2/httpapi", "probability": 0.3, "effect": {"status": {"code": 502}}}"#,
            ]),
        ],
    },
    Row {
        name: "circle-429",
        about: "Amplitude throttles some users, and everybody",
        way: Way::Circle,
        timeout: PATIENT,
        acts: &[Act::Fail(&[
            r#"{"path": "/2/httpapi", "skip": 1, "times": 2, "effect": {"throttle": {"user_ids": ["load-user-7", "load-user-8"]}}}"#,
            r#"{"path": "/2/httpapi", "skip": 6, "times": 1, "effect": {"throttle": {}}}"#,
        ])],
    },
    Row {
        name: "circle-timeouts",
        about: "Amplitude answers later than the server waits, and kill -9",
        way: Way::Circle,
        timeout: HASTY,
        acts: &[Act::Fail(SLUGGISH_AMPLITUDE), Act::KillInFlight, Act::KillTwice],
    },
    Row {
        name: "circle-outage",
        about: "no request reaches Amplitude for a while; kill -9 and an orderly stop meanwhile",
        way: Way::Circle,
        timeout: PATIENT,
        acts: &[
            Act::Fail(&[r#"{"path": "/2/httpapi", "effect": {"reset": {"when": "before"}}}"#]),
            Act::Kill,
            Act::Stop,
        ],
    },
    Row {
        name: "circle-storm",
        about: "both vendors lose answers, time out and stand still, and kill -9",
        way: Way::Circle,
        timeout: HASTY,
        acts: &[
            Act::Fail(LOST_ANSWERS),
            Act::Fail(LOST_BY_AMPLITUDE),
            Act::Fail(SLUGGISH_AMPLITUDE),
            Act::KillInFlight,
            Act::Freeze,
            Act::KillTwice,
            Act::Stop,
        ],
    },
];
