use super::*;
use Priority::{Identified, LeastRecentlyUpdated, MostRecentlyUpdated, Unidentified};
use isthmus_core::seam::SeededRandom;
use proptest::prelude::*;
use serde_json::json;

/// A workspace whose time moves by a second with every step.
struct World {
    workspace: Workspace,
    now: Moment,
}

impl World {
    fn new() -> Self {
        Self::with(SandboxConfig::default())
    }

    fn with(config: SandboxConfig) -> Self {
        let workspace =
            Workspace::new(Arc::new(config), Arc::new(SeededRandom::new(1)), Arc::default());
        let now =
            Moment { wall: Timestamp::from_millis(1_789_000_000_000), elapsed: Duration::ZERO };
        Self { workspace, now }
    }

    fn advance(&mut self, by: Duration) {
        self.now.wall = self.now.wall.plus(by);
        self.now.elapsed += by;
        self.workspace.catch_up(self.now);
    }

    fn track(&mut self, body: &Value) {
        self.advance(Duration::from_secs(1));
        let body = body.to_string().into();
        let effect = Effect::Track { body, received_at: self.now.wall, refused: Vec::new() };
        self.workspace.submit(effect, self.now);
    }

    fn attributes(&mut self, object: &Value) {
        self.track(&json!({ "attributes": [object] }));
    }

    fn event(&mut self, external_id: &str, name: &str) {
        self.event_at(external_id, name, "2026-09-01T10:00:00Z");
    }

    fn event_at(&mut self, external_id: &str, name: &str, time: &str) {
        let event = json!({ "external_id": external_id, "name": name, "time": time });
        self.track(&json!({ "events": [event] }));
    }

    fn apply(&mut self, effect: Effect) {
        self.advance(Duration::from_secs(1));
        self.workspace.submit(effect, self.now);
    }

    /// All users, each as its identifiers and what `fields` names of it.
    fn users(&self) -> Vec<String> {
        self.workspace.directory().iter().map(|(_, user)| user.label()).collect()
    }

    fn key(&self, identifier: &Identifier<'_>) -> UserKey {
        self.workspace.directory().find(identifier).expect("a user")
    }

    fn user(&self, external_id: &str) -> &User {
        let key = self.key(&Identifier::ExternalId(external_id.into()));
        self.workspace.directory().get(key).expect("a user")
    }

    fn audit(&self) -> Vec<&str> {
        self.workspace.audit().map(|entry| entry.what.as_str()).collect()
    }
}

fn alias(name: &str) -> Value {
    json!({ "alias_name": name, "alias_label": "device" })
}

fn by_alias(name: &str) -> Identifier<'static> {
    Identifier::Alias { name: name.to_owned().into(), label: "device".into() }
}

fn external(id: &str) -> Selector {
    let identifier = Identifier::ExternalId(id.to_owned().into());
    Selector { identifier, priorities: Vec::new() }
}

fn email(address: &str, priorities: &[Priority]) -> Selector {
    let identifier = Identifier::Email(address.to_owned().into());
    Selector { identifier, priorities: priorities.to_vec() }
}

fn identify_alias(name: &str, external_id: &str) -> Effect {
    let source = Selector { identifier: by_alias(name), priorities: Vec::new() };
    Effect::Identify(vec![Identify { source, external_id: external_id.to_owned(), merges: true }])
}

#[test]
fn unknown_users_are_created_by_identifier_and_flag() {
    let with_flag = |mut object: Value, flag: Option<bool>| {
        if let Some(flag) = flag {
            object["_update_existing_only"] = json!(flag);
        }
        object
    };
    for (identifier, flag, created) in [
        (json!({"external_id": "u"}), None, true),
        (json!({"external_id": "u"}), Some(false), true),
        (json!({"external_id": "u"}), Some(true), false),
        (json!({"user_alias": alias("d")}), None, false),
        (json!({"user_alias": alias("d")}), Some(false), true),
        (json!({"user_alias": alias("d")}), Some(true), false),
        (json!({"email": "a@b.example"}), None, true),
        (json!({"email": "a@b.example"}), Some(false), true),
        (json!({"email": "a@b.example"}), Some(true), false),
        (json!({"phone": "+4915112345"}), None, true),
        (json!({"phone": "+4915112345"}), Some(true), false),
        (json!({"braze_id": "66e5"}), None, false),
        (json!({"braze_id": "66e5"}), Some(false), false),
        (json!({"braze_id": "66e5"}), Some(true), false),
    ] {
        let object = with_flag(identifier, flag);
        let mut event = object.clone();
        event["name"] = json!("x");
        event["time"] = json!("2026-09-01");
        for body in [json!({"attributes": [object]}), json!({"events": [event]})] {
            let mut world = World::new();
            world.track(&body);
            assert_eq!(world.users().len(), usize::from(created), "{body}");
            assert_eq!(world.audit().is_empty(), created, "{body}");
        }
    }
}

#[test]
fn push_tokens_create_an_anonymous_user() {
    let mut world = World::new();
    let tokens = json!([{"app_id": "a", "token": "t", "device_id": "device-1"}]);
    world.attributes(&json!({"push_token_import": true, "push_tokens": tokens}));
    let found = world.workspace.look_up(&Lookup::Device("device-1".to_owned()));
    assert_eq!(found.len(), 1);
}

#[test]
fn an_unknown_external_id_with_a_known_email_makes_a_second_user() {
    let mut world = World::new();
    world.attributes(&json!({"email": "ines@example.test"}));
    world.attributes(&json!({"external_id": "u-1", "email": "ines@example.test"}));
    assert_eq!(world.users(), ["ines@example.test", "u-1"]);
}

#[test]
fn a_shared_email_means_the_latest_identified_user() {
    let mut world = World::new();
    for id in ["u-1", "u-2"] {
        world.attributes(&json!({"external_id": id, "email": "INES@example.test"}));
    }
    world.attributes(&json!({"user_alias": alias("d"), "_update_existing_only": false, "email": "ines@example.test"}));
    world.attributes(&json!({"email": "ines@example.test", "plan": "pro"}));
    assert_eq!(world.user("u-2").custom.get("plan"), Some(&json!("pro")));
    assert_eq!(world.user("u-1").custom.get("plan"), None);
    assert_eq!(world.users().len(), 3);
}

#[test]
fn phone_numbers_find_users_however_they_are_written() {
    let mut world = World::new();
    world.attributes(&json!({"external_id": "u", "phone": "+49 151 12345"}));
    world.attributes(&json!({"phone": "+4915112345", "plan": "pro"}));
    assert_eq!(world.user("u").custom.get("plan"), Some(&json!("pro")));
}

#[test]
fn a_changed_email_no_longer_finds_the_user() {
    let mut world = World::new();
    world.attributes(&json!({"external_id": "u", "email": "old@example.test"}));
    world.attributes(&json!({"external_id": "u", "email": "new@example.test"}));
    world.attributes(&json!({"email": "old@example.test"}));
    assert_eq!(world.users(), ["u", "old@example.test"]);
}

#[test]
fn equal_events_are_counted_again() {
    let mut world = World::new();
    for time in ["2026-09-02T10:00:00Z", "2026-09-01T10:00:00Z", "2026-09-01T10:00:00Z"] {
        world.event_at("u", "Tour Viewed", time);
    }
    let tally = world.user("u").events["Tour Viewed"];
    assert_eq!(
        (tally.count, tally.first.to_string().as_str(), tally.last.to_string().as_str()),
        (3, "2026-09-01T10:00:00.000Z", "2026-09-02T10:00:00.000Z")
    );
    let counters = world.workspace.counters();
    assert_eq!((counters.events_applied, counters.events_repeated), (3, 1));
}

#[test]
fn the_checksum_does_not_depend_on_the_order() {
    let checksum = |names: [&str; 3]| {
        let mut world = World::new();
        for name in names {
            world.event("u", name);
        }
        world.workspace.counters().events_checksum
    };
    assert_eq!(checksum(["a", "b", "c"]), checksum(["c", "a", "b"]));
    assert_ne!(checksum(["a", "b", "c"]), checksum(["a", "b", "b"]));
}

#[test]
fn unique_ids_are_all_remembered() {
    let config =
        SandboxConfig { uid_property: Some("event_uid".to_owned()), ..SandboxConfig::default() };
    let mut world = World::with(config);
    for uid in ["1", "2", "1"] {
        let properties = json!({ "event_uid": uid });
        let event = json!({"external_id": "u", "name": "x", "time": "2026-09-01", "properties": properties});
        world.track(&json!({ "events": [event] }));
    }
    let counters = world.workspace.counters();
    assert_eq!((counters.uids, counters.uids_repeated), (2, 1));
    assert_eq!(world.workspace.history().uids().get("1"), Some(&2));
}

#[test]
fn writes_cost_data_points() {
    let costs = |body: Value| {
        let mut world = World::new();
        world.track(&body);
        world.workspace.counters().data_points.total()
    };
    let event = |name: &str, properties: Value| {
        json!({"events": [
            {"external_id": "u", "name": name, "time": "2026-09-01", "properties": properties}
        ]})
    };
    let attributes = |members: Value| {
        let mut object = members;
        object["external_id"] = json!("u");
        json!({ "attributes": [object] })
    };
    for (body, points) in [
        (attributes(json!({"plan": "pro", "seats": null})), 2),
        (attributes(json!({"tags": {"add": ["a", "b"]}})), 2),
        (attributes(json!({"first_name": "Ada", "country": "DE"})), 2),
        (attributes(json!({"email_subscribe": "opted_in"})), 0),
        (attributes(json!({"plan": "x".repeat(256)})), 0),
        (attributes(json!({"song": {"name": "x", "plays": {"today": 1, "ever": 2}}})), 3),
        (event("Tour Booked", json!({"a": 1})), 1),
        (
            event(
                "ecommerce.product_viewed",
                json!({"currency": "EUR", "source": "w", "product_id": "p", "product_name": "n",
                    "variant_id": "v", "price": 1}),
            ),
            0,
        ),
        (
            json!({"purchases": [{"external_id": "u", "product_id": "p", "currency": "EUR",
                "price": 2, "quantity": 3, "time": "2026-09-01"}]}),
            3,
        ),
    ] {
        assert_eq!(costs(body.clone()), points, "{body}");
    }
}

#[test]
fn purchases_add_to_revenue_by_quantity() {
    let mut world = World::new();
    world.track(&json!({"purchases": [{"external_id": "u", "product_id": "p", "currency": "EUR",
        "price": 2.5, "quantity": 3, "time": "2026-09-01"}]}));
    let user = world.user("u");
    assert_eq!((user.revenue, user.purchases["p"].count), (7.5, 3));
}

#[test]
fn identify_gives_the_id_to_a_user_that_has_none() {
    let mut world = World::new();
    world.apply(Effect::AliasNew(vec![(None, "device".to_owned(), "d".to_owned())]));
    world.apply(identify_alias("d", "u"));
    assert_eq!(world.users(), ["u"]);
    assert_eq!(world.key(&by_alias("d")), world.key(&external("u").identifier));
}

#[test]
fn identify_merges_into_a_user_that_has_the_id() {
    let mut world = World::new();
    world.attributes(&json!({"external_id": "u", "plan": "pro", "first_name": "Ada"}));
    world.event("u", "Tour Viewed");
    let anonymous = json!({"user_alias": alias("d"), "_update_existing_only": false,
        "plan": "free", "source": "ad", "first_name": "A.", "home_city": "Ulm"});
    world.attributes(&anonymous);
    world.track(&json!({"events": [{"user_alias": alias("d"), "name": "Tour Viewed", "time": "2026-08-01"}]}));
    world.apply(identify_alias("d", "u"));
    assert_eq!(world.users(), ["u"]);
    let user = world.user("u");
    assert_eq!(Value::Object(user.custom.clone()), json!({"plan": "pro", "source": "ad"}));
    assert_eq!(
        Value::Object(user.standard.clone()),
        json!({"first_name": "Ada", "home_city": "Ulm"})
    );
    assert_eq!(user.events["Tour Viewed"].count, 2);
    let key = world.key(&by_alias("d"));
    let times: Vec<_> = world.workspace.history().of(key).map(|o| o.time.as_str()).collect();
    assert_eq!(times, ["2026-09-01T10:00:00.000Z", "2026-08-01T00:00:00.000Z"]);
}

#[test]
fn identify_is_silently_refused_where_it_is_ambiguous() {
    let mut world = World::new();
    world.attributes(&json!({"external_id": "u"}));
    world.apply(Effect::AliasNew(vec![(
        Some("u".to_owned()),
        "device".to_owned(),
        "d-1".to_owned(),
    )]));
    world.apply(Effect::AliasNew(vec![(None, "device".to_owned(), "d-2".to_owned())]));
    world.apply(identify_alias("d-2", "u"));
    world.apply(identify_alias("D-2", "u"));
    world.apply(identify_alias("d-1", "v"));
    assert_eq!(world.users(), ["u", "device:d-2"]);
    assert_eq!(
        world.audit(),
        [
            "identify: target has an alias with this label",
            "identify: no single user",
            "identify: already identified"
        ]
    );
}

#[test]
fn prioritisation_picks_one_of_several() {
    let selector = |world: &World, priorities: &[Priority]| {
        let left = world
            .workspace
            .directory()
            .prioritised(&email("a@b.example", priorities).identifier, priorities);
        left.into_iter()
            .filter_map(|key| Some(world.workspace.directory().get(key)?.label()))
            .collect::<Vec<_>>()
    };
    let mut world = World::new();
    for id in ["u-1", "u-2"] {
        world.attributes(&json!({"external_id": id, "email": "a@b.example"}));
    }
    world.attributes(
        &json!({"user_alias": alias("d"), "_update_existing_only": false, "email": "a@b.example"}),
    );
    assert_eq!(selector(&world, &[]).len(), 3);
    assert_eq!(selector(&world, &[Identified]), ["u-1", "u-2"]);
    assert_eq!(selector(&world, &[Unidentified]), ["device:d"]);
    assert_eq!(selector(&world, &[MostRecentlyUpdated]), ["device:d"]);
    assert_eq!(selector(&world, &[Identified, MostRecentlyUpdated]), ["u-2"]);
    assert_eq!(selector(&world, &[Identified, LeastRecentlyUpdated]), ["u-1"]);
    world.apply(Effect::Delete(vec![email("a@b.example", &[Identified])]));
    assert_eq!(world.users().len(), 3, "two are left, so nobody is deleted");
    world.apply(Effect::Delete(vec![email("a@b.example", &[Identified, MostRecentlyUpdated])]));
    assert_eq!(world.users(), ["u-1", "device:d"]);
}

#[test]
fn merges_move_everything_and_remove_the_source() {
    let mut world = World::new();
    world.event("old", "Tour Viewed");
    world.event("new", "Tour Viewed");
    world.apply(Effect::AliasNew(vec![
        (Some("old".to_owned()), "device".to_owned(), "d-old".to_owned()),
        (Some("new".to_owned()), "device".to_owned(), "d-new".to_owned()),
        (Some("old".to_owned()), "crm".to_owned(), "c".to_owned()),
    ]));
    world.apply(Effect::Merge(vec![(external("old"), external("new"))]));
    assert_eq!(world.users(), ["new"]);
    let user = world.user("new");
    assert_eq!(json!(user.aliases), json!({"crm": "c", "device": "d-new"}));
    assert_eq!(user.events["Tour Viewed"].count, 2);
    assert!(world.workspace.directory().find(&by_alias("d-old")).is_none());
    world.apply(Effect::Merge(vec![(external("nobody"), external("new"))]));
    world.apply(Effect::Merge(vec![(external("new"), external("new"))]));
    assert_eq!(world.audit(), ["merge: no single user", "merge: the same user twice"]);
}

#[test]
fn a_merged_source_stays_readable_for_a_while() {
    let linger = Duration::from_mins(1);
    let mut world = World::with(SandboxConfig { merge_linger: linger, ..SandboxConfig::default() });
    world.event("old", "x");
    world.event("new", "x");
    world.apply(Effect::Merge(vec![(external("old"), external("new"))]));
    assert_eq!(world.users(), ["old", "new"]);
    assert_eq!(world.user("new").events["x"].count, 2);
    world.advance(linger);
    assert_eq!(world.users(), ["new"]);
}

#[test]
fn aliases_are_unique_and_can_be_renamed() {
    let mut world = World::new();
    world.apply(Effect::AliasNew(vec![
        (None, "device".to_owned(), "d".to_owned()),
        (None, "device".to_owned(), "d".to_owned()),
        (Some("nobody".to_owned()), "device".to_owned(), "e".to_owned()),
    ]));
    assert_eq!(world.users(), ["device:d"]);
    let rename = |old: &str, new: &str| {
        Effect::AliasUpdate(vec![AliasRename {
            label: "device".to_owned(),
            old_name: old.to_owned(),
            new_name: new.to_owned(),
        }])
    };
    world.apply(rename("d", "f"));
    world.apply(rename("d", "g"));
    world.apply(rename("f", "f"));
    assert_eq!(world.users(), ["device:f"]);
    assert_eq!(
        world.audit(),
        [
            "alias is in use",
            "alias for an unknown external_id",
            "alias update: unknown alias",
            "alias update: new name is in use"
        ]
    );
}

#[test]
fn renamed_ids_still_find_the_user_until_they_are_removed() {
    let mut world = World::new();
    world.event("old", "x");
    let rename =
        |current: &str, new: &str| IdRename { current: current.to_owned(), new: new.to_owned() };
    let now = world.now;
    assert_eq!(world.workspace.rename(&rename("old", "new"), now), Ok(()));
    assert_eq!(world.user("old").external_id.as_deref(), Some("new"));
    assert!(world.workspace.rename(&rename("old", "other"), now).is_err());
    assert!(world.workspace.rename(&rename("nobody", "other"), now).is_err());
    assert!(world.workspace.rename(&rename("new", "old"), now).is_err());
    assert!(world.workspace.remove_deprecated("old"));
    assert!(!world.workspace.remove_deprecated("new"));
    world.event("old", "x");
    assert_eq!(world.users(), ["new", "old"]);
}

#[test]
fn deleting_by_a_deprecated_id_deletes_the_user() {
    let mut world = World::new();
    world.event("old", "x");
    let now = world.now;
    let rename = IdRename { current: "old".to_owned(), new: "new".to_owned() };
    world.workspace.rename(&rename, now).expect("renamed");
    world.apply(Effect::Delete(vec![external("old")]));
    assert!(world.users().is_empty());
    assert_eq!(world.workspace.counters().users_deleted, 1);
}

#[test]
fn a_delayed_request_takes_effect_when_it_is_due() {
    let delay = Duration::from_millis(1_500);
    let mut world = World::with(SandboxConfig { apply_delay: delay, ..SandboxConfig::default() });
    world.event("u", "x");
    assert!(world.users().is_empty());
    assert_eq!(world.workspace.waiting(), 1);
    world.advance(delay);
    assert_eq!((world.users().len(), world.workspace.waiting()), (1, 0));
}

#[test]
fn jitter_lets_requests_overtake_each_other() {
    let jitter = Duration::from_mins(1);
    let mut world = World::with(SandboxConfig { apply_jitter: jitter, ..SandboxConfig::default() });
    for value in 0..20 {
        world.attributes(&json!({"external_id": "u", "order": {"add": [value]}}));
    }
    world.advance(jitter);
    let order = world.user("u").custom["order"].as_array().expect("an array").clone();
    assert_eq!(order.len(), 20);
    assert_ne!(order, (0..20).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn exports_lag_behind() {
    let lag = Duration::from_secs(10);
    let mut world = World::with(SandboxConfig { export_lag: lag, ..SandboxConfig::default() });
    let plan = |world: &World| {
        let key = world.key(&external("u").identifier);
        let exported = world.workspace.exported(key, None, world.now)?;
        exported.pointer("/custom_attributes/plan").cloned()
    };
    world.attributes(&json!({"external_id": "u", "plan": "free"}));
    assert_eq!(plan(&world), None);
    world.advance(lag);
    assert_eq!(plan(&world), Some(json!("free")));
    world.attributes(&json!({"external_id": "u", "plan": "pro"}));
    assert_eq!(plan(&world), Some(json!("free")));
    world.advance(lag);
    assert_eq!(plan(&world), Some(json!("pro")));
}

#[test]
fn exports_summarise_90_days() {
    let mut world = World::new();
    world.event_at("u", "recent", "2026-08-01");
    world.event_at("u", "ancient", "2020-01-01");
    let key = world.key(&external("u").identifier);
    let fields = ["custom_events".to_owned()];
    let exported = world.workspace.exported(key, Some(&fields), world.now);
    let day = "2026-08-01T00:00:00.000Z";
    assert_eq!(
        exported,
        Some(json!({"custom_events": [{"name": "recent", "first": day, "last": day, "count": 1}]}))
    );
}

#[test]
fn a_user_with_too_many_event_names_takes_no_new_ones() {
    let mut world =
        World::with(SandboxConfig { names_per_user_max: 2, ..SandboxConfig::default() });
    for name in ["a", "b", "c", "a"] {
        world.event("u", name);
    }
    assert_eq!(world.user("u").events.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(world.audit(), ["user has too many event names"]);
}

#[test]
fn the_latest_occurrences_are_kept() {
    let config = SandboxConfig {
        occurrences_kept: 5,
        occurrences_kept_per_user: 3,
        ..SandboxConfig::default()
    };
    let mut world = World::with(config);
    for name in ["1", "2", "3", "4"] {
        world.event("u", name);
        world.event("v", name);
    }
    let names = |world: &World, id: &str| {
        let key = world.key(&external(id).identifier);
        world.workspace.history().of(key).map(|o| o.name.clone()).collect::<Vec<_>>().concat()
    };
    assert_eq!((names(&world, "u"), names(&world, "v")), ("34".to_owned(), "234".to_owned()));
    world.apply(Effect::Merge(vec![(external("u"), external("v"))]));
    assert_eq!(names(&world, "v"), "344");
    world.event("w", "5");
    world.event("w", "6");
    world.event("w", "7");
    let kept = names(&world, "v").len() + names(&world, "w").len();
    assert!(kept <= 5, "{kept} are kept");
    assert_eq!(world.user("v").events.values().map(|tally| tally.count).sum::<u64>(), 8);
}

#[test]
fn counting_alone_keeps_no_users() {
    let mut world = World::with(SandboxConfig { keep: Keep::Counts, ..SandboxConfig::default() });
    world.event("u", "x");
    world.attributes(&json!({"external_id": "u", "plan": "pro"}));
    assert!(world.users().is_empty());
    assert_eq!(world.workspace.counters().data_points.total(), 2);
    assert_ne!(world.workspace.counters().events_checksum, 0);
}

#[test]
fn subscription_states_follow_the_email() {
    let group = json!([{"subscription_group_id": "3f2b1c00-0000-4000-8000-1a2b3c4d5e6f",
        "subscription_state": "subscribed"}]);
    let mut world = World::new();
    world.attributes(&json!({"external_id": "u", "email": "a@b.example"}));
    world.attributes(
        &json!({"external_id": "v", "email": "a@b.example", "subscription_groups": group}),
    );
    assert_eq!(world.user("u").subscription_groups, world.user("v").subscription_groups);
    assert_eq!(world.user("u").subscription_groups.len(), 1);
}

/// Steps that mix users, aliases and addresses.
fn any_step() -> impl Strategy<Value = (u8, u8, u8)> {
    (0..7u8, 0..4u8, 0..4u8)
}

proptest! {
    #[test]
    fn every_identifier_finds_the_user_that_carries_it(steps in proptest::collection::vec(any_step(), 1..40)) {
        let mut world = World::new();
        for (step, one, two) in steps {
            let (id, name, address) = (format!("u-{one}"), format!("d-{two}"), format!("{two}@b.example"));
            match step {
                0 => world.attributes(&json!({"external_id": id, "email": address})),
                1 => world.attributes(&json!({"user_alias": alias(&name), "_update_existing_only": false, "email": address})),
                2 => world.apply(identify_alias(&name, &id)),
                3 => world.apply(Effect::Merge(vec![(external(&id), external(&format!("u-{two}")))])),
                4 => world.apply(Effect::Delete(vec![external(&id)])),
                5 => world.apply(Effect::AliasNew(vec![(Some(id), "device".to_owned(), name)])),
                _ => drop(world.workspace.rename(&IdRename { current: id, new: format!("u-{two}") }, world.now)),
            }
            let directory = world.workspace.directory();
            for (key, user) in directory.iter() {
                for id in user.external_id.iter().chain(&user.deprecated_ids) {
                    prop_assert_eq!(directory.find(&Identifier::ExternalId(id.as_str().into())), Some(key));
                }
                for name in user.aliases.values() {
                    prop_assert_eq!(directory.find(&by_alias(name)), Some(key));
                }
                if let Some(email) = user.contacts().email {
                    prop_assert!(directory.sharing(&Identifier::Email(email.into())).contains(&key));
                }
            }
            for one in 0..4 {
                let address = Identifier::Email(format!("{one}@b.example").into());
                for key in directory.sharing(&address) {
                    prop_assert!(directory.get(*key).is_some(), "an index names a user that is gone");
                }
            }
        }
    }

    #[test]
    fn delay_changes_when_but_not_what(events in proptest::collection::vec((0..3u8, 0..3u8), 1..30)) {
        let end = |delay| {
            let mut world = World::with(SandboxConfig { apply_delay: delay, ..SandboxConfig::default() });
            for (user, name) in &events {
                world.event(&format!("u-{user}"), &format!("event {name}"));
            }
            world.advance(Duration::from_mins(1));
            let users = world.workspace.directory().iter();
            users.map(|(_, user)| (user.external_id.clone(), user.events.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(end(Duration::ZERO), end(Duration::from_millis(2_500)));
    }
}
