use super::*;
use proptest::prelude::*;
use serde_json::json;

fn object(value: Value) -> Properties {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

/// Folds the updates in turn and returns the properties.
fn folded(before: Value, updates: &[Value]) -> Value {
    let mut properties = object(before);
    for update in updates {
        fold(&mut properties, &object(update.clone()));
    }
    Value::Object(properties)
}

/// `cases` are (properties before, update, properties after).
fn check(cases: &[(Value, Value, Value)]) {
    for (before, update, after) in cases {
        let result = folded(before.clone(), std::slice::from_ref(update));
        assert_eq!(&result, after, "{before} + {update}");
    }
}

#[test]
fn each_operation_has_its_documented_effect() {
    check(&[
        (json!({"a": 1, "b": 2}), json!({"$clearAll": "-"}), json!({})),
        (json!({"a": 1}), json!({"$clearAll": {"-": null}}), json!({})),
        (json!({"a": 1, "b": 2}), json!({"$unset": {"a": "-", "c": "-"}}), json!({"b": 2})),
        (
            json!({"a": 1}),
            json!({"$set": {"a": [true, {"x": "y"}]}}),
            json!({"a": [true, {"x": "y"}]}),
        ),
        (json!({"a": 1}), json!({"$setOnce": {"a": 2, "b": 3}}), json!({"a": 1, "b": 3})),
        (json!({"a": 1}), json!({"$add": {"a": 2, "b": -3}}), json!({"a": 3, "b": -3})),
        (json!({"a": [1]}), json!({"$append": {"a": [2, 1]}}), json!({"a": [1, 2, 1]})),
        (json!({"a": [1]}), json!({"$prepend": {"a": [2, 1]}}), json!({"a": [2, 1, 1]})),
        (json!({"a": [1]}), json!({"$preInsert": {"a": [3, 1, 2]}}), json!({"a": [3, 2, 1]})),
        (json!({"a": [1]}), json!({"$postInsert": {"a": [3, 1, 2]}}), json!({"a": [1, 3, 2]})),
        (json!({"a": [1, 2, 1]}), json!({"$remove": {"a": 1}}), json!({"a": [2]})),
        (json!({"a": [1, 2, 3]}), json!({"$remove": {"a": [3, 1]}}), json!({"a": [2]})),
        (json!({"a": 1}), json!({"b": "x"}), json!({"a": 1, "b": "x"})),
    ]);
}

#[test]
fn operations_run_in_amplitudes_order_whatever_the_order_of_the_keys() {
    check(&[
        (json!({"a": 1}), json!({"$setOnce": {"a": 2}, "$unset": {"a": "-"}}), json!({"a": 2})),
        (json!({"a": 1}), json!({"$set": {"b": 2}, "$clearAll": "-"}), json!({"b": 2})),
        (
            json!({}),
            json!({"$add": {"a": 1}, "$set": {"a": 5}, "$setOnce": {"a": 7}}),
            json!({"a": 6}),
        ),
        (
            json!({"a": ["x"]}),
            json!({"$remove": {"a": "x"}, "$postInsert": {"a": "d"}, "$preInsert": {"a": "c"},
                   "$prepend": {"a": "b"}, "$append": {"a": "x"}}),
            json!({"a": ["c", "b", "d"]}),
        ),
    ]);
}

#[test]
fn plain_keys_beside_operations_are_set_last() {
    check(&[
        (
            json!({"a": 1}),
            json!({"a": 9, "$add": {"a": 1}, "$clearAll": "-", "$unknown": {"b": 1}}),
            json!({"a": 9, "$unknown": {"b": 1}}),
        ),
        (json!({}), json!({"$": 1, "z": 2}), json!({"$": 1, "z": 2})),
    ]);
}

#[test]
fn lists_start_empty_and_swallow_scalars() {
    check(&[
        (json!({}), json!({"$append": {"a": 1}}), json!({"a": [1]})),
        (json!({}), json!({"$prepend": {"a": [1, 1]}}), json!({"a": [1, 1]})),
        (json!({}), json!({"$preInsert": {"a": [1, 1.0]}}), json!({"a": [1]})),
        (json!({"a": "x"}), json!({"$append": {"a": "x"}}), json!({"a": ["x", "x"]})),
        (json!({"a": "x"}), json!({"$prepend": {"a": "y"}}), json!({"a": ["y", "x"]})),
        (json!({"a": "x"}), json!({"$postInsert": {"a": ["x", "y"]}}), json!({"a": ["x", "y"]})),
        (json!({"a": "x"}), json!({"$postInsert": {"a": "x"}}), json!({"a": "x"})),
        (json!({"a": "x"}), json!({"$remove": {"a": "x"}}), json!({"a": "x"})),
        (json!({"a": ["x"]}), json!({"$remove": {"a": "x", "b": "x"}}), json!({"a": []})),
        (json!({}), json!({"$append": {"a": []}}), json!({})),
        (
            json!({"a": [{"id": 1}]}),
            json!({"$postInsert": {"a": {"id": 1.0}}}),
            json!({"a": [{"id": 1}]}),
        ),
        (json!({"a": [1, "1", true]}), json!({"$remove": {"a": 1.0}}), json!({"a": ["1", true]})),
    ]);
}

#[test]
fn adds_numbers_and_numeric_text_and_ignores_the_rest() {
    check(&[
        (json!({"a": 1.5}), json!({"$add": {"a": 1.5}}), json!({"a": 3})),
        (json!({"a": "5"}), json!({"$add": {"a": 2}}), json!({"a": 7})),
        (json!({"a": "5"}), json!({"$add": {"a": "2.5"}}), json!({"a": 7.5})),
        (json!({"a": "5"}), json!({"$add": {"a": 0}}), json!({"a": "5"})),
        (json!({"a": 5}), json!({"$add": {"a": "2"}}), json!({"a": 5})),
        (json!({"a": "x"}), json!({"$add": {"a": 2}}), json!({"a": "x"})),
        (json!({"a": [1]}), json!({"$add": {"a": 2, "b": "2", "c": true}}), json!({"a": [1]})),
        (
            json!({"a": i64::MAX}),
            json!({"$add": {"a": 1}}),
            json!({"a": 9_223_372_036_854_775_808_u64}),
        ),
        (json!({"a": 1e308}), json!({"$add": {"a": 1e308}}), json!({"a": 1e308})),
        (json!({}), json!({"$add": {"a": 0}}), json!({"a": 0})),
    ]);
}

#[test]
fn null_is_as_good_as_not_sent() {
    check(&[
        (json!({"a": 1, "b": 2}), json!({"a": null}), json!({"a": 1, "b": 2})),
        (json!({"a": 1}), json!({"$set": {"a": null, "b": null}}), json!({"a": 1})),
        (json!({"a": 1}), json!({"$unset": {"a": null}}), json!({})),
        (json!({"a": 1}), json!({"$setOnce": {"b": null}}), json!({"a": 1})),
        (json!({"a": null}), json!({"$setOnce": {"a": 1}}), json!({"a": 1})),
        (
            json!({"a": [1]}),
            json!({"$append": {"a": null}, "$remove": {"a": null}}),
            json!({"a": [1]}),
        ),
        (json!({}), json!({"a": {"b": null, "c": [null]}}), json!({"a": {"c": [null]}})),
    ]);
}

#[test]
fn an_operation_without_an_object_does_nothing() {
    for key in Operation::IN_ORDER.map(Operation::key).into_iter().skip(1) {
        for argument in [json!(1), json!("a"), json!(["a"]), json!(null), json!({})] {
            let before = json!({"a": [1]});
            assert_eq!(folded(before.clone(), &[json!({key: argument})]), before, "{key}");
        }
    }
}

#[test]
fn strings_are_cut_at_1024_characters_not_bytes() {
    let long = "é".repeat(2000);
    let kept = "é".repeat(1024);
    let mut properties = Properties::new();
    let update = object(json!({"a": long, "b": [long], "c": {"d": long}}));
    assert_eq!(fold(&mut properties, &update).len(), 3);
    assert_eq!(properties, object(json!({"a": kept, "b": [kept], "c": {"d": kept}})));
    assert_eq!(fold(&mut properties, &update), [], "the same update again changes nothing");
    assert_eq!(fold(&mut properties, &object(json!({"$remove": {"b": long}}))).len(), 1);
}

#[test]
fn lists_keep_10000_characters_from_the_front() {
    let full: Vec<_> = (0..1000).map(|n| format!("{n:010}")).collect();
    let before = json!({"a": full});
    assert_eq!(folded(json!({}), std::slice::from_ref(&before)), before);
    assert_eq!(folded(before.clone(), &[json!({"$append": {"a": "x"}})]), before);
    let after = folded(before.clone(), &[json!({"$prepend": {"a": "x"}})]);
    let list = after["a"].as_array().expect("a list");
    assert_eq!((list.len(), &list[0], &list[999]), (1000, &json!("x"), &json!("0000000998")));
    let empty = json!({"$append": {"a": vec![""; 20_000]}});
    assert_eq!(folded(json!({}), &[empty])["a"].as_array().map(Vec::len), Some(10_000));
}

#[test]
fn reports_each_real_change_once_sorted_by_name() {
    let mut properties = object(json!({"gone": 1, "same": 1, "was": "a", "back": "x"}));
    let update = json!({
        "$unset": {"gone": "-", "back": "-", "never": "-"},
        "$set": {"was": "b", "same": 1.0},
        "$setOnce": {"back": "x"},
        "$append": {"was": "c"},
        "fresh": true,
    });
    let change = |name: &str, from: Option<Value>, to: Option<Value>| {
        let name = name.to_owned();
        Change { name, from, to }
    };
    assert_eq!(
        fold(&mut properties, &object(update)),
        [
            change("fresh", None, Some(json!(true))),
            change("gone", Some(json!(1)), None),
            change("was", Some(json!("a")), Some(json!(["b", "c"]))),
        ]
    );
    let after = json!({"same": 1, "was": ["b", "c"], "back": "x", "fresh": true});
    assert_eq!(properties, object(after));
}

#[test]
fn fractions_survive_being_stored_as_text() {
    let update = object(serde_json::from_str(r#"{"a": 437e87, "b": 84.53}"#).expect("JSON"));
    let stored = serde_json::to_string(&stored(&update)).expect("JSON");
    let mut properties = object(serde_json::from_str(&stored).expect("JSON"));
    assert_eq!(fold(&mut properties, &update), []);
}

#[test]
fn adopting_fills_gaps_and_overwrites_nothing() {
    let mut known = object(json!({"plan": "pro", "empty": null}));
    let anonymous = object(json!({"plan": "free", "utm": "x", "empty": 1, "nothing": null}));
    let names: Vec<_> = adopt(&mut known, &anonymous).into_iter().map(|of| of.name).collect();
    assert_eq!(names, ["empty", "utm"]);
    assert_eq!(known, object(json!({"plan": "pro", "utm": "x", "empty": 1})));
    assert_eq!(adopt(&mut known, &anonymous), []);
}

#[test]
fn raw_updates_that_change_nothing_are_told_apart() {
    for idle in ["", "{}", " { } ", "[]", "null", r#"{"$set":{},"$add": {}}"#, r#"{"$set":1}"#] {
        assert!(!could_change(idle), "{idle}");
    }
    for busy in
        [r#"{"a":null}"#, r#"{"$clearAll":"-"}"#, r#"{"$set":{},"$add":{"a":1}}"#, r#"{"$x":{}}"#]
    {
        assert!(could_change(busy), "{busy}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3i8..3).prop_map(|n| Value::from(f64::from(n))),
        any::<f64>().prop_map(Value::from),
        "[ab0-2.]{0,3}".prop_map(Value::from),
        Just(Value::from("long ".repeat(300))),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[ab]{0,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_properties() -> impl Strategy<Value = Properties> {
    proptest::collection::btree_map("[a-d]", any_value(), 0..5)
        .prop_map(|map| map.into_iter().collect())
}

fn any_update() -> impl Strategy<Value = Properties> {
    let operation = proptest::sample::select(Operation::IN_ORDER.map(Operation::key).to_vec());
    let argument = prop_oneof![9 => any_properties().prop_map(Value::Object), 1 => any_value()];
    let member = prop_oneof![
        3 => (operation.prop_map(str::to_owned), argument),
        1 => ("[a-d$]", any_value()),
    ];
    proptest::collection::vec(member, 0..5).prop_map(|members| members.into_iter().collect())
}

/// Properties as they are stored.
fn stored(properties: &Properties) -> Properties {
    let mut stored = Properties::new();
    fold(&mut stored, &Properties::from_iter([("$set".to_owned(), json!(properties))]));
    stored
}

proptest! {
    #[test]
    fn changes_are_exactly_the_difference(before in any_properties(), update in any_update()) {
        let before = stored(&before);
        let mut after = before.clone();
        let changes = fold(&mut after, &update);
        let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let differ = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
        let expected: Vec<_> = differ
            .map(|name| Change {
                name: name.clone(),
                from: before.get(name).cloned(),
                to: after.get(name).cloned(),
            })
            .collect();
        prop_assert_eq!(changes, expected);
        prop_assert_eq!(stored(&after), after, "what is stored is within the limits");
    }

    #[test]
    fn folding_the_changes_gives_the_result(before in any_properties(), update in any_update()) {
        let before = stored(&before);
        let mut after = before.clone();
        let mut set = Properties::new();
        let mut unset = Properties::new();
        for Change { name, to, .. } in fold(&mut after, &update) {
            match to {
                Some(to) => set.insert(name, to),
                None => unset.insert(name, json!("-")),
            };
        }
        let mut again = before;
        fold(&mut again, &object(json!({"$set": set, "$unset": unset})));
        prop_assert_eq!(again, after);
    }

    #[test]
    fn some_operations_are_idempotent(before in any_properties(), named in any_properties()) {
        let operations = ["$clearAll", "$unset", "$set", "$setOnce", "$preInsert", "$postInsert", "$remove"];
        for operation in operations {
            let update = object(json!({operation: named}));
            let mut properties = before.clone();
            fold(&mut properties, &update);
            let once = properties.clone();
            prop_assert_eq!(fold(&mut properties, &update), [], "{}", operation);
            prop_assert_eq!(&properties, &once);
        }
        let mut properties = before;
        fold(&mut properties, &named);
        prop_assert_eq!(fold(&mut properties, &named), []);
    }

    #[test]
    fn plain_keys_are_set(before in any_properties(), named in any_properties()) {
        let mut plain = before.clone();
        let mut set = before;
        let update = object(json!({"$set": named}));
        prop_assert_eq!(fold(&mut plain, &named), fold(&mut set, &update));
        prop_assert_eq!(plain, set);
    }

    #[test]
    fn inserting_never_duplicates(
        elements in proptest::collection::vec(any_value(), 0..6), front: bool, start in any_value(),
    ) {
        let mut properties = stored(&object(json!({"a": start})));
        let operation = if front { "$preInsert" } else { "$postInsert" };
        let distinct = |value: Option<&Value>| {
            let Some(Value::Array(list)) = value else { return (0, 0) };
            let meanings: std::collections::BTreeSet<_> = list.iter().map(value::Meaning::of).collect();
            (list.len(), meanings.len())
        };
        let (length, unique) = distinct(properties.get("a"));
        fold(&mut properties, &object(json!({operation: {"a": elements}})));
        let (length_after, unique_after) = distinct(properties.get("a"));
        prop_assert!(length_after - unique_after <= length - unique);
    }

    #[test]
    fn adopting_twice_is_adopting_once(known in any_properties(), anonymous in any_properties()) {
        let mut properties = stored(&known);
        let before = properties.clone();
        for change in adopt(&mut properties, &anonymous) {
            prop_assert!(change.from.is_none() && change.to.is_some());
        }
        for (name, value) in &before {
            prop_assert_eq!(properties.get(name), Some(value));
        }
        prop_assert_eq!(adopt(&mut properties, &anonymous), []);
    }

    #[test]
    fn an_update_that_could_not_change_does_not(before in any_properties(), update in any_update()) {
        let raw = Value::Object(update.clone()).to_string();
        let mut properties = stored(&before);
        let changes = fold(&mut properties, &update);
        prop_assert!(could_change(&raw) || changes.is_empty());
    }

    #[test]
    fn properties_stored_as_text_do_not_change(update in any_properties()) {
        let properties = stored(&update);
        let text = serde_json::to_string(&properties).expect("properties can be written");
        let mut again: Properties = serde_json::from_str(&text).expect("and read");
        prop_assert_eq!(&again, &properties);
        prop_assert_eq!(fold(&mut again, &update), []);
    }

    #[test]
    fn same_is_an_equivalence_of_meanings(left in any_value(), right in any_value()) {
        let meanings = value::Meaning::of(&left) == value::Meaning::of(&right);
        prop_assert_eq!(same(&left, &right), meanings);
        prop_assert!(same(&left, &left));
    }

    #[test]
    fn arbitrary_raw_updates_never_panic(raw: String) {
        could_change(&raw);
        could_change(&format!("{{\"$set\":{raw}"));
    }
}
