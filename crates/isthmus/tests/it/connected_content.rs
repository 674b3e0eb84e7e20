//! Messages that ask the User Profile API about their reader while the emulated Braze renders them.

use crate::harness::eventually;
use crate::harness::http::post;
use crate::harness::lab::{Lab, SHOP};
use serde_json::{Value, json};

const SECRET_KEY: &str = "shop-secret";

/// What Braze waits for an answer.
const BRAZE_WAITS_MILLIS: u64 = 2_000;

/// The shop with a secret key.
fn lab() -> Lab {
    Lab::with(&SHOP.replace("api_key: shop-key", "api_key: shop-key\nsecret_key: shop-secret"))
}

/// The tag that asks for the reader's properties.
fn call(lab: &Lab, key: &str, options: &str) -> String {
    let url = lab.server().url("/v1/userprofile");
    format!(
        "{{% connected_content {url}?user_id={{{{${{user_id}} | url_param_escape}}}}&get_amp_props=true \
         :headers {{\"Authorization\": \"Api-Key {key}\"}} :save profile {options} %}}"
    )
}

/// A message that is not sent to people of whom nothing is known.
fn message(lab: &Lab, options: &str) -> String {
    let call = call(lab, SECRET_KEY, options);
    format!(
        "{call}{{% if profile.__http_status_code__ != 200 %}}{{% abort_message('no profile') %}}\
         {{% endif %}}Plan: {{{{profile.userData.amp_props.plan}}}}, for {{{{profile.userData.user_id}}}}"
    )
}

/// A message that has something to say to everybody.
fn forgiving(lab: &Lab, key: &str) -> String {
    let call = call(lab, key, ":no_cache");
    format!("{call}Plan: {{{{profile.userData.amp_props.plan | default: 'free'}}}}")
}

/// The message as `reader` gets it.
fn render(lab: &Lab, template: &str, reader: &str) -> Value {
    let body = json!({ "template": template, "external_id": reader });
    let answer = post(lab.sandbox().address(), "/_sandbox/render", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Waits until the message says `text` to `reader`: what was accepted is applied a moment later.
fn reads(lab: &Lab, template: &str, reader: &str, text: &str) -> Value {
    eventually(&format!("{reader} reads {text}"), || {
        let rendered = render(lab, template, reader);
        if rendered["output"] == text { Ok(rendered) } else { Err(rendered.to_string()) }
    })
}

fn choose(lab: &Lab, user: &str, plan: &str) {
    let identify = json!([{ "event_type": "$identify", "user_id": user,
                            "user_properties": { "$set": { "plan": plan } } }]);
    assert_eq!(lab.upload(&identify).status, 200);
}

#[test]
fn a_message_has_the_value_that_just_changed_unless_it_comes_from_the_cache() {
    let lab = lab();
    let (fresh, cached) = (message(&lab, ":no_cache"), message(&lab, ""));
    choose(&lab, "ana-user", "free");
    lab.settle();
    let free = reads(&lab, &cached, "ana-user", "Plan: free, for ana-user");
    assert_eq!(free["calls"][0]["status"], 200, "{free}");
    reads(&lab, &fresh, "ana-user", "Plan: free, for ana-user");
    choose(&lab, "ana-user", "pro");
    reads(&lab, &fresh, "ana-user", "Plan: pro, for ana-user");
    assert_eq!(render(&lab, &fresh, "ana-user")["output"], "Plan: pro, for ana-user");
    let old = render(&lab, &cached, "ana-user");
    assert_eq!(old["output"], "Plan: free, for ana-user");
    assert_eq!(old["calls"][0]["cached"], true, "{old}");
    // Another reader has another URL, and so another page.
    choose(&lab, "bob-user", "plus");
    lab.settle();
    reads(&lab, &cached, "bob-user", "Plan: plus, for bob-user");
}

#[test]
fn a_message_to_somebody_unknown_here_is_aborted() {
    let lab = lab();
    let users = json!({ "attributes": [{ "external_id": "stranger", "plan": "pro" }] });
    let bearer = [("authorization", "Bearer any"), ("content-type", "application/json")];
    let track = crate::harness::http::send(
        lab.sandbox().address(),
        "POST",
        "/users/track",
        &bearer,
        users.to_string().as_bytes(),
    );
    assert_eq!(track.unwrap().status, 201);
    let rendered = render(&lab, &message(&lab, ""), "stranger");
    assert_eq!(rendered["aborted"], "no profile", "{rendered}");
    assert_eq!(rendered["calls"][0]["status"], 404, "{rendered}");
    let rendered = render(&lab, &message(&lab, ":retry"), "stranger");
    let calls = rendered["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "an unknown user is no failure that another attempt mends");
}

#[test]
fn a_message_with_a_wrong_key_falls_back() {
    let lab = lab();
    choose(&lab, "ana-user", "pro");
    lab.settle();
    reads(&lab, &forgiving(&lab, SECRET_KEY), "ana-user", "Plan: pro");
    // The key of the SDKs opens no profile.
    let rendered = render(&lab, &forgiving(&lab, "shop-key"), "ana-user");
    assert_eq!((&rendered["output"], &rendered["aborted"]), (&json!("Plan: free"), &Value::Null));
    assert_eq!(rendered["calls"][0]["status"], 401, "{rendered}");
}

#[test]
fn a_server_that_hangs_costs_two_seconds_and_one_that_is_gone_nothing() {
    let mut lab = lab();
    choose(&lab, "ana-user", "pro");
    lab.settle();
    let (strict, forgiving) = (message(&lab, ":no_cache"), forgiving(&lab, SECRET_KEY));
    reads(&lab, &strict, "ana-user", "Plan: pro, for ana-user");
    lab.server().signal("STOP");
    let rendered = render(&lab, &strict, "ana-user");
    lab.server().signal("CONT");
    assert_eq!(rendered["aborted"], "no profile", "{rendered}");
    let call = &rendered["calls"][0];
    assert!(call["took_millis"].as_u64().unwrap() >= BRAZE_WAITS_MILLIS, "{call}");
    assert!(call["status"].is_null(), "{call}");
    // It goes on where it was.
    reads(&lab, &strict, "ana-user", "Plan: pro, for ana-user");
    lab.take_server().kill();
    let rendered = render(&lab, &strict, "ana-user");
    assert_eq!(rendered["aborted"], "no profile", "{rendered}");
    assert_eq!(rendered["calls"][0]["status"], 599, "{rendered}");
    assert_eq!(render(&lab, &forgiving, "ana-user")["output"], "Plan: free");
}

#[test]
fn any_user_id_finds_its_own_profile() {
    let lab = lab();
    let users = ["ana+1@example.com", "ana & bo", "ana/bo?#%41", "Ana=Bø 東京", "%2Fana%20"];
    for (user, plan) in users.iter().zip(["a", "b", "c", "d", "e"]) {
        choose(&lab, user, plan);
    }
    lab.settle();
    for (user, plan) in users.iter().zip(["a", "b", "c", "d", "e"]) {
        reads(&lab, &message(&lab, ":no_cache"), user, &format!("Plan: {plan}, for {user}"));
    }
}
