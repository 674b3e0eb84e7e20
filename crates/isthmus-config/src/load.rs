//! Files and folders of configuration, and references between resources.

use crate::decode::{Decode, Report};
use crate::diagnostic::{Diagnostic, Location, Locations, Problem, clip, listed, meant};
use crate::node::{Fault, Node, Value, toml, yaml};
use crate::resource::{DestinationSettings, Resource, Spec, Undecoded};
use crate::secret::SecretRef;
use crate::server::ServerConfig;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders inside each other; a symbolic link may lead around in a circle.
const FOLDERS_DEPTH_MAX: usize = 16;
/// What a folder is searched for.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Everything that a person wrote, read and found to be good.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub server: ServerConfig,
    pub resources: Vec<Resource>,
}

/// Reads `isthmus.toml` at `config`, and the resources in the files and folders `resources` or,
/// when there are none, in those that `isthmus.toml` names.
///
/// Fails with every problem of every file, in the order of files and lines.
pub fn load(config: Option<&Path>, resources: &[PathBuf]) -> Result<Loaded, Vec<Diagnostic>> {
    let mut collected = Collected::default();
    let server = match config {
        None => ServerConfig::default(),
        Some(path) => collected.server(path),
    };
    let roots = if resources.is_empty() { server.resources.as_slice() } else { resources };
    for root in roots {
        collected.root(root);
    }
    let resources = collected.finish()?;
    Ok(Loaded { server, resources })
}

/// Reads `text` as `isthmus.toml`; `origin` stands for the file in messages.
pub fn parse_server(text: &str, origin: &str) -> Result<ServerConfig, Vec<Diagnostic>> {
    let node = toml::parse(text).map_err(|faults| located(faults, origin))?;
    let mut report = Report::default();
    let server = ServerConfig::decode(&node, &mut report);
    let locations = Locations::new(Arc::new(node));
    if let Some(server) = &server {
        report.check(server.check(), |path| locations.nearest(path));
    }
    match server {
        Some(server) if report.is_empty() => Ok(server),
        _ => Err(report.into_diagnostics(origin)),
    }
}

/// Reads every resource in `text` (YAML or JSON, any number of documents); `origin` stands for the
/// file in messages. References are not followed: see [`check_references`].
pub fn parse_resources(text: &str, origin: &str) -> Result<Vec<Resource>, Vec<Diagnostic>> {
    let mut collected = Collected::default();
    collected.text(text, origin, Path::new(""));
    if collected.diagnostics.is_empty() {
        Ok(collected.resources)
    } else {
        Err(collected.diagnostics)
    }
}

/// What is wrong between resources: names and API keys that are there twice, names of nothing.
pub fn check_references(resources: &[Resource]) -> Vec<Diagnostic> {
    References { resources, undecoded: &[], complete: true }.check()
}

/// What was read so far.
#[derive(Default)]
struct Collected {
    resources: Vec<Resource>,
    undecoded: Vec<Undecoded>,
    /// Part of a text could not be read at all, so nobody knows which names there are.
    incomplete: bool,
    diagnostics: Vec<Diagnostic>,
    /// Files in the order in which they were read.
    files: Vec<String>,
}

impl Collected {
    fn server(&mut self, path: &Path) -> ServerConfig {
        let origin = path.display().to_string();
        let read = self.read(path).map(|text| parse_server(&text, &origin));
        match read {
            Some(Ok(mut server)) => {
                server.rebase(path.parent().unwrap_or(Path::new("")));
                server
            }
            Some(Err(diagnostics)) => {
                self.diagnostics.extend(diagnostics);
                self.incomplete = true;
                ServerConfig::default()
            }
            None => ServerConfig::default(),
        }
    }

    /// Reads a file or a folder that a person named.
    fn root(&mut self, path: &Path) {
        if path.is_dir() {
            self.folder(path, 0);
        } else {
            self.file(path);
        }
    }

    fn folder(&mut self, folder: &Path, depth: usize) {
        if depth > FOLDERS_DEPTH_MAX {
            let message = format!("folder is more than {FOLDERS_DEPTH_MAX} folders deep");
            let hint = "does a symbolic link lead around in a circle?";
            self.diagnostics
                .push(Diagnostic::of_file(folder.display().to_string(), message).hint(hint));
            return;
        }
        let mut paths = match entries(folder) {
            Ok(paths) => paths,
            Err(error) => return self.unreadable(folder, &error),
        };
        paths.sort();
        for path in paths {
            if is_hidden(&path) {
                continue;
            }
            if path.is_dir() {
                self.folder(&path, depth + 1);
            } else if is_resource_file(&path) {
                self.file(&path);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        if let Some(text) = self.read(path) {
            let folder = path.parent().unwrap_or(Path::new(""));
            self.text(&text, &path.display().to_string(), folder);
        }
    }

    fn text(&mut self, text: &str, origin: &str, folder: &Path) {
        let documents = yaml::parse(text);
        self.incomplete |= !documents.faults.is_empty();
        let mut found = located(documents.faults, origin);
        for node in documents.nodes.into_iter().flat_map(flatten) {
            match Resource::decode(node, origin, folder.to_owned()) {
                Ok(resource) => self.resources.push(resource),
                Err(mut undecoded) => {
                    found.append(&mut undecoded.diagnostics);
                    self.undecoded.push(undecoded);
                }
            }
        }
        found.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        self.diagnostics.append(&mut shortened(found, origin));
    }

    fn read(&mut self, path: &Path) -> Option<String> {
        self.files.push(path.display().to_string());
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.unreadable(path, &error);
                return None;
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let before = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or(&[]))
                    .into_owned();
                let at = Location::of_offset(&before, good);
                let file = path.display().to_string();
                self.incomplete = true;
                self.diagnostics.push(Diagnostic::at(&file, at, "text is not UTF-8", None));
                None
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.incomplete = true;
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or folder".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        self.diagnostics.push(Diagnostic::of_file(path.display().to_string(), message));
    }

    fn finish(mut self) -> Result<Vec<Resource>, Vec<Diagnostic>> {
        let references = References {
            resources: &self.resources,
            undecoded: &self.undecoded,
            complete: !self.incomplete,
        };
        self.diagnostics.append(&mut references.check());
        if self.diagnostics.is_empty() {
            return Ok(self.resources);
        }
        let place = |diagnostic: &Diagnostic| {
            let file = self.files.iter().position(|file| *file == diagnostic.file);
            (file, diagnostic.line, diagnostic.column)
        };
        self.diagnostics.sort_by_key(place);
        Err(self.diagnostics)
    }
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_resource_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}

/// A little more than the most that is read as a text, so that what is too large shows it.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let max = u64::try_from(crate::node::TEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(4);
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A document is one resource or a list of them.
fn flatten(node: Node) -> Vec<Node> {
    match node.value {
        Value::List(items) => items,
        value => vec![Node { at: node.at, value }],
    }
}

fn located(faults: Vec<Fault>, origin: &str) -> Vec<Diagnostic> {
    let located = |fault: Fault| Diagnostic::at(origin, fault.at, fault.message, fault.hint);
    faults.into_iter().map(located).collect()
}

/// The first problems of a file that has very many.
fn shortened(mut found: Vec<Diagnostic>, origin: &str) -> Vec<Diagnostic> {
    /// As many as a terminal's history shows without complaint.
    const DIAGNOSTICS_MAX: usize = 200;
    if found.len() > DIAGNOSTICS_MAX {
        let more = found.len() - DIAGNOSTICS_MAX;
        found.truncate(DIAGNOSTICS_MAX);
        found.push(Diagnostic::of_file(origin, format!("{more} more problems are not shown")));
    }
    found
}

/// Resources that refer to each other by name.
struct References<'r> {
    resources: &'r [Resource],
    undecoded: &'r [Undecoded],
    /// Whether these are all the names there are.
    complete: bool,
}

impl References<'_> {
    fn check(&self) -> Vec<Diagnostic> {
        let mut found = self.names_twice();
        found.append(&mut self.api_keys_twice());
        for resource in self.resources {
            match &resource.spec {
                Spec::Stream(stream) => {
                    let names =
                        [("project", &stream.project), ("destination", &stream.destination)];
                    for (kind, name) in names {
                        found.extend(self.dangling(resource, kind, name));
                    }
                }
                Spec::Project(project) => {
                    if matches!(project.secret_key, Some(SecretRef::Literal(_))) {
                        found.extend(self.literal_key(resource));
                    }
                }
                Spec::Destination(_) => {}
            }
        }
        found
    }

    fn names_twice(&self) -> Vec<Diagnostic> {
        let mut first: HashMap<(&str, &str), &Resource> = HashMap::new();
        let mut found = Vec::new();
        for resource in self.resources {
            let key = (resource.kind(), resource.name());
            match first.get(&key) {
                None => drop(first.insert(key, resource)),
                Some(other) => {
                    let (kind, name) = (key.0, clip(key.1));
                    let problem = Problem::new("name", format!("{kind} `{name}` is there twice"));
                    found.push(resource.diagnose(problem.hint(already(other, "name"))));
                }
            }
        }
        found
    }

    fn api_keys_twice(&self) -> Vec<Diagnostic> {
        let mut first: HashMap<&str, &Resource> = HashMap::new();
        let mut found = Vec::new();
        for resource in self.resources {
            let Spec::Project(project) = &resource.spec else { continue };
            match first.get(project.api_key.as_str()) {
                None => drop(first.insert(&project.api_key, resource)),
                // Then the whole project is there twice, which is said already.
                Some(other) if other.name() == resource.name() => {}
                Some(other) => {
                    let (name, other_name) = (clip(&project.name), clip(other.name()));
                    let message =
                        format!("projects `{other_name}` and `{name}` have the same `api_key`");
                    let problem = Problem::new("api_key", message);
                    found.push(resource.diagnose(problem.hint(already(other, "api_key"))));
                }
            }
        }
        found
    }

    /// The problem of `resource` naming a resource that is not there.
    fn dangling(&self, resource: &Resource, kind: &str, name: &str) -> Option<Diagnostic> {
        let good =
            || self.resources.iter().filter(|other| other.kind() == kind).map(Resource::name);
        let is_undecoded = |other: &Undecoded| {
            other.kind.is_none_or(|other| other == kind)
                && other.name.as_deref().is_none_or(|other| other == name)
        };
        if !self.complete
            || good().any(|other| other == name)
            || self.undecoded.iter().any(is_undecoded)
        {
            return None;
        }
        let owner = format!("{} `{}`", resource.kind(), clip(resource.name()));
        let problem = Problem::new(kind, format!("unknown {kind} `{}` in {owner}", clip(name)));
        let problem = match meant(name, good()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None if good().next().is_none() => problem.hint(format!("there is no {kind} yet")),
            None => problem.hint(format!("there is {}", listed(good().take(8)))),
        };
        Some(resource.diagnose(problem))
    }

    /// The problem of a project's secret key being written out, unless all that the project does is
    /// feed sandboxes on this machine.
    fn literal_key(&self, project: &Resource) -> Option<Diagnostic> {
        let destinations: HashMap<_, _> = self
            .resources
            .iter()
            .filter_map(|resource| match &resource.spec {
                Spec::Destination(destination) => Some((destination.name.as_str(), destination)),
                Spec::Project(_) | Spec::Stream(_) => None,
            })
            .collect();
        let mut ends = self.resources.iter().filter_map(|resource| match &resource.spec {
            Spec::Stream(stream) if stream.project == project.name() => {
                Some(destinations.get(stream.destination.as_str()))
            }
            _ => None,
        });
        let is_sandbox = |end: Option<&&crate::resource::Destination>| {
            end.is_some_and(|destination| match &destination.settings {
                DestinationSettings::Braze(braze) => crate::check::is_loopback(&braze.endpoint),
            })
        };
        let mut any = false;
        let all = ends.all(|end| {
            any = true;
            is_sandbox(end)
        });
        if !self.complete || (any && all) {
            return None;
        }
        let message = "`secret_key` is written out; only a project whose streams all end at a sandbox on this machine has it so";
        let hint = "write `{ env: SHOP_SECRET }` or `{ file: shop.key }`";
        Some(project.diagnose(Problem::new("secret_key", message).hint(hint)))
    }
}

/// Where the first of two stands.
fn already(first: &Resource, path: &str) -> String {
    format!("it is already at {}:{}", first.file, first.locations.nearest(path))
}

#[cfg(test)]
mod tests;
