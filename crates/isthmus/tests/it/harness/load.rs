//! Several clients that upload events and, like the SDKs, upload again what got no answer.

use super::comparison::Uids;
use super::lab::API_KEY;
use super::patience::{eventually, pause, pause_for};
use super::{http, lab};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const CLIENTS: u64 = 4;
const EVENTS_PER_UPLOAD: u64 = 10;
const USERS: u64 = 200;

/// A type of event that is uploaded.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) event_type: &'static str,
    /// What the names of such events begin with.
    pub(crate) prefix: &'static str,
}

/// What is uploaded, and what became of it.
pub(crate) struct Load {
    /// Where the server listens now.
    address: Mutex<String>,
    /// Events take turns.
    kinds: &'static [Kind],
    /// How long a client waits between two uploads.
    between: Duration,
    stop: AtomicBool,
    uploads: AtomicU64,
    acknowledged: Mutex<Uids>,
    sent: Mutex<Uids>,
}

impl Load {
    /// Clients that know the server of `lab` and wait for [`Self::during`].
    pub(crate) fn new(lab: &lab::Lab, kinds: &'static [Kind], between: Duration) -> Self {
        let load = Self {
            address: Mutex::default(),
            kinds,
            between,
            stop: AtomicBool::new(false),
            uploads: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            sent: Mutex::default(),
        };
        load.follow(lab);
        load
    }

    /// Tells the clients where the server is now.
    pub(crate) fn follow(&self, lab: &lab::Lab) {
        lab.server().address().clone_into(&mut lock(&self.address));
    }

    /// Lets the clients upload while `work` is done.
    pub(crate) fn during(&self, work: impl FnOnce()) {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn(move || self.client(client));
            }
            let stop = StopAtEnd(&self.stop);
            work();
            drop(stop);
        });
    }

    /// Waits for `more` acknowledged uploads.
    pub(crate) fn go_on(&self, more: u64) {
        let start = self.uploads.load(Ordering::SeqCst);
        eventually("the load goes on", || {
            let done = self.uploads.load(Ordering::SeqCst) - start;
            if done >= more { Ok(()) } else { Err(format!("{done} uploads")) }
        });
    }

    /// Whatever was uploaded so far.
    pub(crate) fn sent(&self) -> Uids {
        lock(&self.sent).clone()
    }

    /// What was answered with 200 so far.
    pub(crate) fn acknowledged(&self) -> Uids {
        lock(&self.acknowledged).clone()
    }

    fn client(&self, client: u64) {
        for number in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let (uids, body) = self.upload(client, number);
            while !self.is_acknowledged(&body) {
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                pause();
            }
            lock(&self.acknowledged).extend(uids);
            self.uploads.fetch_add(1, Ordering::SeqCst);
            pause_for(self.between);
        }
    }

    /// The body of an upload of events of several users, and their names.
    fn upload(&self, client: u64, number: u64) -> (Vec<String>, Value) {
        let (mut uids, mut events) = (Vec::new(), Vec::new());
        for (at, kind) in (0..EVENTS_PER_UPLOAD).zip(self.kinds.iter().cycle()) {
            let uid = format!("{}c{client}-u{number}-e{at}", kind.prefix);
            let user = (client * 7 + number * EVENTS_PER_UPLOAD + at) % USERS;
            events.push(json!({
                "event_type": kind.event_type,
                "user_id": format!("load-user-{user}"),
                "device_id": format!("load-device-{user}"),
                "insert_id": uid,
                "event_properties": { "uid": uid },
            }));
            uids.push(uid);
        }
        lock(&self.sent).extend(uids.iter().cloned());
        (uids, json!({ "api_key": API_KEY, "events": events }))
    }

    fn is_acknowledged(&self, body: &Value) -> bool {
        let address = lock(&self.address).clone();
        let headers = [("content-type", "application/json")];
        match http::send(&address, "POST", "/2/httpapi", &headers, body.to_string().as_bytes()) {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.json()["events_ingested"], EVENTS_PER_UPLOAD);
                true
            }
            Ok(answer) => {
                assert!([429, 503].contains(&answer.status), "{} {}", answer.status, answer.text());
                false
            }
            // Refused, reset, or half an answer: not acknowledged.
            Err(_) => false,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the clients end when the work does, also when it fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
