//! The User Profile API: random users' properties, with ingest at full rate and without.

use crate::histogram::Histogram;
use crate::ingest::applied;
use crate::load::{connect, read_answer};
use crate::population::{CONNECTIONS, SECRET_KEY, Senders, fill, start, traffic};
use crate::process::{Process, folder, now, own_cpu};
use isthmus_core::seam::{Random, SeededRandom};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const READERS: u64 = 16;
/// The user's number in the request, eight digits wide.
const PLACE: &[u8] = b"########";

/// One keep-alive connection that asks for one profile after the other.
struct Reader {
    stream: TcpStream,
    request: Vec<u8>,
    user_at: usize,
    reply: Vec<u8>,
}

/// What readers saw.
#[derive(Default)]
struct Seen {
    latencies: Histogram,
    /// Answers by status.
    statuses: BTreeMap<u16, u64>,
    bytes: usize,
}

impl Reader {
    async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = connect(address).await?;
        let place = std::str::from_utf8(PLACE)?;
        let request = format!(
            "GET /v1/userprofile?user_id=user-{place}&get_amp_props=true HTTP/1.1\r\n\
             host: {address}\r\nauthorization: Api-Key {SECRET_KEY}\r\n\r\n"
        )
        .into_bytes();
        let user_at = request.windows(PLACE.len()).position(|window| window == PLACE);
        let user_at = user_at.expect("the place is in the request");
        Ok(Self { stream, request, user_at, reply: Vec::new() })
    }

    /// Asks as fast as the answers come, until `until`.
    async fn ask(mut self, seed: u64, users: u64, until: Instant) -> anyhow::Result<Seen> {
        use tokio::io::AsyncWriteExt;
        let (random, mut seen) = (SeededRandom::new(seed), Seen::default());
        while now() < until {
            let user = format!("{:08}", random.below(users));
            self.request[self.user_at..self.user_at + PLACE.len()].copy_from_slice(user.as_bytes());
            let started = now();
            self.stream.write_all(&self.request).await?;
            let status = read_answer(&mut self.stream, &mut self.reply).await?;
            seen.latencies.add(started.elapsed());
            *seen.statuses.entry(status).or_default() += 1;
            seen.bytes += self.reply.len();
        }
        Ok(seen)
    }
}

impl Seen {
    fn join(&mut self, other: Self) {
        self.latencies.join(other.latencies);
        self.bytes += other.bytes;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    fn errors(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
pub(crate) async fn run(smoke: bool, users: u64) -> anyhow::Result<()> {
    let span = Duration::from_secs(if smoke { 1 } else { 20 });
    let folder = folder()?;
    let server = start(folder.path()).await?;
    let took = fill(&server, users).await?.as_secs_f64();
    println!("user profiles: {users} users with eight properties each, {READERS} connections");
    println!("  filled at          {:>10.0} users/s", users as f64 / took);
    println!("  memory after       {:>10} MiB", server.memory_mib()?);
    measure(&server, users, span, false).await?;
    measure(&server, users, span, true).await?;
    println!("  server peak memory {:>10} MiB", server.peak_memory_mib()?);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
async fn measure(
    server: &Process,
    users: u64,
    span: Duration,
    with_ingest: bool,
) -> anyhow::Result<()> {
    let applied_before = applied(server).await?;
    let (server_cpu, own_before) = (server.cpu()?, own_cpu()?);
    let started = now();
    let until = started + span;
    let mut tasks = JoinSet::new();
    for seed in 0..READERS {
        tasks.spawn(Reader::open(server.address()).await?.ask(seed + 1, users, until));
    }
    let sent = if with_ingest {
        traffic(server.address(), users, Senders::Sessions, until).await?
    } else {
        0
    };
    let mut seen = Seen::default();
    while let Some(finished) = tasks.join_next().await {
        seen.join(finished??);
    }
    let took = started.elapsed().as_secs_f64();
    let server_cpu = server.cpu()?.saturating_sub(server_cpu).as_secs_f64();
    let own = own_cpu()?.saturating_sub(own_before).as_secs_f64();
    let count = seen.latencies.len();
    if with_ingest {
        println!("with ingest at full rate, {CONNECTIONS} connections, {took:.1} s:");
    } else {
        println!("without ingest, {took:.1} s:");
    }
    println!("  profiles/s         {:>10.0}", count as f64 / took);
    println!("  answer p50         {:>10.2?}", seen.latencies.quantile(0.50));
    println!("  answer p99         {:>10.2?}", seen.latencies.quantile(0.99));
    println!("  answer max         {:>10.2?}", seen.latencies.quantile(1.0));
    println!("  bytes an answer    {:>10}", seen.bytes / count.max(1));
    println!("  errors             {:>10} (by status: {:?})", seen.errors(), seen.statuses);
    if with_ingest {
        let applied = applied(server).await? - applied_before;
        println!("  events/s accepted  {:>10.0}", sent as f64 / took);
        println!("  events/s applied   {:>10.0}", applied as f64 / took);
    }
    println!("  server CPU         {:>10.2} cores", server_cpu / took);
    println!("  generator CPU      {:>10.2} cores", own / took);
    Ok(())
}
