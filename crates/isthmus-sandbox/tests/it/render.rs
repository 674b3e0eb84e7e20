//! Messages in Liquid, and the calls that they make, with a fake service and time that only moves
//! when a message waits.

mod site;

use serde_json::{Value, json};
use site::{Answer, Lab};
use std::time::Duration;

const URL: &str = "https://profiles.example.test/p";

fn json_page(page: &Value) -> Answer {
    Answer::ok(&page.to_string())
}

#[test]
fn renders_the_message_of_the_guide() {
    let lab = Lab::answering(|_| {
        json_page(&json!({"userData": {"recommendations": [{"items": ["fjord", "glacier"]}]}}))
    });
    lab.user(&json!({"external_id": "u 1/2"}));
    let rendered = lab.render(&json!({"external_id": "u 1/2", "template": "\
{% connected_content https://profiles.example.test/v1/userprofile?user_id={{${user_id} | url_param_escape}}&get_recs=true&rec_id=next_tour
   :headers {\"Authorization\": \"Api-Key demo-secret\"}
   :save profile :retry :cache_max_age 900 %}
{% if profile.__http_status_code__ != 200 or profile.userData.recommendations == nil %}
  {% abort_message('no recommendation') %}
{% endif %}
Your next tour: {{profile.userData.recommendations[0].items[0]}}"}));
    assert_eq!(rendered["output"].as_str().map(str::trim), Some("Your next tour: fjord"));
    assert_eq!((&rendered["aborted"], &rendered["warnings"]), (&Value::Null, &json!([])));
    let url = "https://profiles.example.test/v1/userprofile\
               ?user_id=u%201%2F2&get_recs=true&rec_id=next_tour";
    assert_eq!(
        rendered["calls"],
        json!([{"url": url, "status": 200, "took_millis": 0, "cached": false, "error": null}])
    );
    let sent = lab.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].url, url);
    assert_eq!(sent[0].headers["authorization"], "Api-Key demo-secret");
    assert_eq!(sent[0].headers["content-type"], "application/json");
    assert_eq!(sent[0].headers["accept"], "*/*");
    let agent = sent[0].headers["user-agent"].to_str().expect("text");
    assert!(agent.starts_with("Braze Sender ") && agent.len() == 29, "{agent}");
}

#[test]
fn aborts_the_message_when_the_profile_is_not_there() {
    let lab = Lab::answering(|_| Answer::status(404));
    let template = format!(
        "{{% connected_content {URL} :save profile :retry %}}\
         {{% if profile.userData.recommendations == nil %}}{{% abort_message('none') %}}{{% endif %}}x"
    );
    let rendered = lab.render_text(&template);
    assert_eq!((&rendered["aborted"], &rendered["output"]), (&json!("none"), &json!("")));
    assert_eq!((rendered["calls"].as_array().map(Vec::len), lab.sent().len()), (Some(1), 1));
}

#[test]
fn knows_the_user_and_the_event() {
    let lab = Lab::new();
    lab.user(&json!({
        "external_id": "u", "email": "Mia@Example.test", "first_name": "Mia", "home_city": "Oslo",
        "plan": "pro", "First Visit": "2026-01-02", "bag": [{"sku": "k-1"}], "shape": {"size": 4},
    }));
    let cases = [
        ("{{${user_id}}} {{ ${email_address} }} {{${city}}}", "u Mia@Example.test Oslo"),
        ("{{custom_attribute.${plan} | upcase}}", "PRO"),
        ("{{custom_attribute.${First Visit}}}", "2026-01-02T00:00:00.000Z"),
        ("{{custom_attribute.${bag}[0].sku}}", "k-1"),
        ("{{custom_attribute.${shape} | property_accessor: 'size'}}", "4"),
        ("{{event_properties.${tour}}}-{{event_properties.${days}[1] | plus: 1}}", "fjord-3"),
        ("{% if ${first_name} == 'Mia' %}hi{% elsif true %}no{% else %}no{% endif %}", "hi"),
        ("{{${last_name} | default: 'friend'}}", "friend"),
        ("{{custom_attribute.${none}.of[3].this}}{{ nothing }}", ""),
        ("{% for d in event_properties.${days} %}{{d}};{{d.no}}{% endfor %}", "1;2;"),
        ("{% assign a = 'x' %}{% capture b %}{{a}}y{% endcapture %}{{b}}", "xy"),
        ("{% case ${first_name} %}{% when 'Mia' %}1{% else %}2{% endcase %}", "1"),
        ("{% if nothing contains 'x' %}yes{% else %}no{% endif %}", "no"),
        (
            "{{ 'a b&c/d' | url_param_escape }} {{ 'a b&c/d' | url_escape }}",
            "a%20b%26c%2Fd a%20b&c/d",
        ),
        ("{{ 'say \"a\"' | json_escape }}", "say \\\"a\\\""),
        ("{{ 'now' | date: '%Y-%m-%d' }}", "2026-09-09"),
        (
            "{% raw %}{{${user_id}}}{% endraw %}{% comment %}{{ ${ {% x %}{% endcomment %}",
            "{{${user_id}}}",
        ),
        ("a {{- 'b' -}} c{%- assign x = 1 -%} d", "abcd"),
    ];
    for (template, expected) in cases {
        let asked = json!({
            "external_id": "u", "template": template,
            "event_properties": {"tour": "fjord", "days": [1, 2]},
        });
        let rendered = lab.render(&asked);
        assert_eq!(rendered["output"], json!(expected), "{template}: {rendered}");
    }
}

#[test]
fn finds_the_user_as_other_endpoints_do() {
    let lab = Lab::new();
    lab.user(&json!({"external_id": "u", "email": "mia@example.test", "plan": "pro"}));
    let by = |name: &str, value: Value| {
        let mut asked = json!({"template": "{{custom_attribute.${plan}}}"});
        asked[name] = value;
        lab.ask(&asked)
    };
    assert_eq!(by("email", json!("MIA@example.test")).1["output"], json!("pro"));
    assert_eq!(by("external_id", json!("v")).0, 404);
    let (status, answer) = by("user_alias", json!({"alias_name": "n"}));
    assert_eq!((status, &answer["message"]), (400, &json!("'user_alias' is not valid")));
    assert_eq!(lab.render_text("{{${user_id}}}.")["output"], json!("."), "about nobody");
}

#[test]
fn names_the_line_of_what_is_wrong() {
    let lab = Lab::new();
    let cases = [
        (
            "a\nb {{ x | nonsense }}",
            "line 2: no expression, or a filter that the sandbox does not know",
        ),
        ("\n\n{% if x %}", "line 3: "),
        ("\n{{ x", "line 2: `{{` without `}}`"),
        ("{% nonsense %}", "line 1: "),
        ("\n{% connected_content :save x %}", "line 2: `connected_content` needs a URL first"),
        (
            "{% connected_content https://a.test :save %}",
            "line 1: `:save` is unknown or has no value",
        ),
        (
            "{% connected_content https://a.test :what x %}",
            "line 1: `:what` is no option of `connected_content`",
        ),
        (
            "{% connected_content https://a.test :method put %}",
            "line 1: `:method put`: only get and post exist",
        ),
        (
            "{% connected_content https://a.test :headers {\"a\"} %}",
            "line 1: `:headers`: expected `:`",
        ),
        (
            "{% connected_content https://{{ a | no }} \n\n %}\n{{ b | no }}",
            "line 1: no expression",
        ),
        ("{% connected_content https://a.test \n\n %}\n{{ b | no }}", "line 4: no expression"),
        ("{{ 999999999999999999999999999999 }}", "the Liquid library cannot take this template"),
    ];
    for (template, expected) in cases {
        let (status, answer) = lab.ask(&json!({"template": template}));
        let message = answer["message"].as_str().expect("a message");
        assert!(status == 400 && message.starts_with(expected), "{template}: {message}");
    }
    let (status, answer) = lab.ask(&json!({"template": "", "externalid": "u"}));
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().expect("text").contains("`externalid`"), "{answer}");
}

#[test]
fn text_replaces_the_tag_and_json_reaches_the_variable() {
    let lab = Lab::answering(|request| match request.url.as_str() {
        "https://a.test/text" => Answer::ok("plain"),
        "https://a.test/list" => Answer::ok("[1,2]"),
        _ => Answer::ok("{\"a\":{\"b\":[7]}}").with_status(201),
    });
    let template = "{% connected_content https://a.test/text %},\
        {% connected_content https://a.test/list :save list %}{{list[1]}}{{list.__http_status_code__}},\
        {% connected_content https://a.test/object %}{{connected.a.b[0]}},{{connected.__http_status_code__}}";
    assert_eq!(lab.render_text(template)["output"], json!("plain,2,7,201"));
}

#[test]
fn only_a_success_in_time_and_of_size_counts() {
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(1 << 20));
    let lab = Lab::answering(move |request| match request.url.rsplit('/').next() {
        Some("late") => Answer::ok("{\"a\": 1}").after(Duration::from_millis(2_001)),
        Some("in-time") => Answer::ok("{\"a\": 1}").after(Duration::from_millis(1_999)),
        Some("large") => Answer::ok(&large),
        Some("moved") => Answer::status(301),
        Some("broken") => Answer::ok("{\"a\": 1}").with_status(500),
        _ => Answer::NONE,
    });
    let cases = [
        ("in-time", "1", json!(200), Value::Null),
        ("late", "", Value::Null, json!("no answer within 2s")),
        ("large", "", json!(200), json!("the answer exceeds 1048576 bytes")),
        ("moved", "", json!(301), json!("redirects are not followed")),
        ("broken", "", json!(500), json!("status 500 is no success")),
        ("nobody", "", json!(599), json!("not sent: no connection")),
    ];
    for (path, output, status, error) in cases {
        let rendered = lab.render_text(&format!(
            "{{% connected_content https://a.test/{path} :save p %}}{{{{p.a}}}}"
        ));
        assert_eq!(rendered["output"], json!(output), "{path}");
        assert_eq!(
            (&rendered["calls"][0]["status"], &rendered["calls"][0]["error"]),
            (&status, &error)
        );
    }
    let before = lab.sent().len();
    lab.render_text("{% connected_content https://a.test/large %}");
    assert_eq!(lab.sent().len(), before + 1, "what is too large is not cached");
}

#[test]
fn retries_five_times_and_then_aborts() {
    let lab = Lab::answering(|_| Answer::status(502));
    let began = lab.elapsed();
    let rendered = lab.render_text(&format!("{{% connected_content {URL} :retry %}}x"));
    assert_eq!(lab.sent().len(), 6);
    assert_eq!(rendered["output"], json!(""));
    let reason = format!("Connected Content failed after all retries: {URL}");
    assert_eq!(rendered["aborted"], json!(reason));
    assert_eq!(lab.elapsed().saturating_sub(began), Duration::from_millis(250 * 31));
}

#[test]
fn a_retry_that_succeeds_ends_the_retries() {
    let lab = Lab::answering(|request| match request.number {
        0 | 1 => Answer::status(500),
        _ => Answer::ok("fine"),
    });
    let rendered = lab.render_text(&format!("{{% connected_content {URL} :retry %}}"));
    assert_eq!((&rendered["output"], lab.sent().len()), (&json!("fine"), 3));
}

#[test]
fn neither_an_abort_nor_a_preview_retries() {
    let lab = Lab::answering(|_| Answer::status(500));
    let abort = "{% connected_content https://a.test :save p :retry %}\
                 {% if p == nil %}{% abort_message('gone') %}{% endif %}";
    assert_eq!(lab.render_text(abort)["aborted"], json!("gone"));
    assert_eq!(lab.sent().len(), 1);
    let template = "{% connected_content https://a.test :retry %}x";
    let preview = lab.render(&json!({"template": template, "preview": true}));
    assert_eq!((&preview["output"], &preview["aborted"]), (&json!("x"), &Value::Null));
    assert_eq!(lab.sent().len(), 2);
    lab.render_text("{% connected_content https://a.test %}");
    assert_eq!(lab.sent().len(), 3, "no retry unless the tag asks for it");
}

/// How often the service is called when `template` is rendered now, and after each of `pauses`.
fn calls_over_time(template: &str, pauses: &[u64]) -> Vec<usize> {
    let lab = Lab::answering(|request| Answer::ok(&request.number.to_string()));
    lab.render_text(template);
    let mut counts = vec![lab.sent().len()];
    for pause in pauses {
        lab.pass(Duration::from_secs(*pause));
        lab.render_text(template);
        counts.push(lab.sent().len());
    }
    counts
}

#[test]
fn pages_are_cached_by_their_url() {
    let tag = |options: &str| format!("{{% connected_content {URL} {options} %}}");
    assert_eq!(calls_over_time(&tag(""), &[299, 1]), [1, 1, 2], "five minutes by default");
    assert_eq!(calls_over_time(&tag(":cache_max_age 900"), &[899, 1]), [1, 1, 2]);
    assert_eq!(
        calls_over_time(&tag(":cache_max_age 5"), &[299, 1]),
        [1, 1, 2],
        "at least 5 minutes"
    );
    assert_eq!(
        calls_over_time(&tag(":cache_max_age 99999"), &[14_399, 1]),
        [1, 1, 2],
        "at most 4 hours"
    );
    assert_eq!(calls_over_time(&tag(":no_cache"), &[0]), [1, 2]);
    assert_eq!(calls_over_time(&tag(":method post"), &[0]), [1, 2]);
    assert_eq!(calls_over_time(&tag(":method post :cache_max_age 300"), &[299, 1]), [1, 1, 2]);
    let lab = Lab::answering(|request| Answer::ok(&request.number.to_string()));
    let of =
        |key: &str| lab.render_text(&tag(&format!(":headers {{\"Authorization\": \"{key}\"}}")));
    assert_eq!(of("a")["output"], json!("0"));
    let second = of("b");
    assert_eq!(second["output"], json!("0"), "headers are no part of the key");
    assert_eq!(second["calls"][0]["cached"], json!(true));
    let clamped = lab.render_text(&tag(":cache_max_age 5"));
    assert_eq!(clamped["warnings"], json!(["line 1: `:cache_max_age 5` means 300 seconds"]));
}

#[test]
fn failures_are_not_cached() {
    let lab = Lab::answering(|request| match request.number {
        0 => Answer::status(404),
        _ => Answer::ok("here"),
    });
    let template = format!("{{% connected_content {URL} %}}");
    assert_eq!(lab.render_text(&template)["output"], json!(""));
    assert_eq!(lab.render_text(&template)["output"], json!("here"));
}

#[test]
fn posts_a_form_or_json() {
    let lab = Lab::answering(|_| Answer::ok("ok"));
    let sent = |template: &str| {
        let rendered = lab.render_text(template);
        assert_eq!(rendered["output"], json!("ok"), "{template}");
        let request = lab.sent().pop().expect("a request");
        let header = |name: &str| request.headers[name].to_str().expect("text").to_owned();
        (
            header("content-type"),
            header("accept"),
            String::from_utf8_lossy(&request.body).into_owned(),
        )
    };
    let expect = |kind: &str, accept: &str, body: &str| {
        (kind.to_owned(), accept.to_owned(), body.to_owned())
    };
    let (form, json) = ("application/x-www-form-urlencoded", "application/json");
    assert_eq!(
        sent(
            "{% connected_content https://a.test :method post :body a=1&b={{ 'x y' | url_param_escape }} %}"
        ),
        expect(form, "*/*", "a=1&b=x%20y")
    );
    assert_eq!(
        sent(
            "{% connected_content https://a.test :method post :body a=1&b=x :content_type application/json %}"
        ),
        expect(json, json, r#"{"a":"1","b":"x"}"#)
    );
    assert_eq!(
        sent(
            "{% connected_content https://a.test :method post :body {\"a\":{\"b\":{{ 1 | plus: 1 }}}} :content_type application/json %}"
        ),
        expect(json, json, r#"{"a":{"b":2}}"#)
    );
    let captured = "{% capture body %}{\"a\": \"b\"}{% endcapture %}\
                    {% connected_content https://a.test :method post :body body :content_type application/json %}";
    assert_eq!(sent(captured).2, r#"{"a": "b"}"#);
}

#[test]
fn sends_stored_credentials_where_they_may_go() {
    let lab = Lab::answering(|_| Answer::ok("ok"));
    lab.credentials(&json!({
        "shop": {"basic": {"username": "mia", "password": "pass"}},
        "token": {"headers": {"domain": "a.test", "headers": {"X-Token": "t-1"}}},
    }));
    lab.render_text("{% connected_content https://a.test :basic_auth shop %}");
    assert_eq!(lab.sent()[0].headers["authorization"], "Basic bWlhOnBhc3M=");
    lab.render_text("{% connected_content https://api.a.test :auth_credentials token %}");
    assert_eq!(lab.sent()[1].headers["x-token"], "t-1");
    let refused =
        lab.render_text("{% connected_content https://not-a.test :auth_credentials token %}");
    let error = "the credential token is for a.test, not for not-a.test";
    assert_eq!(refused["calls"][0]["error"], json!(error));
    let unknown = lab.render_text("{% connected_content https://a.test/2 :basic_auth token %}");
    assert_eq!(unknown["calls"][0]["error"], json!("no such credential: token"));
    assert_eq!(lab.sent().len(), 2, "what lacks its credential is not sent");
}

#[test]
fn an_unwell_host_is_left_alone_for_a_minute() {
    let lab = Lab::answering(|request| match request.number {
        0..3_001 => Answer::status(503),
        _ => Answer::ok("well"),
    });
    let many =
        format!("{{% for i in (1..50) %}}{{% connected_content {URL} :no_cache %}}{{% endfor %}}");
    for _ in 0..60 {
        lab.render_text(&many);
    }
    let one = format!("{{% connected_content {URL} %}}");
    assert_eq!(lab.render_text(&one)["calls"][0]["status"], json!(503));
    assert_eq!(lab.render_text(&one)["calls"][0]["status"], json!(598));
    assert_eq!(lab.sent().len(), 3_001);
    lab.pass(Duration::from_mins(1));
    assert_eq!(lab.render_text(&one)["output"], json!("well"));
}

#[test]
fn a_message_makes_as_many_calls_as_it_needs_and_no_loop_runs_forever() {
    let lab = Lab::answering(|request| Answer::ok(&request.url.replace("https://a.test/", "")));
    let chained = "{% for i in (1..3) %}{% connected_content https://a.test/{{i}} %}{% endfor %}";
    assert_eq!(lab.render_text(chained)["output"], json!("123"));
    assert_eq!(lab.sent().len(), 3, "each of them once");
    let (status, answer) = lab.ask(&json!({
        "template": "{% for i in (1..51) %}{% connected_content https://a.test/{{i}} %}{% endfor %}"
    }));
    assert_eq!((status, &answer["message"]), (400, &json!("more than 50 calls")));
}

#[test]
fn refuses_templates_that_would_exhaust_the_machine() {
    let lab = Lab::new();
    let nested = |depth: usize| "{% if true %}".repeat(depth) + "x" + &"{% endif %}".repeat(depth);
    assert_eq!(lab.render_text(&nested(64))["output"], json!("x"));
    let many = |part: &str| part.repeat(100_000 / part.len());
    let cases = [
        (nested(65), "line 1: more than 64 nested blocks"),
        (
            format!("{{% if a %}}{}{{% endif %}}", many("{% elsif a %}")),
            "line 1: more than 256 elsif",
        ),
        (
            format!("{{% if {} a %}}{{% endif %}}", many("a or ")),
            "line 1: more than 8192 bytes in one tag",
        ),
        (format!("{{{{ {} }}}}", "a[".repeat(65)), "line 1: more than 64 brackets"),
        ("{% for i in (1..99999999999) %}{% endfor %}".into(), "a range of more than 1000 numbers"),
        (
            "{% assign n = 9999999999 %}{% for i in (1..n) %}{% endfor %}".into(),
            "a range of more than 1000 numbers",
        ),
        (
            "{% for a in (1..1000) %}{% for b in (1..1000) %}{{b}}{% endfor %}{% endfor %}".into(),
            "more than 100000 steps",
        ),
    ];
    for (template, expected) in cases {
        let (status, answer) = lab.ask(&json!({"template": template}));
        let message = answer["message"].as_str().expect("a message");
        assert!(status == 400 && message.starts_with(expected), "{message}");
    }
}

#[test]
fn warns_of_what_braze_would_do_differently() {
    let lab = Lab::answering(|_| Answer::ok("ok"));
    let rendered = lab.render_text(
        "{% connected_content http://a.test:8400/x %}{{${nickname}}}\n{{campaign.${name}}}",
    );
    assert_eq!(rendered["output"], json!("ok\n"));
    assert_eq!(
        rendered["warnings"],
        json!([
            "line 1: the sandbox has no standard attribute `nickname`, so it is empty",
            "line 2: the sandbox has no `campaign`, so `name` is empty",
            "port 8400: Braze calls ports 80 and 443 only",
        ])
    );
    let unescaped = lab.render_text("{% connected_content https://a.test/{{ 'a b' }} %}");
    let error = unescaped["calls"][0]["error"].as_str().expect("an error");
    assert!(error.contains("url_param_escape"), "{error}");
}

#[test]
fn a_reset_forgets_pages() {
    let lab = Lab::answering(|request| Answer::ok(&request.number.to_string()));
    let template = format!("{{% connected_content {URL} %}}");
    lab.render_text(&template);
    lab.handle().reset();
    assert_eq!(lab.render_text(&template)["output"], json!("1"));
}
