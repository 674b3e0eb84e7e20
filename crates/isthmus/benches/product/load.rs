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
    /// Where the number of a user begins: eight digits, and twelve in hexadecimal of the device.
    users: Vec<(usize, usize)>,
    counter: u64,
    seed: u64,
    reply: Vec<u8>,
}

const ID_KEY: &[u8] = b"\"insert_id\":\"";
const CURRENTS_ID_KEY: &[u8] = b"\"id\":\"";
/// As long as those of an e-mail of a Canvas.
const OPEN_PROPERTIES: &str = r#""properties":{"canvas_id":"ca11ab1e-0005-4eee-9fff-000000000005","canvas_name":"Welcome series","canvas_step_id":"ca11ab1e-0006-4eee-9fff-000000000006","canvas_step_name":"Step 2","canvas_variation_id":"ca11ab1e-0007-4eee-9fff-000000000007","canvas_variation_name":"Path A","app_group_id":"7d1c4e0e-0001-4b1b-8c1c-000000000001","dispatch_id":"65a0b1c2d3e4f5a6b7c8d9e1","email_address":"kim@example.org","user_agent":"Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X)","esp":"SparkPost","ip_pool":"main","from_domain":"news.shop.example"}"#;
const TIME_KEY: &[u8] = b"\"time\":";
const USER_KEY: &[u8] = b"\"user_id\":\"user-";
const DEVICE_KEY: &[u8] = b"\"device_id\":\"2f9c1b6a-77de-4e0e-9a41-";
/// When the events of a body happened, until it is posted.
const MADE_AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

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
        let body = Bulk::new(seed, users, api_key).body(events, MADE_AT);
        Self::posting(address, path, seed, &body, ID_KEY).await
    }

    /// Connects to `address`; every request holds `events` sign-ups.
    pub(crate) async fn signing_up(
        address: &str,
        api_key: &str,
        seed: u64,
        events: usize,
    ) -> anyhow::Result<Self> {
        let body = Bulk::new(seed, 1, api_key).sign_ups(events, MADE_AT);
        Self::posting(address, "/batch", seed, &body, ID_KEY).await
    }

    /// Connects to `address`; every request is a batch of `events` e-mail opens, as Currents posts
    /// them, of as many users.
    pub(crate) async fn telling(
        address: &str,
        path: &str,
        seed: u64,
        events: usize,
    ) -> anyhow::Result<Self> {
        let open = |at: usize| {
            let user = seed * 1_000 + at as u64;
            format!(
                "{{\"event_type\":\"users.messages.email.Open\",\"id\":\"{:033}\",\"time\" : 1767258060,\
                 \"user\":{{\"user_id\":\"{user:024x}\",\"external_user_id\":\"user-{user:08}\",\
                 \"timezone\":\"Europe/Berlin\"}},{OPEN_PROPERTIES}}}",
                0
            )
        };
        let events: Vec<String> = (0..events).map(open).collect();
        let body = format!("{{\"events\":[{}]}}", events.join(","));
        Self::posting(address, path, seed, &body, CURRENTS_ID_KEY).await
    }

    async fn posting(
        address: &str,
        path: &str,
        seed: u64,
        body: &str,
        id_key: &[u8],
    ) -> anyhow::Result<Self> {
        let stream = connect(address).await?;
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
        let (ids, times) = (find(id_key), find(TIME_KEY));
        let users = find(USER_KEY).into_iter().zip(find(DEVICE_KEY)).collect();
        let (counter, reply) = (0, Vec::new());
        Ok(Self { stream, request, body_at, ids, times, users, counter, seed, reply })
    }

    /// Gives every event of the next request the user that `next` names.
    pub(crate) fn set_users(&mut self, mut next: impl FnMut() -> u64) {
        for &(user_at, device_at) in &self.users {
            let user = next();
            self.request[user_at..user_at + 8].copy_from_slice(format!("{user:08}").as_bytes());
            let device = format!("{user:012x}");
            self.request[device_at..device_at + 12].copy_from_slice(device.as_bytes());
        }
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
        let status = read_answer(&mut self.stream, &mut self.reply).await?;
        if status != 200 {
            bail!("refused: {}", String::from_utf8_lossy(&self.reply));
        }
        Ok(started.elapsed())
    }
}

/// A connection without Nagle's delay.
pub(crate) async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("server does not accept")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one answer into `reply`, whole, and returns its status.
pub(crate) async fn read_answer(
    stream: &mut TcpStream,
    reply: &mut Vec<u8>,
) -> anyhow::Result<u16> {
    reply.clear();
    loop {
        if stream.read_buf(reply).await? == 0 {
            bail!("connection closed without an answer");
        }
        let Some(head) = reply.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&reply[..head]).context("a head that is no text")?;
        let mut lines = text.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then_some(value.trim())
        });
        let length: usize = length.context("answer has no length")?.parse()?;
        if reply.len() >= head + 4 + length {
            return Ok(status.context("no status line")?.parse()?);
        }
    }
}

/// Posts events of users that `next_user` names as fast as the answers come, until `until`.
pub(crate) async fn closed_loop(
    mut connection: Connection,
    until: Instant,
    mut next_user: impl FnMut() -> u64,
    wall: impl Fn() -> Timestamp,
) -> anyhow::Result<(u64, Histogram)> {
    let (mut requests, mut latencies) = (0, Histogram::default());
    while now() < until {
        connection.set_users(&mut next_user);
        latencies.add(connection.post(wall()).await?);
        requests += 1;
    }
    Ok((requests, latencies))
}
