//! Files and folders of configuration, and references between resources.

use crate::check;
use crate::decode::{Decode, Report};
use crate::diagnostic::{Diagnostic, Location, Locations, Problem, clip, listed, meant};
use crate::node::{Fault, Node, Value, toml, yaml};
use crate::resource::{
    CurrentsSource, Destination, DestinationSettings, Resource, Spec, Stream, Undecoded,
    literal_token,
};
use crate::secret::SecretRef;
use crate::server::ServerConfig;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders inside each other; a symbolic link may lead around in a circle.
const FOLDERS_DEPTH_MAX: usize = 16;
/// Problems shown of one file, and between resources; the first ones are mended first anyway.
const DIAGNOSTICS_MAX: usize = 200;
/// Names that a hint lists.
const NAMES_SHOWN_MAX: usize = 8;
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
    load_and_check(config, resources, |_| Vec::new())
}

/// Like [`load()`], with what `check` finds wrong with the resources that could be read: the checks
/// of the vendors' crates, so that one look shows the problems of all sides.
pub fn load_and_check(
    config: Option<&Path>,
    resources: &[PathBuf],
    check: impl FnOnce(&[Resource]) -> Vec<Diagnostic>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut collected = Collected::default();
    let server = match config {
        None => ServerConfig::default(),
        Some(path) => collected.server(path),
    };
    if !resources.is_empty() {
        // Whatever is wrong with `isthmus.toml`, it does not say which resources there are.
        collected.incomplete = false;
    }
    let roots = if resources.is_empty() { server.resources.as_slice() } else { resources };
    for root in roots {
        collected.root(root);
    }
    collected.diagnostics.extend(check(&collected.resources));
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
    References::new(resources, &[], true).check()
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
        let references = References::new(&self.resources, &self.undecoded, !self.incomplete);
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
    /// The first resource of each kind and name.
    named: HashMap<(&'static str, &'r str), &'r Resource>,
    /// For each project, the destinations that its streams name.
    ends: HashMap<&'r str, Vec<&'r str>>,
}

impl<'r> References<'r> {
    fn new(resources: &'r [Resource], undecoded: &'r [Undecoded], complete: bool) -> Self {
        let mut named = HashMap::new();
        let mut ends: HashMap<_, Vec<_>> = HashMap::new();
        for resource in resources {
            named.entry((resource.kind(), resource.name())).or_insert(resource);
            if let Spec::Stream(stream) = &resource.spec {
                ends.entry(stream.project.as_str()).or_default().push(stream.destination.as_str());
            }
        }
        Self { resources, undecoded, complete, named, ends }
    }

    fn check(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut api_keys = HashMap::new();
        for resource in self.resources {
            found.extend(self.name_twice(resource));
            match &resource.spec {
                Spec::Stream(stream) => {
                    found.extend(self.dangling(resource, "project", &stream.project));
                    found.extend(self.dangling(resource, "destination", &stream.destination));
                    found.extend(self.wrong_vendor(resource, stream));
                }
                Spec::Project(project) => {
                    let first = *api_keys.entry(project.api_key.as_str()).or_insert(resource);
                    found.extend(api_key_twice(resource, first));
                    if matches!(project.secret_key, Some(SecretRef::Literal(_))) {
                        found.extend(self.literal_key(resource));
                    }
                }
                Spec::Destination(_) => {}
                Spec::CurrentsSource(source) => found.extend(self.currents(resource, source)),
            }
            if found.len() > DIAGNOSTICS_MAX {
                break;
            }
        }
        found
    }

    fn name_twice(&self, resource: &Resource) -> Option<Diagnostic> {
        let (kind, name) = (resource.kind(), resource.name());
        let first = *self.named.get(&(kind, name))?;
        if std::ptr::eq(first, resource) {
            return None;
        }
        let problem = Problem::new("name", format!("{kind} `{}` is there twice", clip(name)));
        Some(resource.diagnose(problem.hint(already(first, "name"))))
    }

    /// What is wrong with what `source` refers to.
    fn currents(&self, resource: &Resource, source: &CurrentsSource) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        found.extend(self.dangling(resource, "project", &source.project));
        if let Some(destination) = &source.destination {
            found.extend(self.dangling(resource, "destination", destination));
            let literal = matches!(source.token, Some(SecretRef::Literal(_)));
            let is_known = self.named.contains_key(&("destination", destination.as_str()));
            if literal && is_known && !self.is_sandbox(destination) {
                found.push(resource.diagnose(literal_token()));
            }
            found.extend(self.not_braze(resource, destination));
        }
        if let Some(other) = &source.same_events_as {
            let key = "same_events_as";
            found.extend(self.dangling_at(resource, key, "currents_source", other));
            found.extend(self.same_events(source, other).map(|problem| resource.diagnose(problem)));
        }
        found
    }

    /// The problem of the workspace that Currents tells of being none of Braze's.
    fn not_braze(&self, source: &Resource, destination: &str) -> Option<Diagnostic> {
        let end = self.named.get(&("destination", destination))?;
        let Spec::Destination(Destination { settings: DestinationSettings::Amplitude(_), .. }) =
            &end.spec
        else {
            return None;
        };
        let message =
            format!("destination `{}` is Amplitude; Currents is Braze's", clip(destination));
        let hint = "name the destination that is the Braze workspace, or remove it";
        Some(source.diagnose(Problem::new("destination", message).hint(hint)))
    }

    /// The problem of `source` saying that its events are those of `other`.
    fn same_events(&self, source: &CurrentsSource, other: &str) -> Option<Problem> {
        let key = "same_events_as";
        let source_called = |name: &str| match self.named.get(&("currents_source", name)) {
            Some(Resource { spec: Spec::CurrentsSource(source), .. }) => Some(source),
            _ => None,
        };
        let name = clip(&source.name);
        let mut next = source_called(other);
        if let Some(found) = next
            && found.project != source.project
        {
            let (other, project) = (clip(other), clip(&found.project));
            let message = format!(
                "`{name}` has the events of `{other}`, which is of another project, `{project}`"
            );
            let hint = "an event is kept once, in one project; remove it";
            return Some(Problem::new(key, message).hint(hint));
        }
        // One step more than there are sources has come past one of them twice.
        for _ in 0..=self.resources.len() {
            let found = next?;
            if found.name == source.name {
                let message = format!("`{name}` has, in the end, its own events");
                let hint = "one source of those that share their events refers to no other";
                return Some(Problem::new(key, message).hint(hint));
            }
            next = source_called(found.same_events_as.as_deref()?);
        }
        None
    }

    /// Whether the destination of this name is a sandbox on this machine.
    fn is_sandbox(&self, destination: &str) -> bool {
        match self.named.get(&("destination", destination)).map(|found| &found.spec) {
            Some(Spec::Destination(destination)) => {
                check::is_loopback(destination.settings.endpoint())
            }
            _ => false,
        }
    }

    /// The problem of `resource` naming a resource that is not there.
    fn dangling(&self, resource: &Resource, kind: &'static str, name: &str) -> Option<Diagnostic> {
        self.dangling_at(resource, kind, kind, name)
    }

    fn dangling_at(
        &self,
        resource: &Resource,
        key: &str,
        kind: &'static str,
        name: &str,
    ) -> Option<Diagnostic> {
        let is_undecoded = |other: &Undecoded| {
            other.kind.is_none_or(|other| other == kind)
                && other.name.as_deref().is_none_or(|other| other == name)
        };
        let is_there = self.named.contains_key(&(kind, name));
        if is_there || !self.complete || self.undecoded.iter().any(is_undecoded) {
            return None;
        }
        let there =
            || self.resources.iter().filter(|other| other.kind() == kind).map(Resource::name);
        let owner = format!("{} `{}`", resource.kind(), clip(resource.name()));
        let problem = Problem::new(key, format!("unknown {kind} `{}` in {owner}", clip(name)));
        let hint = match meant(name, there()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if there().next().is_none() => format!("there is no {kind} yet"),
            None => format!("there is {}", listed(there().take(NAMES_SHOWN_MAX))),
        };
        Some(resource.diagnose(problem.hint(hint)))
    }

    /// The problem of `stream` speaking of another vendor than its destination is.
    fn wrong_vendor(&self, resource: &Resource, stream: &Stream) -> Option<Diagnostic> {
        let end = self.named.get(&("destination", stream.destination.as_str()))?;
        let Spec::Destination(destination) = &end.spec else { return None };
        let name = clip(&destination.name);
        let problem = match (&destination.settings, &stream.forward) {
            (DestinationSettings::Braze(_), Some(_)) => {
                let message =
                    format!("`forward` is for Amplitude, and destination `{name}` is Braze");
                let hint = "write `identify_by` with `send_events`, `send_users` or both";
                Problem::new("forward", message).hint(hint)
            }
            (DestinationSettings::Amplitude(_), None) => {
                let message = format!(
                    "stream `{}` has no `forward`, and destination `{name}` is Amplitude",
                    clip(&stream.name)
                );
                let hint =
                    "write `forward` in place of `identify_by`, `send_events` and `send_users`";
                Problem::new("destination", message).hint(hint)
            }
            _ => return None,
        };
        Some(resource.diagnose(problem))
    }

    /// The problem of a project's secret key being written out, unless all that the project does is
    /// feed sandboxes on this machine.
    fn literal_key(&self, project: &Resource) -> Option<Diagnostic> {
        let is_sandbox = |end: &&str| self.is_sandbox(end);
        let feeds_sandboxes =
            self.ends.get(project.name()).is_some_and(|ends| ends.iter().all(is_sandbox));
        if feeds_sandboxes || !self.complete || !self.undecoded.is_empty() {
            return None;
        }
        let message = "`secret_key` is written out; \
                       only a project whose streams all end at a sandbox on this machine has it so";
        let hint = "write `{ env: SHOP_SECRET }` or `{ file: shop.key }`";
        Some(project.diagnose(Problem::new("secret_key", message).hint(hint)))
    }
}

/// The problem of `project` having the API key of another, which is `first`.
fn api_key_twice(project: &Resource, first: &Resource) -> Option<Diagnostic> {
    // With the same name, the whole project is there twice, which is said already.
    if first.name() == project.name() {
        return None;
    }
    let (name, first_name) = (clip(project.name()), clip(first.name()));
    let message = format!("projects `{first_name}` and `{name}` have the same `api_key`");
    let problem = Problem::new("api_key", message).hint(already(first, "api_key"));
    Some(project.diagnose(problem))
}

/// Where the first of two stands.
fn already(first: &Resource, path: &str) -> String {
    format!("it is already at {}:{}", first.file, first.locations.nearest(path))
}

#[cfg(test)]
mod tests;
