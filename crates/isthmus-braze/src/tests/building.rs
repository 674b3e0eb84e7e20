//! What is wrong with a stream or a destination is said at once, and where.

use super::*;
use insta::assert_snapshot;
use isthmus_core::ByteSize;
use isthmus_core::destination::{Destination, Rate, Shares};

fn problems(stream: &Stream) -> String {
    match BrazeStream::build(stream, &destination()) {
        Ok(built) => panic!("{built:?}"),
        Err(problems) => listed(&problems),
    }
}

fn destination_problems(change: impl FnOnce(&mut BrazeDestination), key: &str) -> String {
    let mut destination = destination();
    change(&mut destination);
    match Braze::build(&destination, key) {
        Ok(built) => panic!("{built:?}"),
        Err(problems) => listed(&problems),
    }
}

#[test]
fn reserved_event_names_cannot_be_streamed() {
    for name in ["_all", "_identify", "$identify", "$groupidentify"] {
        let stream = stream_with(|stream| events_of(stream).events[0].name = name.to_owned());
        let problems = problems(&stream);
        assert!(problems.starts_with("send_events.events[0].name: "), "{problems}");
        assert!(problems.contains(&format!("`{name}` is a reserved name")), "{problems}");
    }
}

#[test]
fn every_problem_of_a_stream_is_listed() {
    let stream = stream_with(|stream| {
        stream.identify_by = Some(IdentifyBy {
            from: PropertyRef { scope: Scope::Event, name: "owner".to_owned() },
            to: IdentifyTarget::UserAlias,
        });
        let events = events_of(stream);
        events.events.push(SelectedEvent {
            name: "_all".to_owned(),
            filters: vec![
                filter(Scope::Event, "total", "bigger", &["1"]),
                filter(Scope::Group, "tier", "glob match", &["[a"]),
                filter(Scope::Event, "total", "greater", &[]),
            ],
            as_name: Some("x".repeat(256)),
            delivery: None,
        });
        events.events.push(events.events[0].clone());
        events.event_properties = selected(&["total", "currency as total", "$price", "a as  "]);
        let users = users_of(stream);
        users.user_properties =
            selected(&["plan", "plan as tier", "id as external_id", "seats as plan"]);
    });
    assert_snapshot!(problems(&stream), @"
    identify_by.from: `owner` does not name a user (write user_id, device_id or the name of a user property)
    user_alias_label: an alias needs a label (name the kind of alias, for example amplitude_device)
    send_events.event_properties[1].as: `total` is sent twice (give one of them another name with `as`)
    send_events.event_properties[2].name: property `$price` starts with `$`, which Braze refuses (send it under another name with `as`)
    send_events.event_properties[3].as: the property name is empty
    send_events.events[1].name: `_all` is a reserved name and cannot be streamed (select the event types one by one; user properties go by `send_users`)
    send_events.events[1].as: the event name has 256 characters; Braze takes 255 (send it under a shorter name with `as`)
    send_events.events[1].filters[0].op: unknown operator `bigger`, expected one of `is`, `is not`, `contains`, `does not contain`, `starts with`, `does not start with`, `less`, `less or equal`, `greater`, `greater or equal`, `set is`, `set is not`, `set contains`, `set does not contain`, `glob match` or `glob does not match`
    send_events.events[1].filters[1].values: `[a` is not a glob: `[` is never closed
    send_events.events[1].filters[2].values: operator `greater` needs a value
    send_events.events[2].name: `Order Completed` is selected twice (one selection per event type; several filters must all hold)
    send_users.user_properties[1].name: `plan` is selected twice (a property is sent under one name)
    send_users.user_properties[2].as: `external_id` is no attribute in Braze's requests (leave it out, or send it under another name with `as`)
    send_users.user_properties[3].as: `plan` is sent twice (give one of them another name with `as`)
    ");
}

#[test]
fn a_stream_that_sends_nothing_is_refused() {
    let nothing = stream_with(|stream| {
        stream.send_events = None;
        stream.send_users = None;
    });
    assert_snapshot!(problems(&nothing), @": stream `product-events` sends neither events nor users (add `send_events`, `send_users` or both)");
    let no_event = stream_with(|stream| events_of(stream).events.clear());
    assert_snapshot!(problems(&no_event), @"send_events.events: no event is selected (name at least one, or leave `send_events` out)");
    let no_user = stream_with(|stream| {
        stream.update_existing_only = true;
        users_of(stream).user_properties.clear();
    });
    assert_snapshot!(problems(&no_user), @"send_users: no property is selected and no user may be created, so there is nothing to send (select properties, or leave `send_users` out)");
}

#[test]
fn the_identifying_email_is_no_attribute() {
    let stream = stream_with(|stream| {
        stream.identify_by =
            Some(IdentifyBy { from: user_property("email"), to: IdentifyTarget::Email });
        users_of(stream).user_properties = selected(&["email"]);
    });
    assert_snapshot!(problems(&stream), @"send_users.user_properties[0].name: `email` is no attribute in Braze's requests (leave it out, or send it under another name with `as`)");
}

#[test]
fn more_properties_than_braze_keeps_are_refused() {
    let names: Vec<String> = (0..256).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stream = stream_with(|stream| events_of(stream).event_properties = selected(&names));
    assert_snapshot!(problems(&stream), @"send_events.event_properties: 257 properties are selected, event and user properties together (Braze keeps the first 256 of an event)");
}

#[test]
fn surprises_are_noted() {
    let stream = stream_with(|stream| {
        events_of(stream).event_properties = selected(&["time", "plan"]);
        users_of(stream).user_properties = selected(&["email", "locale as language"]);
    });
    assert_snapshot!(build(&stream).notes().join("\n"), @"
    event property `time` is sent as `time_`, because Braze reserves the name
    user property `plan` is sent only with events that have no event property for `plan`
    user property `email` sets Braze's standard profile field `email`
    user property `locale` sets Braze's standard profile field `language`
    ");
}

#[test]
fn limits_follow_the_contract() {
    let limits = braze().limits();
    assert_eq!((limits.objects_per_request, limits.objects_per_section), (75, 75));
    assert_eq!(limits.bytes_per_object, ByteSize::kib(100));
    assert_eq!(
        limits.rates,
        [
            Rate { requests: 3_000, per: Duration::from_secs(3) },
            Rate { requests: 250_000, per: Duration::from_hours(1) }
        ]
    );
    let mut legacy = destination();
    legacy.limits.contract = Contract::Legacy;
    let limits = Braze::build(&legacy, "key").expect("right").limits();
    assert_eq!((limits.objects_per_request, limits.objects_per_section), (225, 75));
}

#[test]
fn less_urgent_work_has_its_share_of_the_budget() {
    assert_eq!(braze().limits().shares, Shares::default());
    let mut destination = destination();
    destination.limits.shares.backfill = 0.25;
    let shares = Braze::build(&destination, "key").expect("right").limits().shares;
    assert_eq!(shares, Shares { backfill: 0.25, ..Shares::default() });
}

#[test]
fn destinations_of_one_company_share_an_account() {
    let account = |endpoint: &str, key: &str, company: Option<&str>| {
        let mut destination = destination();
        destination.endpoint = endpoint.to_owned();
        destination.limits.company = company.map(str::to_owned);
        Braze::build(&destination, key).expect("right").account()
    };
    assert_eq!(account("US-05", "a", None), account("US-05", "a", None));
    assert_ne!(account("US-05", "a", None), account("US-05", "b", None));
    assert_ne!(account("US-05", "a", None), account("US-06", "a", None));
    assert_eq!(account("US-05", "a", Some("Acme")), "company:Acme");
    assert_eq!(account("US-06", "b", Some(" Acme ")), "company:Acme");
}

#[test]
fn every_problem_of_a_destination_is_listed() {
    let all = |destination: &mut BrazeDestination| {
        destination.endpoint = "US-11".to_owned();
        destination.app_id = Some(" ".to_owned());
        destination.limits.objects_per_request = 0;
        destination.limits.bytes_per_request = ByteSize::mib(8);
        destination.limits.requests_in_flight = 0;
        destination.limits.requests_per_hour = Some(0);
        destination.limits.timeout = Duration::ZERO;
        destination.limits.shares.realtime_cohorts = f64::NAN;
        destination.limits.shares.scheduled_syncs = 1.5;
        destination.limits.company = Some(" ".to_owned());
    };
    assert_snapshot!(destination_problems(all, "  "), @"
    endpoint: `US-11` is neither a Braze instance nor a URL (did you mean `US-01` or `US-10`?)
    rest_key: the REST API key is empty
    limits.objects_per_request: 0 objects per request is not possible (Braze takes 75)
    limits.bytes_per_request: a request of 8MiB is not possible (Braze takes 4MB, and one object alone may have 100KiB; 3500KB leaves a margin)
    limits.requests_in_flight: no request could ever be sent (write at least 1)
    limits.timeout: no reply could ever arrive (write a duration such as 30s)
    limits.requests_per_hour: no request could ever be sent (write at least 1)
    limits.shares.realtime_cohorts: a share of NaN is not possible (write a number that is more than 0 and at most 1)
    limits.shares.scheduled_syncs: a share of 1.5 is not possible (write a number that is more than 0 and at most 1)
    limits.company: the company has no name (name it, or leave the key out)
    app_id: the app identifier is empty (copy it from Braze's settings, or leave the key out)
    ");
}

#[test]
fn a_key_that_no_header_can_carry_is_refused_without_being_shown() {
    for key in ["\"quoted\"", "two words", "line\nbreak", "snow☃man key"] {
        let problems = destination_problems(|_| {}, key);
        assert!(problems.starts_with("rest_key: "), "{problems}");
        assert!(!problems.contains(key), "{problems}");
    }
    let built = Braze::build(&destination(), " secret-key\n").expect("a line end is no part of it");
    assert_eq!(format!("{built:?}"), "Braze(https://rest.iad-05.braze.com)");
}
