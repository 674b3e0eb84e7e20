use super::*;
use insta::assert_snapshot;
use proptest::prelude::*;

/// Each event of `{"events": [...]}`, or why there is none.
fn read(events: &str) -> String {
    let body = format!(r#"{{"events":[{events}]}}"#);
    let batch = match read_batch(body.as_bytes()) {
        Ok(batch) => batch,
        Err(no) => return no.to_string(),
    };
    let lines = batch.into_iter().map(|event| match event {
        Ok(event) => shown(&event),
        Err(unusable) => format!("unusable: {unusable}: {}", unusable.raw),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn shown(event: &Received<'_>) -> String {
    let Received { event_type, id, time, properties, .. } = event;
    let who = [&event.user_id, &event.external_user_id, &event.device_id, &event.timezone];
    let who = who.map(|id| id.as_deref().unwrap_or("-")).join(" ");
    let other = event.other.as_deref().unwrap_or("-");
    format!("{event_type} {id} {time} | {who} | {properties} | {other}")
}

#[test]
fn a_batch_is_read_whole() {
    let events = r#"
        {"event_type":"users.messages.email.Open","id":"a","time":1767258000,
         "user":{"user_id":"b","external_user_id":"c","device_id":"d","timezone":"Europe/Berlin"},
         "properties":{"campaign_id":"x", "n":1.50}},
        {"id":"e","event_type":"t","time":1}"#;
    assert_snapshot!(read(events), @r#"
    users.messages.email.Open a 1767258000000 | b c d Europe/Berlin | {"campaign_id":"x", "n":1.50} | -
    t e 1000 | - - - - | {} | -
    "#);
}

#[test]
fn no_events_are_no_fault() {
    for body in ["", " \n", r#"{"events":[]}"#, r#" {"x":1,"events" : [ ] } "#] {
        assert_eq!(read_batch(body.as_bytes()), Ok(Vec::new()), "{body}");
    }
}

#[test]
fn what_is_no_batch_is_refused() {
    for body in ["null", "[]", "{}", r#"{"events":{}}"#, r#"{"events":null}"#, "7"] {
        assert_eq!(read_batch(body.as_bytes()), Err(NotABatch::NoEvents), "{body}");
    }
    for body in
        [&b"{"[..], b"{\"events\":[}", b"{\"events\":[1 2]}", b"{\"events\":[\"\xff\"]}", b"x"]
    {
        assert!(matches!(read_batch(body), Err(NotABatch::NotJson(_))), "{body:?}");
    }
}

#[test]
fn one_bad_event_spoils_no_other() {
    let events = r#"7, {"id":"a","time":1}, {"event_type":"t","time":1},
        {"event_type":"t","id":"a"}, {"event_type":"t","id":"","time":1},
        {"event_type":"t","id":["a"],"time":1}, {"event_type":"t","id":"a","time":"soon"},
        {"event_type":"t","id":"a","time":-1}, {"event_type":"t","id":"a","time":99999999999999999},
        {"event_type":"t","id":"a","time":true}, {"event_type":"t","id":"a","time":1e999},
        {"event_type":"t","id":"a","time":1,"user":"u"}, {"event_type":"t","id":"a","time":1,"properties":[]},
        {"event_type":"t","id":"good","time":1}"#;
    assert_snapshot!(read(events), @r#"
    unusable: not an object: 7
    unusable: no `event_type`: {"id":"a","time":1}
    unusable: no `id`: {"event_type":"t","time":1}
    unusable: no `time`: {"event_type":"t","id":"a"}
    unusable: `id` is empty: {"event_type":"t","id":"","time":1}
    unusable: no `id`: {"event_type":"t","id":["a"],"time":1}
    unusable: `time` is not a number: {"event_type":"t","id":"a","time":"soon"}
    unusable: `time` is -1, which is no time at which something can have happened: {"event_type":"t","id":"a","time":-1}
    unusable: `time` is 99999999999999999, which is no time at which something can have happened: {"event_type":"t","id":"a","time":99999999999999999}
    unusable: `time` is not a number: {"event_type":"t","id":"a","time":true}
    unusable: `time` is not a number: {"event_type":"t","id":"a","time":1e999}
    unusable: `user` is not an object: {"event_type":"t","id":"a","time":1,"user":"u"}
    unusable: `properties` is not an object: {"event_type":"t","id":"a","time":1,"properties":[]}
    t good 1000 | - - - - | {} | -
    "#);
}

#[test]
fn large_times_are_milliseconds() {
    for (time, millis) in [
        ("0", 0),
        ("99999999999", 99_999_999_999_000),
        ("100000000000", 100_000_000_000),
        ("1767258000123", 1_767_258_000_123),
        ("\"1767258000\"", 1_767_258_000_000),
        ("1767258000.5", 1_767_258_000_500),
        ("1.767258e9", 1_767_258_000_000),
    ] {
        let body = format!(r#"{{"events":[{{"event_type":"t","id":"a","time":{time}}}]}}"#);
        let batch = read_batch(body.as_bytes()).unwrap();
        assert_eq!(batch.first().unwrap().as_ref().unwrap().time, millis, "{time}");
    }
}

#[test]
fn empty_and_redacted_ids_are_absent() {
    let user =
        |user: &str| read(&format!(r#"{{"event_type":"t","id":"a","time":1,"user":{user}}}"#));
    let absent = "t a 1000 | - - - - | {} | -";
    assert_eq!(user(r#"{"user_id":null,"external_user_id":"","device_id":"[REDACTED]"}"#), absent);
    assert_eq!(user("null"), absent);
    assert_eq!(user(r#"{"external_user_id":4711}"#), "t a 1000 | - 4711 - - | {} | -");
    let zone = "t a 1000 | - - - [REDACTED] | {} | -";
    assert_eq!(user(r#"{"timezone":"[REDACTED]"}"#), zone);
}

#[test]
fn what_the_form_does_not_have_is_kept() {
    let event = r#"{"event_type":"t","id":"a","time":1,"new":[1],"user":{"phone":"1","user_id":"b"},"properties":null,"also":{}}"#;
    assert_snapshot!(read(event), @r#"t a 1000 | b - - - | {} | {"new":[1],"also":{},"user":{"phone":"1"}}"#);
}

proptest! {
    #[test]
    fn any_body_is_answered(bytes: Vec<u8>, text: String) {
        drop(read_batch(&bytes));
        drop(read_batch(format!("{{\"events\":[{text}]}}").as_bytes()));
    }

    #[test]
    fn any_event_that_is_json_is_answered(id: String, time: i64, number: f64, key: String) {
        let key = serde_json::Value::from(key).to_string();
        let id = serde_json::Value::from(id).to_string();
        for time in [time.to_string(), number.to_string()] {
            let events = format!(r#"{{"event_type":{key},"id":{id},"time":{time},"user":{{{key}:{id}}}}}"#);
            let _shown = read(&events);
        }
    }
}
