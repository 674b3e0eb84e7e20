//! Who events are about, their properties, groups, and time.

use super::*;
use crate::{NOW_MS, with_default};
use isthmus_sandbox::AmplitudeEventFilter;

#[tokio::test]
async fn devices_lead_to_people_and_anonymous_people_turn_out_to_be_known_ones() {
    with_default(async |bench| {
        let sent = |event_type: &str, device_id: &str, user_id: Option<&str>| json!({"event_type": event_type, "device_id": device_id, "user_id": user_id});
        post(bench, &[
            sent("1", "device-1", None),
            sent("2", "device-1", Some("ana-1")),
            sent("3", "device-1", Some("bob-1")),
            sent("4", "device-2", None),
            sent("5", "device-2", Some("ana-1")),
            sent("6", "device-2", None),
        ])
        .await;
        let ids = bench.handle.amplitude().events(&AmplitudeEventFilter::default()).into_iter();
        let ids: Vec<_> = ids.rev().map(|event| (event.event_type, event.amplitude_id)).collect();
        let expected = [("1", 1), ("2", 1), ("3", 2), ("4", 3), ("5", 1), ("6", 1)];
        assert_eq!(ids, expected.map(|(name, id)| (name.to_owned(), id)));
        let ana = look(bench, "users/ana-1").await;
        assert_eq!(ana["user"]["merged"], json!([3]));
        assert_eq!(ana["user"]["device_ids"], json!(["device-1", "device-2"]));
        let names: Vec<&Value> = ana["events"].as_array().expect("events").iter().map(|event| &event["event_type"]).collect();
        assert_eq!(names, ["1", "2", "4", "5", "6"]);
        assert_eq!(look(bench, "users/device-2").await, ana);
        assert_eq!(look(bench, "users/3").await, ana);
        let nobody = bench.client.get("/_sandbox/amplitude/users/nobody").await;
        assert_eq!(nobody.status, 404);
        let counters = bench.handle.amplitude().counters();
        assert_eq!((counters.people_created, counters.people_merged), (3, 1));
    })
    .await;
}

#[tokio::test]
async fn all_ten_operations_are_applied_in_their_order() {
    with_default(async |bench| {
        let operations = json!({
            "$remove": {"tags": "old"},
            "$postInsert": {"tags": ["b", "c"]},
            "$preInsert": {"tags": ["z", "b"]},
            "$prepend": {"tags": "first"},
            "$append": {"tags": ["b"]},
            "$add": {"visits": 2},
            "$setOnce": {"plan": "free", "gone": "again"},
            "$set": {"plan": "pro"},
            "$unset": {"gone": "-"},
        });
        post(bench, &[
            json!({"event_type": "$identify", "user_id": "rider-1", "user_properties": {"gone": 1, "tags": ["old"], "visits": 1}}),
            json!({"event_type": "$identify", "user_id": "rider-1", "user_properties": operations}),
        ])
        .await;
        let amplitude = bench.handle.amplitude();
        let properties = || amplitude.person("rider-1").expect("a person").user_properties;
        assert_eq!(properties(), json!({
            "gone": "again", "plan": "pro", "visits": 3, "tags": ["z", "first", "b", "c"],
        }));
        identify(bench, &json!({"user_id": "rider-1", "user_properties": {"$clearAll": "-"}})).await;
        assert_eq!(properties(), json!({}));
    })
    .await;
}

#[tokio::test]
async fn events_hold_the_properties_of_their_time() {
    with_default(async |bench| {
        let with = |event_type: &str, more: Value| {
            let mut event = json!({"event_type": event_type, "user_id": "rider-1"});
            event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            event
        };
        post(bench, &[
            with("1", json!({"user_properties": {"plan": "free"}, "platform": "iOS", "language": "pt-BR"})),
            with("2", json!({"user_properties": {"$set": {"plan": "pro"}}, "price": 2.5, "quantity": 2, "extra": [1]})),
            with("3", json!({"user_properties": {"plan": "own"}, "$skip_user_properties_sync": true})),
            with("4", json!({})),
        ])
        .await;
        let amplitude = bench.handle.amplitude();
        let events = amplitude.events_of("rider-1");
        let plans: Vec<_> = events.iter().map(|event| event.user_properties["plan"].clone()).collect();
        assert_eq!(plans, ["free", "pro", "own", "pro"]);
        assert_eq!(events[1].event_properties, json!({"$price": 2.5, "$quantity": 2}));
        assert_eq!(events[1].fields["extra"], json!([1]));
        assert_eq!(events[1].library, "http/2.0");
        let person = amplitude.person("rider-1").expect("a person");
        assert_eq!(person.built_in_properties, json!({"language": "Portuguese", "paying": true, "platform": "iOS"}));
        assert_eq!((person.events, person.first_event), (4, Some(NOW_MS)));
    })
    .await;
}

#[tokio::test]
async fn updates_beyond_the_hourly_number_are_dropped_in_silence() {
    with_default(async |bench| {
        set(bench, json!({"property_updates_per_hour": 2})).await;
        let visit = json!({"event_type": "Visit", "user_id": "rider-1", "user_properties": {"$add": {"visits": 1}}});
        let reply = post(bench, &vec![visit; 5]).await;
        assert_eq!(reply.json()["events_ingested"], json!(5));
        let amplitude = bench.handle.amplitude();
        let person = amplitude.person("rider-1").expect("a person");
        assert_eq!((person.user_properties, person.events), (json!({"visits": 2}), 5));
        assert_eq!(amplitude.counters().property_updates_dropped, 3);
    })
    .await;
}

#[tokio::test]
async fn groups_have_properties_and_people_belong_to_groups() {
    with_default(async |bench| {
        let group = |properties: Value| json!({"group_type": "team", "group_value": "red", "group_properties": properties}).to_string();
        let told = group(json!({"$set": {"seats": 5}, "$append": {"tags": "new"}}));
        let fields = [("api_key", KEY), ("identification", told.as_str())];
        assert_eq!(form(bench, "/groupidentify", &fields).await.status, 200);
        post(bench, &[
            json!({"event_type": "$groupidentify", "groups": {"team": "red"}, "group_properties": {"$add": {"seats": 1}}}),
            json!({"event_type": "$identify", "user_id": "rider-1", "groups": {"team": "red"}, "user_properties": {"$set": {"team": "red"}}}),
            json!({"event_type": "Viewed", "user_id": "rider-1", "groups": {"team": ["red", "blue"]}}),
        ])
        .await;
        let amplitude = bench.handle.amplitude();
        let red = json!({"seats": 6, "tags": ["new"]});
        assert_eq!(amplitude.group("team", "red"), Some(red.clone()));
        assert_eq!(look(bench, "groups/team/red").await["group_properties"], red);
        assert_eq!(bench.client.get("/_sandbox/amplitude/groups/team/blue").await.status, 404);
        let event = &amplitude.events_of("rider-1")[0];
        assert_eq!(event.group_properties, json!({"team": {"red": red}}));
        assert_eq!(event.groups, json!({"team": ["red", "blue"]}));
        assert_eq!(amplitude.person("rider-1").expect("a person").groups, json!({"team": "red"}));
        let counters = amplitude.counters();
        assert_eq!((counters.group_identifies, counters.identifies, counters.stored), (2, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_off_by_a_minute_is_put_right() {
    with_default(async |bench| {
        let at = |ms: i64| jiff::Timestamp::from_millisecond(ms).expect("a time").to_string();
        for (insert_id, behind_ms, corrected) in
            [("a", 59_999, 0), ("b", 60_000, 60_000), ("c", -600_000, -600_000)]
        {
            let mut body = upload(&[event("rider-1", insert_id)]);
            body["client_upload_time"] = at(NOW_MS - behind_ms).into();
            assert_eq!(bench.client.post("/2/httpapi", &body).await.status, 200);
            let filter = AmplitudeEventFilter {
                insert_id: Some(insert_id.to_owned()),
                ..AmplitudeEventFilter::default()
            };
            let event = bench.handle.amplitude().events(&filter).remove(0);
            assert_eq!(event.event_time - event.client_event_time, corrected, "{insert_id}");
        }
        post(bench, &[from_device("device-1")]).await;
        assert_eq!(bench.handle.amplitude().events_of("device-1")[0].event_time, NOW_MS);
    })
    .await;
}
