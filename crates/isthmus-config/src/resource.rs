//! Resources: what a person writes in YAML about projects, destinations, streams and sources.
//!
//! Reading one reports every problem at once; one that was read needs no further checks of its own,
//! only of what it refers to ([`crate::check_references`]) and of what its vendor wants (the
//! vendor's crate, which returns [`Problem`]s for [`Resource::diagnose`]).

mod currents_source;
mod destination;
mod forward;
mod project;
mod retry;
mod stream;

pub(crate) use currents_source::literal_token;
pub use currents_source::{CurrentsNames, CurrentsSource, SourceFiles};
pub use destination::{
    AmplitudeDestination, AmplitudeLimits, BrazeDestination, BrazeLimits, BudgetShares, Contract,
    Destination, DestinationSettings, OnErasure, Upload,
};
pub use forward::{
    Forward, ForwardCurrents, Period, Periods, PersonalData, Selection, Shares, UnknownTypes,
};
pub use project::{Project, Throttle};
pub use retry::{Retry, RetryLimits};
pub use stream::{
    Anonymous, AnonymousId, DeliveryGuarantee, Filter, IdentifyBy, IdentifyTarget, NestedValues,
    OnUnset, PropertyRef, Scope, SelectedEvent, SelectedProperty, SendEvents, SendUsers, Stream,
};

use crate::decode::Report;
use crate::diagnostic::{Diagnostic, Locations, Problem, clip, listed, meant};
use crate::node::{Node, Value};
use crate::shape::Shape;
use std::path::PathBuf;
use std::sync::Arc;

/// A resource and where it was written.
#[derive(Debug, Clone)]
pub struct Resource {
    pub spec: Spec,
    /// File as it was named, or what stands for it.
    pub file: String,
    /// Where the relative paths in it lead from.
    pub folder: PathBuf,
    pub locations: Locations,
}

/// What a resource is.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    Project(Project),
    Destination(Destination),
    Stream(Stream),
    CurrentsSource(CurrentsSource),
}

impl Spec {
    pub(crate) const KINDS: [&'static str; 4] =
        ["project", "destination", "stream", "currents_source"];

    /// `project`, `destination`, `stream` or `currents_source`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::Destination(_) => "destination",
            Self::Stream(_) => "stream",
            Self::CurrentsSource(_) => "currents_source",
        }
    }

    /// What people call it; unique among its kind.
    pub fn name(&self) -> &str {
        match self {
            Self::Project(project) => &project.name,
            Self::Destination(destination) => &destination.name,
            Self::Stream(stream) => &stream.name,
            Self::CurrentsSource(source) => &source.name,
        }
    }

    fn decode(kind: &str, node: &Node, report: &mut Report) -> Option<Self> {
        const BESIDE: &[&str] = &["kind"];
        match kind {
            "project" => Project::decode_fields(node, BESIDE, report).map(Self::Project),
            "destination" => Destination::decode(node, report).map(Self::Destination),
            "stream" => Stream::decode(node, report).map(Self::Stream),
            "currents_source" => {
                CurrentsSource::decode_fields(node, BESIDE, report).map(Self::CurrentsSource)
            }
            _ => None,
        }
    }

    /// What is wrong between keys, each of which is good by itself.
    fn check(&self) -> Vec<Problem> {
        match self {
            Self::Project(_) => Vec::new(),
            Self::Destination(destination) => destination.check(),
            Self::Stream(stream) => stream.check(),
            Self::CurrentsSource(source) => source.check(),
        }
    }
}

impl Resource {
    /// `project`, `destination`, `stream` or `currents_source`.
    pub fn kind(&self) -> &'static str {
        self.spec.kind()
    }

    /// What people call it; unique among its kind.
    pub fn name(&self) -> &str {
        self.spec.name()
    }

    /// Points `problem` at the line where its value was written.
    pub fn diagnose(&self, problem: Problem) -> Diagnostic {
        let at = self.locations.nearest(&problem.path);
        Diagnostic::at(&self.file, at, problem.message, problem.hint)
    }

    /// Reads the resource at `node`.
    pub(crate) fn decode(node: Node, file: &str, folder: PathBuf) -> Result<Self, Undecoded> {
        let name = node.get("name").and_then(Node::text).map(str::to_owned);
        let (kind, report) = match kind_of(&node) {
            Ok(kind) => {
                let name = name.as_deref().map(|name| format!(" `{}`", clip(name)));
                (Some(kind), Report::of(format!("{kind}{}", name.unwrap_or_default())))
            }
            Err(report) => (None, report),
        };
        let undecoded = |report: Report, name| {
            Err(Undecoded { kind, name, diagnostics: report.into_diagnostics(file) })
        };
        let Some(known_kind) = kind else { return undecoded(report, name) };
        let mut report = report;
        let spec = Spec::decode(known_kind, &node, &mut report);
        let locations = Locations::new(Arc::new(node));
        if let Some(spec) = &spec {
            report.check(spec.check(), |path| locations.nearest(path));
        }
        match spec {
            Some(spec) if report.is_empty() => {
                Ok(Self { spec, file: file.to_owned(), folder, locations })
            }
            _ => undecoded(report, name),
        }
    }
}

/// A resource that could not be read; references to it are not blamed for that.
#[derive(Debug)]
pub(crate) struct Undecoded {
    /// `None` when that is what could not be read.
    pub(crate) kind: Option<&'static str>,
    pub(crate) name: Option<String>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Which kind of resource `node` says it is.
fn kind_of(node: &Node) -> Result<&'static str, Report> {
    let mut report = Report::default();
    let kinds = listed(Spec::KINDS);
    let Value::Map(_) = &node.value else {
        let message = format!("a resource must be a mapping, found {}", node.found());
        report.say(node.at, message, Some(format!("begin with `kind: ` and one of {kinds}")));
        return Err(report);
    };
    let Some(kind) = node.get("kind") else {
        report.say(node.at, "missing key `kind`".to_owned(), Some(format!("one of {kinds}")));
        return Err(report);
    };
    let Some(text) = kind.text() else {
        let message = format!("`kind` must be {kinds}, found {}", kind.found());
        report.say(kind.at, message, None);
        return Err(report);
    };
    if let Some(known) = Spec::KINDS.into_iter().find(|known| *known == text) {
        return Ok(known);
    }
    let hint = match meant(text, Spec::KINDS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of {kinds}"),
    };
    report.say(kind.at, format!("unknown kind {}", kind.found()), Some(hint));
    Err(report)
}
