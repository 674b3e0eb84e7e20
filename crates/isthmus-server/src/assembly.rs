//! From resources to what runs: vendors' checks included, every problem at once.

use crate::vendor::{StreamMapping, Vendor};
use isthmus_amplitude::Amplitude;
use isthmus_braze::Braze;
use isthmus_braze::currents::Form;
use isthmus_config::resource::{
    AmplitudeDestination, AmplitudeLimits, BrazeDestination, BrazeLimits, CurrentsNames,
    CurrentsSource, Destination, DestinationSettings, OnErasure, Project, SourceFiles, Stream,
    Upload,
};
use isthmus_config::{Diagnostic, Loaded, Problem, Resource, Secret, SecretError, SecretRef, Spec};
use isthmus_ingest::door;
use isthmus_ingest::follow::{Bucket, BucketSettings, FollowerSettings, S3Keys};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Everything that the resources describe, built and right.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    pub(crate) projects: Vec<Project>,
    /// Secret keys of the projects that have one, by name.
    pub(crate) secret_keys: BTreeMap<String, Secret>,
    pub(crate) destinations: BTreeMap<String, AssembledDestination>,
    pub(crate) streams: Vec<AssembledStream>,
    /// What Braze may post to.
    pub(crate) currents: Vec<door::CurrentsSource>,
    /// Files of those sources that have some, by the name of the source.
    pub(crate) files: BTreeMap<String, AssembledFiles>,
}

/// A destination with its credentials.
#[derive(Debug, Clone)]
pub(crate) struct AssembledDestination {
    /// What it was built from, to see whether it changed.
    pub(crate) resource: Destination,
    pub(crate) vendor: Vendor,
    /// Whether a Currents source brings back what it was told.
    pub(crate) told_back: bool,
}

/// The files of a Currents source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssembledFiles {
    pub(crate) bucket: BucketSettings,
    pub(crate) settings: FollowerSettings,
}

/// A stream with its mapping.
#[derive(Debug, Clone)]
pub(crate) struct AssembledStream {
    /// What it was built from, to see whether it changed.
    pub(crate) resource: Stream,
    pub(crate) mapping: StreamMapping,
}

impl Assembly {
    /// Enables and disables streams as `switches` say, whatever their resources say.
    pub(crate) fn switch(&mut self, switches: &BTreeMap<String, bool>) {
        for stream in &mut self.streams {
            if let Some(enabled) = switches.get(&stream.resource.name) {
                stream.resource.enabled = *enabled;
            }
        }
    }
}

/// Reads the configuration and makes every check that the server makes before it opens the door.
pub fn load(config: Option<&Path>, resources: &[PathBuf]) -> Result<Loaded, Vec<Diagnostic>> {
    isthmus_config::load_and_check(config, resources, |resources| {
        assemble(resources).err().unwrap_or_default()
    })
}

/// Builds what `resources` describe; they have been read and refer to each other rightly.
pub(crate) fn assemble(resources: &[Resource]) -> Result<Assembly, Vec<Diagnostic>> {
    let mut assembly = Assembly::default();
    let mut found = Vec::new();
    let mut vendors: BTreeMap<&str, &DestinationSettings> = BTreeMap::new();
    for resource in resources {
        match &resource.spec {
            Spec::Project(project) => {
                match project.secret_key.as_ref().map(|key| resolve(resource, key)) {
                    Some(Ok(key)) => drop(assembly.secret_keys.insert(project.name.clone(), key)),
                    Some(Err(error)) => {
                        found
                            .push(resource.diagnose(Problem::new("secret_key", error.to_string())));
                    }
                    None => {}
                }
                assembly.projects.push(project.clone());
            }
            Spec::Destination(destination) => {
                let settings = &destination.settings;
                vendors.insert(&destination.name, settings);
                match build_vendor(resource, settings) {
                    Ok(vendor) => {
                        let told_back = is_told_back(resources, &destination.name);
                        let resource = destination.clone();
                        let built = AssembledDestination { resource, vendor, told_back };
                        assembly.destinations.insert(destination.name.clone(), built);
                    }
                    Err(problems) => {
                        found.extend(problems.into_iter().map(|each| resource.diagnose(each)));
                    }
                }
            }
            Spec::Stream(_) => {}
            Spec::CurrentsSource(source) => {
                match source.files.as_ref().map(|files| build_files(resource, source, files)) {
                    Some(Ok(files)) => drop(assembly.files.insert(source.name.clone(), files)),
                    Some(Err(problems)) => {
                        found.extend(problems.into_iter().map(|each| resource.diagnose(each)));
                    }
                    None => {}
                }
                match source.token.as_ref().map(|token| resolve(resource, token)).transpose() {
                    Ok(token) => assembly.currents.push(door::CurrentsSource {
                        name: source.name.clone(),
                        project: source.project.clone(),
                        scope: scope(resources, source).to_owned(),
                        destination: source.destination.clone(),
                        form: form(&source.names),
                        token,
                        posted: source.takes_posts(),
                    }),
                    Err(error) => {
                        found.push(resource.diagnose(Problem::new("token", error.to_string())));
                    }
                }
            }
        }
    }
    let any_braze = DestinationSettings::Braze(BrazeDestination {
        endpoint: String::new(),
        rest_key: SecretRef::Env(String::new()),
        app_id: None,
        identify_settle: Duration::from_secs(1),
        on_erasure: OnErasure::Delete,
        mirror: true,
        limits: BrazeLimits::default(),
    });
    let any_amplitude = DestinationSettings::Amplitude(AmplitudeDestination {
        endpoint: String::new(),
        api_key: SecretRef::Env(String::new()),
        upload: Upload::HttpV2,
        min_id_length: None,
        on_erasure: OnErasure::Ignore,
        limits: AmplitudeLimits::default(),
    });
    for resource in resources {
        let Spec::Stream(stream) = &resource.spec else { continue };
        // A destination that is missing or wrong is reported elsewhere, and hides nothing here.
        let any = if stream.forward.is_some() { &any_amplitude } else { &any_braze };
        let settings = vendors.get(stream.destination.as_str()).copied();
        let speaks_of_it = |settings: &&DestinationSettings| settings.vendor() == any.vendor();
        match StreamMapping::build(stream, settings.filter(speaks_of_it).unwrap_or(any)) {
            Ok(mapping) => {
                assembly.streams.push(AssembledStream { resource: stream.clone(), mapping });
            }
            Err(problems) => {
                found.extend(problems.into_iter().map(|each| resource.diagnose(each)));
            }
        }
    }
    if found.is_empty() { Ok(assembly) } else { Err(found) }
}

/// Whether a Currents source of `resources` exports what happens at `destination`.
fn is_told_back(resources: &[Resource], destination: &str) -> bool {
    resources.iter().any(|resource| match &resource.spec {
        Spec::CurrentsSource(source) => source.destination.as_deref() == Some(destination),
        _ => false,
    })
}

/// What is followed, with its keys. Whether it is there is only asked when it is followed: a folder
/// that is not mounted yet holds up nothing else.
fn build_files(
    resource: &Resource,
    source: &CurrentsSource,
    files: &SourceFiles,
) -> Result<AssembledFiles, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut key = |name: &str, key: &Option<SecretRef>| {
        let resolved = key.as_ref().map(|key| resolve(resource, key)).transpose();
        resolved.unwrap_or_else(|error| {
            problems.push(Problem::new(format!("files.{name}"), error.to_string()));
            None
        })
    };
    let exposed = |key: Secret| key.expose().to_owned();
    let (id, secret) = (
        key("access_key_id", &files.access_key_id),
        key("secret_access_key", &files.secret_access_key),
    );
    let session_token = key("session_token", &files.session_token).map(exposed);
    let keys = id.zip(secret).map(|(id, secret)| S3Keys {
        access_key_id: exposed(id),
        secret_access_key: exposed(secret),
        session_token,
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let url = if files.url.contains("://") {
        files.url.clone()
    } else {
        resource.folder.join(&files.url).display().to_string()
    };
    let bucket = BucketSettings {
        url,
        endpoint: files.endpoint.clone(),
        region: files.region.clone(),
        keys,
    };
    if files.is_bucket()
        && let Err(error) = Bucket::open(&bucket)
    {
        return Err(vec![Problem::new(format!("files.{}", error.field), error.message)]);
    }
    let settings = FollowerSettings {
        source: source.name.clone(),
        poll: files.poll,
        list_everything: files.list_everything,
        from_the_beginning: files.from_the_beginning,
        settle: files.settle,
    };
    Ok(AssembledFiles { bucket, settings })
}

/// What the ids of `source` are unique within: the source at the end of those whose events it shares.
fn scope<'r>(resources: &'r [Resource], source: &'r CurrentsSource) -> &'r str {
    let called = |name: &str| {
        resources.iter().find_map(|resource| match &resource.spec {
            Spec::CurrentsSource(source) if source.name == name => Some(source),
            _ => None,
        })
    };
    let mut last = source;
    // A circle is reported elsewhere.
    for _ in resources {
        match last.same_events_as.as_deref().and_then(called) {
            Some(next) => last = next,
            None => break,
        }
    }
    &last.name
}

fn form(names: &CurrentsNames) -> Form {
    let names = names.clone();
    Form {
        event_prefix: names.prefix,
        custom_event_prefix: names.custom_event_prefix,
        custom_event_property_prefix: names.custom_event_property_prefix,
        purchase_property_prefix: names.purchase_property_prefix,
        qualified_channel_names: names.qualified_channel_names,
        pass_unknown_storage_fields: names.pass_unknown_storage_fields,
        top_level_device_facts: names.top_level_device_facts,
        top_level_currency: names.top_level_currency,
        optional_types: names.optional_types,
        hold_back_unknown_types: names.hold_back_unknown_types,
    }
}

fn resolve(resource: &Resource, key: &SecretRef) -> Result<Secret, SecretError> {
    key.resolve(|name| std::env::var(name).ok(), &resource.folder)
}

fn build_vendor(
    resource: &Resource,
    settings: &DestinationSettings,
) -> Result<Vendor, Vec<Problem>> {
    match settings {
        DestinationSettings::Braze(settings) => {
            let build = |key: &str| Braze::build(settings, key);
            let built = with_key(resource, "rest_key", &settings.rest_key, build);
            built.map(|braze| Vendor::Braze(Arc::new(braze)))
        }
        DestinationSettings::Amplitude(settings) => {
            let build = |key: &str| Amplitude::build(settings, key);
            let built = with_key(resource, "api_key", &settings.api_key, build);
            built.map(|amplitude| Vendor::Amplitude(Arc::new(amplitude)))
        }
    }
}

fn with_key<T>(
    resource: &Resource,
    field: &str,
    key: &SecretRef,
    build: impl Fn(&str) -> Result<T, Vec<Problem>>,
) -> Result<T, Vec<Problem>> {
    match resolve(resource, key) {
        Ok(key) => build(key.expose()),
        Err(error) => {
            let mut problems = vec![Problem::new(field, error.to_string())];
            // What else is wrong with the destination shows with any key.
            problems.extend(build("absent").err().unwrap_or_default());
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_source_are_brazes_own_unless_it_says_otherwise() {
        assert_eq!(form(&CurrentsNames::default()), Form::default());
        let names = CurrentsNames { prefix: "x ".to_owned(), ..CurrentsNames::default() };
        assert_eq!(form(&names), Form { event_prefix: "x ".to_owned(), ..Form::default() });
    }

    #[test]
    fn sources_of_the_same_events_share_a_scope() {
        let source = |name: &str, more: &str| {
            format!("kind: currents_source\nname: {name}\nproject: shop\nopen: true\n{more}---\n")
        };
        let text = [
            source("copy", "same_events_as: files\n"),
            source("files", "same_events_as: posts\n"),
            source("posts", ""),
            source("other", ""),
        ];
        let resources = isthmus_config::parse_resources(&text.concat(), "loop.yaml").unwrap();
        let assembly = assemble(&resources).unwrap();
        let scopes: Vec<_> = assembly.currents.iter().map(|source| source.scope.as_str()).collect();
        assert_eq!(scopes, ["posts", "posts", "posts", "other"]);
    }

    #[test]
    fn files_are_where_the_source_says_and_what_is_wrong_with_them_names_the_key() {
        let read = |files: &str| {
            let text = format!(
                "kind: currents_source\nname: files\nproject: shop\nfiles: {{ {files} }}\n"
            );
            assemble(&isthmus_config::parse_resources(&text, "loop.yaml").unwrap())
        };
        let assembly = read("url: exports, poll: 5s").unwrap();
        let files = &assembly.files["files"];
        assert_eq!((&*files.bucket.url, files.settings.poll), ("exports", Duration::from_secs(5)));
        assert!(!assembly.currents[0].posted, "nobody asked for posts");
        let refused = |files: &str| {
            let problems = read(files).unwrap_err();
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let keys = "access_key_id: { env: ISTHMUS_TEST_NO_KEY }, secret_access_key: { file: none }";
        assert_eq!(
            refused(&format!("url: s3://b, {keys}")),
            "loop.yaml:4:38: environment variable ISTHMUS_TEST_NO_KEY is not set\n\
             loop.yaml:4:87: file none cannot be read"
        );
        assert!(refused("url: s3://b/a//c").starts_with("loop.yaml:4:15: "));
    }
}
