//! Currents: the events that Braze tells of what became of messages, people and Canvases.
//!
//! In reading order:
//! - [`catalogue`]: what we know of each event type.
//! - [`Received`]: one event in canonical form, whichever way it came. [`read_batch`] reads the
//!   body that the HTTP connector posts; `storage` reads the files that the storage connector
//!   writes ([`StorageReader`], [`ObjectKey`]).
//! - [`appear`]: how Amplitude shows it, as Braze's own connector to Amplitude would have sent it.
//! - [`facts`]: what most types have in common: campaign, Canvas, message, channel.
//! - [`echo_key`] and [`sent_key`]: whether an event is what we told Braze ourselves.
//!
//! It refuses no event for a type, a field or a value that it does not know: Braze adds all three
//! without notice. What it cannot use at all (no id, no type, no time) is handed back with the
//! reason, so that the rest of a batch need not wait for it.
//!
//! Values are raw JSON as they came: nothing is cut, cleaned or renumbered here, but for numbers of
//! 32 bits, which files hold and people do not write.
//!
//! Facts are from Braze's public Currents documentation, event glossaries and sample files, as read
//! in 2026-09; what no document says and we concluded is marked as inferred.

mod appear;
pub mod catalogue;
mod echo;
mod facts;
mod label;
mod received;
mod storage;

pub use appear::{Appearance, Export, Form, appear};
pub use echo::{Alias, Echo, EchoKey, SentKey, echo_key, echo_key_of_anyone, sent_key};
pub use facts::{Facts, facts};
pub use received::{NotABatch, Received, Unusable, read_batch};
pub use storage::{Broken, Fault, ObjectKey, StorageReader, read_json_line};
