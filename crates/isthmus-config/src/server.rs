//! `isthmus.toml`: what the server is told, as opposed to what it works on.
//!
//! Every key has a default, so an absent file is a good one.

use crate::check;
use crate::diagnostic::Problem;
use crate::secret::SecretRef;
use crate::shape::section;
use isthmus_core::ByteSize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

section! {
    /// `isthmus.toml`. Relative paths lead from the folder of the file.
    pub struct ServerConfig {
        /// Folder for logs and state; created when it is absent.
        pub data_dir: PathBuf = PathBuf::from("isthmus-data"),
        /// Files and folders of resources. Folders are read with all folders in them: `.yaml`,
        /// `.yml` and `.json` files, hidden ones left out.
        pub resources: Vec<PathBuf> = Vec::new(),
        /// The HTTP listener.
        pub http ("server"): HttpConfig = HttpConfig::default(),
        /// The doors that SDKs send to.
        pub ingest: IngestConfig = IngestConfig::default(),
        /// The intake log and the event log.
        pub log: LogConfig = LogConfig::default(),
        /// The User Profile API.
        pub profile_api: ProfileApiConfig = ProfileApiConfig::default(),
        /// What happens when people ask to be forgotten.
        pub privacy: PrivacyConfig = PrivacyConfig::default(),
        /// What destinations are sent.
        pub delivery: DeliveryConfig = DeliveryConfig::default(),
    }
}

section! {
    /// `[server]`: the HTTP listener.
    pub struct HttpConfig {
        /// Address to listen on. Port 0 takes a free port.
        pub listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8400)),
        /// Proxies in front, each of which appends to `X-Forwarded-For`: the client's address is
        /// that many entries from the end. With 0 the header is ignored.
        pub trusted_proxies: u32 = 0,
        /// Token of the control API and the console. Without one, the first start makes one, which
        /// is allowed on a loopback address only. A literal is taken there only too.
        pub control_token: Option<SecretRef> = None,
        /// How long a client may take to send a request.
        pub request_timeout: Duration = Duration::from_secs(30) => check::not_zero,
        /// Connections open at once; more wait to be accepted.
        pub connections_max: usize = 10_000 => check::not_zero,
        /// How long requests under way may take to end when the server stops; more than
        /// `request_timeout`, because some SDKs lose a batch whose connection closes unanswered.
        pub stop_timeout: Duration = Duration::from_secs(35) => check::not_zero,
    }
}

section! {
    /// `[ingest]`: the doors that SDKs send to. Bodies are measured after decompression; a larger
    /// one is answered with 413. The defaults are Amplitude's documented limits (read 2026-03).
    pub struct IngestConfig {
        /// Largest body of `/2/httpapi`.
        pub httpapi_body_max: ByteSize = ByteSize::mib(1) => check::not_zero,
        /// Largest body of `/batch`.
        pub batch_body_max: ByteSize = ByteSize::mib(20) => check::not_zero,
        /// Largest body of `/identify`.
        pub identify_body_max: ByteSize = ByteSize::mib(1) => check::not_zero,
        /// Largest body of `/groupidentify`.
        pub groupidentify_body_max: ByteSize = ByteSize::mib(1) => check::not_zero,
        /// Largest body of `/currents/http/SOURCE`. Braze posts up to 100 events at once, each of at
        /// most 900 KB, and cuts a batch that was refused as too large into smaller ones.
        pub currents_body_max: ByteSize = ByteSize::mib(96) => check::not_zero,
        /// Events in one upload.
        pub events_per_request_max: usize = 2_000 => check::not_zero,
        /// Identifications in one request to `/identify` or `/groupidentify`.
        pub identifications_per_request_max: usize = 1_024 => check::not_zero,
        /// Accepted bytes that wait for the disk; beyond, the door answers 503.
        pub queue_max: ByteSize = ByteSize::mib(64) => check::not_zero,
        /// How long an `insert_id` is remembered, to drop the same event sent again.
        pub insert_id_window: Duration = DAY * 7 => check::not_zero,
    }
}

section! {
    /// `[log]`: the intake log (what was accepted) and the event log (what came of it). Neither
    /// lets go of what somebody has yet to read.
    pub struct LogConfig {
        /// Size at which a log goes on in a new file.
        pub segment_max: ByteSize = ByteSize::mib(64) => check::not_zero,
        /// Largest record, after compression.
        pub record_max: ByteSize = ByteSize::mib(32) => check::not_zero,
        /// How long accepted uploads are kept.
        pub intake_retention: Duration = DAY,
        /// How long events are kept.
        pub event_retention: Duration = DAY * 7,
        /// Most that the intake log may take of the disk; beyond, the door answers 503. Without it,
        /// all there is.
        pub intake_budget: Option<ByteSize> = None => check::none_or_not_zero,
        /// Most that the event log may take of the disk; beyond, events wait in the intake log.
        /// Without it, all there is.
        pub event_budget: Option<ByteSize> = None => check::none_or_not_zero,
    }
}

section! {
    /// `[profile_api]`: `/v1/userprofile`, which Braze's Connected Content asks.
    pub struct ProfileApiConfig {
        /// Requests answered a minute, all together; more are answered with 429. Without it, all that
        /// come. Amplitude answers 600.
        pub requests_per_minute: Option<u32> = None => check::none_or_not_zero,
        /// HTTP status of the answer that a user is not known. Amplitude does not document its own.
        pub not_seen_status: u32 = 404 => check::http_status,
    }
}

section! {
    /// `[privacy]`: what happens when people ask to be forgotten.
    pub struct PrivacyConfig {
        /// Days from the request of a deletion to its beginning, from 0 to 30; meanwhile it can be
        /// taken back. Amplitude's is up to 30.
        pub deletion_delay_days: u32 = 0 => check::days_to_wait,
        /// Whether events that a forgotten person sends later are dropped; otherwise they make a new
        /// person, as at Amplitude.
        pub refuse_forgotten: bool = true,
        /// How long the logs keep a forgotten person's events for destinations that have yet to be
        /// asked to forget them; after that, they are erased all the same.
        pub wait_for_destinations: Duration = DAY,
    }
}

section! {
    /// `[delivery]`: what destinations are sent. How much each takes is up to its own `limits`.
    pub struct DeliveryConfig {
        /// Longest first wait before a request is tried again; it doubles with every attempt.
        pub backoff_first: Duration = Duration::from_millis(200) => check::not_zero,
        /// Longest wait between attempts. There is no last one, unless a stream's `retry` says so.
        pub backoff_cap: Duration = Duration::from_mins(1) => check::not_zero,
        /// Whether people can ask what happened to an event. Without it, less is written and kept;
        /// nothing else changes.
        pub ledger: bool = true,
        /// How long the ledger remembers what became of each object.
        pub ledger_retention: Duration = DAY * 30 => check::not_zero,
        /// Most that the ledger of one destination may take of the disk; beyond, it forgets the
        /// oldest sooner. Without it, all there is.
        pub ledger_budget: Option<ByteSize> = None => check::none_or_not_zero,
        /// How long requests under way may take to end when the server stops; more than the
        /// destinations' `limits.timeout`, or their outcome is not known.
        pub stop_timeout: Duration = Duration::from_secs(35) => check::not_zero,
    }
}

impl ServerConfig {
    /// What is wrong between keys, each of which is good by itself.
    ///
    /// Ask again after a key was overridden, for example the address by a command-line option.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let listen = self.http.listen;
        match &self.http.control_token {
            _ if listen.ip().is_loopback() => {}
            None => {
                let message = format!(
                    "`server.listen` is {listen}, which others can reach, and there is no `control_token`"
                );
                let hint = "add `control_token = { env = \"ISTHMUS_CONTROL_TOKEN\" }` to [server], or listen on 127.0.0.1";
                problems.push(Problem::new("server.listen", message).hint(hint));
            }
            Some(SecretRef::Literal(_)) => {
                let message =
                    format!("`server.control_token` is written out, and others can reach {listen}");
                let hint =
                    "write `{ env = \"ISTHMUS_CONTROL_TOKEN\" }` or `{ file = \"control.token\" }`";
                problems.push(Problem::new("server.control_token", message).hint(hint));
            }
            Some(SecretRef::Env(_) | SecretRef::File(_)) => {}
        }
        if self.delivery.backoff_first > self.delivery.backoff_cap {
            let message = "`delivery.backoff_first` is more than `backoff_cap`";
            problems.push(Problem::new("delivery.backoff_first", message));
        }
        if self.log.event_budget.is_some_and(|budget| budget < self.log.segment_max) {
            let message =
                "`log.event_budget` is less than `segment_max`, so nothing could be freed";
            problems.push(Problem::new("log.event_budget", message));
        }
        if self.log.intake_budget.is_some_and(|budget| budget < self.log.segment_max) {
            let message =
                "`log.intake_budget` is less than `segment_max`, so nothing could be freed";
            problems.push(Problem::new("log.intake_budget", message));
        }
        problems
    }

    /// Makes the paths that were written lead from `folder`; the default of `data_dir` stays.
    pub(crate) fn rebase(&mut self, folder: &std::path::Path) {
        for path in &mut self.resources {
            *path = folder.join(&*path);
        }
        if self.data_dir != Self::default().data_dir {
            self.data_dir = folder.join(&self.data_dir);
        }
        if let Some(SecretRef::File(path)) = &mut self.http.control_token {
            *path = folder.join(&*path);
        }
    }
}
