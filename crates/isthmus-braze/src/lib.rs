//! Everything we know about Braze, as data in and data out: no I/O, no clock, no retries.
//!
//! In reading order:
//! - [`cluster`]: where a workspace answers. `limits`: how much it takes.
//! - [`BrazeStream`]: what one stream tells Braze. Built from a stream resource, it maps events and
//!   user changes to objects of `POST /users/track` (`track`), with the identifier that Braze
//!   knows the user by ([`identifier`]) and values as Braze takes them (`value`). People who turn
//!   out to be users or are to be forgotten become objects of other `calls` (`identity`).
//! - [`Braze`]: one workspace as a destination. It joins objects to a request (`body`), reads the
//!   answer (`reply`), says what an object would change about a user (`mirror`), and tells what may
//!   become of an object that people edit (`edit`) and what of it Braze is certain to refuse (`check`).
//!   It can be asked what it has of people ([`export`]).
//! - [`currents`]: the events that Braze tells of what became of it all.
//!
//! What Braze is to us: an API that takes each write at face value. It removes no duplicates, bills
//! unchanged attributes, ignores over-long strings without an error, and says success when it has
//! queued, not applied. So everything that Braze would drop in silence is decided here, and counted.
//!
//! Facts come from Braze's public documentation as read in 2026-09, and from the sources of public
//! integrations where the documentation is silent; each constant names its own.

mod body;
mod calls;
mod check;
pub mod cluster;
pub mod currents;
mod destination;
mod edit;
pub mod export;
pub mod identifier;
mod identity;
mod limits;
mod mirror;
mod names;
mod profile;
mod reply;
mod stream;
#[cfg(test)]
mod tests;
mod track;
mod value;
mod warnings;

pub use destination::Braze;
pub use stream::BrazeStream;
pub use warnings::Warnings;
