//! The door for Currents through its boundary: posts in, answers and the intake log out.

use super::*;
use crate::door::{DoorRules, NobodyMapped};
use flate2::Compression;
use flate2::write::GzEncoder;
use isthmus_core::seam::ManualClock;
use isthmus_core::{ByteSize, Timestamp};
use isthmus_log::{Log, LogConfig, RealDisk};
use std::fmt::Write as _;
use std::io::Write as _;

const TOKEN: &str = "Y3VycmVudHMtZGVtbw==";
const OPEN: &str = r#"{"event_type":"users.messages.email.Open","id":"a-1","time":1767258000,
    "user":{"user_id":"5fa1","external_user_id":"ana","timezone":"Asia/Tokyo"},
    "properties":{"campaign_id":"c-1"},"shiny":true}"#;

struct Bench {
    _folder: tempfile::TempDir,
    intake: Log,
    door: Door,
}

impl Bench {
    fn new() -> Self {
        Self::with(LogConfig::default(), DoorRules::default())
    }

    fn with(config: LogConfig, rules: DoorRules) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_770_000_000_000)));
        let intake = Log::open(Arc::new(RealDisk), folder.path(), config, clock.clone()).unwrap().0;
        let door = Door::new(intake.clone(), clock, rules, Arc::new(NobodyMapped));
        let source = |name: &str, token: Option<&str>| CurrentsSource {
            name: name.to_owned(),
            project: "shop".to_owned(),
            scope: "posts".to_owned(),
            destination: Some("braze".to_owned()),
            form: Form::default(),
            token: token.map(Secret::new),
            posted: true,
        };
        door.set_currents([source("posts", Some(TOKEN)), source("files", None)]);
        Self { _folder: folder, intake, door }
    }

    /// Status and body of a post to `posts` with the right token.
    async fn post(&self, encoding: Option<&str>, body: &[u8]) -> String {
        let authorization = format!("Bearer {TOKEN}");
        let admitted = self.door.admit_currents("posts", Some(&authorization)).unwrap();
        let answer = self.door.answer_currents(&admitted, encoding, body).await;
        assert!(answer.body.starts_with(&format!(r#"{{"code":{}"#, answer.status)));
        let wait = answer.retry_after.map_or(String::new(), |wait| format!(" after {wait:?}"));
        format!("{}{wait}", answer.body)
    }

    /// What the intake log holds, one a line.
    fn stored(&self) -> String {
        let mut reader = self.intake.reader(0).unwrap();
        let mut stored = String::new();
        while let Some(record) = reader.next().unwrap() {
            let batch = IntakeBatch::decode(&record.payload).unwrap();
            let currents = batch.currents.unwrap();
            let (source, scope) = (currents.source, currents.scope);
            writeln!(stored, "{:?} {} {source} {scope}", batch.source, batch.project).unwrap();
            for event in batch.events {
                let IntakeEvent { event_type, user_id, device_id, insert_id, time, .. } = event;
                let ids = [user_id, device_id, insert_id].map(|id| id.unwrap_or("-")).join(" ");
                let (time, fields) = (time.unwrap(), event.fields.unwrap_or("-"));
                writeln!(stored, "  {event_type} {ids} {time} {fields}").unwrap();
            }
            for command in batch.commands {
                writeln!(stored, "  {command:?}").unwrap();
            }
            for echo in currents.echoes {
                writeln!(stored, "  echo {} {:?}", echo.event, echo.of).unwrap();
            }
            for unusable in currents.unusable {
                writeln!(stored, "  {unusable:?}").unwrap();
            }
        }
        stored
    }
}

fn batch(events: &[&str]) -> Vec<u8> {
    format!(r#"{{"events":[{}]}}"#, events.join(",")).into_bytes()
}

fn events(body: &[u8]) -> Vec<Received<'_>> {
    read_batch(body).unwrap().into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_token_is_asked_before_anything_else() {
    let bench = Bench::new();
    let status = |source: &str, authorization: Option<&str>| {
        bench
            .door
            .admit_currents(source, authorization)
            .map_or_else(|refused| refused.status, |_| 0)
    };
    let right = format!("Bearer {TOKEN}");
    assert_eq!(status("posts", Some(&right)), 0);
    assert_eq!(status("posts", Some(&format!("bearer  {TOKEN} "))), 0);
    for wrong in ["", "Bearer", "Bearer ", "Bearer x", TOKEN, &format!("Basic {TOKEN}")] {
        assert_eq!(status("posts", Some(wrong)), 401, "{wrong}");
    }
    assert_eq!(status("posts", None), 401);
    assert_eq!(status("files", None), 0, "it is open");
    assert_eq!(status("files", Some("Bearer anything")), 0);
    assert_eq!(status("elsewhere", Some(&right)), 404);
    bench.door.set_currents([]);
    assert_eq!(status("posts", Some(&right)), 404, "what is removed is gone at once");
}

#[tokio::test]
async fn nothing_is_a_batch_without_effect() {
    let bench = Bench::new();
    for body in [&b""[..], b" \n", br#"{"events":[]}"#] {
        assert_eq!(bench.post(None, body).await, r#"{"code":200,"events":0,"unusable":0}"#);
    }
    assert_eq!(bench.stored(), "");
}

#[tokio::test]
async fn a_batch_is_one_record_with_what_is_unusable_put_aside() {
    let bench = Bench::new();
    let no_id = r#"{"event_type":"users.behaviors.Location","time":1767258000}"#;
    let device = r#"{"event_type":"brand.new.Type","id":"a-2","time":1767258000123,"user":{"device_id":"d-1"}}"#;
    let body = batch(&[OPEN, no_id, "7", device]);
    assert_eq!(bench.post(None, &body).await, r#"{"code":200,"events":2,"unusable":2}"#);
    insta::assert_snapshot!(bench.stored(), @r#"
    Currents shop posts posts
      users.messages.email.Open ana - a-1 1767258000000 {"user_id":"5fa1","timezone":"Asia/Tokyo","other":{"shiny":true}}
      brand.new.Type - d-1 a-2 1767258000123 -
      Unusable { raw: "{\"event_type\":\"users.behaviors.Location\",\"time\":1767258000}", reason: "no `id`", file: None }
      Unusable { raw: "7", reason: "not an object", file: None }
    "#);
}

#[tokio::test]
async fn only_what_is_no_batch_is_a_bad_request() {
    let rules = DoorRules { currents_body_max: ByteSize::kib(64), ..DoorRules::default() };
    let bench = Bench::with(LogConfig::default(), rules);
    let gzip = |body: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let packed = gzip(&batch(&[OPEN]));
    let bomb = gzip(&vec![b' '; 1 << 20]);
    let answers = [
        bench.post(None, b"{").await,
        bench.post(None, b"[]").await,
        bench.post(None, br#"{"events":{}}"#).await,
        bench.post(Some("gzip"), b"{}").await,
        bench.post(Some("gzip"), &packed).await,
        bench.post(Some("gzip"), &bomb).await,
        bench.post(None, &vec![b' '; 70_000]).await,
        bench.post(None, br#"{"events":["\ud800",null,{"event_type":5}]}"#).await,
    ];
    insta::assert_snapshot!(answers.join("\n"), @r#"
    {"code":400,"error":"not JSON: EOF while parsing an object at line 1 column 1"}
    {"code":400,"error":"not an object with an array `events`"}
    {"code":400,"error":"not an object with an array `events`"}
    {"code":400,"error":"body cannot be decompressed"}
    {"code":200,"events":1,"unusable":0}
    {"code":413,"error":"body too large"}
    {"code":413,"error":"body too large"}
    {"code":200,"events":0,"unusable":3}
    "#);
}

#[tokio::test]
async fn a_log_that_cannot_take_a_batch_has_it_sent_again() {
    let config = LogConfig { budget: Some(ByteSize::bytes(1)), ..LogConfig::default() };
    let bench = Bench::with(config, DoorRules::default());
    let answer = bench.post(None, &batch(&[OPEN])).await;
    assert_eq!(answer, r#"{"code":503,"error":"cannot be stored now"} after 10s"#);
    let config = LogConfig { record_max: ByteSize::bytes(64), ..LogConfig::default() };
    let bench = Bench::with(config, DoorRules::default());
    let answer = bench.post(None, &batch(&[OPEN])).await;
    assert_eq!(answer, r#"{"code":413,"error":"batch too large"}"#, "Braze cuts it");
}

#[derive(Debug)]
struct Second;

impl Echoes for Second {
    fn recognise(
        &self,
        destination: Option<&str>,
        events: &[Received<'_>],
    ) -> Vec<Option<Recognised>> {
        assert_eq!(destination, Some("braze"));
        let recognised = || Recognised {
            destination: "braze".to_owned(),
            stream: "shop-events".to_owned(),
            place: Place { offset: 7, index: 1 },
            part: 2,
            device_id: Some("d-9".to_owned()),
        };
        (0..events.len()).map(|index| (index == 1).then(recognised)).collect()
    }
}

#[tokio::test]
async fn what_we_told_braze_is_marked_with_what_it_was_sent_for() {
    let bench = Bench::new();
    bench.door.set_echoes(Arc::new(Second));
    let body =
        batch(&[OPEN, &OPEN.replace("a-1", "a-2").replace(r#""external_user_id":"ana","#, "")]);
    bench.post(None, &body).await;
    insta::assert_snapshot!(bench.stored(), @r#"
    Currents shop posts posts
      users.messages.email.Open ana - a-1 1767258000000 {"user_id":"5fa1","timezone":"Asia/Tokyo","other":{"shiny":true}}
      users.messages.email.Open - - a-2 1767258000000 {"user_id":"5fa1","timezone":"Asia/Tokyo","known_as":"d-9","other":{"shiny":true}}
      echo 1 Sent { destination: "braze", stream: "shop-events", place: Place { offset: 7, index: 1 }, part: 2 }
    "#);
}

#[tokio::test]
async fn events_of_files_are_written_in_records_of_bounded_size() {
    let bench = Bench::new();
    let large = OPEN.replace("c-1", &"x".repeat(1 << 20));
    let body = batch(&[large.as_str(); 10]);
    let unusable = vec![Unusable { raw: "{}".into(), reason: "no `id`".to_owned() }];
    bench.door.accept_events("files", events(&body), unusable, Some("a/b.avro")).await.unwrap();
    let stored = bench.stored();
    assert_eq!(stored.matches("Currents shop files posts").count(), 3, "four events a record");
    assert_eq!(stored.matches("email.Open").count(), 10);
    assert!(stored.ends_with("reason: \"no `id`\", file: Some(\"a/b.avro\") }\n"), "after them");
    let nothing = bench.door.accept_events("files", Vec::new(), Vec::new(), None).await;
    assert!(nothing.is_ok() && bench.stored() == stored);
    let unknown = bench.door.accept_events("elsewhere", Vec::new(), Vec::new(), None).await;
    assert!(matches!(unknown, Err(CurrentsError::UnknownSource { .. })));
}

#[tokio::test]
async fn what_was_mended_is_let_go_in_the_same_record() {
    let bench = Bench::new();
    let body = batch(&[OPEN]);
    let place = Place { offset: 9, index: 3 };
    let mended = vec![(place, events(&body).remove(0))];
    bench.door.accept_mended("posts", mended).await.unwrap();
    let stored = bench.stored();
    let gone = r#"Mend(Mend { source: "posts", place: Place { offset: 9, index: 3 }, raw: None })"#;
    assert!(stored.contains("email.Open ana - a-1") && stored.contains(gone), "{stored}");
}
