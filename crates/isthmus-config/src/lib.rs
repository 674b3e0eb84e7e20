//! The shape of `isthmus.toml` and of resource files, and errors that point at a line.
//!
//! A text becomes a tree of located values (`node`), the tree becomes plain structs
//! (`resource`, `server`), and every problem on the way is collected, so that a person sees all
//! of them at once. The only I/O is reading the files that [`load()`] and [`SecretRef::resolve`] are
//! told to read.
//!
//! In reading order:
//! - `diagnostic`: what is wrong, where, and what to do about it.
//! - `secret`: secrets by reference, and never shown.
//! - `node`: YAML and TOML as one tree that knows its lines.
//! - `decode` and `shape`: from a tree to a struct, declared field by field.
//! - `check`: what is asked of single values.
//! - `resource`: projects, destinations, streams, Currents sources.
//! - `server`: `isthmus.toml`.
//! - `load`: files and folders, and references between resources.
//! - `reference`: the reference page, written from the declarations.

mod check;
mod decode;
pub mod diagnostic;
pub mod duration;
mod load;
mod node;
mod reference;
pub mod resource;
pub mod secret;
pub mod server;
mod shape;

pub use diagnostic::{Diagnostic, Location, Locations, Problem};
pub use duration::{ParseDurationError, parse_duration};
pub use load::{Loaded, check_references, load, load_and_check, parse_resources, parse_server};
pub use reference::reference_page;
pub use resource::{Resource, Spec};
pub use secret::{Secret, SecretError, SecretRef};
pub use server::ServerConfig;
