use super::*;
use proptest::prelude::*;
use serde_json::Value as Json;

fn scan(text: &str) -> Result<Value<'_>, Malformed> {
    let mut scanner = Scanner::new(text);
    let value = scanner.value()?;
    if scanner.at_end() { Ok(value) } else { Err(Malformed) }
}

fn found(text: &str) -> Found {
    scan(text).expect("valid").found
}

pub(crate) fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        (1_000usize..1_050, prop_oneof![Just("x"), Just("é"), Just("\n"), Just("😀")])
            .prop_map(|(count, what)| Json::from(what.repeat(count))),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn notes_what_a_property_may_not_hold() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let objects = |depth: usize| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);
    let wide = |keys: usize| {
        let members: Vec<String> = (0..keys).map(|key| format!(r#""{key}":1"#)).collect();
        format!(r"[{{{}}}]", members.join(","))
    };
    for (text, excess) in [
        (nested(40), false),
        (nested(41), true),
        (objects(40), false),
        (objects(41), true),
        (nested(100_000), true),
        (wide(1_024), false),
        (wide(1_025), true),
        (wide(70_000), true),
    ] {
        assert_eq!(found(&text), Found { excess, unclean: false }, "{} bytes", text.len());
    }
    for (text, unclean) in [
        (r#"{"a":null}"#, true),
        (r#"{"a":[{"b":null}]}"#, true),
        ("[null]", false),
        ("null", false),
        (r#"["\ud83d\ude00"]"#, false),
        (r#"["\ud83d"]"#, true),
        (r#"["\ude00\ud83d"]"#, true),
        (r#"{"\udfff":1}"#, true),
        ("1e9", true),
        ("123456789012345678901234567890", false),
        (&format!("{:?}", "x".repeat(1_024)), false),
        (&format!("{:?}", "x".repeat(1_025)), true),
    ] {
        assert_eq!(found(text), Found { excess: false, unclean }, "{text}");
    }
}

#[test]
fn refuses_what_is_not_json() {
    for text in [
        "",
        "{",
        "[",
        "\"",
        "{]",
        "[}",
        "[1,]",
        "{,}",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        r"{a:1}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "NaN",
        "Infinity",
        "tru",
        "nul",
        "True",
        "'a'",
        "[1 2]",
        "1 2",
        r#""\x""#,
        r#""\u12g4""#,
        r#""\u+123""#,
        r#""\ud800\u""#,
        "\"\u{1f}\"",
        "\"a\nb\"",
        "{}{}",
        "\u{0}",
        "[1]\u{0}",
        "\u{feff}{}",
    ] {
        assert_eq!(scan(text).err(), Some(Malformed), "{text:?}");
    }
}

proptest! {
    #[test]
    fn accepts_exactly_what_serde_json_accepts(
        text in r#"[\[\]{},:"\\u0-9eE.+\- tfn\x00a-d\n]{0,24}"#,
    ) {
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
        prop_assert_eq!(scan(&text).is_ok(), theirs.is_ok());
    }

    #[test]
    fn damaged_json_is_judged_like_serde_json_does(
        value in any_json(), pretty: bool, at: prop::sample::Index, inserted in r#"[\[\]{},:"\\0 ]{0,2}"#,
    ) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("a value can be written");
        prop_assert_eq!(scan(&text).expect("valid").raw, text.as_str());
        let mut characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len());
        characters.splice(at..=at, inserted.chars());
        let damaged: String = characters.into_iter().collect();
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&damaged);
        prop_assert_eq!(scan(&damaged).is_ok(), theirs.is_ok());
    }

    #[test]
    fn text_reads_like_serde_json_reads_it(text in r#"([a-zé😀]|\\[nrtbf/"\\]|\\u[0-9a-f]{4}|\\ud83d\\ude0[0-9]){0,12}"#) {
        let raw = format!("\"{text}\"");
        let value = scan(&raw).expect("valid");
        match serde_json::from_str::<String>(&raw) {
            Ok(theirs) => prop_assert_eq!(value.text().expect("text"), theirs),
            Err(_) => prop_assert!(value.found.unclean && value.text().expect("text").contains(char::REPLACEMENT_CHARACTER)),
        }
    }

    #[test]
    fn a_string_ends_at_its_first_special_byte(clean in "[ -~é😀&&[^\"\\\\]]{0,40}", special in prop::sample::select(vec![b'"', b'\\', 0x1f, 0, b'\n'])) {
        let mut bytes = clean.clone().into_bytes();
        bytes.push(special);
        bytes.extend_from_slice(b"\"\\\0aaaaaaaa");
        prop_assert_eq!(plain_end(&bytes, 0), clean.len());
        prop_assert_eq!(plain_end(clean.as_bytes(), 0), clean.len());
    }
}
