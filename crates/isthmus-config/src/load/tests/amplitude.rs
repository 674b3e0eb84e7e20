//! Amplitude as a destination, and streams that forward to it.

use super::*;

const AMPLITUDE: &str =
    "kind: destination\nname: amplitude\ntype: amplitude\napi_key: { env: AMPLITUDE_API_KEY }\n";
const SHIELD: &str = "kind: stream\nname: shield\nproject: shop\ndestination: amplitude\n";

fn about(stream: &str) -> String {
    said(&format!("{PROJECT}---\n{AMPLITUDE}---\n{SHIELD}{stream}\n"))
}

#[test]
fn every_key_of_a_forwarding_stream_and_its_destination_is_read() {
    let text = "\
kind: destination
name: amplitude
type: amplitude
endpoint: EU
api_key: { file: amplitude.key }
upload: batch
min_id_length: 1
on_erasure: ignore
limits:
  events_per_request: 2000
  bytes_per_request: 5MB
  requests_in_flight: 2
  requests_per_second: 7
  events_per_second: 500
  events_per_day: 400000
  shares: { backfill: 0.5 }
  linger: 1s
  timeout: 1m
---
kind: stream
name: shield
project: shop
destination: amplitude
enabled: true
retry: amplitude
forward:
  events: { except: [debug*] }
  identifies: true
  group_identifies: true
  currents:
    types: { only: [users.messages.*, users.canvas.Entry] }
    unknown_types: hold
    sample: { users.messages.email.Send: 10%, users.messages.push*: 0.5% }
    roll_up: { users.messages.email.Delivery: day }
    echoes: true
  properties: { drop: [email_address], hash: [phone_number] }
";
    let resources = parse_resources(text, "loop.yaml").unwrap();
    let Some(Spec::Destination(destination)) = resources.first().map(|first| &first.spec) else {
        panic!("{resources:?}")
    };
    let DestinationSettings::Amplitude(amplitude) = &destination.settings else {
        panic!("{destination:?}")
    };
    let limits = AmplitudeLimits {
        events_per_request: 2_000,
        bytes_per_request: Some(ByteSize::bytes(5_000_000)),
        requests_in_flight: 2,
        requests_per_second: Some(7),
        events_per_second: Some(500),
        events_per_day: 400_000,
        shares: BudgetShares { backfill: 0.5, ..BudgetShares::default() },
        linger: Duration::from_secs(1),
        timeout: Duration::from_mins(1),
    };
    let expected = AmplitudeDestination {
        endpoint: "EU".to_owned(),
        api_key: SecretRef::File("amplitude.key".into()),
        upload: Upload::Batch,
        min_id_length: Some(1),
        on_erasure: OnErasure::Ignore,
        limits,
    };
    assert_eq!(amplitude, &expected);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let forward = Forward {
        events: Selection::Except(texts(&["debug*"])),
        identifies: true,
        group_identifies: true,
        currents: Some(ForwardCurrents {
            types: Selection::Only(texts(&["users.messages.*", "users.canvas.Entry"])),
            unknown_types: UnknownTypes::Hold,
            sample: Shares(vec![
                ("users.messages.email.Send".to_owned(), 0.1),
                ("users.messages.push*".to_owned(), 0.005),
            ]),
            roll_up: Periods(vec![("users.messages.email.Delivery".to_owned(), Period::Day)]),
            echoes: true,
        }),
        properties: PersonalData {
            drop: texts(&["email_address"]),
            hash: texts(&["phone_number"]),
        },
    };
    let stream = stream(text);
    assert_eq!(stream.forward, Some(forward));
    assert_eq!(stream.identify_by, None);
}

#[test]
fn nothing_is_forwarded_that_is_not_named() {
    assert_eq!(about("forward: { events: all }"), "good");
    assert_eq!(about("forward: { currents: {} }"), "good");
    let read = stream(&format!("{SHIELD}forward: {{ currents: {{}} }}\n")).forward.unwrap();
    assert_eq!(read.events, Selection::None);
    assert!(!read.identifies && !read.group_identifies);
    let currents = read.currents.unwrap();
    assert_eq!((currents.types, currents.echoes), (Selection::All, false));
    assert_snapshot!(about("forward: {}"), @"
    loop.yaml:14:10: `forward` forwards nothing
      hint: add `events`, `identifies`, `group_identifies` or `currents`
    ");
    assert_snapshot!(about("forward: { currents: { types: none } }"), @"
    loop.yaml:14:31: `forward.currents.types` is `none`
      hint: remove `currents`: without it none are forwarded
    ");
}

#[test]
fn what_makes_no_sense_in_a_forwarding_stream_is_named() {
    assert_snapshot!(about("forward: { events: all }\nidentify_by: { from: user_id, to: external_id }\nsend_events: { events: [A] }\nnested_values: nested"), @"
    loop.yaml:15:14: `identify_by` has no meaning beside `forward`
      hint: remove it: Amplitude knows users by the ids that they came with
    loop.yaml:16:14: `send_events` has no meaning beside `forward`
      hint: `forward.events` selects events; they go on as they are
    loop.yaml:17:16: `nested_values` has no meaning beside `forward`
      hint: remove it: what is forwarded is not changed
    ");
    assert_snapshot!(about("forward: { events: al, identifies: yes, currents: { types: [a], sample: { a: 10, b: 0%, c: 101% }, roll_up: { a: week } } }"), @"
    loop.yaml:14:20: `forward.events` must be `all`, `none`, `{ only: [...] }` or `{ except: [...] }`, found `al`
      hint: did you mean `all`?
    loop.yaml:14:36: `forward.identifies` must be `true` or `false`, found `yes`
    loop.yaml:14:60: `forward.currents.types` must be `all`, `none`, `{ only: [...] }` or `{ except: [...] }`, found a list
      hint: write `{ only: [...] }`
    loop.yaml:14:78: `forward.currents.sample.a` must be a percentage up to 100%, found `10`
      hint: write 10%, or leave the type out of `types` to forward none of it
    loop.yaml:14:85: `forward.currents.sample.b` must be a percentage up to 100%, found `0%`
      hint: write 10%, or leave the type out of `types` to forward none of it
    loop.yaml:14:92: `forward.currents.sample.c` must be a percentage up to 100%, found `101%`
      hint: write 10%, or leave the type out of `types` to forward none of it
    loop.yaml:14:114: `forward.currents.roll_up.a` must be `hour` or `day`, found `week`
    ");
    assert_snapshot!(about("forward: { events: { only: [A], except: [B] }, currents: { types: { only: [] } }, properties: { drop: [user_id], hash: [' '] } }"), @"
    loop.yaml:14:20: `forward.events` has both `only` and `except`
      hint: what `only` leaves out needs no `except`
    loop.yaml:14:75: `forward.currents.types.only` names nothing
      hint: name at least one, or write `all` or `none`
    loop.yaml:14:103: `forward.properties.drop` names `user_id`, without which an event is another one
      hint: an event that may not be told of is left out with `events: { except: [...] }`
    loop.yaml:14:120: `forward.properties.hash` has an empty name
    ");
}

#[test]
fn a_stream_speaks_of_the_vendor_that_its_destination_is() {
    let to_braze = SHIELD.replace("amplitude", "braze");
    let text = format!("{PROJECT}---\n{BRAZE}---\n{to_braze}forward: {{ events: all }}\n");
    assert_snapshot!(said(&text), @"
    loop.yaml:15:10: `forward` is for Amplitude, and destination `braze` is Braze
      hint: write `identify_by` with `send_events`, `send_users` or both
    ");
    let to_amplitude = STREAM.replace("destination: braze", "destination: amplitude");
    let text = format!("{PROJECT}---\n{AMPLITUDE}---\n{to_amplitude}send_users: {{}}\n");
    assert_snapshot!(said(&text), @"
    loop.yaml:13:14: stream `product-events` has no `forward`, and destination `amplitude` is Amplitude
      hint: write `forward` in place of `identify_by`, `send_events` and `send_users`
    ");
}

#[test]
fn a_destination_that_cannot_be_is_named() {
    let with = |text: &str| said(&format!("kind: destination\nname: a\ntype: amplitude\n{text}\n"));
    assert_eq!(with("api_key: hush\nendpoint: http://127.0.0.1:8600"), "good");
    assert_snapshot!(with("api_key: hush\non_erasure: delete\nupload: v2\nrest_key: { env: A }\nlimits: { events_per_second: 0, objects_per_request: 5 }"), @"
    loop.yaml:4:10: `api_key` is written out; only an endpoint on this machine takes it so
      hint: write `{ env: AMPLITUDE_API_KEY }` or `{ file: amplitude.key }`
    loop.yaml:5:13: `on_erasure` cannot be `delete`: an API key of Amplitude only adds data
      hint: delete the person with Amplitude's User Privacy API, which asks for the secret key of the project
    loop.yaml:6:9: `upload` must be `http_v2` or `batch`, found `v2`
    loop.yaml:7:1: unknown key `rest_key` in destination `a`
      hint: known keys: kind, name, type, endpoint, api_key, upload, min_id_length, on_erasure, limits
    loop.yaml:8:30: `limits.events_per_second` must be more than zero
    loop.yaml:8:33: unknown key `objects_per_request` in `limits` of destination `a`
      hint: did you mean `events_per_request`?
    ");
}

#[test]
fn the_examples_of_the_guide_are_good() {
    let page = include_str!("../../../../../docs/guides/forward-to-amplitude.md");
    let examples: Vec<&str> =
        page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        assert_eq!(said(example), "good", "{example}");
    }
}
