//! `isthmus jobs`, and what `isthmus backfill` and `isthmus replay` share: a plan first, then a job
//! that goes on by itself, watched from here.

use crate::client::{Client, Target};
use crate::{out, shutdown};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use isthmus_core::seam::Clock;
use isthmus_server::report::jobs::{JobReport, JobRequest, JobsReport, PlanReport};
use isthmus_server::system::SystemClock;
use std::io::{BufRead, IsTerminal};
use std::time::Duration;

/// Between two looks at a job.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Options of `isthmus jobs`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What to do; lists them unless given.
    #[arg(value_enum, default_value_t = Action::List)]
    action: Action,
    /// Which one.
    #[arg(required_if_eq_any([("action", "show"), ("action", "watch"), ("action", "cancel")]))]
    id: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// List plans, jobs that run, and jobs that ended.
    List,
    /// Show one.
    Show,
    /// Watch one until it ends.
    Watch,
    /// End one: what it has not sent is discarded, and counted.
    Cancel,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = Client::new(&arguments.target)?;
    let id = arguments.id.unwrap_or_default();
    match arguments.action {
        Action::List => {
            let report: JobsReport = client.get("/control/v1/jobs").await?;
            if arguments.json {
                out::line(serde_json::to_string_pretty(&report)?);
            } else {
                print_all(&report.jobs);
            }
            Ok(())
        }
        Action::Show => show(&client.get(&path(&id)).await?, arguments.json),
        Action::Watch => {
            let job = watch(&client, client.get(&path(&id)).await?, arguments.json).await?;
            show(&job, arguments.json)
        }
        Action::Cancel => {
            show(&client.post(&format!("{}/cancel", path(&id)), &()).await?, arguments.json)
        }
    }
}

/// Options that `isthmus backfill` and `isthmus replay` share.
#[derive(Debug, Args)]
pub(super) struct JobArguments {
    /// Name of the stream.
    pub(super) stream: String,
    /// When the first event was accepted, as in 2026-11-03T09:00:00Z.
    #[arg(long, value_name = "INSTANT")]
    pub(super) from: String,
    /// When the first event after it was accepted; now unless given.
    #[arg(long, value_name = "INSTANT")]
    pub(super) to: Option<String>,
    /// Starts without asking. Without it, and without a terminal to ask on, it only plans.
    #[arg(long)]
    yes: bool,
    /// Starts the job and does not wait for it.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Plans, shows the plan, asks, starts and watches.
pub(super) async fn plan_and_run(
    kind: &str,
    arguments: &JobArguments,
    request: &JobRequest,
) -> anyhow::Result<()> {
    let client = Client::new(&arguments.target)?;
    let planning = format!("/control/v1/streams/{}/{kind}", arguments.stream);
    let planned: JobReport = client.post(&planning, request).await?;
    let planned = watch(&client, planned, arguments.json).await?;
    let Some(plan) = &planned.plan else {
        bail!("{}", planned.error.unwrap_or_else(|| format!("the plan is {}", planned.state)));
    };
    let nothing = plan.objects + plan.dead_letters == 0;
    let starts = !nothing && (arguments.yes || !arguments.json && is_wanted(&planned, plan)?);
    if arguments.yes && !arguments.json {
        print_plan(&planned, plan);
    }
    if !starts {
        if arguments.json {
            out::line(serde_json::to_string_pretty(&planned)?);
        } else if nothing {
            print_plan(&planned, plan);
            out::line("there is nothing to send");
        }
        // Nobody will start it.
        let cancelled: JobReport =
            client.post(&format!("{}/cancel", path(&planned.id)), &()).await?;
        drop(cancelled);
        return Ok(());
    }
    let letters = plan.dead_letters > 0;
    let job: JobReport = client.post(&format!("{}/start", path(&planned.id)), &()).await?;
    if arguments.detach {
        return show(&job, arguments.json);
    }
    let job = watch(&client, job, arguments.json).await?;
    show(&job, arguments.json)?;
    if letters && job.id != planned.id {
        let letters = watch(&client, client.get(&path(&planned.id)).await?, arguments.json).await?;
        show(&letters, arguments.json)?;
    }
    Ok(())
}

/// Shows the plan and asks, where there is somebody to ask.
fn is_wanted(job: &JobReport, plan: &PlanReport) -> anyhow::Result<bool> {
    print_plan(job, plan);
    if !std::io::stdin().is_terminal() {
        out::line("nothing was started; run it again with --yes to start it");
        return Ok(false);
    }
    out::line("start it? [y/N]");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("the answer cannot be read")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Waits until `job` is planned or has ended. Interrupted, a plan is cancelled and a job goes on.
async fn watch(client: &Client, mut job: JobReport, quiet: bool) -> anyhow::Result<JobReport> {
    let interrupt = shutdown::token()?;
    let clock = SystemClock::new();
    let bar = if quiet || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0)
    };
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
    bar.set_style(ProgressStyle::with_template(style).context("the template is a constant")?);
    while matches!(&*job.state, "planning" | "running" | "waiting" | "cancelling") {
        tokio::select! {
            () = clock.sleep(LOOK_EVERY) => {}
            () = interrupt.cancelled() => {
                bar.finish_and_clear();
                if job.state == "planning" {
                    let _: JobReport = client.post(&format!("{}/cancel", path(&job.id)), &()).await?;
                    bail!("interrupted; nothing was started");
                }
                out::line(format!(
                    "the job goes on; watch it with `isthmus jobs watch {0}`, end it with \
                     `isthmus jobs cancel {0}`",
                    job.id
                ));
                return Ok(job);
            }
        }
        job = client.get(&path(&job.id)).await?;
        if let Some(progress) = job.progress {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
        bar.set_message(message(&job));
    }
    bar.finish_and_clear();
    Ok(job)
}

fn message(job: &JobReport) -> String {
    match &*job.state {
        "planning" => "planning".to_owned(),
        state => format!("{state}: {} delivered, {} pending", job.delivered, job.pending),
    }
}

fn print_plan(job: &JobReport, plan: &PlanReport) {
    out::line(format!(
        "{} of stream {}, events from {} to {}",
        job.kind, job.stream, job.from, job.to
    ));
    let count = |what: &str, count: u64| {
        if count > 0 {
            out::line(format!("  {count:>12}  {what}"));
        }
    };
    count("events and user updates", plan.items);
    count("users", plan.users);
    out::line(format!("  {:>12}  objects to send", plan.objects));
    count("dead letters to map anew and send", plan.dead_letters);
    out::line(format!("  {:>12}  requests at least{}", plan.requests, took(plan.seconds)));
    count("left out: delivered already, says the ledger", plan.already_delivered);
    count("properties left out: overtaken by later changes", plan.overtaken);
    count("held back by a rule of the stream", plan.discarded);
    count("would be refused by the vendor: they become dead letters", plan.refused);
    for note in &plan.notes {
        out::line(format!("  note: {note}"));
    }
}

fn took(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) if seconds < 1.0 => ", under a second at the present budget".to_owned(),
        Some(seconds) => format!(", {seconds:.0} s at the present budget"),
        None => String::new(),
    }
}

fn show(job: &JobReport, json: bool) -> anyhow::Result<()> {
    if json {
        out::line(serde_json::to_string_pretty(job)?);
    } else {
        print_all(std::slice::from_ref(job));
    }
    match &job.error {
        Some(error) => bail!("{error}"),
        None => Ok(()),
    }
}

fn print_all(jobs: &[JobReport]) {
    if jobs.is_empty() {
        out::line("no jobs; `isthmus backfill` and `isthmus replay` make them");
        return;
    }
    let header = [
        "job",
        "kind",
        "stream",
        "state",
        "delivered",
        "rejected",
        "discarded",
        "pending",
        "left out",
    ];
    let rows: Vec<_> = jobs.iter().map(row).collect();
    out::table(header, &rows);
}

fn row(job: &JobReport) -> [String; 9] {
    let delivered = job.delivered + job.resent;
    [
        job.id.clone(),
        job.kind.clone(),
        job.stream.clone(),
        job.state.clone(),
        delivered.to_string(),
        (job.rejected + job.refused).to_string(),
        job.discarded.to_string(),
        job.pending.to_string(),
        job.skipped.to_string(),
    ]
}

fn path(id: &str) -> String {
    format!("/control/v1/jobs/{id}")
}
