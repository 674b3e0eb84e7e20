//! A message in Liquid that asks the server's User Profile API about its reader, rendered by the
//! sandbox as Braze would.

use crate::out;
use anyhow::{Context, bail};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use isthmus_core::seam::{Http, Method, Request};
use isthmus_server::system::{SystemClock, SystemHttp};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Opens the User Profile API of the demo's project.
pub(super) const SECRET_KEY: &str = "demo-secret-key";

/// Readers of the message.
const READERS: usize = 2;

/// The message. Country and last order are not among the attributes that the stream sends: they are
/// looked up at the moment at which the message is rendered.
fn template(server: &str) -> String {
    format!(
        r#"{{% connected_content {server}/v1/userprofile?user_id={{{{${{user_id}} | url_param_escape}}}}&get_amp_props=true
   :headers {{"Authorization": "Api-Key {SECRET_KEY}"}} :save profile %}}
{{% if profile.__http_status_code__ != 200 %}}{{% abort_message('no profile') %}}{{% endif %}}
{{% assign known = profile.userData.amp_props %}}
Hello {{{{${{first_name}} | default: 'there'}}}}, you are on the {{{{known.plan | default: 'free'}}}} plan.
{{% if known.last_order_id %}}
Order {{{{known.last_order_id}}}} is on its way to {{{{known.city}}}}, {{{{known.country}}}}.
{{% else %}}
Your first delivery to {{{{known.city}}}}, {{{{known.country}}}} is free.
{{% endif %}}"#
    )
}

/// What the sandbox says about a message.
#[derive(Debug, Deserialize)]
struct Rendered {
    output: String,
    aborted: Option<String>,
    calls: Vec<Call>,
}

#[derive(Debug, Deserialize)]
struct Call {
    status: Option<u16>,
    took_millis: u64,
    error: Option<String>,
}

/// Prints the message's template, and what some of `users` read.
pub(super) async fn show(
    server: &str,
    sandbox: &str,
    users: &[String],
    clock: Arc<SystemClock>,
) -> anyhow::Result<()> {
    let template = template(server);
    let http = SystemHttp::new(clock)?;
    out::line("");
    out::line("A message that asks isthmus about its reader (Connected Content):");
    out::line("");
    print_indented(&template);
    for user in users.iter().take(READERS) {
        let rendered = render(&http, sandbox, &template, user).await?;
        let [call] = rendered.calls.as_slice() else {
            bail!("the message made {} calls instead of one", rendered.calls.len());
        };
        if let Some(reason) = rendered.aborted {
            let why = call.error.as_deref().unwrap_or("answered");
            bail!("the message to {user} was aborted: {reason}; its call: {why}");
        }
        let status = call.status.map_or("no answer".to_owned(), |status| status.to_string());
        out::line("");
        out::line(format!("{user} reads (profile: {status} after {} ms):", call.took_millis));
        out::line("");
        print_indented(&rendered.output);
    }
    Ok(())
}

/// Empty lines are what is left of tags.
fn print_indented(text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        out::line(format!("    {line}"));
    }
}

async fn render(
    http: &SystemHttp,
    sandbox: &str,
    template: &str,
    user: &str,
) -> anyhow::Result<Rendered> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Request {
        method: Method::Post,
        url: format!("{sandbox}/_sandbox/render"),
        headers,
        body: json!({ "template": template, "external_id": user }).to_string().into(),
        timeout: Duration::from_secs(10),
    };
    let reply = http.send(request).await.context("sandbox does not answer")?;
    if !reply.is_success() {
        bail!("the sandbox cannot render the message: {}", reply.excerpt());
    }
    serde_json::from_slice(&reply.body).context("sandbox answered no JSON")
}
