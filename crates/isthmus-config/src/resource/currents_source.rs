//! Currents sources: connectors of Braze whose events become events of a project.

use crate::check;
use crate::diagnostic::Problem;
use crate::secret::SecretRef;
use crate::shape::{section, shape};

shape! {
    /// `kind: currents_source`: a Currents connector of Braze, whose events become events of a
    /// project. Braze posts to `/currents/http/NAME`.
    pub struct CurrentsSource {
        /// What the source is called here; unique among sources, and the end of its address.
        pub name: String => check::name,
        /// Name of the project whose events they are.
        pub project: String,
        /// The token that Braze sends as `Authorization: Bearer TOKEN`. Without it, the source must
        /// be `open`. A literal is taken only where `destination` is a sandbox on this machine.
        pub token: Option<SecretRef>,
        /// Takes events from anybody who can reach the address.
        pub open: bool = false,
        /// Name of the destination that is the workspace whose events these are: what its streams
        /// sent there is recognised when it comes back.
        pub destination: Option<String>,
        /// Name of another source of the same project that brings the same events under the same
        /// ids, for example the files of a connector beside its posts: each event is kept once.
        pub same_events_as: Option<String>,
        /// What events and their properties are called. As Braze's own connector to Amplitude calls
        /// them unless told otherwise.
        pub names: CurrentsNames = CurrentsNames::default(),
    }
}

section! {
    /// `names` of a Currents source. The defaults are what Braze's own connector to Amplitude sends
    /// (read 2026-09).
    pub struct CurrentsNames {
        /// What event types begin with.
        pub prefix: String = "[Appboy] ".to_owned(),
        /// What the names of custom events are put behind.
        pub custom_event_prefix: String = "[Appboy] [Custom Event] ".to_owned(),
        /// What keys of a custom event's own properties are put behind.
        pub custom_event_property_prefix: String = "[Custom event property] ".to_owned(),
        /// What keys of a purchase's own properties are put behind.
        pub purchase_property_prefix: String = "[Purchase property] ".to_owned(),
        /// `LINE Click` and `RCS Click` in place of the documented `Click`, which both share.
        pub qualified_channel_names: bool = false,
        /// Shows what only files have (`carrier`, `country`, `sdk_version`, ...), and what nobody has
        /// heard of in files.
        pub pass_unknown_storage_fields: bool = false,
        /// Fills Amplitude's own `platform`, `os_name`, `os_version` and `device_model` too.
        pub top_level_device_facts: bool = false,
        /// Fills Amplitude's own `currency` of a purchase too.
        pub top_level_currency: bool = false,
        /// Shows runs of agents, profile updates and orphaned profiles as events.
        pub optional_types: bool = false,
        /// Does not show types that nobody has heard of.
        pub hold_back_unknown_types: bool = false,
    }
}

impl CurrentsSource {
    pub(super) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.token.is_none() && !self.open {
            let message = "`token` is missing, so anybody could send events";
            let hint = "write `token: { env: CURRENTS_TOKEN }`, or `open: true` if that is meant";
            problems.push(Problem::new("", message).hint(hint));
        }
        if self.token.is_some() && self.open {
            let message = "`open` and `token` exclude each other";
            problems.push(Problem::new("open", message).hint("remove one of them"));
        }
        if matches!(self.token, Some(SecretRef::Literal(_))) && self.destination.is_none() {
            problems.push(literal_token());
        }
        problems
    }
}

/// The problem of a token being written out where that is not taken.
pub(crate) fn literal_token() -> Problem {
    let message = "`token` is written out; \
                   only a source whose destination is a sandbox on this machine takes it so";
    let hint = "write `{ env: CURRENTS_TOKEN }` or `{ file: currents.token }`";
    Problem::new("token", message).hint(hint)
}
