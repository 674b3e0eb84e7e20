//! Braze Currents on their way in: what an event has beside the fields that every event has.
//!
//! The door takes them ([`crate::door::Door::answer_currents`], [`crate::door::Door::accept_events`]),
//! the applier makes events of them.

mod beside;

pub(crate) use beside::Beside;
