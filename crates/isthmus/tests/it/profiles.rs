//! What is known of people: the User Profile API as Connected Content asks it, user mapping, and
//! the command that shows a person.

use crate::harness::eventually;
use crate::harness::http::{Answer, get, post_form, send};
use crate::harness::lab::{API_KEY, Lab, SHOP};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const SECRET_KEY: &str = "shop-secret";

/// The shop with a secret key, and a second project with the same users and another secret.
fn lab() -> Lab {
    let shop = SHOP.replace("api_key: shop-key", "api_key: shop-key\nsecret_key: shop-secret");
    Lab::with(&format!(
        "{shop}---\nkind: project\nname: other\napi_key: other-key\n\
         secret_key: {{ env: ISTHMUS_TEST_REST_KEY }}\n"
    ))
}

fn ask_with(lab: &Lab, authorization: &str, query: &str) -> Answer {
    let headers = [("authorization", authorization)];
    let path = format!("/v1/userprofile?{query}");
    send(lab.server().address(), "GET", &path, &headers, b"").unwrap()
}

fn ask(lab: &Lab, query: &str) -> Answer {
    ask_with(lab, &format!("Api-Key {SECRET_KEY}"), query)
}

/// The profile once it is there: what was accepted is applied a moment later.
fn profile(lab: &Lab, query: &str) -> Value {
    let answer = eventually("the profile is there", || {
        let answer = ask(lab, query);
        if answer.status == 200 { Ok(answer) } else { Err(answer.text()) }
    });
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    answer.json()["userData"].clone()
}

#[test]
fn a_profile_is_answered_by_user_and_by_device_with_what_events_said() {
    let lab = lab();
    let events = json!([
        { "event_type": "Product Viewed", "device_id": "phone-of-ana", "platform": "iOS",
          "os_name": "ios", "os_version": "17.2", "country": "Japan", "language": "ja-JP",
          "app_version": "4.1", "library": "amplitude-swift/1.9",
          "user_properties": { "plan": "free", "tags": ["a", 1] } },
        { "event_type": "$identify", "device_id": "phone-of-ana", "user_id": "ana-user",
          "user_properties": { "$set": { "plan": "pro" }, "$add": { "visits": 2 } } },
        { "event_type": "Order Completed", "device_id": "phone-of-ana", "user_id": "ana-user",
          "platform": "iOS", "revenue": 12.5 },
    ]);
    assert_eq!(lab.upload(&events).status, 200);
    lab.settle();
    let told = profile(&lab, "user_id=ana-user&get_amp_props=true");
    assert_eq!(told["user_id"], "ana-user");
    assert_eq!(told["device_id"], "phone-of-ana");
    let properties = &told["amp_props"];
    for (name, value) in [
        ("plan", json!("pro")),
        ("tags", json!(["a", 1])),
        ("visits", json!(2)),
        ("platform", json!("iOS")),
        ("country", json!("Japan")),
        ("language", json!("Japanese")),
        ("version", json!("4.1")),
        ("start_version", json!("4.1")),
        ("os", json!("ios 17.2")),
        ("paying", json!(true)),
        ("library", json!("http/2.0")),
    ] {
        assert_eq!(properties[name], value, "{name} of {properties}");
    }
    assert_eq!(properties["first_used"].as_str().map(str::len), Some(10), "{properties}");
    for part in ["recommendations", "cohort_ids"] {
        assert!(told[part].is_null(), "{told}");
    }
    assert_eq!(profile(&lab, "device_id=phone-of-ana&get_amp_props=1"), told);
    // The user id decides, and the device is for when it leads nowhere.
    assert_eq!(profile(&lab, "user_id=nobody-here&device_id=phone-of-ana")["user_id"], "ana-user");
    let none = profile(&lab, "user_id=ana-user&get_cohort_ids=true&comp_id=c1&rec_id=r1");
    assert_eq!(none["cohort_ids"], json!([]));
    assert_eq!(none["amp_props"], json!({ "c1": null }));
    assert!(none["recommendations"].is_null());
}

#[test]
fn every_refusal_has_its_documented_words() {
    let lab = lab();
    assert_eq!(
        lab.upload(&json!([{ "event_type": "Product Viewed", "user_id": "ana-user" }])).status,
        200
    );
    lab.settle();
    let known = "user_id=ana-user";
    let address = lab.server().address();
    let missing = get(address, "/v1/userprofile?user_id=ana-user");
    let cases = [
        (missing, 401, "Missing Api-Key in Authorization header"),
        (
            ask_with(&lab, "Bearer shop-secret", known),
            401,
            "Missing Api-Key in Authorization header",
        ),
        (ask_with(&lab, "Api-Key ", known), 401, "Missing Api-Key in Authorization header"),
        (ask_with(&lab, "Api-Key shop-key", known), 401, "Invalid Api-Key"),
        (ask_with(&lab, "Api-Key shop-secre", known), 401, "Invalid Api-Key"),
        (ask(&lab, ""), 400, r#"{"error":"user_id or device_id is required"}"#),
        (
            ask(&lab, "user_id=ana-user&get_recs=true"),
            400,
            r#"{"error":"rec_id is required with get_recs"}"#,
        ),
        (
            ask(&lab, "user_id=ana-user&get_amp_props=x"),
            400,
            r#"{"error":"get_amp_props must be true or false"}"#,
        ),
        (
            ask(&lab, "user_id=stranger"),
            404,
            r#"{"error":"User id and device id not seen before"}"#,
        ),
        (get(address, "/v1/userprofiles"), 404, ""),
    ];
    for (answer, status, text) in cases {
        assert_eq!((answer.status, answer.text().as_str()), (status, text));
    }
    // Another project's key opens that project, where nobody is known.
    let other = ask_with(&lab, &format!("Api-Key {}", crate::harness::process::REST_KEY), known);
    assert_eq!(other.status, 404, "{}", other.text());
}

fn mapped(lab: &Lab, ids: &str) -> Value {
    let pair = BASE64_STANDARD.encode(format!("{API_KEY}:{SECRET_KEY}"));
    let authorization = format!("Basic {pair}");
    let headers = [("authorization", authorization.as_str())];
    let path = format!("/api/2/usermap?user_ids={ids}");
    let answer = send(lab.server().address(), "GET", &path, &headers, b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn map(lab: &Lab, mapping: &Value) -> Answer {
    let text = mapping.to_string();
    let fields = [("api_key", API_KEY), ("mapping", text.as_str())];
    post_form(lab.server().address(), "/usermap", &fields)
}

#[test]
fn user_ids_are_mapped_all_or_none_of_a_request() {
    let lab = lab();
    let taken = map(
        &lab,
        &json!([
            { "user_id": "ana@home", "global_user_id": "cust-7731" },
            { "user_id": "ana@work", "global_user_id": "ana@home" },
        ]),
    );
    assert_eq!(
        (taken.status, taken.text().as_str()),
        (200, r#"{"code":200,"mappings_processed":2}"#)
    );
    // At once, whether it is applied yet or not.
    let refused = map(
        &lab,
        &json!([
            { "user_id": "bo@home", "global_user_id": "cust-7732" },
            { "user_id": "cust-7731", "global_user_id": "ana@work" },
        ]),
    );
    assert_eq!(refused.status, 400);
    let refused = refused.json();
    assert_eq!(refused["error"], "the mapping would form a cycle", "{refused}");
    assert_eq!(refused["events_with_invalid_fields"], json!({ "global_user_id": [1] }));
    let told = eventually("the mappings are applied", || {
        let told = mapped(&lab, "ana@home,cust-7731,bo@home");
        if told["ana@home"] == json!({}) { Err(told.to_string()) } else { Ok(told) }
    });
    assert_eq!(told["ana@home"]["mapped_to"][0]["user_id"], "cust-7731");
    assert_eq!(told["ana@home"]["mapped_from"][0]["user_id"], "ana@work");
    assert_eq!(told["cust-7731"]["mapped_from"][0]["user_id"], "ana@home");
    assert_eq!(told["bo@home"], json!({}), "nothing of the refused request");
    let undone = map(&lab, &json!({ "user_id": "ana@home", "unmap": true }));
    assert_eq!(undone.status, 200);
    eventually("the mapping is gone", || {
        let told = mapped(&lab, "cust-7731");
        if told["cust-7731"] == json!({}) { Ok(()) } else { Err(told.to_string()) }
    });
    for (mapping, field) in [
        (json!({ "global_user_id": "cust-7731" }), "events_with_missing_fields"),
        (
            json!({ "user_id": "abc", "global_user_id": "cust-7731" }),
            "events_with_invalid_id_lengths",
        ),
        (json!({ "user_id": "undefined", "unmap": true }), "events_with_invalid_fields"),
    ] {
        let answer = map(&lab, &mapping);
        assert_eq!(answer.status, 400, "{mapping}");
        assert_eq!(
            answer.json()[field].as_object().map(serde_json::Map::len),
            Some(1),
            "{mapping}"
        );
    }
    let wrong =
        post_form(lab.server().address(), "/usermap", &[("api_key", "nobody"), ("mapping", "[]")]);
    assert_eq!(wrong.json()["error"], "Invalid API key: nobody");
}

#[test]
fn a_person_is_shown_with_the_time_since_when_and_what_was_before() {
    let lab = lab();
    let identify = |plan: &str| {
        json!([{ "event_type": "$identify", "user_id": "ana-user", "device_id": "phone-of-ana",
                 "user_properties": { "$set": { "plan": plan } } }])
    };
    assert_eq!(lab.upload(&identify("free")).status, 200);
    assert_eq!(lab.upload(&identify("pro")).status, 200);
    lab.settle();
    let report =
        lab.printed(&["profile", "show", "--user", "ana-user", "--project", "shop", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["device_ids"], json!(["phone-of-ana"]));
    let plan = &report["properties"][0];
    assert_eq!((&plan["name"], &plan["value"]), (&json!("plan"), &json!("pro")), "{report}");
    assert_eq!(plan["before"][0]["value"], "free");
    assert_eq!(plan["before"][0]["until"], plan["since"]);
    let shown = lab.printed(&["profile", "show", "--device", "phone-of-ana", "--project", "shop"]);
    assert!(shown.contains("ana-user of project shop"), "{shown}");
    assert!(shown.contains(r#"plan = "pro", since 20"#), "{shown}");
    assert!(shown.contains(r#"was "free" from 20"#), "{shown}");
}
