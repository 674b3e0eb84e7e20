use super::*;
use crate::scan::tests::any_json;
use proptest::prelude::*;
use serde_json::Value as Json;

fn value(text: &str) -> Value<'_> {
    Scanner::new(text).value().expect("valid")
}

fn cleaned(text: &str) -> String {
    clean(&value(text)).into_owned()
}

#[test]
fn cuts_only_what_exceeds_the_limits() {
    let long = "é".repeat(1_025);
    let cut = "é".repeat(1_024);
    for (text, expected) in [
        (r#"{ "a" : null }"#, "{}"),
        (r#"{"a":1,"b":null,"c":null}"#, r#"{"a":1}"#),
        (
            r#"{"a":null,"b":1.50,"c":null,"d":[null, {"x":null,"y":"\u00e9"}]}"#,
            r#"{"b":1.50,"d":[null,{"y":"\u00e9"}]}"#,
        ),
        (&format!(r#"{{"a":"{long}","n":[" b"]}}"#), &format!(r#"{{"a":"{cut}","n":[" b"]}}"#)),
        (
            r#"{"\ud800":"a\udc00","ok":"\ud83d\ude00"}"#,
            "{\"\u{fffd}\":\"a\u{fffd}\",\"ok\":\"\\ud83d\\ude00\"}",
        ),
        (r#"{"a":1e999,"b":[1e999,1e30],"c":{"d":-1e400}}"#, r#"{"b":[null,1e30],"c":{}}"#),
        (r#"{"$unset":{"a":null},"$set":{"b":null}}"#, r#"{"$unset":{},"$set":{}}"#),
    ] {
        assert_eq!(cleaned(text), expected);
    }
}

#[test]
fn keeps_nulls_under_operations_that_ignore_values() {
    for (text, expected) in [
        (r#"{"$clearAll":{"-":null}}"#, r#"{"$clearAll":{"-":null}}"#),
        (r#"{"$clearAll":null,"a":null}"#, r#"{"$clearAll":null}"#),
        (
            r#"{"$unset":{"a":null,"b":"-"},"$set":{"c":null,"$unset":{"d":null}}}"#,
            r#"{"$unset":{"a":null,"b":"-"},"$set":{"$unset":{}}}"#,
        ),
    ] {
        assert_eq!(clean_operations(&value(text)), expected);
    }
}

#[test]
fn clean_text_is_borrowed() {
    for text in [r#"{ "a" : [null, "b" ] }"#, r#"{"big":123456789012345678901234567890}"#] {
        assert!(matches!(clean(&value(text)), Cow::Borrowed(kept) if kept == text));
    }
}

/// The same limits, on a tree.
fn model(value: &Json) -> Json {
    match value {
        Json::String(text) => Json::from(text.chars().take(1_024).collect::<String>()),
        Json::Array(items) => items.iter().map(model).collect(),
        Json::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), model(value)))
            .collect(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn agrees_with_the_same_limits_on_a_tree(tree in any_json()) {
        let text = tree.to_string();
        // Read back, because serde_json reads some floats one bit off.
        let [tree, kept]: [Json; 2] =
            [&text, &cleaned(&text)].map(|text| serde_json::from_str(text).expect("valid"));
        prop_assert_eq!(kept, model(&tree));
    }

    #[test]
    fn cleaning_twice_changes_nothing(tree in any_json()) {
        let once = cleaned(&tree.to_string());
        prop_assert_eq!(cleaned(&once), once);
    }
}
