//! `isthmus profile`: what is known of one person, and having that forgotten.

mod erase;

use crate::client::{Client, Target, with_query};
use crate::out;
use clap::{Args, Subcommand};
use isthmus_server::report::profiles::{ProfileReport, PropertyReport};

/// Options of `isthmus profile`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show ids, properties with the time since when each has its value, and what they were before.
    Show(Show),
    /// Forget a person: here and, through the streams, at the destinations.
    Erase(erase::Erase),
    /// List the people who are or were to be forgotten.
    Erasures(erase::Erasures),
}

/// Who is asked about.
#[derive(Debug, Args)]
pub(super) struct Person {
    #[command(flatten)]
    pub(super) id: PersonId,
    /// Project of the person; may be left out where there is only one.
    #[arg(long, value_name = "NAME")]
    pub(super) project: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct PersonId {
    /// By user id.
    #[arg(long, value_name = "ID")]
    pub(super) user: Option<String>,
    /// By device id.
    #[arg(long, value_name = "ID")]
    pub(super) device: Option<String>,
    /// By Amplitude id.
    #[arg(long, value_name = "NUMBER")]
    pub(super) amplitude_id: Option<u64>,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::Show(arguments) => show(arguments).await,
        Action::Erase(arguments) => erase::erase(arguments).await,
        Action::Erasures(arguments) => erase::erasures(arguments).await,
    }
}

async fn show(arguments: Show) -> anyhow::Result<()> {
    let Show { person, target, json } = arguments;
    let client = Client::new(&target)?;
    let path = path(&person);
    if json {
        let report: serde_json::Value = client.get(&path).await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print(&client.get(&path).await?);
    Ok(())
}

/// Where the control API tells of `person`.
fn path(person: &Person) -> String {
    let PersonId { user, device, amplitude_id } = &person.id;
    with_query(
        "/control/v1/profiles",
        [
            ("project", person.project.clone()),
            ("user", user.clone()),
            ("device", device.clone()),
            ("amplitude_id", amplitude_id.map(|id| id.to_string())),
        ],
    )
}

fn print(report: &ProfileReport) {
    let who = report.user_id.as_deref().unwrap_or("an anonymous person");
    out::line(format!("{who} of project {}, Amplitude id {}", report.project, report.amplitude_id));
    let fact = |what: &str, value: String| {
        if !value.is_empty() {
            out::line(format!("  {what}: {value}"));
        }
    };
    fact("devices", report.device_ids.join(", "));
    let merged: Vec<_> = report.merged.iter().map(u64::to_string).collect();
    fact("merged with", merged.join(", "));
    fact("counted as", report.mapped_to.clone().unwrap_or_default());
    fact("counts as this user", report.mapped_from.join(", "));
    fact("first event", report.first_event_at.clone().unwrap_or_default());
    fact("last event on", report.last_event_on.clone().unwrap_or_default());
    fact("sent by", report.library.clone().unwrap_or_default());
    let no_groups = report.groups.as_object().is_none_or(serde_json::Map::is_empty);
    fact("groups", if no_groups { String::new() } else { report.groups.to_string() });
    if report.properties.is_empty() {
        out::line("  no properties");
    }
    for property in &report.properties {
        print_property(property);
    }
}

fn print_property(property: &PropertyReport) {
    let value = property.value.as_ref().map_or("no value".to_owned(), ToString::to_string);
    let since = property.since.as_ref().map(|since| format!(", since {since}"));
    let kind = if property.built_in { " (built-in)" } else { "" };
    out::line(format!("  {}{kind} = {value}{}", property.name, since.unwrap_or_default()));
    for past in &property.before {
        let from = past.from.as_deref().unwrap_or("some time");
        out::line(format!("    was {} from {from} until {}", past.value, past.until));
    }
}
