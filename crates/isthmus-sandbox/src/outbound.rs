//! What leaves the sandbox by itself: messages of campaigns, and Currents.
//!
//! One loop does all of it: it hears what happened, lets happen what is due, and sends. Rendering
//! and sending are futures within the loop, so that it needs no tasks and ends with all of them.

use crate::campaigns::Delivery;
use crate::currents::{Event, Parcel, Sent, of_happening};
use crate::model::Moment;
use crate::render::{self, Rendered};
use crate::sandbox::{Room, Shared};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use isthmus_core::seam::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Messages that are rendered at once: each may wait for its calls.
const RENDERINGS_MAX: usize = 64;

/// What was begun, in the workspace with this name, and has ended.
enum Done {
    Rendered(String, Delivery, Result<Rendered, String>),
    Sent(String, Sent),
}

type Futures = FuturesUnordered<BoxFuture<'static, Done>>;

/// What was begun and has not ended.
#[derive(Default)]
struct Jobs {
    /// Requests and messages.
    calls: Futures,
    files: Futures,
    /// Messages among the calls.
    renderings: usize,
}

/// Sends until `stop`; then writes the files that are still open. Requests under way are given up:
/// what is queued lives no longer than the sandbox.
pub(crate) async fn run(shared: &Arc<Shared>, stop: CancellationToken) {
    let mut jobs = Jobs::default();
    loop {
        let next = step(shared, &mut jobs);
        let elapsed = shared.now().elapsed;
        let wait = next.map(|due| due.saturating_sub(elapsed));
        tokio::select! {
            // Nothing is lost: a job that has not ended stays where it is.
            Some(done) = jobs.calls.next() => finish(shared, done, &mut jobs),
            Some(done) = jobs.files.next() => finish(shared, done, &mut jobs),
            // Both begin anew.
            () = shared.bell.notified() => {}
            () = sleep(shared, wait) => {}
            () = stop.cancelled() => break,
        }
    }
    jobs.calls.clear();
    while let Some(done) = jobs.files.next().await {
        finish(shared, done, &mut jobs);
    }
    write_rest(shared).await;
}

async fn sleep(shared: &Shared, wait: Option<Duration>) {
    match wait {
        Some(wait) => shared.clock().sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Does everything that can be done now, and begins what takes time. When to look again.
fn step(shared: &Arc<Shared>, jobs: &mut Jobs) -> Option<Duration> {
    let now = shared.now();
    let mut next: Option<Duration> = None;
    for (name, room) in shared.rooms() {
        hear(shared, name, room, now);
        begin_deliveries(shared, name, room, now, jobs);
        proceed(shared, name, room, now);
        let parcels = room.currents().due(now);
        for parcel in parcels {
            let jobs = if parcel.is_file() { &jobs.files } else { &jobs.calls };
            jobs.push(send(shared, name, parcel));
        }
        let due = [room.lock().next_due(), room.campaigns().next_due(), room.currents().next_due()];
        next = due.into_iter().flatten().chain(next).min();
    }
    next
}

fn send(shared: &Arc<Shared>, name: &str, parcel: Parcel) -> BoxFuture<'static, Done> {
    let (name, http) = (name.to_owned(), shared.http.clone());
    Box::pin(async move { Done::Sent(name, parcel.send(http).await) })
}

/// Tells campaigns and Currents of what happened.
fn hear(shared: &Shared, name: &str, room: &Room, now: Moment) {
    let exporter = shared.exporter(name);
    let mut events = Vec::new();
    let mut workspace = shared.enter(room);
    for happening in workspace.take_happenings() {
        if let Some(user) = workspace.directory().get(happening.who) {
            events.extend(of_happening(&exporter, user, &happening));
        }
        room.campaigns().hear(&happening, &workspace, &exporter, now, &mut events);
    }
    drop(workspace);
    export(shared, room, events, now);
}

/// Lets everything happen that is due.
fn proceed(shared: &Shared, name: &str, room: &Room, now: Moment) {
    let mut events = Vec::new();
    let mut workspace = shared.enter(room);
    room.campaigns().proceed(&mut workspace, &shared.exporter(name), now, &mut events);
    drop(workspace);
    export(shared, room, events, now);
}

fn export(shared: &Shared, room: &Room, events: Vec<Event>, now: Moment) {
    let mut currents = room.currents();
    for event in events {
        currents.push(event, now, shared.random.as_ref());
    }
}

/// Begins to render messages; those without anything to render are sent at once.
fn begin_deliveries(shared: &Arc<Shared>, name: &str, room: &Room, now: Moment, jobs: &mut Jobs) {
    while jobs.renderings < RENDERINGS_MAX {
        let Some(delivery) = room.campaigns().next_delivery() else { return };
        let draft = {
            let workspace = shared.enter(room);
            room.campaigns().draft(&delivery, &workspace)
        };
        let Some(draft) = draft else {
            deliver(shared, name, room, &delivery, None, now);
            continue;
        };
        jobs.renderings += 1;
        let (shared, name) = (shared.clone(), name.to_owned());
        jobs.calls.push(Box::pin(async move {
            let rendered = match shared.room(Some(&name)) {
                Some(room) => render::of_campaign(&shared, room, &draft).await,
                None => Err("unknown workspace".to_owned()),
            };
            Done::Rendered(name, delivery, rendered)
        }));
    }
}

fn deliver(
    shared: &Shared,
    name: &str,
    room: &Room,
    delivery: &Delivery,
    rendered: Option<Result<Rendered, String>>,
    now: Moment,
) {
    let mut events = Vec::new();
    let workspace = shared.enter(room);
    let exporter = shared.exporter(name);
    room.campaigns().deliver(delivery, rendered, &workspace, &exporter, now, &mut events);
    drop(workspace);
    export(shared, room, events, now);
}

fn finish(shared: &Shared, done: Done, jobs: &mut Jobs) {
    let now = shared.now();
    match done {
        Done::Rendered(name, delivery, rendered) => {
            jobs.renderings -= 1;
            if let Some(room) = shared.room(Some(&name)) {
                deliver(shared, &name, room, &delivery, Some(rendered), now);
            }
        }
        Done::Sent(name, sent) => {
            if let Some(room) = shared.room(Some(&name)) {
                room.currents().close(sent, now, shared.random.as_ref());
            }
        }
    }
}

/// Writes the files of events that wait for more.
async fn write_rest(shared: &Shared) {
    for (_, room) in shared.rooms() {
        let now = shared.now();
        let parcels = room.currents().due_files(now);
        for parcel in parcels {
            let sent = parcel.send(None).await;
            room.currents().close(sent, now, shared.random.as_ref());
        }
    }
}
