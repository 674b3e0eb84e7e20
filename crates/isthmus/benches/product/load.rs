//! A load generator that takes little from what it measures: bodies are made once, and only the
//! insert ids, users and times inside them change between sends.

use crate::histogram::Histogram;
use crate::process::now;
use anyhow::{Context, bail};
use isthmus_core::Timestamp;
use isthmus_testkit::bulk::Bulk;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One keep-alive connection that posts the same request again with fresh ids.
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    body_at: usize,
    ids: Vec<usize>,
    times: Vec<usize>,
    counter: u64,
    seed: u64,
    reply: Vec<u8>,
}

const ID_KEY: &[u8] = b"\"insert_id\":\"";
const TIME_KEY: &[u8] = b"\"time\":";

impl Connection {
    /// Connects to `address`; every request holds `events` events of `users` users.
    pub(crate) async fn open(
        address: &str,
        path: &str,
        api_key: &str,
        seed: u64,
        users: u64,
        events: usize,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("server does not accept")?;
        stream.set_nodelay(true)?;
        let body =
            Bulk::new(seed, users, api_key).body(events, Timestamp::from_millis(1_700_000_000_000));
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        let body_at = request.len();
        request.extend_from_slice(body.as_bytes());
        let find = |key: &[u8]| -> Vec<usize> {
            let windows = request.windows(key.len()).enumerate();
            windows.filter(|(_, window)| *window == key).map(|(at, _)| at + key.len()).collect()
        };
        let (ids, times) = (find(ID_KEY), find(TIME_KEY));
        Ok(Self { stream, request, body_at, ids, times, counter: 0, seed, reply: Vec::new() })
    }

    /// Bytes of one body.
    pub(crate) fn body_len(&self) -> usize {
        self.request.len() - self.body_at
    }

    /// Posts one request whose events happen at `time`; returns how long the answer took.
    pub(crate) async fn post(&mut self, time: Timestamp) -> anyhow::Result<Duration> {
        let stamp = format!("{:013}", time.as_millis());
        for &at in &self.times {
            self.request[at..at + 13].copy_from_slice(stamp.as_bytes());
        }
        for &at in &self.ids {
            self.counter += 1;
            let id = format!("{:016x}", self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            self.request[at..at + 16].copy_from_slice(id.as_bytes());
            let run = format!("{:016x}", self.seed);
            self.request[at + 17..at + 33].copy_from_slice(run.as_bytes());
        }
        let started: Instant = now();
        self.stream.write_all(&self.request).await?;
        self.read_answer().await?;
        Ok(started.elapsed())
    }

    async fn read_answer(&mut self) -> anyhow::Result<()> {
        self.reply.clear();
        loop {
            if self.stream.read_buf(&mut self.reply).await? == 0 {
                bail!("connection closed without an answer");
            }
            let Some(head) = self.reply.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&self.reply[..head]).to_ascii_lowercase();
            let length: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .context("answer has no length")?
                .trim()
                .parse()?;
            if self.reply.len() < head + 4 + length {
                continue;
            }
            if !text.starts_with("http/1.1 200") {
                bail!("refused: {}", String::from_utf8_lossy(&self.reply));
            }
            return Ok(());
        }
    }
}

/// Posts as fast as the answers come, until `until`.
pub(crate) async fn closed_loop(
    mut connection: Connection,
    until: Instant,
    wall: impl Fn() -> Timestamp,
) -> anyhow::Result<(u64, Histogram)> {
    let (mut requests, mut latencies) = (0, Histogram::default());
    while now() < until {
        latencies.add(connection.post(wall()).await?);
        requests += 1;
    }
    Ok((requests, latencies))
}
