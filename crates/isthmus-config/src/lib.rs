//! The shape of `isthmus.toml` and of resource files, and errors that point at a line.

pub mod diagnostic;
pub mod resource;
pub mod secret;

pub use diagnostic::{Diagnostic, Problem};
pub use secret::{Secret, SecretRef};
