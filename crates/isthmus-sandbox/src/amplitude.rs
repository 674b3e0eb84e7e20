//! An emulator of Amplitude's ingest endpoints, beside the one of Braze and on the same listener.
//!
//! It takes what Amplitude takes on `/2/httpapi`, `/batch`, `/identify` and `/groupidentify`, refuses
//! what Amplitude refuses with the documented answers, and shows what came of it. Where the
//! documentation is silent, the stricter reading holds, even where our own door is lenient. What it
//! does not imitate is listed in `docs/sandbox.md`.
//!
//! In reading order:
//! - [`AmplitudeConfig`], `settings`: keys, limits, silenced devices.
//! - `project`: one project without HTTP; of it `dedup`, `rates`, `people`, `event`, `counters`.
//! - `door`: the endpoints: bodies, keys, judgement, answers.
//! - `inspect`, `page`: `/_sandbox/amplitude/...` for programs, `/amplitude` for people.
//! - [`AmplitudeHandle`]: a look inside from the same process.

mod config;
mod counters;
mod dedup;
mod door;
mod event;
mod handle;
mod inspect;
mod page;
mod people;
mod project;
mod rates;
mod settings;

pub use config::{AmplitudeConfig, AmplitudeKey, AmplitudeLimits};
pub use counters::AmplitudeCounters;
pub use event::{AmplitudeEvent, AmplitudeEventFilter};
pub use handle::AmplitudeHandle;
pub use project::AmplitudePerson;
pub use rates::{AmplitudePeak, AmplitudeSender, AmplitudeSenderKind};

pub(crate) use door::{Upload, Way, fault_body, preflight};
pub(crate) use inspect::routes;
pub(crate) use page::{Section, routes as page_routes, section};
pub(crate) use settings::Written as WrittenSettings;

use crate::config::{Keep, SandboxConfig};
use project::Project;
use settings::Settings;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The project when keys name none.
const PROJECT: &str = "default";

/// All projects, and what can be changed while they run.
#[derive(Debug)]
pub(crate) struct Amplitude {
    config: Arc<SandboxConfig>,
    projects: BTreeMap<String, Mutex<Project>>,
    settings: Mutex<Arc<Settings>>,
}

impl Amplitude {
    pub(crate) fn new(config: Arc<SandboxConfig>) -> Self {
        let keys = &config.amplitude.keys;
        let named = keys.iter().map(|key| key.project.clone());
        let names = named.chain(keys.is_empty().then(|| PROJECT.to_owned()));
        let projects = names.map(|name| (name, Mutex::new(Project::new(&config)))).collect();
        let settings = Mutex::new(Arc::new(Settings::of(&config.amplitude)));
        Self { config, projects, settings }
    }

    /// The project with this name; without one, the first.
    fn project(&self, name: Option<&str>) -> Option<MutexGuard<'_, Project>> {
        let project = match name {
            Some(name) => self.projects.get(name),
            None => self.projects.values().next(),
        };
        project.map(locked)
    }

    /// The project that a key opens.
    fn open(&self, key: &str) -> Option<MutexGuard<'_, Project>> {
        let keys = &self.config.amplitude.keys;
        if keys.is_empty() {
            return self.project(None);
        }
        let key = keys.iter().find(|known| known.key == key)?;
        self.project(Some(&key.project))
    }

    pub(crate) fn knows(&self, project: &str) -> bool {
        self.projects.contains_key(project)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.projects.keys().map(String::as_str)
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut settings));
    }

    /// Forgets events, people and counters of every project; settings stay.
    pub(crate) fn reset(&self, keep: Option<Keep>, uid_property: Option<&str>) {
        for project in self.projects.values() {
            locked(project).reset(&self.config, keep, uid_property);
        }
    }
}

/// No lock is held while waiting, so a panic cannot leave a project half changed in a way that
/// matters to a sandbox.
fn locked(project: &Mutex<Project>) -> MutexGuard<'_, Project> {
    project.lock().unwrap_or_else(PoisonError::into_inner)
}
