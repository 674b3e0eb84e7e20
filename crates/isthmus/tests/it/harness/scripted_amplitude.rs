//! An Amplitude that keeps every request and answers as it was told to.

use super::patience::eventually;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for the bytes of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Listens until it is dropped.
pub(crate) struct ScriptedAmplitude {
    address: String,
    heard: Arc<Mutex<Heard>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    /// Path and body of each request, in order, with the status that answered it.
    requests: Vec<(String, String, u16)>,
    /// What the next requests are answered.
    answers: VecDeque<(u16, String)>,
    stop: bool,
}

impl ScriptedAmplitude {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::<Mutex<Heard>>::default();
        let thread = {
            let heard = heard.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if lock(&heard).stop {
                        break;
                    }
                    // A client that goes away is its own business.
                    drop(stream.and_then(|stream| serve(stream, &heard)));
                }
            })
        };
        Self { address, heard, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Answers one of the next uploads with `body`; probes are answered well.
    pub(crate) fn answer(&self, status: u16, body: &Value) {
        lock(&self.heard).answers.push_back((status, body.to_string()));
    }

    /// Objects of the uploads to `path` that were answered with success, in order.
    pub(crate) fn taken(&self, path: &str) -> Vec<Value> {
        let heard = lock(&self.heard);
        let uploads = heard.requests.iter().filter(|(at, _, status)| at == path && *status == 200);
        uploads.flat_map(|(_, body, _)| objects(path, body)).collect()
    }

    /// Waits until so many objects are taken at `path`, and returns them.
    pub(crate) fn wait_for(&self, path: &str, count: usize) -> Vec<Value> {
        eventually("objects reach Amplitude", || {
            let taken = self.taken(path);
            if taken.len() >= count { Ok(taken) } else { Err(format!("{taken:?}")) }
        })
    }

    /// Uploads that were answered with an error.
    pub(crate) fn refused(&self) -> usize {
        lock(&self.heard).requests.iter().filter(|(.., status)| *status != 200).count()
    }
}

impl Drop for ScriptedAmplitude {
    fn drop(&mut self) {
        lock(&self.heard).stop = true;
        drop(TcpStream::connect(&self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap()
}

fn objects(path: &str, body: &str) -> Vec<Value> {
    let list: Value = if matches!(path, "/2/httpapi" | "/batch") {
        let body: Value = serde_json::from_str(body).unwrap();
        body["events"].clone()
    } else {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let (_, list) = pairs.into_iter().find(|(name, _)| name == "identification").unwrap();
        serde_json::from_str(&list).unwrap()
    };
    list.as_array().cloned().unwrap()
}

/// Reads one request and answers it.
fn serve(mut stream: TcpStream, heard: &Mutex<Heard>) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65_536]);
    let (path, body) = loop {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
        if let Some(whole) = request(&bytes) {
            break whole;
        }
    };
    let (status, answer) = {
        let mut heard = lock(heard);
        let is_probe = body.contains(r#""events":[]"#);
        let told = if is_probe { None } else { heard.answers.pop_front() };
        let (status, answer) =
            told.unwrap_or_else(|| (200, json!({"code": 200, "events_ingested": 1}).to_string()));
        if !is_probe {
            heard.requests.push((path, body, status));
        }
        (status, answer)
    };
    write!(
        stream,
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         connection: close\r\n\r\n{answer}",
        answer.len()
    )
}

/// Path and body, once all of it is there.
fn request(bytes: &[u8]) -> Option<(String, String)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let length: usize = headers
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse().ok())?;
    let body = bytes.get(end + 4..end + 4 + length)?;
    Some((path, String::from_utf8_lossy(body).into_owned()))
}
