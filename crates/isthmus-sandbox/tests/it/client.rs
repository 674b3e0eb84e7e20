//! The smallest HTTP client that can tell a reset from an answer.

use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Client {
    address: SocketAddr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case, a line each.
    head: String,
    pub(crate) text: String,
}

fn post_head(key: &str, path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    )
}

impl Reply {
    fn read(answer: Vec<u8>) -> io::Result<Self> {
        let answer = String::from_utf8(answer).expect("text");
        let (head, text) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.expect("a status line");
        Ok(Reply { status, head: head.to_owned(), text: text.to_owned() })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("a JSON answer")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(crate) fn message(&self) -> String {
        self.json().get("message").and_then(Value::as_str).expect("a message").to_owned()
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request as it is and reads the answer to its end.
    pub(crate) async fn send(&self, head: &str, body: &[u8]) -> io::Result<Reply> {
        let (answer, end) = self.exchange(head, body).await?;
        end?;
        Reply::read(answer)
    }

    /// What came back, and how that ended.
    async fn exchange(&self, head: &str, body: &[u8]) -> io::Result<(Vec<u8>, io::Result<()>)> {
        let mut stream = TcpStream::connect(self.address).await?;
        let head = format!(
            "{head}host: sandbox\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer).await.map(drop);
        Ok((answer, end))
    }

    /// A POST with a key, in JSON; the beginning of its answer, and how that ended.
    pub(crate) async fn post_until_end(&self, path: &str, body: &Value) -> (Reply, io::Result<()>) {
        let body = body.to_string();
        let sent = self.exchange(&post_head("any-key", path), body.as_bytes()).await;
        let (answer, end) = sent.expect("a connection");
        (Reply::read(answer).expect("the head of an answer"), end)
    }

    /// A POST with a key, in JSON.
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> io::Result<Reply> {
        self.post_as("any-key", path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).await.expect("an answer")
    }

    pub(crate) async fn post_as(&self, key: &str, path: &str, body: &Value) -> io::Result<Reply> {
        self.send(&post_head(key, path), body.to_string().as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\n"), b"").await.expect("an answer")
    }
}
