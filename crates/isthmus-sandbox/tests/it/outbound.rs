//! What the sandbox sends by itself: messages of campaigns, and Currents.

mod files;
mod stage;

use crate::{with, with_default};
use isthmus_core::seam::Method;
use isthmus_sandbox::SandboxConfig;
use isthmus_sandbox::currents::Standing;
use serde_json::{Value, json};
use stage::{Stage, URL, events, short};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Everybody opens, clicks and unsubscribes.
fn everything() -> Value {
    json!({"opened": 1, "clicked": 1, "unsubscribed": 1, "machine_opens": 1})
}

fn named<'a>(events: &'a [Value], name: &str) -> &'a Value {
    let found: Vec<&Value> = events.iter().filter(|event| short(event) == name).collect();
    assert_eq!(found.len(), 1, "{name} in {events:?}");
    found.first().expect("it is there")
}

#[test]
fn an_event_leads_to_a_message_and_its_engagement_comes_back() {
    let stage = Stage::new();
    stage.connector(json!({"token": "Y3VycmVudHM-demo_1~", "linger": "1s"}));
    stage.campaign(
        "Thanks",
        &json!({
            "channel": "email", "trigger": {"event": "Order Completed"},
            "segment": {"attribute": "plan", "equals": "pro"},
            "message": "Hi {{${first_name}}}, enjoy the {{event_properties.${tour}}}!",
            "conversion": {"event": "Order Completed", "within": "3d"},
            "engagement": everything(),
        }),
    );
    for (id, plan) in [("u-1", "pro"), ("u-2", "free")] {
        let email = format!("{id}@example.test");
        stage.user(&json!({
            "external_id": id, "email": email, "first_name": "Mia", "plan": plan,
            "time_zone": "Europe/Oslo",
        }));
        stage.event(id, "Order Completed");
    }
    stage.pass(DAY);
    stage.event("u-1", "Order Completed");
    stage.pass(HOUR);
    assert_eq!(
        stage.types(),
        [
            "behaviors.CustomEvent",
            "behaviors.CustomEvent",
            "behaviors.CustomEvent",
            "behaviors.subscription.GlobalStateChange",
            "campaigns.Conversion",
            "messages.email.Click",
            "messages.email.Delivery",
            "messages.email.Open",
            "messages.email.Open",
            "messages.email.Send",
            "messages.email.Unsubscribe",
        ]
    );
    let taken = stage.taken();
    let sent = named(&taken, "messages.email.Send");
    let conversion = named(&taken, "campaigns.Conversion");
    assert_eq!(sent["time"], json!(crate::NOW_MS / 1_000));
    assert_eq!(
        sent["user"],
        json!({
            "user_id": stage.handle.user("u-1").expect("a user")["braze_id"],
            "external_user_id": "u-1", "timezone": "Europe/Oslo",
        })
    );
    let of_sent = &sent["properties"];
    assert_eq!(of_sent["email_address"], json!("u-1@example.test"));
    assert_eq!(of_sent["dispatch_id"].as_str().map(str::len), Some(32));
    for id in ["campaign_id", "message_variation_id", "app_group_id"] {
        assert_eq!(of_sent[id].as_str().map(str::len), Some(36), "{id} of {sent}");
        assert_eq!(of_sent[id], conversion["properties"][id], "{id}");
    }
    assert_eq!(of_sent["campaign_name"], json!("Thanks"));
    let opens = taken.iter().filter(|event| short(event) == "messages.email.Open");
    let by_machine: Vec<_> = opens.map(|event| event["properties"].get("machine_open")).collect();
    assert!(by_machine.contains(&Some(&json!("true"))) && by_machine.contains(&None));
    let state = &named(&taken, "behaviors.subscription.GlobalStateChange")["properties"];
    assert_eq!(state["subscription_status"], json!("Unsubscribed"));
    assert_eq!(state["channel_identifier"], json!("u-1@example.test"));
    let user = stage.handle.user("u-1").expect("a user");
    assert_eq!(user["email_subscribe"], json!("unsubscribed"));
    let behavior = conversion["properties"]["conversion_behavior"].as_str().expect("text");
    assert!(behavior.contains("\"window\":259200"), "{behavior}");
    let messages = stage.handle.campaigns().messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].body.as_deref(), Some("Hi Mia, enjoy the fjord!"));
    let counts = stage.handle.campaigns().campaign("Thanks").expect("it").counts;
    assert_eq!((counts.sent, counts.opened, counts.machine_opened, counts.clicked), (1, 1, 1, 1));
    assert_eq!((counts.unsubscribed, counts.converted, counts.not_eligible), (1, 1, 1));
}

#[test]
fn braze_exports_what_it_was_told() {
    let stage = Stage::new();
    stage.connector(json!({"types": ["users.behaviors.CustomEvent", "users.behaviors.Purchase"]}));
    stage.track(&json!({
        "events": [{
            "external_id": "u", "name": "Tour Booked", "time": "2026-09-01T10:00:00.999Z",
            "app_id": "app-7", "properties": {"nights": 3, "tags": ["a"], "gear": {"rope": true}},
        }],
        "purchases": [{
            "external_id": "u", "product_id": "pot", "currency": "EUR", "price": 2.5, "quantity": 3,
            "time": "2026-09-01T10:00:00Z", "properties": {"colour": "red"},
        }],
    }));
    stage.pass(Duration::from_secs(5));
    let taken = stage.taken();
    let event = named(&taken, "behaviors.CustomEvent");
    assert_eq!(event["time"], json!(1_788_256_800));
    let properties = &event["properties"];
    assert_eq!(
        (&properties["name"], &properties["app_id"]),
        (&json!("Tour Booked"), &json!("app-7"))
    );
    assert_eq!(
        properties["custom_properties"],
        json!({"nights": 3, "tags": ["a"], "gear": {"rope": true}})
    );
    assert!(properties.get("properties").is_none(), "that is the form of files");
    let purchases: Vec<_> = taken.iter().filter(|e| short(e) == "behaviors.Purchase").collect();
    assert_eq!(purchases.len(), 3, "one for each unit");
    for purchase in &purchases {
        let properties = &purchase["properties"];
        assert_eq!((&properties["product_id"], &properties["price"]), (&json!("pot"), &json!(2.5)));
        assert_eq!(properties["purchase_properties"], json!({"colour": "red"}));
    }
    assert_ne!(purchases[0]["id"], purchases[1]["id"]);
}

#[test]
fn events_of_an_anonymous_user_name_a_device_and_no_external_id() {
    let stage = Stage::new();
    stage.connector(json!({}));
    let alias = json!({"alias_name": "d-1", "alias_label": "device"});
    stage.user(&json!({
        "user_alias": alias, "_update_existing_only": false, "email": "kim@example.test",
    }));
    stage.campaign("Hi", &json!({"channel": "email", "engagement": {"opened": 1}}));
    let started = stage.handle.campaigns().send("Hi").expect("the campaign");
    assert_eq!((started.in_segment, started.queued), (1, 1));
    stage.pass(Duration::from_secs(10));
    let sent = stage.taken();
    assert!(!sent.is_empty());
    for event in &sent {
        let user = &event["user"];
        assert!(user.get("external_user_id").is_none(), "{event}");
        assert_eq!(user["device_id"].as_str().map(str::len), Some(36), "{event}");
    }
    let identify = json!({"aliases_to_identify": [{"external_id": "u-9", "user_alias": alias}]});
    let (status, _) = stage.send(Method::Post, "/users/identify", &identify);
    assert_eq!(status, 201);
    stage.pass(DAY);
    let taken = stage.taken();
    let opened = named(&taken, "messages.email.Open");
    assert_eq!(opened["user"]["external_user_id"], json!("u-9"), "who was identified meanwhile");
    assert!(opened["user"].get("device_id").is_none());
}

#[test]
fn a_sending_by_hand_reaches_those_in_the_segment_once() {
    let stage = Stage::new();
    stage.connector(
        json!({"types": ["users.messages.email.Send", "users.campaigns.EnrollInControl"]}),
    );
    for number in 0..200 {
        let plan = if number % 2 == 0 { "pro" } else { "free" };
        stage.user(&json!({
            "external_id": format!("u-{number}"), "plan": plan, "email": format!("u{number}@example.test"),
        }));
    }
    stage.user(&json!({"external_id": "silent", "plan": "pro"}));
    let gone = json!({
        "external_id": "gone", "plan": "pro", "email": "g@example.test", "email_subscribe": "unsubscribed",
    });
    stage.user(&gone);
    stage.campaign(
        "News",
        &json!({
            "channel": "email", "segment": {"attribute": "plan", "equals": "pro"}, "control": 0.25,
            "re_eligible_after": "1d",
        }),
    );
    let campaigns = stage.handle.campaigns();
    let first = campaigns.send("News").expect("the campaign");
    assert_eq!(first.in_segment, 102);
    stage.pass(HOUR);
    let taken = stage.taken();
    let control = taken.iter().filter(|e| short(e) == "campaigns.EnrollInControl").count();
    assert!((10..45).contains(&control), "{control}");
    assert_eq!(taken.len(), 100);
    let dispatches: BTreeSet<&str> =
        taken.iter().filter_map(|event| event["properties"]["dispatch_id"].as_str()).collect();
    assert_eq!(dispatches, BTreeSet::from([first.dispatch_id.as_str()]), "one transmission");
    let again = campaigns.send("News").expect("the campaign");
    assert_eq!(again.queued, 0);
    stage.pass(DAY);
    let later = campaigns.send("News").expect("the campaign");
    assert!(later.queued > 50 && later.dispatch_id != first.dispatch_id);
    let counts = campaigns.campaign("News").expect("it").counts;
    assert_eq!((counts.unreachable, counts.not_eligible), (4 + 2, 100));
    assert!(campaigns.send("Olds").is_none());
}

#[test]
fn each_channel_tells_its_own_events() {
    let stage = Stage::new();
    stage.connector(json!({}));
    stage.user(&json!({
        "external_id": "u", "phone": "+4915112345678",
        "push_tokens": [{"token": "t-1", "app_id": "app-1", "device_id": "device-0001"}],
    }));
    for (channel, engagement) in [
        ("push", json!({"opened": 1})),
        ("sms", json!({"clicked": 1})),
        ("in_app_message", json!({"opened": 1, "clicked": 1})),
        ("content_card", json!({"opened": 1, "clicked": 1})),
        ("webhook", json!({"bounced": 1})),
    ] {
        stage.campaign(channel, &json!({"channel": channel, "engagement": engagement}));
        assert_eq!(stage.handle.campaigns().send(channel).expect("it").queued, 1, "{channel}");
    }
    stage.pass(2 * DAY);
    assert_eq!(
        stage.types(),
        [
            "messages.contentcard.Click",
            "messages.contentcard.Impression",
            "messages.contentcard.Send",
            "messages.inappmessage.Click",
            "messages.inappmessage.Impression",
            "messages.pushnotification.Open",
            "messages.pushnotification.Send",
            "messages.sms.CarrierSend",
            "messages.sms.Delivery",
            "messages.sms.Send",
            "messages.sms.ShortLinkClick",
            "messages.webhook.Failure",
            "messages.webhook.Send",
        ]
    );
    let taken = stage.taken();
    let push = named(&taken, "messages.pushnotification.Send");
    assert_eq!(push["user"]["device_id"], json!("device-0001"));
    assert_eq!(
        (&push["properties"]["app_id"], &push["properties"]["push_token"]),
        (&json!("app-1"), &json!("t-1"))
    );
    let sms = named(&taken, "messages.sms.Delivery");
    assert_eq!(sms["properties"]["to_phone_number"], json!("+4915112345678"));
    assert!(sms["user"].get("device_id").is_none(), "not bound to a device: {sms}");
}

#[test]
fn a_message_that_gives_up_tells_why() {
    let stage = Stage::new();
    stage.connector(json!({}));
    stage.user(&json!({"external_id": "u", "email": "u@example.test"}));
    let message = format!("{{% abort_message('{}') %}}", "no tour ".repeat(30));
    stage.campaign("Tour", &json!({"channel": "email", "message": message}));
    assert!(stage.handle.campaigns().send("Tour").is_some());
    stage.pass(HOUR);
    let taken = stage.taken();
    let abort = named(&taken, "messages.email.Abort");
    assert_eq!(taken.len(), 1, "nothing was sent: {taken:?}");
    let log = abort["properties"]["abort_log"].as_str().expect("a log");
    assert!(log.starts_with("no tour") && log.len() == 128, "{log}");
    let messages = stage.handle.campaigns().messages();
    assert!(messages[0].body.is_none() && messages[0].aborted.is_some());
}

#[test]
fn a_seed_repeats_everything() {
    let run = |seed| {
        let stage = Stage::seeded(seed, SandboxConfig::default(), |_, _| 200);
        stage.connector(json!({"duplicates": 0.3, "reorder": 0.3}));
        let engagement =
            json!({"opened": 0.5, "clicked": 0.5, "bounced": 0.1, "machine_opens": 0.2});
        stage.campaign(
            "News",
            &json!({
                "channel": "email", "message": "Hi {{${user_id}}}", "engagement": engagement,
            }),
        );
        for number in 0..30 {
            stage.user(&json!({"external_id": format!("u-{number}"), "email": format!("u{number}@example.test")}));
        }
        assert!(stage.handle.campaigns().send("News").is_some());
        stage.pass(DAY);
        stage.requests().into_iter().map(|(request, _)| request.body).collect::<Vec<_>>()
    };
    let first = run(1);
    assert!(first.len() > 10);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn requests_are_as_braze_sends_them() {
    let stage = Stage::new();
    stage.connector(json!({"token": "Y3VycmVudHM-demo_1~", "batch_max": 10}));
    for _ in 0..25 {
        stage.event("u", "Page Viewed");
    }
    stage.pass(Duration::from_secs(5));
    let requests = stage.requests();
    let sizes: Vec<usize> = requests.iter().map(|(request, _)| events(request).len()).collect();
    assert_eq!(sizes, [10, 10, 5]);
    let request = &requests[0].0;
    assert_eq!((request.method, request.url.as_str()), (Method::Post, URL));
    assert_eq!(request.headers["authorization"], "Bearer Y3VycmVudHM-demo_1~");
    assert_eq!(request.headers["braze-currents-version"], "1");
    assert_eq!(request.headers["content-type"], "application/json");
}

#[test]
fn nothing_is_lost_whatever_the_receiver_answers() {
    for seed in 0..5 {
        let moody = |number: usize, request: &isthmus_core::seam::Request| {
            const MOODS: [u16; 12] = [200, 503, 200, 413, 200, 0, 429, 200, 401, 200, 500, 200];
            let many = events(request).len() > 1;
            let mood = MOODS[(number * 7 + request.body.len()) % MOODS.len()];
            // A single event that is too large would be dropped.
            if mood == 413 && !many { 200 } else { mood }
        };
        let stage = Stage::seeded(seed, SandboxConfig::default(), moody);
        stage.connector(json!({
            "duplicates": 0.2, "reorder": 0.2, "batch_max": 7, "retry_max": "10s",
            "credentials_retry": "20s",
        }));
        stage.campaign("News", &json!({
            "channel": "email", "engagement": {"opened": 0.6, "clicked": 0.5, "bounced": 0.1, "speed": 60},
        }));
        for number in 0..60 {
            let id = format!("u-{number}");
            stage.user(&json!({"external_id": id, "email": format!("u{number}@example.test")}));
            stage.event(&id, "Order Completed");
        }
        assert!(stage.handle.campaigns().send("News").is_some());
        stage.pass(DAY);
        let connector = stage.handle.currents().connector("out").expect("the connector");
        assert_eq!((connector.queued, connector.counts.dropped.total()), (0, 0), "{connector:?}");
        assert_eq!(connector.counts.acknowledged, connector.counts.events);
        assert!(connector.counts.duplicates > 0 && connector.last_error.is_some());
        let received: BTreeMap<String, String> = stage
            .taken()
            .iter()
            .map(|event| {
                (
                    event["id"].as_str().expect("an id").to_owned(),
                    event["event_type"].as_str().expect("a type").to_owned(),
                )
            })
            .collect();
        let sent = stage.handle.currents().events("out");
        let sent = sent.into_iter().map(|(id, kind)| (id, kind.to_owned())).collect();
        assert_eq!(received, sent);
        assert!(received.len() > 200);
    }
}

#[test]
fn credentials_are_tried_without_events() {
    let stage = Stage::answering(|number, _| if number == 0 { 401 } else { 204 });
    stage.connector(json!({"token": "t"}));
    let test = |path: &str| stage.send(Method::Post, path, &Value::Null);
    let (status, answer) = test("/_sandbox/currents/out/test");
    assert_eq!((status, &answer), (200, &json!({"accepted": false, "status": 401})));
    let (status, answer) = test("/_sandbox/currents/out/test?body=events");
    assert_eq!((status, &answer), (200, &json!({"accepted": true, "status": 204})));
    let bodies: Vec<_> = stage.requests().into_iter().map(|(request, _)| request.body).collect();
    assert_eq!(bodies, ["".as_bytes(), b"{\"events\":[]}"]);
    assert_eq!(test("/_sandbox/currents/none/test").0, 404);
}

#[test]
fn test_events_are_one_of_each_ticked_type() {
    let stage = Stage::new();
    stage.connector(json!({}));
    let (status, answer) =
        stage.send(Method::Post, "/_sandbox/currents/out/test-events", &Value::Null);
    assert_eq!((status, &answer), (202, &json!({"events": 102})));
    stage.pass(Duration::from_secs(5));
    let types: BTreeSet<String> = stage.taken().iter().map(short).collect();
    assert_eq!((types.len(), stage.taken().len()), (102, 102));
}

#[test]
fn what_takes_effect_later_is_exported_later() {
    let config = SandboxConfig { apply_delay: Duration::from_mins(1), ..SandboxConfig::default() };
    let stage = Stage::seeded(1, config, |_, _| 200);
    stage.connector(json!({"linger": "1s"}));
    stage.event("u", "Page Viewed");
    stage.pass(Duration::from_secs(50));
    assert!(stage.taken().is_empty());
    stage.pass(Duration::from_secs(20));
    assert_eq!(stage.types(), ["behaviors.CustomEvent"]);
}

#[test]
fn a_connector_that_is_flushed_does_not_wait() {
    let stage = Stage::new();
    stage.connector(json!({"linger": "15m"}));
    stage.event("u", "Page Viewed");
    stage.pass(Duration::from_mins(1));
    assert!(stage.taken().is_empty());
    let flushed = stage.send(Method::Post, "/_sandbox/currents/out/flush", &Value::Null);
    assert_eq!(flushed.0, 202);
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.taken().len(), 1);
}

#[test]
fn a_reset_forgets_who_got_what_and_keeps_the_definitions() {
    let stage = Stage::answering(|number, _| if number == 0 { 503 } else { 200 });
    stage.connector(json!({"linger": "0s", "retry_first": "1h", "retry_max": "1h"}));
    stage.user(&json!({"external_id": "u", "email": "u@example.test"}));
    stage.campaign("Hi", &json!({"channel": "email", "engagement": everything()}));
    assert!(stage.handle.campaigns().send("Hi").is_some());
    stage.pass(Duration::from_millis(1));
    stage.handle.reset();
    stage.pass(DAY);
    assert!(stage.taken().is_empty(), "what was on its way is forgotten");
    stage.user(&json!({"external_id": "v", "email": "v@example.test"}));
    assert_eq!(stage.handle.campaigns().send("Hi").expect("it").queued, 1);
    stage.pass(DAY);
    let taken = stage.taken();
    assert_eq!(named(&taken, "messages.email.Send")["user"]["external_user_id"], json!("v"));
    let connector = stage.handle.currents().connector("out").expect("the connector");
    assert_eq!((connector.standing, connector.counts.acknowledged), (Standing::Running, 7));
}

#[tokio::test]
async fn definitions_are_written_and_looked_at_by_http() {
    let stage = Stage::new();
    let put = |path: &str, body: Value| stage.send(Method::Put, path, &body);
    let connector = json!({"url": URL, "token": "secret", "linger": "soon"});
    let (status, answer) = put("/_sandbox/currents/out", connector);
    assert_eq!(status, 400);
    let message = answer["message"].as_str().expect("a message");
    assert!(message.starts_with("linger: `soon` is not a duration"), "{message}");
    let (status, answer) = put("/_sandbox/currents/out", json!({"url": URL, "token": "secret"}));
    assert_eq!((status, &answer["definition"]["token"]), (200, &json!("***")));
    assert!(!stage.get("/_sandbox/currents").to_string().contains("secret"));
    let (status, answer) = put("/_sandbox/campaigns/Hi", json!({"channel": "email", "segmnt": {}}));
    assert_eq!(status, 400);
    let message = answer["message"].as_str().expect("a message");
    assert!(
        message.starts_with("segmnt: is unknown; there are name, channel, segment"),
        "{message}"
    );
    let named = json!({"name": "Hi", "channel": "webhook"});
    assert_eq!(stage.send(Method::Post, "/_sandbox/campaigns", &named).0, 200);
    assert_eq!(stage.get("/_sandbox/campaigns")["campaigns"][0]["name"], json!("Hi"));
    stage.user(&json!({"external_id": "u"}));
    let (status, started) = stage.send(Method::Post, "/_sandbox/campaigns/Hi/send", &Value::Null);
    assert_eq!((status, &started["queued"]), (202, &json!(1)));
    stage.pass(Duration::from_secs(5));
    assert_eq!(stage.get("/_sandbox/campaigns/Hi")["counts"]["sent"], json!(1));
    let messages = stage.get("/_sandbox/campaigns/Hi/messages?limit=5");
    assert_eq!(messages["messages"][0]["external_id"], json!("u"));
    let events = stage.get("/_sandbox/currents/out/events");
    assert_eq!(events["events"].as_object().map(serde_json::Map::len), Some(1));
    let shown = stage.get("/_sandbox/currents/out");
    assert_eq!((&shown["standing"], &shown["acknowledged"]), (&json!("running"), &json!(1)));
    for path in ["/_sandbox/currents/out", "/_sandbox/campaigns/Hi"] {
        assert_eq!(stage.send(Method::Delete, path, &Value::Null).0, 200);
        assert_eq!(stage.send(Method::Delete, path, &Value::Null).0, 404);
        assert_eq!(stage.send(Method::Get, path, &Value::Null).0, 404);
    }
    assert_eq!(stage.send(Method::Get, "/_sandbox/campaigns?workspace=no", &Value::Null).0, 404);
}

#[tokio::test]
async fn the_page_shows_campaigns_and_connectors() {
    with_default(async |bench| {
        assert!(!bench.client.get("/").await.text.contains("<h2>Currents</h2>"));
        bench.handle.campaigns().put("Win <back>", &json!({"channel": "webhook"})).expect("one");
        bench.handle.currents().put("out", &json!({"url": "http://a.test/"})).expect("one");
        let page = bench.client.get("/").await.text;
        assert!(
            page.contains("Win &#60;back&#62;") && page.contains("<h2>Currents</h2>"),
            "{page}"
        );
        assert!(page.contains("<td>running</td>"));
    })
    .await;
}

#[tokio::test]
async fn workspaces_have_their_own_campaigns_and_connectors() {
    let key = |name: &str| isthmus_sandbox::AccessKey::new(format!("key-{name}"), name);
    let config = SandboxConfig { keys: vec![key("a"), key("b")], ..SandboxConfig::default() };
    with(config, async |bench| {
        let path = "/_sandbox/campaigns?workspace=b";
        let campaign = json!({"name": "Hi", "channel": "webhook"});
        assert_eq!(bench.client.post(path, &campaign).await.status, 200);
        assert!(bench.handle.campaigns().campaigns().is_empty());
        let listed = bench.client.get(path).await.json();
        assert_eq!(listed["campaigns"][0]["name"], json!("Hi"));
    })
    .await;
}
