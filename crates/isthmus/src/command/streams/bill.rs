//! `isthmus streams bill`: what streams cost day by day, and what the mirror saved.

use crate::client::{Client, Target, with_query};
use crate::out;
use clap::Args;
use isthmus_server::report::bill::{BillCounts, BillReport, DayBillReport, StreamBill};

/// Options of `isthmus streams bill`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only this stream.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// First day, in UTC; a week up to the last day unless given.
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<String>,
    /// Last day, in UTC; today unless given.
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { stream, from, to, target, json } = arguments;
    let client = Client::new(&target)?;
    let path = with_query("/control/v1/bill", [("stream", stream), ("from", from), ("to", to)]);
    if json {
        let report: serde_json::Value = client.get(&path).await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print(&client.get(&path).await?);
    Ok(())
}

fn print(report: &BillReport) {
    out::line(format!("{} to {}, days in UTC", report.from, report.to));
    if report.streams.is_empty() {
        out::line("there are no streams");
    }
    for stream in &report.streams {
        print_stream(stream);
    }
    if let [_, _, ..] = report.streams.as_slice() {
        out::line("");
        let row = cells("all streams".to_owned(), &report.total, "-".to_owned());
        out::table(header(""), &[row]);
    }
    if let Some(saved) = saved(&report.total) {
        out::line(saved);
    }
}

fn print_stream(stream: &StreamBill) {
    let StreamBill { stream, destination, requests_per_hour, days, total } = stream;
    out::line("");
    out::line(match requests_per_hour {
        Some(limit) => format!("{stream} to {destination}, which takes {limit} requests per hour"),
        None => format!("{stream} to {destination}"),
    });
    if days.is_empty() {
        out::line("nothing was sent or saved");
        return;
    }
    let mut rows: Vec<_> =
        days.iter().map(|day| cells(day.day.clone(), &day.bill, busiest(day))).collect();
    rows.push(cells("total".to_owned(), total, String::new()));
    out::table(header("day"), &rows);
}

fn header(first: &str) -> [&str; 8] {
    let saved = "objects saved";
    let points = "data points";
    [
        first,
        "objects",
        saved,
        "attributes saved",
        "requests",
        points,
        "points saved",
        "busiest hour",
    ]
}

fn cells(first: String, bill: &BillCounts, busiest: String) -> [String; 8] {
    let BillCounts { objects, objects_saved, attributes_saved, requests, points, points_saved } =
        bill;
    let numbers = [objects, objects_saved, attributes_saved, requests, points, points_saved];
    let [objects, objects_saved, attributes_saved, requests, points, points_saved] =
        numbers.map(u64::to_string);
    [first, objects, objects_saved, attributes_saved, requests, points, points_saved, busiest]
}

fn busiest(day: &DayBillReport) -> String {
    match day.busiest_hour_share {
        Some(share) => format!("{:.2} %", share * 100.0),
        None => format!("{} requests", day.busiest_hour_requests),
    }
}

/// What the mirror saved, in one line; nothing where there was nothing to save.
fn saved(bill: &BillCounts) -> Option<String> {
    let objects = bill.share_of_objects_saved()? * 100.0;
    let points = bill.share_of_points_saved().map_or_else(String::new, |share| {
        format!(" and {:.0} % of the data points", share * 100.0)
    });
    Some(format!("the mirror saved {objects:.0} % of the objects{points}"))
}
