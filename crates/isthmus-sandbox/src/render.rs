//! `POST /_sandbox/render`: a message as Braze would render it for a user, calls included.
//!
//! In reading order:
//! - `source`: Braze's dialect becomes plain Liquid; `call`: the options of `connected_content`.
//! - `language`, `filter`, `lenient`: what messages may use, and how quiet they are about nil.
//! - `template`: a message, rendered in passes; `personal`: what it knows.
//! - `outgoing`, `credential`: the calls.
//!
//! Source: "Connected Content", Braze documentation, read 2026-09.

mod call;
mod credential;
mod filter;
mod language;
mod lenient;
mod outgoing;
mod personal;
mod source;
mod template;

pub use self::credential::Credential;
pub(crate) use self::credential::{Credentials, routes as credential_routes};
pub(crate) use self::outgoing::Memory;

use self::call::Call;
use self::outgoing::{CallReport, Caller, Ending};
use self::template::{Content, Pass, Stop, Template};
use crate::api::Answer;
use crate::campaigns::Draft;
use crate::model::{Identifying, Workspace};
use crate::sandbox::{Room, Shared};
use axum::Router;
use axum::body::{self, Body};
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::post;
use liquid_core::model::Object;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Size of a request to this route.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Calls of one message, so that a loop ends.
const CALLS_MAX: usize = 50;
/// Attempts after the first, for `:retry`.
const RETRIES_MAX: u32 = 5;
/// The wait before the first of them; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(250);

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/_sandbox/render", post(answer))
}

/// Why a message cannot be rendered. Who wrote it acts.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", line.map_or(String::new(), |line| format!("line {line}: ")))]
pub(super) struct TemplateError {
    /// Where it is, as far as that is known.
    line: Option<usize>,
    message: String,
}

impl TemplateError {
    fn on(line: usize, message: &str) -> Self {
        Self { line: Some(line), message: message.to_owned() }
    }

    /// What the library says about a text that begins on `first_line`, without its drawing.
    fn from_liquid(error: &liquid_core::Error, first_line: usize) -> Self {
        let text = error.to_string();
        let place = text.split_once("--> ").and_then(|(_, place)| place.split(':').next());
        let line = place.and_then(|line| line.trim().parse::<usize>().ok());
        let message = match text.rsplit_once("\n  = ").or_else(|| text.rsplit_once(" = ")) {
            Some((_, reason)) if line.is_some() => reason.lines().next().unwrap_or(reason),
            _ => text.strip_prefix("liquid: ").unwrap_or(&text),
        };
        let lines: Vec<&str> = message.lines().map(str::trim).collect();
        let message = lines.join(" ").trim().to_owned();
        Self { line: line.map(|line| line + first_line - 1), message }
    }
}

/// What a request asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    template: String,
    external_id: Option<Box<RawValue>>,
    user_alias: Option<Box<RawValue>>,
    braze_id: Option<Box<RawValue>>,
    email: Option<Box<RawValue>>,
    phone: Option<Box<RawValue>>,
    #[serde(default)]
    event_properties: Map<String, Value>,
    /// As in the dashboard, where `:retry` has no effect.
    #[serde(default)]
    preview: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    workspace: Option<String>,
}

/// A message that was rendered, or aborted on the way.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Rendered {
    pub(crate) output: String,
    /// Why the message is not sent.
    pub(crate) aborted: Option<String>,
    pub(crate) calls: Vec<CallReport>,
    pub(crate) warnings: Vec<String>,
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Query(place): Query<Place>,
    body: Body,
) -> Response {
    let refuse = |status, text: &str| Answer::message(status, text).into_response();
    let Ok(bytes) = body::to_bytes(body, BODY_BYTES_MAX).await else {
        return refuse(413, "the request is too large");
    };
    let asked: Asked = match serde_json::from_slice(&bytes) {
        Ok(asked) => asked,
        Err(error) => return refuse(400, &error.to_string()),
    };
    let Some(room) = shared.room(place.workspace.as_deref()) else {
        return refuse(404, "unknown workspace");
    };
    let globals = match globals(&asked, &shared, &shared.enter(room)) {
        Ok(globals) => globals,
        Err((status, reason)) => return refuse(status, &reason),
    };
    match render(&shared, room, &asked, &globals).await {
        Ok(rendered) => Answer::json(200, &rendered).into_response(),
        Err(error) => {
            let body = json!({ "message": error.to_string(), "line": error.line });
            Answer::json(400, &body).into_response()
        }
    }
}

/// Renders a message about the user with this `external_id`, or about nobody; the error is for
/// people.
pub(crate) async fn try_out(
    shared: &Shared,
    room: &Room,
    template: &str,
    external_id: Option<&str>,
) -> Result<Rendered, String> {
    let asked = json!({ "template": template, "external_id": external_id });
    let asked: Asked = serde_json::from_value(asked).map_err(|error| error.to_string())?;
    let globals = globals(&asked, shared, &shared.enter(room)).map_err(|(_, reason)| reason)?;
    render(shared, room, &asked, &globals).await.map_err(|error| error.to_string())
}

/// Whether a message can be rendered at all; the error is for people.
pub(crate) fn check(template: &str) -> Result<(), String> {
    Template::message(template).map(drop).map_err(|error| error.to_string())
}

/// Renders the message of a campaign for its user, who may be gone; the error is for people.
pub(crate) async fn of_campaign(
    shared: &Shared,
    room: &Room,
    draft: &Draft,
) -> Result<Rendered, String> {
    let Draft { template, braze_id, event_properties } = draft;
    let asked = json!({
        "template": template, "braze_id": braze_id, "event_properties": event_properties,
    });
    let asked: Asked = serde_json::from_value(asked).map_err(|error| error.to_string())?;
    let globals = globals(&asked, shared, &shared.enter(room)).map_err(|(_, reason)| reason)?;
    render(shared, room, &asked, &globals).await.map_err(|error| error.to_string())
}

/// What the message knows. Without an identifier, it is about nobody.
fn globals(asked: &Asked, shared: &Shared, workspace: &Workspace) -> Result<Object, (u16, String)> {
    let identifying = Identifying {
        external_id: asked.external_id.as_deref().map(RawValue::get),
        user_alias: asked.user_alias.as_deref().map(RawValue::get),
        braze_id: asked.braze_id.as_deref().map(RawValue::get),
        email: asked.email.as_deref().map(RawValue::get),
        phone: asked.phone.as_deref().map(RawValue::get),
    };
    let named =
        [&asked.external_id, &asked.user_alias, &asked.braze_id, &asked.email, &asked.phone];
    let user = if named.iter().all(|member| member.is_none()) {
        None
    } else {
        let identifier = identifying.deciding(false);
        let identifier = identifier.map_err(|reason| (400, reason.into_owned()))?;
        let directory = workspace.directory();
        let found = directory.find(&identifier).and_then(|key| directory.get(key));
        Some(found.ok_or_else(|| (404, format!("unknown user: {identifier}")))?)
    };
    Ok(personal::globals(user, &asked.event_properties, shared.now().wall))
}

/// Renders in passes, and makes the call that each of them needs.
async fn render(
    shared: &Shared,
    room: &Room,
    asked: &Asked,
    globals: &Object,
) -> Result<Rendered, TemplateError> {
    let template = Template::message(&asked.template)?;
    let caller = Caller {
        http: shared.http.as_ref(),
        clock: shared.clock().as_ref(),
        random: shared.random.as_ref(),
        memory: &room.calls,
        credentials: &shared.credentials,
    };
    let mut rendered = Rendered { warnings: template.warnings.clone(), ..Rendered::default() };
    let mut contents = Vec::new();
    loop {
        match template.pass(globals, &contents)? {
            Pass::Rendered(output) => {
                rendered.output = output;
                return Ok(rendered);
            }
            Pass::Stopped(Stop::Aborted(reason)) => {
                rendered.aborted = Some(reason);
                return Ok(rendered);
            }
            Pass::Stopped(Stop::Wanted(call)) => {
                if contents.len() >= CALLS_MAX {
                    let message = format!("more than {CALLS_MAX} calls");
                    return Err(TemplateError { line: None, message });
                }
                let mut ending = rendered.attempt(&caller, &call).await;
                if ending.may_retry && call.retry && !asked.preview {
                    contents.push(Content::Nothing);
                    // A message that gives up on this very failure is not worth another attempt.
                    if let Pass::Stopped(Stop::Aborted(reason)) =
                        template.pass(globals, &contents)?
                    {
                        rendered.aborted = Some(reason);
                        return Ok(rendered);
                    }
                    contents.pop();
                    ending = rendered.retry(&caller, &call, ending).await;
                    if ending.may_retry {
                        let reason = "Connected Content failed after all retries";
                        rendered.aborted = Some(format!("{reason}: {}", call.url));
                        return Ok(rendered);
                    }
                }
                contents.push(ending.content);
            }
        }
    }
}

impl Rendered {
    async fn attempt(&mut self, caller: &Caller<'_>, call: &Call) -> Ending {
        let ending = caller.attempt(call).await;
        self.calls.push(ending.report.clone());
        if let Some(warning) = &ending.warning
            && !self.warnings.contains(warning)
        {
            self.warnings.push(warning.clone());
        }
        ending
    }

    /// Makes further attempts until one does not fail, or they are used up.
    async fn retry(&mut self, caller: &Caller<'_>, call: &Call, mut ending: Ending) -> Ending {
        for attempt in 0..RETRIES_MAX {
            caller.clock.sleep(RETRY_FIRST * 2_u32.pow(attempt)).await;
            ending = self.attempt(caller, call).await;
            if !ending.may_retry {
                break;
            }
        }
        ending
    }
}
