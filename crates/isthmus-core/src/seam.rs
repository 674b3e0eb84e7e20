//! The seams: everything that differs between a machine and a simulation goes through these.

mod backoff;
mod clock;
mod http;
mod random;

pub use self::backoff::Backoff;
pub use self::clock::{BoxFuture, Clock, ManualClock};
pub use self::http::{Http, Method, Reply, Request, SendError};
pub use self::random::{Random, SeededRandom};
