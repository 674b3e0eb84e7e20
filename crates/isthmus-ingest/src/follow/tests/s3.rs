//! A bucket over HTTP, as far as it is asked: `ListObjectsV2`, `HeadObject` and `GetObject` on loopback.

use super::{Lab, OPEN, key, lines};
use crate::follow::{Bucket, BucketSettings, Import, ImportEnd, S3Keys, Tally};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Objects on one page of a listing, so that there is more than one.
const PAGE: usize = 2;

#[derive(Default)]
struct Served {
    objects: BTreeMap<String, String>,
    /// Method, target and whether it was signed.
    asked: Mutex<Vec<(String, bool)>>,
}

impl Served {
    async fn serve(&self, listener: TcpListener, stop: CancellationToken) {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.unwrap().0,
                () = stop.cancelled() => return,
            };
            self.answer(stream).await;
        }
    }

    /// One request per connection.
    async fn answer(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut buffer = [0; 4_096];
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => request.extend(&buffer[..read]),
            }
        }
        let request = String::from_utf8(request).unwrap();
        let target = request.split(' ').nth(1).unwrap().to_owned();
        let signed = request.to_ascii_lowercase().contains("authorization: aws4-hmac-sha256");
        self.asked.lock().unwrap().push((target.clone(), signed));
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (status, body) = if path.trim_matches('/') == "b" {
            ("200 OK", self.listed(query))
        } else {
            let name = path.strip_prefix("/b/").unwrap_or_default();
            let name = name.replace("%3D", "=");
            match self.objects.get(&name) {
                Some(body) => ("200 OK", body.clone()),
                None => ("404 Not Found", String::new()),
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: \"{}\"\r\n\
             last-modified: Thu, 01 Jan 2026 09:00:00 GMT\r\nconnection: close\r\n\r\n",
            body.len(),
            body.len(),
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    fn listed(&self, query: &str) -> String {
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.replace("%2F", "/").replace("%3D", "="))
        };
        let after = parameter("continuation-token").or(parameter("start-after"));
        let prefix = parameter("prefix").unwrap_or_default();
        let names = self.objects.keys().filter(|name| name.starts_with(&prefix));
        let names = names.filter(|name| after.as_ref().is_none_or(|after| *name > after));
        let names: Vec<_> = names.collect();
        let page: Vec<_> = names.iter().take(PAGE).collect();
        let contents = page.iter().map(|name| {
            let size = self.objects[**name].len();
            format!(
                "<Contents><Key>{name}</Key><LastModified>2026-01-01T09:00:00.000Z</LastModified>\
                 <ETag>&quot;{size}&quot;</ETag><Size>{size}</Size></Contents>"
            )
        });
        let contents: String = contents.collect();
        let more = match page.last() {
            Some(last) if names.len() > PAGE => {
                format!("<NextContinuationToken>{last}</NextContinuationToken>")
            }
            _ => String::new(),
        };
        format!("<ListBucketResult><Name>b</Name>{contents}{more}</ListBucketResult>")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_listed_page_by_page_and_read_with_signed_requests() {
    let lab = Lab::new();
    let mut served = Served::default();
    for (number, hour) in ["2026-01-01-09", "2026-01-01-10", "2026-01-01-11"].iter().enumerate() {
        let file = lines(&format!("{number}-"), 1_500);
        served.objects.insert(key(OPEN, hour, "x.jsonl"), file);
    }
    served.objects.insert("elsewhere/x.jsonl".to_owned(), lines("e", 1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = BucketSettings {
        url: "s3://b/currents/".to_owned(),
        endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
        region: Some("eu-west-1".to_owned()),
        keys: Some(S3Keys {
            access_key_id: "key".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        }),
    };
    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let bucket = Bucket::open(&settings).unwrap();
    let import =
        Import::new(lab.ground.clone(), bucket, "files", false, tally.clone(), stop.clone());
    let importing = async {
        let end = import.run().await;
        stop.cancel();
        end
    };
    let (end, ()) = tokio::join!(importing, served.serve(listener, stop.clone()));
    assert_eq!(end, ImportEnd::Done { failures: Vec::new() });
    let view = tally.view();
    assert_eq!((view.files, view.events, view.files_total), (3, 4_500, Some(3)));
    assert_eq!(lab.ids().len(), 4_500);
    let asked = served.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|(_, signed)| *signed), "{asked:?}");
    assert!(asked.iter().any(|(target, _)| target.contains("continuation-token=")), "{asked:?}");
}
