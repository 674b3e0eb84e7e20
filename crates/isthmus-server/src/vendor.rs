//! The two kinds of destinations and their streams: what the engine sees is the same, and what only one
//! of them has is asked for by name.

use isthmus_amplitude::{Amplitude, AmplitudeStream};
use isthmus_braze::currents::catalogue;
use isthmus_braze::{Braze, BrazeStream};
use isthmus_config::Problem;
use isthmus_config::resource::{DestinationSettings, Stream};
use isthmus_core::destination::{Destination, Limits, Mapping, Message};
use isthmus_core::seam::{Reply, Request};
use std::sync::Arc;

/// A destination with its credentials.
#[derive(Debug, Clone)]
pub(crate) enum Vendor {
    Braze(Arc<Braze>),
    Amplitude(Arc<Amplitude>),
}

impl Vendor {
    /// The destination as the engine sees it.
    pub(crate) fn destination(&self) -> Arc<dyn Destination> {
        match self {
            Self::Braze(braze) => braze.clone(),
            Self::Amplitude(amplitude) => amplitude.clone(),
        }
    }

    fn as_destination(&self) -> &dyn Destination {
        match self {
            Self::Braze(braze) => &**braze,
            Self::Amplitude(amplitude) => &**amplitude,
        }
    }

    /// The workspace, where it is one: only Braze tells what it has of people.
    pub(crate) fn braze(&self) -> Option<&Arc<Braze>> {
        match self {
            Self::Braze(braze) => Some(braze),
            Self::Amplitude(_) => None,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.as_destination().limits()
    }

    pub(crate) fn probe(&self) -> Request {
        self.as_destination().probe()
    }

    /// What the reply to [`Self::probe`] means.
    pub(crate) fn judge_probe(&self, reply: &Reply) -> Result<(), String> {
        match self {
            Self::Braze(braze) => braze.judge_probe(reply),
            Self::Amplitude(amplitude) => amplitude.judge_probe(reply),
        }
    }

    /// What takes the place of `before` where somebody edited it to `after`.
    pub(crate) fn edited(&self, before: &str, after: &str) -> Result<String, String> {
        match self {
            Self::Braze(braze) => braze.edited(before, after),
            Self::Amplitude(amplitude) => amplitude.edited(before, after),
        }
    }

    pub(crate) fn check(&self, message: &Message) -> Result<(), String> {
        self.as_destination().check(message)
    }
}

/// The mapping of a stream.
#[derive(Debug, Clone)]
pub(crate) enum StreamMapping {
    Braze(Arc<BrazeStream>),
    Amplitude(Arc<AmplitudeStream>),
}

impl StreamMapping {
    /// What `stream` maps items to for the destination of `settings`, or every problem at once.
    pub(crate) fn build(
        stream: &Stream,
        settings: &DestinationSettings,
    ) -> Result<Self, Vec<Problem>> {
        Ok(match settings {
            DestinationSettings::Braze(settings) => {
                Self::Braze(Arc::new(BrazeStream::build(stream, settings)?))
            }
            DestinationSettings::Amplitude(settings) => {
                let is_known = |event_type: &str| catalogue::find(event_type).is_some();
                Self::Amplitude(Arc::new(AmplitudeStream::build(stream, settings, is_known)?))
            }
        })
    }

    /// The mapping as the engine sees it.
    pub(crate) fn mapping(&self) -> Arc<dyn Mapping> {
        match self {
            Self::Braze(stream) => stream.clone(),
            Self::Amplitude(stream) => stream.clone(),
        }
    }

    /// What the person who wrote the stream should know.
    pub(crate) fn notes(&self) -> &[String] {
        match self {
            Self::Braze(stream) => stream.notes(),
            Self::Amplitude(_) => &[],
        }
    }

    /// How often something was changed or left out on the way, by name.
    pub(crate) fn warnings(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Braze(stream) => {
                let warnings = stream.warnings();
                vec![
                    ("strings_cut", warnings.strings_cut),
                    ("nested_dropped", warnings.nested_dropped),
                    ("reserved_renamed", warnings.reserved_renamed),
                    ("not_text", warnings.not_text),
                ]
            }
            Self::Amplitude(_) => Vec::new(),
        }
    }
}
