//! Braze Currents: what posts are answered, and what becomes of their events.

use crate::harness::eventually;
use crate::harness::http::{Answer, send};
use crate::harness::lab::{Lab, SHOP};
use crate::harness::process::{REST_KEY, ended};
use serde_json::{Value, json};

const POSTS: &str = "/currents/http/posts";
const LETTERS: &str = "streams/currents:posts/dead-letters";

/// The shop, and a connector whose token is the test's key.
fn lab() -> Lab {
    Lab::configured(
        &format!(
            "{SHOP}---\nkind: currents_source\nname: posts\nproject: shop\n\
             token: {{ env: ISTHMUS_TEST_REST_KEY }}\ndestination: braze\n---\n\
             kind: currents_source\nname: open\nproject: shop\nopen: true\nsame_events_as: posts\n"
        ),
        "[ingest]\ncurrents_body_max = \"64KiB\"\n",
    )
}

fn send_to(lab: &Lab, path: &str, token: Option<&str>, body: &[u8]) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("content-type", "application/json"), ("braze-currents-version", "1")];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    send(lab.server().address(), "POST", path, &headers, body).unwrap()
}

fn post(lab: &Lab, events: &Value) -> Answer {
    let body = json!({ "events": events }).to_string();
    send_to(lab, POSTS, Some(REST_KEY), body.as_bytes())
}

fn open(id: &str, user: &str) -> Value {
    json!({ "event_type": "users.messages.email.Open", "id": id, "time": 1_767_258_000,
            "user": { "user_id": "5fa1c0ffee5fa1c0ffee0001", "external_user_id": user },
            "properties": { "campaign_id": "c-1" } })
}

/// Waits until the server has applied so many events and dropped so many repetitions.
fn applied(lab: &Lab, events: u64, duplicates: u64) {
    eventually("all events are applied", || {
        let status = lab.told("status");
        let is = status["events_applied"] == events && status["duplicates"] == duplicates;
        if is { Ok(()) } else { Err(status.to_string()) }
    });
}

fn letters(lab: &Lab) -> Vec<Value> {
    lab.told(LETTERS)["dead_letters"].as_array().unwrap().clone()
}

#[test]
fn a_connector_is_answered_so_that_braze_does_what_is_right() {
    let lab = lab();
    let batch = json!({ "events": [open("a-1", "ana-user")] }).to_string();
    let large = " ".repeat(100_000);
    let status = |path: &str, token: Option<&str>, body: &[u8]| {
        let answer = send_to(&lab, path, token, body);
        assert_eq!(answer.json()["code"], answer.status);
        answer.status
    };
    for body in [&b""[..], br#"{"events":[]}"#, batch.as_bytes(), b"nonsense", large.as_bytes()] {
        assert_eq!(status(POSTS, Some("wrong"), body), 401);
        assert_eq!(status(POSTS, None, body), 401);
        assert_eq!(status("/currents/http/elsewhere", Some(REST_KEY), body), 404);
    }
    assert_eq!(status(POSTS, Some(REST_KEY), b""), 200);
    assert_eq!(status(POSTS, Some(REST_KEY), br#"{"events":[]}"#), 200);
    assert_eq!(status(POSTS, Some(REST_KEY), b"nonsense"), 400);
    assert_eq!(status(POSTS, Some(REST_KEY), br#"{"event":[]}"#), 400);
    assert_eq!(status(POSTS, Some(REST_KEY), large.as_bytes()), 413);
    let answer = send(lab.server().address(), "GET", POSTS, &[], b"").unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    applied(&lab, 0, 0);
    assert_eq!(status(POSTS, Some(REST_KEY), batch.as_bytes()), 200);
    assert_eq!(status("/currents/http/open", None, batch.as_bytes()), 200);
    applied(&lab, 1, 1);
    let metrics = send(lab.server().address(), "GET", "/metrics", &[], b"").unwrap().text();
    for line in [
        r#"isthmus_currents_events_accepted_total{source="posts"} 1"#,
        r#"isthmus_currents_duplicates_total{source="open"} 1"#,
        r#"isthmus_ingest_requests_total{endpoint="/currents/http",status="401"} 10"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn events_are_kept_once_and_what_is_none_can_be_mended() {
    let mut lab = lab();
    let unknown = json!({ "event_type": "users.brand.new.Type", "id": "a-2", "time": 1_767_258_000,
                          "user": { "device_id": "phone-1" }, "properties": {} });
    let broken = json!({ "event_type": "users.messages.email.Open", "time": 1_767_258_000,
                         "user": { "external_user_id": "ana-user" } });
    let answer = post(&lab, &json!([open("a-1", "ana-user"), unknown, broken, 7]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({ "code": 200, "events": 2, "unusable": 2 }));
    applied(&lab, 2, 0);
    let found = letters(&lab);
    let shown: Vec<_> = found.iter().map(|letter| (&letter["name"], &letter["reason"])).collect();
    let (open_name, question) = (json!("users.messages.email.Open"), json!("?"));
    let (no_id, no_object) = (json!("no `id`"), json!("not an object"));
    assert_eq!(shown, [(&open_name, &no_id), (&question, &no_object)]);
    let ids: Vec<_> = found.iter().map(|letter| letter["id"].as_str().unwrap()).collect();

    // After a power cut everything is as it was, and what comes again is a repetition.
    lab.take_server().kill();
    lab.start();
    assert_eq!(letters(&lab), found);
    assert_eq!(post(&lab, &json!([open("a-1", "ana-user"), broken])).status, 200);
    applied(&lab, 2, 2);
    assert_eq!(letters(&lab), found);

    let listed = lab.printed(&["dead-letters", "currents:posts"]);
    assert!(listed.contains("users.messages.email.Open: no `id`"), "{listed}");
    let refused = lab.printed(&["dead-letters", "resend", "currents:posts", ids[0]]);
    assert!(refused.contains("1 would be refused again as they are"), "{refused}");
    let edit = |payload: &Value| {
        let payload = payload.to_string();
        lab.command(&["dead-letters", "edit", "currents:posts", ids[0], "--payload", &payload])
    };
    let refused = edit(&json!({ "event_type": "a.B", "id": "x", "time": "soon" }));
    assert!(!refused.status.success() && refused.stderr.contains("`time` is not a number"));
    assert_eq!(letters(&lab), found, "nothing was changed");
    let mended = edit(&open("a-3", "ana-user"));
    assert!(mended.status.success() && mended.stdout.contains("[edited]"), "{}", mended.stderr);
    let done = lab.printed(&["dead-letters", "resend", "currents:posts", "--all", "--yes"]);
    assert!(done.contains("1 dead letter being sent again"), "{done}");
    applied(&lab, 3, 2);
    assert_eq!(letters(&lab).len(), 1);
    let done = lab.printed(&["dead-letters", "discard", "currents:posts", ids[1]]);
    assert!(done.contains("1 dead letter let go"), "{done}");
    let none = lab.printed(&["dead-letters", "list", "currents:posts"]);
    assert_eq!(none, "currents source posts has no dead letters\n");
    assert_eq!(
        lab.audited(),
        [
            format!("discard dead letters currents/posts: ids {}: 1 done, 0 refused", ids[1]),
            "resend dead letters currents/posts: all: 1 done, 1 refused".to_owned(),
            format!("edit dead letter currents/posts: {}", ids[0]),
            format!("resend dead letters currents/posts: ids {}: 0 done, 1 refused", ids[0]),
        ]
    );
    let unknown = lab.command(&["dead-letters", "currents:elsewhere"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("currents_source elsewhere"));
    // The person is one like any other.
    let profile = lab.printed(&["profile", "show", "--user", "ana-user"]);
    assert!(profile.contains("ana-user"), "{profile}");
}

#[test]
fn nothing_of_a_forgotten_person_is_kept_for_mending() {
    let lab = lab();
    let named =
        json!({ "event_type": "a.B", "time": 1, "user": { "external_user_id": "zenobia-7731" } });
    let other =
        json!({ "event_type": "a.B", "time": 1, "user": { "external_user_id": "ana-user" } });
    assert_eq!(post(&lab, &json!([open("z-1", "zenobia-7731"), named, other])).status, 200);
    applied(&lab, 1, 0);
    assert_eq!(letters(&lab).len(), 2);
    let receipt = lab.printed(&["profile", "erase", "--user", "zenobia-7731", "--yes"]);
    assert!(receipt.contains("texts that are no events"), "{receipt}");
    let left = letters(&lab);
    assert_eq!(left.len(), 1);
    assert!(left[0]["payload"].as_str().unwrap().contains("ana-user"), "{left:?}");
    assert_eq!(post(&lab, &json!([open("z-2", "zenobia-7731")])).status, 200);
    assert_eq!(post(&lab, &json!([open("a-1", "ana-user")])).status, 200);
    applied(&lab, 2, 0);
}

#[test]
fn a_source_comes_and_goes_without_a_restart() {
    let lab = lab();
    let more = "kind: currents_source\nname: more\nproject: shop\nopen: true\n";
    let put = |text: &str| {
        let token = std::fs::read_to_string(lab.folder().join("data/control.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let (path, headers) = ("/control/v1/resources", [("authorization", &*bearer)]);
        send(lab.server().address(), "PUT", path, &headers, text.as_bytes()).unwrap()
    };
    let batch = json!({ "events": [open("a-1", "ana-user")] }).to_string();
    let post = || send_to(&lab, "/currents/http/more", None, batch.as_bytes()).status;
    assert_eq!(post(), 404);
    let refused = put(&more.replace("shop", "shp"));
    assert!(refused.status == 400 && refused.text().contains("did you mean"), "{}", refused.text());
    let refused = put(&more.replace("open: true", "token: { env: ISTHMUS_TEST_NO_KEY }"));
    assert!(refused.text().contains("environment variable ISTHMUS_TEST_NO_KEY is not set"));
    let taken = put(more);
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(post(), 200);
    applied(&lab, 1, 0);
    let removed = lab.control("DELETE", "resources/currents_source/more", &Value::Null);
    assert_eq!(removed.status, 200, "{}", removed.text());
    assert_eq!(post(), 404);
}

#[test]
fn what_is_wrong_with_a_source_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let source = "---\nkind: currents_source\nname: posts\nproject: shop\ndestination: brace\n\
                  token: { env: ISTHMUS_TEST_NO_KEY }\n";
    let wrong = format!("{}{source}", SHOP.replace("BRAZE", "127.0.0.1:8500"));
    std::fs::write(folder.path().join("wrong.yaml"), wrong).unwrap();
    let ended = ended(folder.path(), &["check", "--resources", "wrong.yaml"]);
    assert!(!ended.status.success());
    for words in [
        "unknown destination `brace` in currents_source `posts`",
        "did you mean `braze`",
        "environment variable ISTHMUS_TEST_NO_KEY is not set",
    ] {
        assert!(ended.stderr.contains(words), "{words}\n{}", ended.stderr);
    }
}
