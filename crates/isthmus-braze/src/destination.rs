//! Braze as a destination: deliveries to requests, and its replies to verdicts.

use crate::body::Layout;
use crate::calls::TRACK;

use crate::{check, cluster, currents, edit, limits, mirror, reply};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use isthmus_config::Problem;
use isthmus_config::resource::BrazeDestination;
use isthmus_core::destination::{
    Answered, Budget, Cost, Delivery, Destination, Difference, EncodeError, Encoded, Lane, Limits,
    Message, Told, Verdict,
};
use isthmus_core::seam::{Method, Reply, Request};
use std::fmt;
use std::time::Duration;

/// One Braze workspace.
pub struct Braze {
    base: String,
    headers: HeaderMap,
    limits: Limits,
    company: Option<String>,
    mirrors: bool,
    timeout: Duration,
}

/// Shows where, not with which key.
impl fmt::Debug for Braze {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Braze({})", self.base)
    }
}

impl Braze {
    /// The workspace that `destination` names, opened with `rest_key`; or every problem at once,
    /// with paths inside the destination resource.
    pub fn build(destination: &BrazeDestination, rest_key: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let base = cluster::base_url(&destination.endpoint).map_err(|error| {
            problems.push(Problem {
                path: "endpoint".to_owned(),
                message: error.message,
                hint: error.hint,
            });
        });
        let headers = headers(rest_key).map_err(|problem| problems.push(problem));
        let limits = limits::build(destination).map_err(|found| problems.extend(found));
        if destination.app_id.as_deref().is_some_and(|app_id| app_id.trim().is_empty()) {
            problems.push(
                Problem::new("app_id", "the app identifier is empty")
                    .hint("copy it from Braze's settings, or leave the key out"),
            );
        }
        match (base, headers, limits) {
            (Ok(base), Ok(headers), Ok(limits)) if problems.is_empty() => Ok(Self {
                base,
                headers,
                limits,
                company: destination.limits.company.as_deref().map(|name| name.trim().to_owned()),
                mirrors: destination.mirror,
                timeout: destination.limits.timeout,
            }),
            _ => Err(problems),
        }
    }

    /// What the reply to [`Destination::probe`] means: `Ok` when the endpoint is Braze and takes
    /// the key, else what is wrong.
    pub fn judge_probe(&self, reply: &Reply) -> Result<(), String> {
        reply::judge_probe(reply)
    }

    /// The object that takes the place of `before` where somebody edited it to `after`, both as
    /// JSON; or why it cannot. What is wrong with the object itself [`Destination::check`] says.
    pub fn edited(&self, before: &str, after: &str) -> Result<String, String> {
        edit::edited(before, after)
    }

    pub(crate) fn request(&self, path: &str, body: Bytes) -> Request {
        Request {
            method: Method::Post,
            url: format!("{}{path}", self.base),
            headers: self.headers.clone(),
            body,
            timeout: self.timeout,
        }
    }
}

fn headers(rest_key: &str) -> Result<HeaderMap, Problem> {
    let key = rest_key.trim();
    let quoted = |key: &str| key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']);
    if key.is_empty() {
        return Err(Problem::new("rest_key", "the REST API key is empty"));
    }
    if quoted(key) {
        return Err(Problem::new("rest_key", "the REST API key has quotes around it")
            .hint("Braze wants it bare"));
    }
    let bearer = HeaderValue::from_str(&format!("Bearer {key}"));
    let (Ok(mut bearer), false) = (bearer, key.contains(char::is_whitespace)) else {
        return Err(Problem::new("rest_key", "the REST API key has characters no key has")
            .hint("check that the secret holds the key and nothing else"));
    };
    bearer.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, bearer),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ]))
}

impl Destination for Braze {
    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// One body for all sections of a call. Attributes of one user become one object, so there can be fewer
    /// objects than deliveries.
    fn encode(&self, batch: &[Delivery]) -> Result<Encoded, EncodeError> {
        let layout = Layout::of(batch);
        let body = layout.body(batch)?;
        let path = layout.about.unwrap_or(&TRACK).path;
        Ok(Encoded { request: self.request(path, body.into()), objects: layout.objects() })
    }

    fn judge(&self, batch: &[Delivery], reply: &Reply) -> Vec<Verdict> {
        reply::judge(batch, reply)
    }

    fn budget(&self, reply: &Reply) -> Option<Budget> {
        reply::budget(reply)
    }

    /// A track request without objects: 400 for a good key, 401 for any other.
    fn probe(&self) -> Request {
        self.request(TRACK.path, Bytes::from_static(b"{}"))
    }

    fn check(&self, message: &Message) -> Result<(), String> {
        check::object(message)
    }

    /// The company, where the contract counts for all of its workspaces; else the endpoint and the
    /// key, which belongs to one workspace.
    fn account(&self) -> String {
        if let Some(company) = &self.company {
            return format!("company:{company}");
        }
        self.recipient()
    }

    /// A key belongs to one workspace.
    fn recipient(&self) -> String {
        let key = self.headers.get(AUTHORIZATION).map(|key| Lane::of_bytes(key.as_bytes()).0);
        format!("{} {:x}", self.base, key.unwrap_or_default())
    }

    fn is_mirrored(&self, message: &Message) -> bool {
        self.mirrors && mirror::concerns(message)
    }

    fn differences(&self, run: &[&Message], told: Option<&Told>) -> Vec<Difference> {
        mirror::differences(run, told)
    }

    fn retold(&self, told: Option<&Told>, run: &[(&Message, Answered)]) -> Option<Told> {
        mirror::retold(told, run)
    }

    /// Currents tells of custom events and purchases.
    fn echo_key(&self, message: &Message) -> Option<u64> {
        Some(currents::sent_key(message.section, &message.payload)?.key.0)
    }

    fn costs(&self, batch: &[Delivery]) -> Vec<Cost> {
        mirror::costs(batch)
    }
}
