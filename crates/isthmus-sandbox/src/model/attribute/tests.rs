use super::*;
use proptest::prelude::*;
use serde_json::json;

/// Writes `values` one after the other; what is stored at the end, and what the last one cost.
fn written(values: &[Value], deep_merge: bool) -> (Option<Value>, Result<Points, Dropped>) {
    let mut attributes = Map::new();
    let mut last = Ok(0);
    for value in values {
        last = write(&mut attributes, "a", value.clone(), deep_merge);
    }
    (attributes.remove("a"), last)
}

fn stores(values: &[Value], stored: Value, points: Points) {
    assert_eq!(written(values, false), (Some(stored), Ok(points)), "{values:?}");
}

fn drops(values: &[Value]) {
    let (before, _) = written(&values[..values.len() - 1], false);
    let (after, outcome) = written(values, false);
    assert!(outcome.is_err(), "{values:?} was taken");
    assert_eq!(before, after, "a dropped write changed something");
}

#[test]
fn scalars_replace_and_cost_a_point_even_when_equal() {
    stores(&[json!("pro")], json!("pro"), 1);
    stores(&[json!("pro"), json!("pro")], json!("pro"), 1);
    stores(&[json!("pro"), json!(1.5)], json!(1.5), 1);
    stores(&[json!(" spaces ")], json!(" spaces "), 1);
    stores(&[json!(false)], json!(false), 1);
}

#[test]
fn null_removes_and_costs_a_point_even_when_absent() {
    assert_eq!(written(&[json!("pro"), json!(null)], false), (None, Ok(1)));
    assert_eq!(written(&[json!(null)], false), (None, Ok(1)));
}

#[test]
fn long_strings_leave_the_old_value() {
    stores(&[json!("é".repeat(255))], json!("é".repeat(255)), 1);
    drops(&[json!("old"), json!("é".repeat(256))]);
}

#[test]
fn date_strings_become_times_between_the_years_0_and_3000() {
    stores(&[json!("2026-03-26")], json!("2026-03-26T00:00:00.000Z"), 1);
    stores(&[json!("3001-03-26")], json!("3001-03-26"), 1);
    stores(&[json!("26 March")], json!("26 March"), 1);
}

#[test]
fn increments_add_integers() {
    stores(&[json!({"inc": 2})], json!(2), 1);
    stores(&[json!(5), json!({"inc": -7})], json!(-2), 1);
    drops(&[json!("five"), json!({"inc": 1})]);
    drops(&[json!(1.5), json!({"inc": 1})]);
    drops(&[json!(5), json!({"inc": 1.5})]);
    drops(&[json!(i64::MAX), json!({"inc": 1})]);
}

#[test]
fn arrays_of_scalars_are_ordered_sets() {
    stores(&[json!(["a", "b", "a"])], json!(["b", "a"]), 1);
    stores(&[json!(["a", "b"]), json!({"add": ["a", "c"]})], json!(["b", "a", "c"]), 2);
    stores(&[json!({"add": ["a"]})], json!(["a"]), 1);
    stores(&[json!(["a", "b"]), json!({"remove": ["b", "z"]})], json!(["a"]), 1);
    stores(&[json!(["a"]), json!({"add": ["b"], "remove": ["a", "b"]})], json!([]), 2);
    drops(&[json!("text"), json!({"add": ["a"]})]);
    drops(&[json!(["a"]), json!([null])]);
    drops(&[json!(["a"]), json!({"add": ["x".repeat(256)]})]);
}

#[test]
fn arrays_keep_their_last_500_values() {
    let many: Vec<_> = (0..600).collect();
    stores(&[json!(many)], json!((100..600).collect::<Vec<_>>()), 1);
    let full = json!((0..500).collect::<Vec<_>>());
    stores(&[full, json!({"add": [500]})], json!((1..501).collect::<Vec<_>>()), 1);
}

#[test]
fn nested_objects_replace_and_cost_a_point_per_key() {
    let stored = json!({"song": {"name": "x", "plays": 3}, "year": 1994});
    stores(std::slice::from_ref(&stored), stored.clone(), 3);
    stores(&[json!({"a": 1}), json!({"b": 2})], json!({"b": 2}), 1);
    stores(&[json!({"at": {"$time": "2026-01-01"}})], json!({"at": {"$time": "2026-01-01"}}), 1);
}

#[test]
fn merge_objects_merges_maps_and_replaces_arrays() {
    let steps = [json!({"a": {"x": 1, "y": [1, 2]}}), json!({"a": {"y": [3], "z": 2}})];
    let merged = json!({"a": {"x": 1, "y": [3], "z": 2}});
    assert_eq!(written(&steps, true), (Some(merged), Ok(2)));
}

#[test]
fn an_invalid_value_anywhere_drops_the_nested_update() {
    for invalid in [
        json!({"a": null}),
        json!({"a": {"b": [1, null]}}),
        json!({"a b": 1}),
        json!({"a.b": 1}),
        json!({"$a": 1}),
        json!({"a": "x".repeat(256)}),
        json!({"at": {"$time": "yesterday"}}),
        json!({"at": {"$time": "4000-01-01"}}),
        json!([{"a": null}]),
        json!({"a": vec!["x".repeat(200); 600]}),
    ] {
        drops(&[json!({"kept": true}), invalid]);
    }
}

#[test]
fn arrays_of_objects_are_edited_by_key() {
    let pets = json!([{"id": 1, "name": "Ash"}, {"id": 2, "name": "Bo"}]);
    stores(std::slice::from_ref(&pets), pets.clone(), 4);
    stores(
        &[pets.clone(), json!({"$add": [{"id": 3}]})],
        json!([{"id": 1, "name": "Ash"}, {"id": 2, "name": "Bo"}, {"id": 3}]),
        1,
    );
    let remove = json!({"$remove": [{"$identifier_key": "id", "$identifier_value": 1}]});
    stores(&[pets.clone(), remove], json!([{"id": 2, "name": "Bo"}]), 1);
    let update = json!({"$update": [
        {"$identifier_key": "id", "$identifier_value": 2, "$new_object": {"breed": "collie"}}
    ]});
    stores(
        &[pets.clone(), update.clone()],
        json!([{"id": 1, "name": "Ash"}, {"breed": "collie"}]),
        1,
    );
    let merged = json!([{"id": 1, "name": "Ash"}, {"id": 2, "name": "Bo", "breed": "collie"}]);
    assert_eq!(written(&[pets.clone(), update], true), (Some(merged), Ok(1)));
    drops(&[pets, json!({"$add": "x"})]);
}

#[test]
fn remove_then_add_in_one_request_deletes_what_it_adds() {
    let both = json!({
        "$remove": [{"$identifier_key": "id", "$identifier_value": 1}],
        "$add": [{"id": 1, "name": "new"}],
    });
    stores(&[json!([{"id": 1, "name": "old"}]), both], json!([]), 3);
}

#[test]
fn names_are_at_most_255_characters_and_do_not_begin_with_a_dollar_sign() {
    assert!(name_is_valid("plan") && name_is_valid("a b.c") && name_is_valid(&"é".repeat(255)));
    assert!(!name_is_valid("") && !name_is_valid("$plan") && !name_is_valid(&"é".repeat(256)));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let key = prop_oneof![
            Just("add"),
            Just("remove"),
            Just("inc"),
            Just("$add"),
            Just("$remove"),
            Just("$update"),
            Just("$time"),
            Just("a"),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..3)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn a_dropped_write_changes_nothing(values in proptest::collection::vec(any_value(), 1..6), merge: bool) {
        let mut attributes = Map::new();
        for value in values {
            let before = attributes.clone();
            if write(&mut attributes, "a", value, merge).is_err() {
                prop_assert_eq!(&attributes, &before);
            }
        }
    }

    #[test]
    fn writing_a_whole_value_twice_is_the_same_as_once(value in any_value()) {
        let is_operation = value.as_object().is_some_and(|object| {
            object.keys().any(|key| ["inc", "add", "remove"].contains(&key.as_str()) || key.starts_with('$'))
        });
        prop_assume!(!is_operation);
        let once = written(std::slice::from_ref(&value), false);
        prop_assert_eq!(written(&[value.clone(), value], false), once);
    }
}
