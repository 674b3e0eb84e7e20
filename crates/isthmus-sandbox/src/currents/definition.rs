//! A connector as somebody wrote it, and what was built of that.

use super::catalogue::Kind;
use super::file::Codec;
use crate::span::Span;
use crate::written::{DefinitionError, Members};
use isthmus_core::seam::Backoff;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// Events per request, unless Braze configures another number.
const BATCH_MAX: usize = 100;
/// Events per file. At Braze 15,000; here a file shall come soon.
const FILE_MAX: usize = 1_000;
/// How long an event waits for its batch to fill. At Braze up to 15 minutes.
const LINGER: Duration = Duration::from_secs(1);
/// Events that wait in one connector; at Braze time is the limit, here it is memory.
const QUEUE_MAX: usize = 1_000_000;
/// How long a connector with wrong credentials waits; the old documentation says 2 to 5 minutes.
const CREDENTIALS_RETRY: Duration = Duration::from_mins(2);
/// Back-off: not documented, but that it is exponential and has jitter.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(5);
/// How long a request may take; not documented.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connector: which events go where, how.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// Numbers of the ticked types; without any, all of them.
    types: Option<BTreeSet<usize>>,
    pub(super) batch_max: usize,
    pub(super) linger: Duration,
    /// Share of the events that are sent a second time.
    pub(super) duplicates: f64,
    /// Share of the events that later ones overtake.
    pub(super) reorder: f64,
    /// By field name.
    pub(super) transform: BTreeMap<String, Transform>,
    pub(super) queue_max: usize,
    pub(super) to: To,
}

/// What is done to a field before it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Transform {
    /// The value becomes the text `[REDACTED]`.
    Redact,
    /// The value becomes its SHA-256.
    Hash,
}

#[derive(Debug, Clone)]
pub(super) enum To {
    Http(Endpoint),
    Folder(Folder),
}

/// A custom HTTP endpoint.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) token: Option<String>,
    pub(super) backoff: Backoff,
    pub(super) credentials_retry: Duration,
    /// Failures in a row after which the connector is switched off; without a number, never.
    pub(super) failures_max: Option<u32>,
    pub(super) timeout: Duration,
}

/// A folder that stands for a bucket.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) prefix: String,
    pub(super) cluster: String,
    pub(super) connection: Connection,
    pub(super) integration: Option<String>,
    pub(super) zone: String,
    pub(super) codec: Codec,
    /// Fields that a later release added to every schema.
    pub(super) schema_added: usize,
}

/// The storage that a folder stands for, as keys and schemas name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Connection {
    S3,
    #[serde(rename = "GCS")]
    Gcs,
    AzureBlob,
}

impl Connection {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Gcs => "GCS",
            Self::AzureBlob => "AzureBlob",
        }
    }
}

impl Definition {
    /// Reads a definition: JSON with either a `url` or a `folder`.
    pub(super) fn read(written: &Value) -> Result<Self, DefinitionError> {
        let mut members = Members::of("", written.clone())?;
        let url = members.take::<String>("url")?;
        let folder = members.take::<PathBuf>("folder")?;
        let to = match (url, folder) {
            (Some(url), None) => To::Http(Endpoint::read(url, &mut members)?),
            (None, Some(folder)) => To::Folder(Folder::read(folder, &mut members)?),
            (Some(_), Some(_)) => {
                return Err(members.wrong("folder", "a connector has a url or a folder, not both"));
            }
            (None, None) => return Err(members.wrong("url", "is required, or folder")),
        };
        let batch_max = if matches!(to, To::Http(_)) { BATCH_MAX } else { FILE_MAX };
        let definition = Self {
            types: types(&mut members)?,
            batch_max: members.count("batch_max", batch_max)?,
            linger: span(&mut members, "linger", LINGER)?,
            duplicates: members.share("duplicates", 0.0)?,
            reorder: members.share("reorder", 0.0)?,
            transform: members.take("transform")?.unwrap_or_default(),
            queue_max: members.count("queue_max", QUEUE_MAX)?,
            to,
        };
        members.end()?;
        Ok(definition)
    }

    /// Whether events of this type are exported.
    pub(super) fn ticks(&self, kind: &Kind) -> bool {
        let possible = kind.by_http || matches!(self.to, To::Folder(_));
        possible && self.types.as_ref().is_none_or(|types| types.contains(&kind.number))
    }

    /// The ticked types.
    pub(super) fn ticked(&self) -> impl Iterator<Item = &'static Kind> {
        Kind::all_sent().filter(|kind| self.ticks(kind))
    }
}

/// `"all"`, or a list of names.
fn types(members: &mut Members) -> Result<Option<BTreeSet<usize>>, DefinitionError> {
    let names = match members.value("types") {
        None => return Ok(None),
        Some(Value::String(all)) if all == "all" => return Ok(None),
        Some(names) => serde_json::from_value::<Vec<String>>(names)
            .map_err(|_| members.wrong("types", "must be \"all\" or a list of event types"))?,
    };
    let mut numbers = BTreeSet::new();
    for (position, name) in names.iter().enumerate() {
        let kind = Kind::of(name).ok_or_else(|| {
            let at = format!("types[{position}]");
            members.wrong(&at, format!("`{name}` is no event type of Currents"))
        })?;
        numbers.insert(kind.number);
    }
    Ok(Some(numbers))
}

fn span(
    members: &mut Members,
    name: &'static str,
    otherwise: Duration,
) -> Result<Duration, DefinitionError> {
    Ok(members.take::<Span>(name)?.map_or(otherwise, |span| span.0))
}

impl Endpoint {
    fn read(url: String, members: &mut Members) -> Result<Self, DefinitionError> {
        let is_url = url.parse::<http::Uri>().is_ok_and(|uri| {
            uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        if !is_url {
            return Err(members.wrong("url", "must be an absolute http or https URL"));
        }
        let token = members.take::<String>("token")?;
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(members.wrong("token", "must be visible ASCII without spaces"));
        }
        Ok(Self {
            url,
            token,
            backoff: Backoff {
                first: span(members, "retry_first", RETRY_FIRST)?,
                cap: span(members, "retry_max", RETRY_MAX)?,
            },
            credentials_retry: span(members, "credentials_retry", CREDENTIALS_RETRY)?,
            failures_max: members.take("failures_max")?,
            timeout: span(members, "timeout", TIMEOUT)?,
        })
    }
}

impl Folder {
    fn read(path: PathBuf, members: &mut Members) -> Result<Self, DefinitionError> {
        let part = |members: &mut Members, name, otherwise: &str| {
            let text = members.take::<String>(name)?.unwrap_or_else(|| otherwise.to_owned());
            let is_part =
                !text.is_empty() && !text.split('/').any(|part| matches!(part, "" | "." | ".."));
            if is_part { Ok(text) } else { Err(members.wrong(name, "must be a part of a path")) }
        };
        let folder = Self {
            path,
            prefix: part(members, "prefix", "currents")?,
            cluster: part(members, "cluster", "prod-01")?,
            connection: members.take("connection")?.unwrap_or(Connection::S3),
            integration: members.take::<String>("integration")?,
            zone: part(members, "zone", "prod")?,
            codec: members.take("codec")?.unwrap_or(Codec::Null),
            schema_added: members.take("schema_added")?.unwrap_or(0),
        };
        let is_hex = |id: &String| id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if folder.integration.as_ref().is_some_and(|id| !is_hex(id)) {
            return Err(members.wrong("integration", "must be 24 hexadecimal digits"));
        }
        Ok(folder)
    }
}

/// A definition as it may be shown.
pub(super) fn shown(written: &Value) -> Value {
    let mut shown = written.clone();
    if let Some(token) = shown.get_mut("token") {
        *token = json!("***");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let endpoint = |name: &str, value: Value| json!({"url": "http://a.test/", name: value});
        let folder = |name: &str, value: Value| json!({"folder": "f", name: value});
        for (written, error) in [
            (json!({}), "url: is required, or folder"),
            (
                json!({"url": "x", "folder": "f"}),
                "folder: a connector has a url or a folder, not both",
            ),
            (json!({"url": "a.test"}), "url: must be an absolute http or https URL"),
            (endpoint("token", json!("a b")), "token: must be visible ASCII without spaces"),
            (
                endpoint("types", json!(["users.No"])),
                "types[0]: `users.No` is no event type of Currents",
            ),
            (endpoint("types", json!("some")), "types: must be \"all\" or a list of event types"),
            (endpoint("duplicates", json!(1.5)), "duplicates: must be from 0 to 1, not 1.5"),
            (endpoint("batch_max", json!(0)), "batch_max: must be at least 1"),
            (folder("prefix", json!("../up")), "prefix: must be a part of a path"),
            (folder("integration", json!("7")), "integration: must be 24 hexadecimal digits"),
        ] {
            let read = Definition::read(&written).map(drop).map_err(|error| error.to_string());
            assert_eq!(read, Err(error.to_owned()), "{written}");
        }
        for (written, beginning) in [
            (endpoint("linger", json!("soon")), "linger: `soon` is not a duration"),
            (endpoint("transform", json!({"a": "hide"})), "transform: unknown variant `hide`"),
            (endpoint("codec", json!("null")), "codec: is unknown; there are url, folder, token"),
            (folder("token", json!("t")), "token: is unknown; there are url, folder, prefix"),
            (folder("codec", json!("zip")), "codec: unknown variant `zip`"),
        ] {
            let error = Definition::read(&written).expect_err("refused").to_string();
            assert!(error.starts_with(beginning), "{error}");
        }
    }

    #[test]
    fn only_storage_takes_what_is_never_sent_by_http() {
        let bucket = Kind::of("users.RandomBucketNumberUpdate").expect("the type");
        let read = |written| Definition::read(&written).expect("a definition");
        assert!(!read(json!({"url": "http://a.test/"})).ticks(bucket));
        let folder = read(json!({"folder": "f", "types": "all"}));
        assert!(folder.ticks(bucket));
        assert_eq!(folder.ticked().count(), 103);
    }

    #[test]
    fn a_token_is_not_shown() {
        let written = json!({"url": "http://a.test/", "token": "secret"});
        assert_eq!(shown(&written), json!({"url": "http://a.test/", "token": "***"}));
    }
}
