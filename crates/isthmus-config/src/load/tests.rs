//! What a person reads when something is wrong, and that good texts are read as they are meant.

mod amplitude;
mod currents;
mod delivery;

use super::*;
use crate::resource::*;
use crate::secret::Secret;
use insta::assert_snapshot;
use isthmus_core::ByteSize;
use proptest::prelude::*;
use std::time::Duration;

const PROJECT: &str = "kind: project\nname: shop\napi_key: 5b1e0c77a8f04d0b\n";
const BRAZE: &str = "kind: destination\nname: braze\ntype: braze\nendpoint: http://127.0.0.1:8500\nrest_key: hush\n";
const STREAM: &str = "\
kind: stream
name: product-events
project: shop
destination: braze
identify_by: { from: user_id, to: external_id }
";

/// What a person reads about `text`, references between its resources included.
fn said(text: &str) -> String {
    let mut collected = Collected::default();
    collected.text(text, "loop.yaml", Path::new(""));
    shown(collected.finish())
}

fn said_of_server(text: &str) -> String {
    shown(parse_server(text, "isthmus.toml"))
}

fn shown<T>(outcome: Result<T, Vec<Diagnostic>>) -> String {
    match outcome {
        Ok(_) => "good".to_owned(),
        Err(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

/// The stream of a text in which it is the last resource.
fn stream(text: &str) -> Stream {
    match parse_resources(text, "loop.yaml").map(|mut resources| resources.pop()) {
        Ok(Some(Resource { spec: Spec::Stream(stream), .. })) => stream,
        other => panic!("{other:?}"),
    }
}

fn example_files() -> SourceFiles {
    SourceFiles {
        url: "s3://acme-braze/currents".to_owned(),
        endpoint: None,
        region: Some("eu-central-1".to_owned()),
        access_key_id: None,
        secret_access_key: None,
        session_token: None,
        poll: Duration::from_mins(1),
        list_everything: Duration::from_hours(1),
        from_the_beginning: true,
        settle: Duration::from_mins(10),
    }
}

#[test]
fn the_example_of_the_design_is_read_as_it_is_meant() {
    let text = include_str!("../reference/example.yaml");
    let specs: Vec<_> = parse_resources(text, "example.yaml")
        .unwrap()
        .into_iter()
        .map(|resource| resource.spec)
        .collect();
    let project = Project {
        name: "shop".to_owned(),
        api_key: "5b1e0c77a8f04d0b9c2f6e1d3a4b5c6d".to_owned(),
        secret_key: Some(SecretRef::Env("SHOP_SECRET".to_owned())),
        time_zone: "Asia/Tokyo".to_owned(),
        throttle: Throttle::default(),
        id_length_min: 5,
    };
    let braze = BrazeDestination {
        endpoint: "http://127.0.0.1:8500".to_owned(),
        rest_key: SecretRef::Env("BRAZE_REST_KEY".to_owned()),
        app_id: Some("7b1c0000-app".to_owned()),
        identify_settle: Duration::from_secs(1),
        on_erasure: OnErasure::Delete,
        mirror: true,
        limits: BrazeLimits::default(),
    };
    let destination =
        Destination { name: "braze".to_owned(), settings: DestinationSettings::Braze(braze) };
    let property = |name: &str| SelectedProperty { name: name.to_owned(), as_name: None };
    let event = |name: &str, filters| SelectedEvent {
        name: name.to_owned(),
        filters,
        as_name: None,
        delivery: None,
    };
    let total = PropertyRef { scope: Scope::Event, name: "total".to_owned() };
    let filter =
        Filter { property: total, op: "greater".to_owned(), values: vec!["50".to_owned()] };
    let plan =
        SelectedProperty { name: "plan".to_owned(), as_name: Some("plan_at_event".to_owned()) };
    let stream = Stream {
        name: "product-events".to_owned(),
        project: "shop".to_owned(),
        destination: "braze".to_owned(),
        enabled: true,
        identify_by: Some(IdentifyBy {
            from: PropertyRef { scope: Scope::Builtin, name: "user_id".to_owned() },
            to: IdentifyTarget::ExternalId,
        }),
        anonymous: None,
        user_alias_label: None,
        update_existing_only: false,
        nested_values: NestedValues::Drop,
        retry: Retry::Forever,
        send_events: Some(SendEvents {
            events: vec![event("Order Completed", vec![filter]), event("Trial Started", vec![])],
            delivery: DeliveryGuarantee::AtLeastOnce,
            event_properties: vec![property("total"), property("currency")],
            user_properties: vec![plan],
        }),
        send_users: Some(SendUsers {
            user_properties: vec![property("plan"), property("seats")],
            send_all_selected_on_change: false,
            on_unset: OnUnset::SendNull,
        }),
        forward: None,
    };
    let source = CurrentsSource {
        name: "braze-currents".to_owned(),
        project: "shop".to_owned(),
        token: Some(SecretRef::Env("CURRENTS_TOKEN".to_owned())),
        open: false,
        destination: Some("braze".to_owned()),
        same_events_as: None,
        files: None,
        names: CurrentsNames::default(),
    };
    let files = example_files();
    let second = CurrentsSource {
        name: "braze-files".to_owned(),
        token: None,
        same_events_as: Some("braze-currents".to_owned()),
        files: Some(files),
        ..source.clone()
    };
    assert_eq!(
        specs,
        [
            Spec::Project(project),
            Spec::Destination(destination),
            Spec::Stream(stream),
            Spec::CurrentsSource(source),
            Spec::CurrentsSource(second),
        ]
    );
}

#[test]
fn every_key_of_a_stream_and_a_destination_is_read() {
    let text = "\
kind: destination
name: braze
type: braze
endpoint: US-05
rest_key: { file: braze.key }
identify_settle: 5m
on_erasure: ignore
limits:
  contract: legacy
  objects_per_request: 50
  requests_per_3s: 10
  requests_per_minute: 100
  requests_per_hour: 1000
  requests_in_flight: 2
  shares: { realtime_cohorts: 1, scheduled_syncs: 0.5, backfill: .25 }
  company: Acme
  bytes_per_request: 1MB
  linger: 5ms
  timeout: 1m
---
kind: stream
name: s
project: shop
destination: braze
enabled: false
identify_by: { from: { scope: user, name: user_id }, to: user_alias }
user_alias_label: amplitude
update_existing_only: true
nested_values: json_string
retry: { attempts: 3, for: 4h }
send_events:
  delivery: at_most_once
  events: [ { name: A, as: B, delivery: at_least_once, filters: [ { property: plan, op: is, values: [1.50, true, pro] } ] } ]
send_users: { send_all_selected_on_change: true, on_unset: ignore }
";
    let resources = parse_resources(text, "loop.yaml").unwrap();
    let Some(Spec::Destination(destination)) = resources.first().map(|first| &first.spec) else {
        panic!("{resources:?}")
    };
    let DestinationSettings::Braze(braze) = &destination.settings else {
        panic!("{destination:?}")
    };
    assert_eq!(braze.rest_key, SecretRef::File("braze.key".into()));
    let limits = BrazeLimits {
        contract: Contract::Legacy,
        objects_per_request: 50,
        requests_per_3s: 10,
        requests_per_minute: Some(100),
        requests_per_hour: Some(1000),
        requests_in_flight: 2,
        shares: BudgetShares { realtime_cohorts: 1.0, scheduled_syncs: 0.5, backfill: 0.25 },
        company: Some("Acme".to_owned()),
        bytes_per_request: ByteSize::bytes(1_000_000),
        linger: Duration::from_millis(5),
        timeout: Duration::from_mins(1),
    };
    assert_eq!(braze.limits, limits);
    assert_eq!(braze.identify_settle, Duration::from_mins(5));
    assert_eq!(braze.on_erasure, OnErasure::Ignore);
    let stream = stream(text);
    assert_eq!(stream.identify_by.unwrap().from.scope, Scope::User);
    assert_eq!(stream.user_alias_label.as_deref(), Some("amplitude"));
    assert_eq!(stream.nested_values, NestedValues::JsonString);
    let limits = RetryLimits { attempts: Some(3), within: Some(Duration::from_hours(4)) };
    assert_eq!(stream.retry, Retry::Limited(limits));
    let mut send_events = stream.send_events.unwrap();
    assert_eq!(send_events.delivery, DeliveryGuarantee::AtMostOnce);
    let event = send_events.events.pop().unwrap();
    assert_eq!(event.delivery, Some(DeliveryGuarantee::AtLeastOnce));
    assert_eq!(event.as_name.as_deref(), Some("B"));
    assert_eq!(event.filters[0].property.scope, Scope::Event);
    assert_eq!(event.filters[0].values, ["1.50", "true", "pro"]);
    assert_eq!(stream.send_users.unwrap().on_unset, OnUnset::Ignore);
}

#[test]
fn anonymous_people_need_a_stream_by_user_id() {
    let with = |identify_by: &str, anonymous: &str| {
        let stream = STREAM.replace("{ from: user_id, to: external_id }", identify_by);
        format!("{PROJECT}---\n{BRAZE}---\n{stream}anonymous: {anonymous}\nsend_users: {{}}\n")
    };
    let by_id = "{ from: user_id, to: external_id }";
    let good = "{ from: device_id, alias_label: amplitude_device }";
    let read = stream(&with(by_id, "{ alias_label: amplitude_device }"));
    let anonymous =
        Anonymous { from: AnonymousId::DeviceId, alias_label: "amplitude_device".to_owned() };
    assert_eq!(read.anonymous, Some(anonymous));
    let texts = [
        with(by_id, good),
        with(by_id, "{ alias_label: \" \" }"),
        with("{ from: device_id, to: external_id }", good),
        with("{ from: user_id, to: braze_id }", good),
        format!("{PROJECT}---\n{BRAZE}identify_settle: 6m\n"),
    ];
    assert_snapshot!(texts.map(|text| said(&text)).join("\n"), @r"
    good
    loop.yaml:16:27: `anonymous.alias_label` is empty
    loop.yaml:16:12: `anonymous` needs a stream that identifies by `user_id` as `external_id`
      hint: remove it, or write `identify_by: { from: user_id, to: external_id }`
    loop.yaml:16:12: `anonymous` needs a stream that identifies by `user_id` as `external_id`
      hint: remove it, or write `identify_by: { from: user_id, to: external_id }`
    loop.yaml:10:18: `identify_settle` must be at most 5m
    ");
}

#[test]
fn json_is_yaml_and_a_file_may_be_a_list() {
    let text = r#"[
      {"kind": "project", "name": "a", "api_key": "0123", "throttle": "amplitude"},
      {"kind": "project", "name": "b", "api_key": "1e5", "throttle": {"events_per_second": 7}}
    ]"#;
    let projects: Vec<_> = parse_resources(text, "loop.json")
        .unwrap()
        .into_iter()
        .map(|resource| match resource.spec {
            Spec::Project(project) => (project.api_key, project.throttle),
            other => panic!("{other:?}"),
        })
        .collect();
    let seven = Throttle { events_per_second: Some(7), ..Throttle::default() };
    assert_eq!(projects, [("0123".to_owned(), Throttle::amplitude()), ("1e5".to_owned(), seven)]);
}

#[test]
fn anchors_and_aliases_work() {
    let text = format!(
        "{STREAM}send_events: {{ events: [A], user_properties: &plan [plan, seats] }}\n\
         send_users: {{ user_properties: *plan }}\n"
    );
    let stream = stream(&text);
    assert_eq!(
        stream.send_users.unwrap().user_properties,
        stream.send_events.unwrap().user_properties
    );
}

#[test]
fn a_byte_order_mark_and_foreign_line_ends_are_no_part_of_a_text() {
    let text = format!("\u{feff}{PROJECT}---\n{BRAZE}").replace('\n', "\r\n");
    assert_eq!(said(&text), "good");
    assert_eq!(said_of_server("\u{feff}data_dir = \"x\"\r\n[server]\r\n"), "good");
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    assert_snapshot!(said(&BRAZE.replace("rest_key", "rest_kye")), @r"
    loop.yaml:5:1: unknown key `rest_kye` in destination `braze`
      hint: did you mean `rest_key`?
    ");
    assert_snapshot!(said(&BRAZE.replace("type:", "typ:")), @r"
    loop.yaml:3:1: unknown key `typ` in destination `braze`
      hint: did you mean `type`?
    ");
    assert_snapshot!(said(&BRAZE.replace("name:", "nmae:")), @r"
    loop.yaml:2:1: unknown key `nmae` in destination
      hint: did you mean `name`?
    ");
    assert_snapshot!(said(&format!("{PROJECT}colour: red\n")), @r"
    loop.yaml:4:1: unknown key `colour` in project `shop`
      hint: known keys: kind, name, api_key, secret_key, time_zone, throttle, id_length_min
    ");
    assert_snapshot!(said(&format!("{BRAZE}limits: {{ object_per_request: 7 }}\n")), @r"
    loop.yaml:6:11: unknown key `object_per_request` in `limits` of destination `braze`
      hint: did you mean `objects_per_request`?
    ");
    assert_snapshot!(said(&format!("{PROJECT}<<: {{ time_zone: UTC }}\n")), @r"
    loop.yaml:4:1: unknown key `<<` in project `shop`
      hint: merge keys are not supported
    ");
}

#[test]
fn a_missing_key_is_named() {
    assert_snapshot!(said("kind: project\n"), @r"
    loop.yaml:1:1: missing key `name` in project
    loop.yaml:1:1: missing key `api_key` in project
    ");
    assert_snapshot!(said("name: shop\n"), @r"
    loop.yaml:1:1: missing key `kind`
      hint: one of `project`, `destination`, `stream` or `currents_source`
    ");
    assert_snapshot!(said("kind: destination\nname: braze\n"), @"loop.yaml:1:1: missing key `type` in destination `braze`");
    assert_snapshot!(said("kind: stream\nname: s\nproject: ~\n"), @r"
    loop.yaml:1:1: missing key `project` in stream `s`
    loop.yaml:1:1: missing key `destination` in stream `s`
    loop.yaml:1:1: missing key `identify_by` in stream `s`
    ");
    assert_snapshot!(said(&format!("{STREAM}send_events: {{}}\n")), @"loop.yaml:6:14: missing key `events` in `send_events` of stream `product-events`");
    assert_snapshot!(said(&format!("{STREAM}send_users:\n")), @r"
    loop.yaml:6:11: `send_users` must be a mapping, found nothing
      hint: give it a value, or remove the key
    ");
}

#[test]
fn an_unknown_kind_or_type_is_named() {
    assert_snapshot!(said("kind: proyect\n"), @r"
    loop.yaml:1:7: unknown kind `proyect`
      hint: did you mean `project`?
    ");
    assert_snapshot!(said("kind: cohort\n"), @r"
    loop.yaml:1:7: unknown kind `cohort`
      hint: one of `project`, `destination`, `stream` or `currents_source`
    ");
    assert_snapshot!(said("kind: [project]\n"), @"loop.yaml:1:7: `kind` must be `project`, `destination`, `stream` or `currents_source`, found a list");
    assert_snapshot!(said("just a text\n"), @r"
    loop.yaml:1:1: a resource must be a mapping, found `just a text`
      hint: begin with `kind: ` and one of `project`, `destination`, `stream` or `currents_source`
    ");
    assert_snapshot!(said(&BRAZE.replace("type: braze", "type: bruze")), @r"
    loop.yaml:3:7: `type` must be `braze` or `amplitude`, found `bruze`
      hint: did you mean `braze`?
    ");
}

#[test]
fn a_value_of_the_wrong_type_is_shown() {
    let stream = |more: &str| said(&format!("{PROJECT}---\n{BRAZE}---\n{STREAM}{more}"));
    assert_snapshot!(stream("enabled: yes\nsend_users: {}\n"), @"loop.yaml:16:10: `enabled` must be `true` or `false`, found `yes`");
    assert_snapshot!(stream("enabled: \"true\"\nsend_users: {}\n"), @r#"
    loop.yaml:16:10: `enabled` must be `true` or `false`, found the text "true"
    "#);
    assert_snapshot!(stream("send_users: true\n"), @"loop.yaml:16:13: `send_users` must be a mapping, found `true`");
    assert_snapshot!(stream("send_users: { user_properties: plan }\n"), @r"
    loop.yaml:16:32: `send_users.user_properties` must be a list, found `plan`
      hint: write `[plan]`
    ");
    assert_snapshot!(stream("send_users: { user_properties: [[plan]] }\n"), @"loop.yaml:16:33: `send_users.user_properties[0]` must be a text or a mapping, found a list");
    assert_snapshot!(stream("nested_values: json\nsend_users: {}\n"), @"loop.yaml:16:16: `nested_values` must be `drop`, `json_string` or `nested`, found `json`");
    assert_snapshot!(stream("send_users: { on_unset: send-null }\n"), @r"
    loop.yaml:16:25: `send_users.on_unset` must be `send_null` or `ignore`, found `send-null`
      hint: did you mean `send_null`?
    ");
    assert_snapshot!(stream("send_events: { events: [ { name: A, filters: [ { property: { scope: evnt, name: x }, op: is, values: 5 } ] } ] }\n"), @r"
    loop.yaml:16:69: `send_events.events[0].filters[0].property.scope` must be `builtin`, `event`, `user` or `group`, found `evnt`
      hint: did you mean `event`?
    loop.yaml:16:102: `send_events.events[0].filters[0].values` must be a list, found `5`
      hint: write `[5]`
    ");
    let limits = |limits: &str| said(&format!("{BRAZE}limits: {{ {limits} }}\n"));
    assert_snapshot!(limits("linger: 20"), @r"
    loop.yaml:6:19: `limits.linger` must be a duration, found `20`
      hint: write a whole number and a unit, like 20ms, 30s or 7d
    ");
    assert_snapshot!(limits("bytes_per_request: 4 megabytes"), @r"
    loop.yaml:6:30: `limits.bytes_per_request` must be a size, found `4 megabytes`
      hint: write a whole number and a unit, like 512KB or 16MiB
    ");
    assert_snapshot!(limits("objects_per_request: -1"), @"loop.yaml:6:32: `limits.objects_per_request` must be a whole number, found `-1`");
    assert_snapshot!(limits("objects_per_request: 0, requests_per_hour: 0"), @r"
    loop.yaml:6:32: `limits.objects_per_request` must be more than zero
    loop.yaml:6:54: `limits.requests_per_hour` must be more than zero
    ");
    assert_snapshot!(limits("requests_per_3s: 3k"), @"loop.yaml:6:28: `limits.requests_per_3s` must be a whole number, found `3k`");
    assert_snapshot!(said(&format!("{PROJECT}throttle: on\n")), @"loop.yaml:4:11: `throttle` must be `off`, `amplitude` or a mapping, found `on`");
    assert_snapshot!(said(&format!("{PROJECT}time_zone: Asia/Tokio\n")), @r"
    loop.yaml:4:12: `time_zone` must be an IANA time zone, found `Asia/Tokio`
      hint: did you mean `Asia/Tokyo`?
    ");
    assert_snapshot!(said(&format!("{PROJECT}time_zone: Atlantis\n")), @r"
    loop.yaml:4:12: `time_zone` must be an IANA time zone, found `Atlantis`
      hint: write a name like Asia/Tokyo, or UTC
    ");
    assert_snapshot!(said(&PROJECT.replace("shop", "a/b")), @"loop.yaml:2:7: `name` may not contain '/'");
    assert_snapshot!(said(&PROJECT.replace("shop", "''")), @"loop.yaml:2:7: `name` is empty");
}

#[test]
fn an_endpoint_is_a_url_or_the_name_of_an_instance() {
    let endpoint = |endpoint: &str| {
        let key = BRAZE.replace("hush", "{ env: KEY }");
        said(&key.replace("http://127.0.0.1:8500", endpoint))
    };
    assert_eq!(endpoint("US-05"), "good");
    assert_eq!(endpoint("https://rest.iad-05.braze.com"), "good");
    assert_snapshot!(endpoint("rest.iad-05.braze.com"), @r"
    loop.yaml:4:11: `endpoint` has no scheme: `rest.iad-05.braze.com`
      hint: write https://rest.iad-05.braze.com, or the name of an instance like US-05
    ");
    assert_snapshot!(endpoint("ftp://rest.iad-05.braze.com"), @"loop.yaml:4:11: `endpoint` must begin with https:// or http://, found `ftp://rest.iad-05.braze.com`");
    assert_snapshot!(endpoint("https://"), @"loop.yaml:4:11: `endpoint` is not a URL: `https://`: empty host");
    assert_snapshot!(endpoint("https://key@rest.iad-05.braze.com"), @"loop.yaml:4:11: `endpoint` may not carry a user name or a password");
    assert_snapshot!(endpoint("https://rest.iad-05.braze.com/?a=b"), @"loop.yaml:4:11: `endpoint` may not have a query or a fragment: `https://rest.iad-05.braze.com/?a=b`");
    assert_snapshot!(endpoint("\"\""), @"loop.yaml:4:11: `endpoint` is empty");
}

#[test]
fn a_secret_is_written_out_for_a_sandbox_only() {
    assert_eq!(said(BRAZE), "good");
    assert_eq!(said(&BRAZE.replace("127.0.0.1", "localhost")), "good");
    assert_eq!(said(&BRAZE.replace("127.0.0.1", "[::1]")), "good");
    assert_snapshot!(said(&BRAZE.replace("127.0.0.1", "127.0.0.1.example.com")), @r"
    loop.yaml:5:11: `rest_key` is written out; only a sandbox on this machine takes it so
      hint: write `{ env: BRAZE_REST_KEY }` or `{ file: braze.key }`
    ");
    assert_snapshot!(said(&BRAZE.replace("hush", "{ env: A, file: b }")), @"loop.yaml:5:11: `rest_key` must be `{ env: NAME }` or `{ file: PATH }`, not both");
    assert_snapshot!(said(&BRAZE.replace("hush", "{ envv: A }")), @r"
    loop.yaml:5:13: unknown key `envv` in `rest_key` of destination `braze`
      hint: did you mean `env`?
    ");
    assert_snapshot!(said(&BRAZE.replace("hush", "{}")), @"loop.yaml:5:11: `rest_key` must be `{ env: NAME }` or `{ file: PATH }`, found an empty mapping");
    assert_snapshot!(said(&BRAZE.replace("hush", "[hush]")), @"loop.yaml:5:11: `rest_key` must be `{ env: NAME }` or `{ file: PATH }`, found a list");
    let project = format!("{PROJECT}secret_key: hush\n");
    let loop_at = |endpoint: &str| {
        let braze = BRAZE.replace("hush", "{ env: KEY }");
        let braze = braze.replace("http://127.0.0.1:8500", endpoint);
        said(&format!("{project}---\n{braze}---\n{STREAM}send_users: {{}}\n"))
    };
    assert_eq!(loop_at("http://127.0.0.1:8500"), "good");
    assert_snapshot!(loop_at("US-05"), @r"
    loop.yaml:4:13: `secret_key` is written out; only a project whose streams all end at a sandbox on this machine has it so
      hint: write `{ env: SHOP_SECRET }` or `{ file: shop.key }`
    ");
    assert_snapshot!(said(&project), @r"
    loop.yaml:4:13: `secret_key` is written out; only a project whose streams all end at a sandbox on this machine has it so
      hint: write `{ env: SHOP_SECRET }` or `{ file: shop.key }`
    ");
    assert!(!said(&BRAZE.replace("127.0.0.1", "example.com")).contains("hush"));
}

#[test]
fn what_does_not_fit_together_is_named() {
    let stream = |more: &str| said(&format!("{PROJECT}---\n{BRAZE}---\n{STREAM}{more}"));
    assert_snapshot!(stream(""), @r"
    loop.yaml:11:1: stream `product-events` sends nothing
      hint: add `send_events` or `send_users`
    ");
    assert_snapshot!(stream("send_events: { events: [] }\n"), @r"
    loop.yaml:16:24: `send_events.events` is empty
      hint: name at least one event type, or remove `send_events`
    ");
    assert_snapshot!(stream("send_events: { events: [A, B, { name: A }] }\n"), @r"
    loop.yaml:16:31: event `A` is selected twice
      hint: it is already `send_events.events[0]`
    ");
    assert_eq!(stream("send_events: { events: [A, { name: A, as: B }] }\n"), "good");
    assert_snapshot!(stream("send_users: { user_properties: [plan, plan] }\n"), @r"
    loop.yaml:16:39: property `plan` is selected twice
      hint: it is already `send_users.user_properties[0]`
    ");
    let alias = STREAM.replace("to: external_id", "to: user_alias");
    assert_snapshot!(said(&format!("{PROJECT}---\n{BRAZE}---\n{alias}send_users: {{}}\n")), @r"
    loop.yaml:11:1: `user_alias_label` is missing, and `to: user_alias` needs one
      hint: it is the `alias_label` of the alias object at Braze
    ");
}

#[test]
fn names_of_nothing_and_names_that_are_there_twice_are_found() {
    assert_snapshot!(said(&format!("{PROJECT}---\n{BRAZE}---\n{STREAM}send_users: {{}}\n").replace("project: shop", "project: shp").replace("destination: braze", "destination: iterable")), @r"
    loop.yaml:13:10: unknown project `shp` in stream `product-events`
      hint: did you mean `shop`?
    loop.yaml:14:14: unknown destination `iterable` in stream `product-events`
      hint: there is `braze`
    ");
    assert_snapshot!(said(&format!("{STREAM}send_users: {{}}\n")), @r"
    loop.yaml:3:10: unknown project `shop` in stream `product-events`
      hint: there is no project yet
    loop.yaml:4:14: unknown destination `braze` in stream `product-events`
      hint: there is no destination yet
    ");
    assert_snapshot!(said(&format!("{PROJECT}---\n{PROJECT}")), @r"
    loop.yaml:6:7: project `shop` is there twice
      hint: it is already at loop.yaml:2:7
    ");
    assert_snapshot!(said(&format!("{PROJECT}---\n{}", PROJECT.replace("shop", "store"))), @r"
    loop.yaml:7:10: projects `shop` and `store` have the same `api_key`
      hint: it is already at loop.yaml:3:10
    ");
}

#[test]
fn a_reference_is_not_blamed_for_what_it_refers_to() {
    let wrong_project = PROJECT.replace("api_key", "api_kye");
    assert_snapshot!(said(&format!("{wrong_project}---\n{BRAZE}---\n{STREAM}send_users: {{}}\n")), @r"
    loop.yaml:3:1: unknown key `api_kye` in project `shop`
      hint: did you mean `api_key`?
    ");
    let wrong_kind = PROJECT.replace("kind: project", "kind: proyect");
    assert_snapshot!(said(&format!("{wrong_kind}---\n{BRAZE}---\n{STREAM}send_users: {{}}\n")), @r"
    loop.yaml:1:7: unknown kind `proyect`
      hint: did you mean `project`?
    ");
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = "\
kind: project
nam: shop
api_key: 5b1e 0c77
time_zone: tokyo
---
kind: destination
name: braze
type: braze
endpoint: rest.iad-05.braze.com
rest_kye: { env: KEY }
limits: { linger: 20, objects_per_request: many }
---
kind: stream
name: product-events
project: shop
destination: braze
enabled: maybe
identify_by: { from: user_id, to: externalid }
send_events: { events: [ A, { nam: B }, { name: C, filter: [] } ] }
---
kind: stream
name: [
---
kind: stream
name: users
project: shop
destination: braze
enabled: perhaps
identify_by: { from: user_id, to: user_alias }
send_users: { user_properties: [plan, plan] }
";
    assert_snapshot!(said(text), @r"
    loop.yaml:2:1: unknown key `nam` in project
      hint: did you mean `name`?
    loop.yaml:3:10: `api_key` may only have visible ASCII characters
    loop.yaml:4:12: `time_zone` must be an IANA time zone, found `tokyo`
      hint: did you mean `Asia/Tokyo`?
    loop.yaml:9:11: `endpoint` has no scheme: `rest.iad-05.braze.com`
      hint: write https://rest.iad-05.braze.com, or the name of an instance like US-05
    loop.yaml:10:1: unknown key `rest_kye` in destination `braze`
      hint: did you mean `rest_key`?
    loop.yaml:11:19: `limits.linger` must be a duration, found `20`
      hint: write a whole number and a unit, like 20ms, 30s or 7d
    loop.yaml:11:44: `limits.objects_per_request` must be a whole number, found `many`
    loop.yaml:17:10: `enabled` must be `true` or `false`, found `maybe`
    loop.yaml:18:35: `identify_by.to` must be `external_id`, `braze_id`, `user_alias` or `email`, found `externalid`
      hint: did you mean `external_id`?
    loop.yaml:19:31: unknown key `nam` in `send_events.events[1]` of stream `product-events`
      hint: did you mean `name`?
    loop.yaml:19:52: unknown key `filter` in `send_events.events[2]` of stream `product-events`
      hint: did you mean `filters`?
    loop.yaml:22:7: not YAML: unclosed bracket '['
    loop.yaml:24:1: `user_alias_label` is missing, and `to: user_alias` needs one
      hint: it is the `alias_label` of the alias object at Braze
    loop.yaml:28:10: `enabled` must be `true` or `false`, found `perhaps`
    loop.yaml:30:39: property `plan` is selected twice
      hint: it is already `send_users.user_properties[0]`
    ");
}

#[test]
fn a_text_that_is_not_yaml_says_where_and_why() {
    assert_snapshot!(said("kind: project\nname: a: b\n"), @r"
    loop.yaml:2:8: not YAML: mapping values are not allowed in this context
      hint: put a text that has a `: ` in quotes
    ");
    assert_snapshot!(said("kind: project\n\tname: a\n"), @"loop.yaml:1:7: not YAML: while scanning a plain scalar, found a tab");
    assert_snapshot!(said("kind: [project\n"), @"loop.yaml:1:7: not YAML: unclosed bracket '['");
    assert_snapshot!(said("kind: \"project\n"), @"loop.yaml:1:7: not YAML: unclosed quote");
    assert_snapshot!(said("kind: @project\n"), @r"
    loop.yaml:1:7: not YAML: unexpected character: `@'
      hint: put a text that begins like this in quotes
    ");
    assert_snapshot!(said(&format!("{PROJECT}name: shop2\n")), @r"
    loop.yaml:4:1: key `name` is there twice
      hint: it is already at 2:1
    ");
    assert_snapshot!(said(&format!("{PROJECT}secret_key: !env SHOP\n")), @r"
    loop.yaml:4:18: tag `!env` is not understood
      hint: a secret is written `{ env: NAME }`
    ");
    assert_snapshot!(said(&format!("{PROJECT}[a, b]: c\n")), @"loop.yaml:4:1: a key must be a text, found a list");
    assert_snapshot!(said("kind: *nothing\n"), @"loop.yaml:1:7: alias `*nothing` has no anchor above it");
    assert_eq!(said(""), "good");
    assert_eq!(said("---\n# nothing\n---\n"), "good");
}

#[test]
fn a_text_that_grows_without_bound_is_refused() {
    let tenfold = |level: usize| {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} [{row}]")
    };
    let mut bomb = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
    bomb.extend((1..30).map(tenfold));
    assert_snapshot!(said(&bomb.join("\n")), @"loop.yaml:5:40: more than 100000 values in one text, aliases included");
    assert_snapshot!(said(&format!("kind: {}", "[".repeat(100_000))), @"loop.yaml:1:55: lists and mappings are nested more than 48 levels deep");
    let block: Vec<_> = (0..100).map(|level| " ".repeat(level) + "a:").collect();
    let block = block.join("\n");
    assert_snapshot!(said(&block), @"loop.yaml:49:49: lists and mappings are nested more than 48 levels deep");
    let around = |level: usize| format!("a{level}: &a{level} [*a{}]", level - 1);
    let mut chain = vec!["a0: &a0 [x]".to_owned()];
    chain.extend((1..100).map(around));
    assert_snapshot!(said(&chain.join("\n")).lines().next().unwrap_or_default(), @"loop.yaml:47:12: lists and mappings are nested more than 48 levels deep");
    assert_snapshot!(said("kind: &a [*a]\n"), @"loop.yaml:1:11: alias stands for something that contains it");
    assert_snapshot!(said(&"#".repeat(5 << 20)), @"loop.yaml:1:1: text is larger than 4MiB");
    let keys: Vec<_> = (0..20_000).map(|key| format!("key{key}: 1")).collect();
    let said_of_keys = said(&format!("{PROJECT}{}", keys.join("\n")));
    assert_eq!(said_of_keys.lines().filter(|line| line.contains("unknown key")).count(), 100);
}

#[test]
fn a_vendors_problem_points_at_the_line() {
    let text =
        format!("{STREAM}send_events:\n  events:\n    - Order Completed\n    - name: _all\n");
    let resources = parse_resources(&text, "loop.yaml").unwrap();
    let stream = resources.last().unwrap();
    let find = |path: &str| stream.locations.find(path).map(|at| at.to_string());
    assert_eq!(find("send_events.events[1].name").as_deref(), Some("9:13"));
    assert_eq!(find("send_events.events[0]").as_deref(), Some("8:7"));
    assert_eq!(find("send_events.events[0].name"), None);
    assert_eq!(find("send_events.events[2]"), None);
    assert_eq!(find("identify_by.to").as_deref(), Some("5:35"));
    let problem = Problem::new("send_events.events[1].name", "event `_all` is reserved");
    assert_snapshot!(stream.diagnose(problem.hint("choose another")), @r"
    loop.yaml:9:13: event `_all` is reserved
      hint: choose another
    ");
    assert_snapshot!(stream.diagnose(Problem::new("send_events.events[0].name", "no")), @"loop.yaml:8:7: no");
}

#[test]
fn the_server_is_told_in_toml() {
    assert_eq!(parse_server("", "isthmus.toml"), Ok(ServerConfig::default()));
    let text = r#"
data_dir = "data"
resources = ["loop", "more.yaml"]
[server]
listen = "0.0.0.0:80"
control_token = { env = "TOKEN" }
[ingest]
batch_body_max = "32MiB"
events_per_request_max = 0x10
[log]
event_retention = "30d"
event_budget = "100GB"
[delivery]
backoff_cap = "5m"
ledger_retention = "90d"
ledger_budget = "10GiB"
"#;
    let server = parse_server(text, "isthmus.toml").unwrap();
    assert_eq!(server.http.listen.to_string(), "0.0.0.0:80");
    assert_eq!(server.http.control_token, Some(SecretRef::Env("TOKEN".to_owned())));
    assert_eq!(server.ingest.batch_body_max, ByteSize::mib(32));
    assert_eq!(server.ingest.events_per_request_max, 16);
    assert_eq!(server.log.event_retention, Duration::from_hours(30 * 24));
    assert_eq!(server.log.event_budget, Some(ByteSize::bytes(100_000_000_000)));
    assert_eq!(server.delivery.backoff_cap, Duration::from_mins(5));
    assert_eq!(server.delivery.ledger_retention, Duration::from_hours(90 * 24));
    assert_eq!(server.delivery.ledger_budget, Some(ByteSize::mib(10 << 10)));
    assert_eq!(server.resources, [PathBuf::from("loop"), PathBuf::from("more.yaml")]);
}

#[test]
fn what_is_wrong_with_the_server_is_said_at_once() {
    let text = r#"
datadir = "data"
resources = "loop"
[server]
lisen = "127.0.0.1:1"
listen = "localhost:8400"
trusted_proxies = -1
[ingest]
queue_max = 5
[log]
event_budget = "1MiB"
[delivery]
backoff_first = "2m"
ledger_budget = "0B"
[telemetry]
"#;
    assert_snapshot!(said_of_server(text), @r#"
    isthmus.toml:2:1: unknown key `datadir`
      hint: did you mean `data_dir`?
    isthmus.toml:3:13: `resources` must be a list, found the text "loop"
      hint: write `["loop"]`
    isthmus.toml:5:1: unknown key `lisen` in `server`
      hint: did you mean `listen`?
    isthmus.toml:6:10: `server.listen` must be an address and a port, found the text "localhost:8400"
      hint: write numbers, like 127.0.0.1:8400 or [::]:8400
    isthmus.toml:7:19: `server.trusted_proxies` must be a whole number, found `-1`
    isthmus.toml:9:13: `ingest.queue_max` must be a size, found `5`
      hint: write a whole number and a unit, like 512KB or 16MiB
    isthmus.toml:11:16: `log.event_budget` is less than `segment_max`, so nothing could be freed
    isthmus.toml:13:17: `delivery.backoff_first` is more than `backoff_cap`
    isthmus.toml:14:17: `delivery.ledger_budget` must be more than zero
    isthmus.toml:15:2: unknown key `telemetry`
      hint: known keys: data_dir, resources, server, ingest, log, profile_api, privacy, delivery
    "#);
    assert_snapshot!(said_of_server("a = 1\na = 2\nb = \n[server\n"), @r"
    isthmus.toml:2:1: not TOML: duplicate key
    isthmus.toml:3:5: not TOML: string values must be quoted, expected literal string
    isthmus.toml:4:8: not TOML: unclosed table, expected `]`
    ");
    assert_snapshot!(said_of_server("[server]\nlisten = \"0.0.0.0:8400\"\n"), @r#"
    isthmus.toml:2:10: `server.listen` is 0.0.0.0:8400, which others can reach, and there is no `control_token`
      hint: add `control_token = { env = "ISTHMUS_CONTROL_TOKEN" }` to [server], or listen on 127.0.0.1
    "#);
    assert_snapshot!(said_of_server("[server]\nlisten = \"0.0.0.0:8400\"\ncontrol_token = \"hush\"\n"), @r#"
    isthmus.toml:3:17: `server.control_token` is written out, and others can reach 0.0.0.0:8400
      hint: write `{ env = "ISTHMUS_CONTROL_TOKEN" }` or `{ file = "control.token" }`
    "#);
    assert_snapshot!(said_of_server(&"#".repeat(70_000)), @"isthmus.toml:1:1: text is larger than 64KiB");
    assert_snapshot!(said_of_server(&format!("a = {}", "[".repeat(60_000))).lines().next().unwrap_or_default(), @"isthmus.toml:1:85: not TOML: cannot recurse further; max recursion depth met");
}

#[test]
fn folders_are_read_in_order_and_all_files_report() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("isthmus.toml", "resources = [\"loop\"]\n[server]\ncontrol_token = { file = \"t\" }\n");
    write("loop/a.yaml", PROJECT);
    write("loop/b/c.yml", BRAZE);
    write("loop/d.json", r#"{"kind": "project", "name": "j", "api_key": "k"}"#);
    write("loop/.hidden.yaml", "not: good\n");
    write("loop/notes.txt", "not good\n");
    let config = folder.path().join("isthmus.toml");
    let loaded = load(Some(&config), &[]).unwrap();
    let names: Vec<_> = loaded.resources.iter().map(Resource::name).collect();
    assert_eq!(names, ["shop", "braze", "j"]);
    assert_eq!(loaded.server.http.control_token, Some(SecretRef::File(folder.path().join("t"))));
    assert_eq!(loaded.server.data_dir, PathBuf::from("isthmus-data"));
    let braze = loaded.resources.get(1).unwrap();
    assert_eq!(braze.folder, folder.path().join("loop/b"));

    write("isthmus.toml", "resources = [\"loop\", \"gone\"]\n");
    write("loop/a.yaml", &PROJECT.replace("api_key", "apikey"));
    write("loop/b/c.yml", &format!("{BRAZE}colour: red\n"));
    fs::write(folder.path().join("loop/e.yaml"), b"kind: stream\nname: \xff\n").unwrap();
    let outcome = load(Some(&config), &[]).map(drop);
    let root = format!("{}/", folder.path().display());
    assert_snapshot!(shown(outcome).replace(&root, ""), @r"
    loop/a.yaml:3:1: unknown key `apikey` in project `shop`
      hint: did you mean `api_key`?
    loop/b/c.yml:6:1: unknown key `colour` in destination `braze`
      hint: known keys: kind, name, type, endpoint, rest_key, app_id, identify_settle, on_erasure, mirror, limits
    loop/e.yaml:2:7: text is not UTF-8
    gone: no such file or folder
    ");
    assert_snapshot!(shown(load(Some(Path::new("absent.toml")), &[])), @"absent.toml: no such file or folder");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let resources = parse_resources(BRAZE, "loop.yaml").unwrap();
    let spec = format!("{:?}", resources.first().unwrap().spec);
    assert!(spec.contains("***") && !spec.contains("hush"), "{spec}");
    let shown = format!("{resources:?}");
    assert!(!shown.contains("hush"), "{shown}");
    assert_eq!(Secret::new("hush").expose(), "hush");
}

/// Texts of the pieces that these files are made of, so that some get far.
fn yaml_like() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "kind: ",
        "project",
        "destination",
        "stream",
        "name: ",
        "type: braze",
        "endpoint: ",
        "US-05",
        "rest_key: ",
        "{ env: A }",
        "identify_by: ",
        "{ from: user_id, to: email }",
        "send_users: ",
        "send_events: ",
        "events: ",
        "[A]",
        "\n",
        "\n  ",
        "\n  - ",
        "---\n",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "&a ",
        "*a",
        "!x ",
        "\"",
        "'",
        "|\n",
        "#",
        "~",
        "é",
        "\t",
        "0",
        "true",
        "\u{feff}",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text: String) {
        drop(parse_resources(&text, "any"));
        drop(parse_server(&text, "any"));
    }

    #[test]
    fn text_that_looks_right_is_read_or_refused_at_a_line_that_it_has(text in yaml_like()) {
        let lines = text.split('\n').count() + 1;
        let found = parse_resources(&text, "any").err().unwrap_or_default();
        for diagnostic in found {
            prop_assert!((1..=lines).contains(&diagnostic.line), "{diagnostic} of {lines} lines");
            prop_assert!(diagnostic.column >= 1);
        }
    }

    #[test]
    fn cut_and_damaged_examples_are_read_or_refused(cut in 0_usize..2_000, at in 0_usize..2_000, with: char) {
        let example: Vec<char> = include_str!("../reference/example.yaml").chars().collect();
        let mut text: Vec<char> = example.iter().copied().take(cut).collect();
        if let Some(place) = text.get_mut(at) {
            *place = with;
        }
        let text: String = text.into_iter().collect();
        if let Ok(resources) = parse_resources(&text, "any") {
            drop(check_references(&resources));
        }
    }
}
