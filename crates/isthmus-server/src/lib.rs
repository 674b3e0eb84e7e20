//! HTTP wiring and the control API; builds the parts, starts them, stops them in order.

pub mod catalog;
mod listener;
pub mod parts;
pub mod system;
