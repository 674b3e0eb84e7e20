//! People without a user id, people who turn out to be users, and people who are to be forgotten:
//! what is mapped, what is sent, and what answers mean.

use super::*;
use insta::assert_snapshot;
use isthmus_config::resource::{Anonymous, AnonymousId};
use isthmus_core::destination::{Call, Destination, Verdict};
use isthmus_core::record::{Erasure, Identified, Merge};
use isthmus_core::seam::Reply;

fn with_anonymous() -> Stream {
    stream_with(|stream| {
        let alias_label = "amplitude_device".to_owned();
        stream.anonymous = Some(Anonymous { from: AnonymousId::DeviceId, alias_label });
    })
}

fn identified<'a>(user_id: &'a str, device_id: &'a str) -> Applied<'a> {
    Applied::Identified(Identified {
        project: "shop",
        user: AmplitudeId(7),
        user_id,
        device_id,
        event_time: AT,
        received_at: AT,
    })
}

fn merge<'a>(user_id: &'a str, device_id: &'a str) -> Applied<'a> {
    Applied::Merge(Merge {
        project: "shop",
        anonymous: AmplitudeId(8),
        into: AmplitudeId(7),
        user_id,
        device_id,
        event_time: AT,
        received_at: AT,
    })
}

fn erasure() -> Erasure<'static> {
    Erasure {
        project: "shop",
        request: "r-1",
        users: vec![AmplitudeId(7), AmplitudeId(8)],
        user_id: Some("u-1009"),
        device_ids: vec!["d-77", "d-78", "unknown"],
        braze_ids: Vec::new(),
        user_properties: Some(r#"{"plan":"pro","email":"Ada@Example.com","crm":4711}"#),
        received_at: AT,
    }
}

fn mapped(stream: &BrazeStream, item: &Applied<'_>) -> Vec<Message> {
    let mut out = Vec::new();
    if stream.wants(item) != Wants::Nothing {
        stream.map(item, None, &mut out);
    }
    out.into_iter()
        .map(|mapped| match mapped {
            Mapped::Deliver(message) => message,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn people_without_a_user_id_go_out_under_an_alias_that_may_be_created() {
    let stream = with_anonymous();
    let nobody = AppliedEvent { user_id: None, ..event() };
    let derived = AppliedEvent { device_id_derived: true, ..nobody.clone() };
    let placeholder = AppliedEvent { device_id: "undefined", ..nobody.clone() };
    let update_only = Stream { update_existing_only: true, ..stream.clone() };
    let changes = || vec![changed("plan", None, Some("\"pro\""))];
    let unknown = UserChange { user_id: None, first_seen: true, ..change(changes()) };
    let unknown_derived = UserChange { device_id_derived: true, ..unknown.clone() };
    assert_snapshot!([
        told_event(&stream, &nobody, "{}"),
        told_event(&update_only, &nobody, "{}"),
        told_event(&stream, &derived, "{}"),
        told_event(&stream, &placeholder, "{}"),
        told_event(&stream, &event(), "{}"),
        told_change(&stream, &unknown, "{}"),
        told_change(&update_only, &unknown, "{}"),
        told_change(&stream, &unknown_derived, "{}"),
        told_change(&stream, &change(changes()), "{}"),
    ].join("\n"), @r#"
    {"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"},"app_id":"7b1c0000-app","name":"Order Completed","time":"2026-02-03T09:15:02.410Z","_update_existing_only":false,"properties":{"total":84.5,"currency":"EUR"}}
    {"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"},"app_id":"7b1c0000-app","name":"Order Completed","time":"2026-02-03T09:15:02.410Z","_update_existing_only":true,"properties":{"total":84.5,"currency":"EUR"}}
    discarded: no identifier
    discarded: identifier is a placeholder
    {"external_id":"u-1009","app_id":"7b1c0000-app","name":"Order Completed","time":"2026-02-03T09:15:02.410Z","properties":{"total":84.5,"currency":"EUR"}}
    {"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"},"_update_existing_only":false,"plan":"pro"}
    {"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"},"_update_existing_only":true,"plan":"pro"}
    discarded: no identifier
    {"external_id":"u-1009","plan":"pro"}
    "#);
    assert_snapshot!(told_event(&super::stream(), &nobody, "{}"), @"discarded: no identifier");
}

#[test]
fn the_first_sight_of_an_alias_that_may_be_new_says_that_it_is_there() {
    let events_only = |change: fn(&mut Stream)| {
        let mut stream = with_anonymous();
        stream.send_users = None;
        change(&mut stream);
        stream
    };
    let alias_only = stream_with(|stream| {
        stream.identify_by =
            Some(IdentifyBy { from: builtin("device_id"), to: IdentifyTarget::UserAlias });
        stream.user_alias_label = Some("label".to_owned());
    });
    let nobody = UserChange { user_id: None, first_seen: true, ..change(Vec::new()) };
    let again = UserChange { first_seen: false, ..nobody.clone() };
    let known = UserChange { first_seen: true, ..change(Vec::new()) };
    assert_snapshot!([
        told_change(&events_only(|_| {}), &nobody, "{}"),
        told_change(&events_only(|_| {}), &again, "{}"),
        told_change(&events_only(|_| {}), &known, "{}"),
        told_change(&events_only(|stream| stream.update_existing_only = true), &nobody, "{}"),
        told_change(&with_anonymous(), &nobody, "{}"),
        told_change(&with_anonymous(), &nobody, r#"{"plan":{"dropped":1}}"#),
        told_change(&alias_only, &nobody, "{}"),
        told_change(&alias_only, &known, r#"{"seats":4}"#),
        told_change(&super::stream(), &nobody, "{}"),
    ].join("\n"), @r#"
    {"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"},"_update_existing_only":false}
    nothing
    nothing
    nothing
    {"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"},"_update_existing_only":false}
    {"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"},"_update_existing_only":false}
    {"user_alias":{"alias_name":"d-77","alias_label":"label"},"_update_existing_only":false}
    {"user_alias":{"alias_name":"d-77","alias_label":"label"},"_update_existing_only":false,"seats":4}
    "#);
}

#[test]
fn a_person_who_turns_out_to_be_a_user_is_identified_after_all_that_was_told_of_the_alias() {
    let stream = build(&with_anonymous());
    for item in [identified("u-1009", "d-77"), merge("u-1009", "d-77")] {
        let messages = mapped(&stream, &item);
        let [message] = messages.as_slice() else { panic!("{messages:?}") };
        let payload = r#"{"external_id":"u-1009","user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"}}"#;
        assert_eq!(message.payload, payload);
        assert_eq!(message.lane, Lane::of("external_id:u-1009"));
        assert_eq!(message.after, Some(Lane::of("user_alias:amplitude_device:d-77")));
        assert_eq!((message.section.call(), &*message.name), (Call(1), "identify"));
        assert_eq!(braze().check(message), Ok(()));
        let nobody = AppliedEvent { user_id: None, ..event() };
        let mut told = Vec::new();
        stream.map(&Applied::Event(nobody), None, &mut told);
        let Some(Mapped::Deliver(told)) = told.pop() else { panic!("{told:?}") };
        assert_eq!(message.after, Some(told.lane));
    }
    assert_eq!(mapped(&stream, &identified("u-1009", "unknown")), [], "never told of");
    assert_eq!(
        told(&stream, &identified("null", "d-1"), ""),
        "discarded: identifier is a placeholder"
    );
    assert_eq!(mapped(&build(&super::stream()), &merge("u-1009", "d-77")), []);
}

#[test]
fn an_erased_person_is_deleted_by_every_identifier_that_a_stream_uses() {
    let deleted = |stream: &Stream| {
        let messages = mapped(&build(stream), &Applied::Erasure(erasure()));
        let line = |message: &Message| {
            assert_eq!(braze().check(message), Ok(()));
            assert_eq!((message.section.call(), message.after), (Call(2), None));
            format!("{:02x} {}", message.section.0, message.payload)
        };
        messages.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let by = |from: PropertyRef, to| {
        stream_with(|stream| {
            stream.identify_by = Some(IdentifyBy { from, to });
            stream.user_alias_label = Some("label".to_owned());
        })
    };
    assert_snapshot!(deleted(&super::stream()), @r#"20 {"external_id":"u-1009"}"#);
    assert_snapshot!(deleted(&with_anonymous()), @r#"
    21 {"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"}}
    21 {"user_alias":{"alias_name":"d-78","alias_label":"amplitude_device"}}
    20 {"external_id":"u-1009"}
    "#);
    assert_snapshot!(deleted(&by(builtin("device_id"), IdentifyTarget::UserAlias)), @r#"
    21 {"user_alias":{"alias_name":"d-77","alias_label":"label"}}
    21 {"user_alias":{"alias_name":"d-78","alias_label":"label"}}
    "#);
    assert_snapshot!(deleted(&by(user_property("email"), IdentifyTarget::Email)), @r#"23 {"email":"ada@example.com","prioritization":["most_recently_updated"]}"#);
    assert_snapshot!(deleted(&by(user_property("crm"), IdentifyTarget::BrazeId)), @r#"22 {"braze_id":"4711"}"#);
    assert_eq!(deleted(&by(user_property("gone"), IdentifyTarget::ExternalId)), "");
    assert_eq!(mapped(&build(&super::stream()), &Applied::Erased), []);
    let other = Applied::Erasure(Erasure { project: "other", ..erasure() });
    assert_eq!(mapped(&build(&super::stream()), &other), []);
    let message = &mapped(&build(&super::stream()), &Applied::Erasure(erasure()))[0];
    assert_eq!((&*message.name, message.lane), ("erasure", Lane::of("external_id:u-1009")));
}

#[test]
fn a_destination_that_ignores_erasures_is_not_asked() {
    let silent = BrazeDestination { on_erasure: OnErasure::Ignore, ..destination() };
    let stream = BrazeStream::build(&with_anonymous(), &silent).unwrap();
    assert_eq!(stream.wants(&Applied::Erasure(erasure())), Wants::Nothing);
}

#[test]
fn only_a_stream_by_user_id_can_tell_of_anonymous_people() {
    let wrong = [
        Stream {
            identify_by: Some(IdentifyBy {
                from: builtin("device_id"),
                to: IdentifyTarget::ExternalId,
            }),
            ..with_anonymous()
        },
        Stream {
            anonymous: Some(Anonymous { from: AnonymousId::DeviceId, alias_label: " ".to_owned() }),
            ..with_anonymous()
        },
    ];
    let said =
        wrong.map(|stream| listed(&BrazeStream::build(&stream, &destination()).unwrap_err()));
    assert_snapshot!(said.join("\n"), @"
    anonymous: the stream does not identify by `user_id` as `external_id` (remove it: only a person with an external id can be made one with an alias)
    anonymous.alias_label: an alias needs a label (name the kind of alias, for example amplitude_device)
    ");
}

fn sent(batch: &[Delivery]) -> String {
    let encoded = braze().encode(batch).expect("can be encoded");
    assert_eq!(encoded.objects, batch.len());
    let body = String::from_utf8(encoded.request.body.to_vec()).unwrap();
    let path = encoded.request.url.trim_start_matches("https://rest.iad-05.braze.com").to_owned();
    format!("{path} {body}")
}

const ALIAS: &str = r#""user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"}"#;

fn identifications() -> Vec<Delivery> {
    let object = |id: &str| format!(r#"{{"external_id":"{id}",{ALIAS}}}"#);
    vec![delivery("a", 0x10, &object("a")), delivery("b", 0x10, &object("b"))]
}

#[test]
fn each_call_has_its_path_and_its_lists() {
    let deletions = |section, objects: [&str; 2]| {
        sent(&objects.map(|object| delivery(object, section, object)))
    };
    assert_snapshot!([
        sent(&identifications()),
        deletions(0x20, [r#"{"external_id":"a"}"#, r#"{"external_id":"b \"c\""}"#]),
        deletions(0x21, [&format!("{{{ALIAS}}}"), &format!("{{{ALIAS}}}")]),
        deletions(0x22, [r#"{"braze_id":"1"}"#, r#"{"braze_id":"2"}"#]),
        deletions(0x23, [
            r#"{"email":"a@b.cd","prioritization":["most_recently_updated"]}"#,
            r#"{"email":"b@b.cd","prioritization":["most_recently_updated"]}"#,
        ]),
    ].join("\n"), @r#"
    /users/identify {"aliases_to_identify":[{"external_id":"a","user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"}},{"external_id":"b","user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"}}],"merge_behavior":"merge"}
    /users/delete {"external_ids":["a","b \"c\""]}
    /users/delete {"user_aliases":[{"alias_name":"d-77","alias_label":"amplitude_device"},{"alias_name":"d-77","alias_label":"amplitude_device"}]}
    /users/delete {"braze_ids":["1","2"]}
    /users/delete {"email_addresses":[{"email":"a@b.cd","prioritization":["most_recently_updated"]},{"email":"b@b.cd","prioritization":["most_recently_updated"]}]}
    "#);
    for mixed in [[0x10, 0x20], [0x00, 0x10], [0x30, 0x30]] {
        let batch = mixed.map(|section| delivery("a", section, r#"{"external_id":"a"}"#));
        assert!(braze().encode(&batch).is_err(), "{mixed:?}");
    }
}

fn judged(batch: &[Delivery], status: u16, body: &str) -> String {
    let reply = Reply {
        status,
        headers: http::HeaderMap::new(),
        body: body.to_owned().into(),
        received_at: Timestamp::from_millis(AT),
    };
    let verdicts = braze().judge(batch, &reply);
    let line = |verdict: &Verdict| match verdict {
        Verdict::Accepted => "accepted".to_owned(),
        Verdict::Split { reason, .. } => format!("split: {reason}"),
        Verdict::Pause { reason } => format!("pause: {reason}"),
        Verdict::Rejected { reason } => format!("rejected: {reason}"),
        other => format!("{other:?}"),
    };
    verdicts.iter().map(line).collect::<Vec<_>>().join(" | ")
}

#[test]
fn answers_to_identify_are_read_by_position_under_either_name() {
    let batch = identifications();
    let error = |array: &str, index: usize| {
        format!(
            r#"{{"aliases_processed":1,"message":"success","errors":[{{"type":"'external_id' is required","input_array":"{array}","index":{index}}}]}}"#
        )
    };
    assert_snapshot!([
        judged(&batch, 201, r#"{"aliases_processed":2,"message":"success"}"#),
        judged(&batch, 201, &error("user_identifiers", 0)),
        judged(&batch, 200, &error("aliases_to_identify", 1)),
        judged(&batch, 201, &error("emails_to_identify", 0)),
        judged(&batch[..1], 400, r#"{"message":"a single request may not contain more than 50 identifiers"}"#),
        judged(&batch[..1], 401, r#"{"message":"Invalid API Key"}"#),
        judged(&batch[..1], 403, ""),
        judged(&batch[..1], 404, r#"{"message":"not found"}"#),
        judged(&batch[..1], 500, ""),
    ].join("\n"), @r#"
    accepted | accepted
    rejected: 'external_id' is required | accepted
    accepted | rejected: 'external_id' is required
    accepted | accepted
    split: 400: a single request may not contain more than 50 identifiers
    pause: 401: the REST API key is unknown to this endpoint, or lacks the permission users.identify: {"message":"Invalid API Key"}
    pause: 403: the key lacks the permission users.identify, its IP allowlist excludes us, or the endpoint is wrong: 
    pause: 404: the endpoint is wrong: {"message":"not found"}
    Unknown { after: None, reason: "500: " }
    "#);
}

#[test]
fn who_is_gone_already_counts_as_deleted() {
    let batch = [delivery("a", 0x20, r#"{"external_id":"a"}"#)];
    assert_snapshot!([
        judged(&batch, 201, r#"{"deleted":1,"message":"success"}"#),
        judged(&batch, 200, r#"{"deleted":0}"#),
        judged(&batch, 404, r#"{"message":"user not found"}"#),
        judged(&batch, 404, "<html>not here</html>"),
        judged(&batch, 200, "<html>welcome</html>"),
        judged(&batch, 200, r#"{"surprise":1}"#),
        judged(&batch, 403, r#"{"message":"forbidden"}"#),
        judged(&batch, 400, r#"{"message":"'external_id' is not valid"}"#),
    ].join("\n"), @r#"
    accepted
    accepted
    accepted
    pause: 404: the endpoint is wrong: <html>not here</html>
    pause: 200 that is not an answer of Braze: <html>welcome</html>
    Retry { after: None, reason: "200 without success: " }
    pause: 403: the key lacks the permission users.delete, its IP allowlist excludes us, or the endpoint is wrong: {"message":"forbidden"}
    split: 400: 'external_id' is not valid
    "#);
}

#[test]
fn what_people_make_of_such_an_object_is_checked() {
    let check = |section, payload: &str| {
        let checked = braze().check(&delivery("a", section, payload).message);
        checked.err().unwrap_or_else(|| "fine".to_owned())
    };
    assert_snapshot!([
        check(0x10, &format!(r#"{{"external_id":"a",{ALIAS}}}"#)),
        check(0x10, r#"{"external_id":"a"}"#),
        check(0x10, &format!(r#"{{"external_id":"a",{ALIAS},"plan":"pro"}}"#)),
        check(0x10, r#"{"external_id":"a","user_alias":{"alias_name":"d"}}"#),
        check(0x20, r#"{"external_id":"a","braze_id":"b"}"#),
        check(0x20, r#"{"external_id":""}"#),
        check(0x21, r#"{"external_id":"a"}"#),
        check(0x22, r#"{"braze_id":7}"#),
        check(0x23, r#"{"email":"a@b.cd"}"#),
        check(0x23, r#"{"email":"a@b.cd","prioritization":["newest"]}"#),
        check(0x23, r#"{"email":"a@b.cd","prioritization":["identified","most_recently_updated"]}"#),
        check(0x24, r#"{"phone":"1"}"#),
    ].join("\n"), @"
    fine
    `user_alias` is required
    `plan` has no meaning here
    `user_alias.alias_label` must be a text
    `braze_id` has no meaning here
    `external_id` is empty
    `external_id` has no meaning here
    `braze_id` must be a text
    `prioritization` is required
    `prioritization` must be a list of identified, unidentified, most_recently_updated
    fine
    Braze has no section 36
    ");
}
