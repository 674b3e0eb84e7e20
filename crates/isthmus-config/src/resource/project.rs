//! Projects: isolated data sets, and the keys that open them.

use crate::check;
use crate::decode::Wrong;
use crate::diagnostic::{clip, meant};
use crate::secret::SecretRef;
use crate::shape::shape;

shape! {
    /// `kind: project`: one isolated data set, with the keys that open it.
    pub struct Project {
        /// What the project is called here; unique among projects.
        pub name: String => check::name,
        /// The key that SDKs send with every upload; public by design.
        pub api_key: String => check::api_key,
        /// The key of the read APIs. A literal is taken only where every stream of the project ends
        /// at a sandbox on this machine.
        pub secret_key: Option<SecretRef>,
        /// Time zone of day boundaries, by its IANA name.
        pub time_zone: String = "UTC".to_owned() => check::time_zone,
        /// How fast one user or device may send: `off`, `amplitude` (Amplitude's documented limits)
        /// or limits of one's own. `off` unless told otherwise.
        pub throttle: Throttle = Throttle::default(),
        /// Characters that a user id or device id has at least, where the upload does not say.
        pub id_length_min: usize = 5,
    }
}

shape! {
    /// `throttle` of a project: ceilings per user id and per device id. No number is no ceiling.
    #[derive(Copy, Eq, Default)]
    pub struct Throttle, or text Throttle::named {
        /// Events per second through `/2/httpapi`, averaged over 30 seconds.
        pub events_per_second: Option<u32> => check::none_or_not_zero,
        /// Events per second through `/batch`, averaged over 30 seconds.
        pub batch_events_per_second: Option<u32> => check::none_or_not_zero,
        /// Events per second of the whole project, through each endpoint, averaged over 30 seconds.
        pub project_events_per_second: Option<u32> => check::none_or_not_zero,
        /// Events in 24 hours through `/batch`.
        pub batch_events_per_day: Option<u32> => check::none_or_not_zero,
    }
}

impl Throttle {
    /// Amplitude's limits, from its HTTP V2, batch and identify API pages (read 2026-03).
    pub fn amplitude() -> Self {
        Self {
            events_per_second: Some(30),
            batch_events_per_second: Some(1_000),
            project_events_per_second: Some(50_000),
            batch_events_per_day: Some(500_000),
        }
    }

    fn named(name: &str) -> Result<Self, Wrong> {
        match name {
            "off" => Ok(Self::default()),
            "amplitude" => Ok(Self::amplitude()),
            _ => {
                let message =
                    format!("must be `off`, `amplitude` or a mapping, found `{}`", clip(name));
                let wrong = Wrong::new(message);
                Err(match meant(name, ["off", "amplitude"]) {
                    Some(near) => wrong.hint(format!("did you mean `{near}`?")),
                    None => wrong,
                })
            }
        }
    }
}
