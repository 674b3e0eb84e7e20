//! `isthmus dead-letters edit`: what is to be sent instead.

use super::{path, print};
use crate::client::{Client, Target, escaped};
use crate::out;
use anyhow::{Context, bail};
use clap::Args;
use isthmus_core::json;
use isthmus_core::seam::Method;
use isthmus_server::report::letters::DeadLetterDetails;
use serde_json::value::RawValue;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Command;

/// Options of `isthmus dead-letters edit`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of the stream, or `currents:SOURCE`.
    stream: String,
    /// The dead letter, as `list` names it.
    id: String,
    /// The object to send instead, as JSON; without it, and without a file, an editor is opened.
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// A file that holds it.
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    payload_file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { stream, id, payload, payload_file, target, json } = arguments;
    let client = Client::new(&target)?;
    let path = format!("{}/{}", path(&stream), escaped(&id));
    let payload = match (payload, payload_file) {
        (Some(payload), _) => payload,
        (None, Some(file)) => std::fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read", file.display()))?,
        (None, None) => {
            if !std::io::stdin().is_terminal() {
                bail!("say what to send instead with --payload or --payload-file");
            }
            let known: DeadLetterDetails = client.get(&path).await?;
            let Some(payload) = edited(&known.dead_letter.payload)? else {
                out::line("nothing was changed");
                return Ok(());
            };
            payload
        }
    };
    // As it is, because reading numbers and writing them again may change them.
    let payload: Box<RawValue> =
        serde_json::from_str(&payload).context("the payload is no JSON")?;
    let body = format!("{{\"payload\":{}}}", payload.get());
    if json {
        let report: serde_json::Value = client.send(Method::Patch, &path, body).await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print(&client.send(Method::Patch, &path, body).await?);
    out::line(format!("send it: isthmus dead-letters resend {stream} {id}"));
    Ok(())
}

/// What a person makes of `payload` in their editor; `None` if nothing.
fn edited(payload: &str) -> anyhow::Result<Option<String>> {
    let editor = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR"));
    let editor = editor.unwrap_or_else(|_| "vi".to_owned());
    let mut words = editor.split_whitespace();
    let program = words.next().context("the environment variable EDITOR is empty")?;
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    let before = lines(payload);
    std::fs::write(file.path(), &before)?;
    let status = Command::new(program)
        .args(words)
        .arg(file.path())
        .status()
        .with_context(|| format!("editor {program} cannot be started"))?;
    if !status.success() {
        bail!("editor {program} ended with {status}; nothing was changed");
    }
    let after = std::fs::read_to_string(file.path())?;
    Ok((after != before).then_some(after))
}

/// The object with a member a line, every value as it is.
fn lines(payload: &str) -> String {
    let member = |(name, value): (std::borrow::Cow<'_, str>, &str)| {
        let mut line = "  ".to_owned();
        json::push_text(&mut line, &name);
        line.push_str(": ");
        line.push_str(value);
        line
    };
    let members: Vec<_> = json::members(payload).map(member).collect();
    format!("{{\n{}\n}}\n", members.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn an_object_is_edited_line_by_line_and_loses_nothing() {
        let payload =
            r#"{"external_id":"ana","price":12345678901234567890.10,"properties":{"a":1}}"#;
        let shown = lines(payload);
        assert_eq!(
            shown,
            "{\n  \"external_id\": \"ana\",\n  \"price\": 12345678901234567890.10,\n  \
             \"properties\": {\"a\":1}\n}\n"
        );
        assert_eq!(lines(&shown), shown);
    }
}
