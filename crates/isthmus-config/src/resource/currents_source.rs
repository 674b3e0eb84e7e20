//! Currents sources: connectors of Braze whose events become events of a project.

use crate::check;
use crate::diagnostic::Problem;
use crate::secret::SecretRef;
use crate::shape::{section, shape};
use std::time::Duration;

shape! {
    /// `kind: currents_source`: a Currents connector of Braze, whose events become events of a
    /// project. Braze posts to `/currents/http/NAME`, or writes `files`, or both.
    pub struct CurrentsSource {
        /// What the source is called here; unique among sources, and the end of its address.
        pub name: String => check::name,
        /// Name of the project whose events they are.
        pub project: String,
        /// The token that Braze sends as `Authorization: Bearer TOKEN`. Without it, the source takes
        /// no posts unless it is `open`, and must have `files`. A literal is taken only where `destination` is a sandbox on this machine.
        pub token: Option<SecretRef>,
        /// Takes events from anybody who can reach the address.
        pub open: bool = false,
        /// Name of the destination that is the workspace whose events these are: what its streams
        /// sent there is recognised when it comes back.
        pub destination: Option<String>,
        /// Name of another source of the same project that brings the same events under the same
        /// ids, for example the files of a connector beside its posts: each event is kept once.
        pub same_events_as: Option<String>,
        /// Where the storage connector of Braze writes.
        pub files: Option<SourceFiles>,
        /// What events and their properties are called. As Braze's own connector to Amplitude calls
        /// them unless told otherwise.
        pub names: CurrentsNames = CurrentsNames::default(),
    }
}

shape! {
    /// `files` of a Currents source: a bucket or a folder to which Braze's storage connector writes, or
    /// a copy of it, followed for as long as the source is there. Read are files that end in `.avro`,
    /// `.json`, `.jsonl` and `.ndjson`, and each of these with `.gz` after it.
    pub struct SourceFiles {
        /// `s3://BUCKET/PREFIX`, or a folder as `file:///FOLDER` or a path. Everything below is listed.
        pub url: String => check::files_url,
        /// Where the bucket is served, if not by AWS: `https://storage.example.com`.
        pub endpoint: Option<String> => check::none_or_web_address,
        /// Region of the bucket. `AWS_REGION` of the environment, else `us-east-1`, unless given.
        pub region: Option<String> => check::none_or_not_blank,
        /// Key that may list the bucket and get its objects. Without it, what the environment has for
        /// every AWS client: variables, web identity, the role of the machine.
        pub access_key_id: Option<SecretRef>,
        /// The other half of the key.
        pub secret_access_key: Option<SecretRef>,
        /// Beside a key that is temporary.
        pub session_token: Option<SecretRef>,
        /// From one look for new files to the next.
        pub poll: Duration = Duration::from_mins(1) => check::not_zero,
        /// From one listing of everything to the next, where there are more than 5,000 files; between
        /// them, the folders of the last three hours are looked at.
        pub list_everything: Duration = Duration::from_hours(1) => check::not_zero,
        /// Reads what is there when the source is made. Otherwise that is left to
        /// `isthmus import currents`, and only what comes later is read.
        pub from_the_beginning: bool = true,
        /// How long after its last change a file that ends in the middle is taken to be still being
        /// written, before it is called damaged.
        pub settle: Duration = Duration::from_mins(10),
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
        if self.token.is_none() && !self.open && self.files.is_none() {
            let message = "`token` is missing, so anybody could send events";
            let hint = "write `token: { env: CURRENTS_TOKEN }`, or `open: true` if that is meant; \
                        a source that has `files` needs neither";
            problems.push(Problem::new("", message).hint(hint));
        }
        if self.token.is_some() && self.open {
            let message = "`open` and `token` exclude each other";
            problems.push(Problem::new("open", message).hint("remove one of them"));
        }
        if matches!(self.token, Some(SecretRef::Literal(_))) && self.destination.is_none() {
            problems.push(literal_token());
        }
        problems.extend(self.files.iter().flat_map(SourceFiles::check));
        problems
    }

    /// Whether Braze may post to it.
    pub fn takes_posts(&self) -> bool {
        self.token.is_some() || self.open
    }
}

impl SourceFiles {
    /// Whether they are in a bucket, and not in a folder.
    pub fn is_bucket(&self) -> bool {
        self.url.starts_with("s3://")
    }

    fn check(&self) -> Vec<Problem> {
        let keys = [
            ("access_key_id", &self.access_key_id),
            ("secret_access_key", &self.secret_access_key),
            ("session_token", &self.session_token),
        ];
        let mut problems = Vec::new();
        if !self.is_bucket() {
            let given = [("endpoint", self.endpoint.is_some()), ("region", self.region.is_some())];
            let given = given.into_iter().chain(keys.map(|(name, key)| (name, key.is_some())));
            for (name, _) in given.filter(|(_, given)| *given) {
                let message = format!("`{name}` is of buckets, and `url` names a folder");
                let hint = "write `url: s3://BUCKET/PREFIX`, or remove it";
                problems.push(Problem::new(format!("files.{name}"), message).hint(hint));
            }
            return problems;
        }
        let [id, secret, _] = keys;
        if let Some((missing, _)) = [id, secret].into_iter().find(|(_, key)| key.is_none())
            && let Some((name, _)) = keys.into_iter().find(|(_, key)| key.is_some())
        {
            let message = format!("`{name}` is there without `{missing}`");
            let hint = "give both, or none to use what the environment has";
            problems.push(Problem::new(format!("files.{name}"), message).hint(hint));
        }
        let is_local = self.endpoint.as_deref().is_some_and(check::is_loopback);
        for (name, key) in keys {
            if matches!(key, Some(SecretRef::Literal(_))) && !is_local {
                let message =
                    format!("`{name}` is written out; only a bucket on this machine takes it so");
                let hint = "write `{ env: NAME }` or `{ file: PATH }`";
                problems.push(Problem::new(format!("files.{name}"), message).hint(hint));
            }
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
