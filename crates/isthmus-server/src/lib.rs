//! HTTP wiring and the control API; builds the parts, starts them, stops them in order.
//!
//! In reading order: [`server`] opens and runs everything; `assembly` turns resources into what
//! runs; `listener`, `ingest`, `currents`, `profile_api`, `read_api`, `control` and `health` are HTTP; `runtime` is the server
//! as the control API sees it; `following`, `imports`, `deliveries`, `echoes`, `erasures`, `jobs`, `retention` and `upkeep` are parts; [`parts`]
//! starts and joins them;
//! [`system`] provides the seams.

mod assembly;
mod background;
pub mod catalog;
mod control;
mod currents;
mod deliveries;
mod echoes;
mod erasures;
mod folder;
mod following;
mod health;
mod imports;
mod ingest;
mod jobs;
mod listener;
mod mapped;
mod metrics;
mod observe;
mod paced;
pub mod parts;
mod profile_api;
mod read_api;
pub mod report;
mod retention;
mod runtime;
pub mod server;
pub mod system;
mod upkeep;
mod vendor;

pub use assembly::load;
pub use folder::{DATA_DIR, address_of, token_of};
pub use server::{Options, Server};
