use super::*;
use proptest::prelude::*;

fn condition(operator: &str, values: &[&str]) -> Condition {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Condition::new(operator.parse().expect("an operator"), values).expect("a condition")
}

/// Raw JSON; nothing written means that the property is missing.
fn holds(value: &str, operator: &str, values: &[&str]) -> bool {
    condition(operator, values).holds(Some(value).filter(|value| !value.is_empty()))
}

/// `cases` are (raw value, operator, values).
fn check(expected: bool, cases: &[(&str, &str, &[&str])]) {
    for (value, operator, values) in cases {
        assert_eq!(holds(value, operator, values), expected, "{value} {operator} {values:?}");
    }
}

#[test]
fn is_matches_exactly_any_value() {
    check(
        true,
        &[
            (r#""EUR""#, "is", &["EUR"]),
            (r#""EUR""#, "is", &["USD", "EUR"]),
            (r#""EUR""#, "is not", &["USD", "JPY"]),
            (r#""é\n\"x\"""#, "is", &["é\n\"x\""]),
            (r#""\u00e9""#, "is", &["é"]),
            (r#""""#, "is", &[""]),
        ],
    );
    check(
        false,
        &[
            (r#""Paris""#, "is", &["paris"]),
            (r#""EUR""#, "is", &["EU", "EUR "]),
            (r#""EUR""#, "is not", &["USD", "EUR"]),
        ],
    );
}

#[test]
fn numbers_are_compared_by_value_and_text_as_text() {
    check(
        true,
        &[
            ("1", "is", &["1"]),
            ("1.0", "is", &["1"]),
            ("1", "is", &["1.0"]),
            (r#""1""#, "is", &["1"]),
            ("1e3", "is", &["7", "1000", "x"]),
            ("-0.0", "is", &["0"]),
            ("12345678901234567890", "is not", &["12345678901234567891"]),
            (r#""1.10""#, "is not", &["1.1"]),
            (r#""007""#, "is not", &["7"]),
        ],
    );
}

#[test]
fn booleans_and_objects_are_compared_as_text() {
    check(
        true,
        &[
            ("true", "is", &["true"]),
            (r#""true""#, "is", &["true"]),
            ("false", "is not", &["true"]),
            (r#"{"a":1}"#, "is", &[r#"{"a":1}"#]),
            (r#"{"a":1}"#, "contains", &["\"A\""]),
        ],
    );
}

#[test]
fn a_missing_value_is_none() {
    for missing in ["", "null", " null "] {
        check(
            true,
            &[
                (missing, "is", &["x", "(none)"]),
                (missing, "is not", &["x"]),
                (missing, "does not contain", &["n"]),
                (missing, "does not start with", &["("]),
                (missing, "contains", &["(none)"]),
                (missing, "starts with", &["(NONE)"]),
                (missing, "glob does not match", &["**"]),
                (missing, "glob match", &["(none)"]),
                (missing, "set is", &["(none)"]),
                (missing, "set is not", &["x"]),
                (missing, "set does not contain", &["x"]),
            ],
        );
        check(
            false,
            &[
                (missing, "is", &[""]),
                (missing, "is not", &["(none)"]),
                (missing, "contains", &["n"]),
                (missing, "contains", &[""]),
                (missing, "starts with", &["("]),
                (missing, "glob match", &["**"]),
                (missing, "set contains", &["x"]),
                (missing, "less", &["2026-01-01"]),
                (missing, "greater or equal", &["2026-01-01"]),
            ],
        );
    }
    check(true, &[("\"x\"", "is not", &["(none)"]), ("\"\"", "is not", &["(none)"])]);
}

#[test]
fn a_missing_number_is_zero_in_order_comparisons() {
    check(
        true,
        &[
            ("", "less", &["5"]),
            ("null", "greater", &["-1"]),
            ("", "less or equal", &["0"]),
            ("", "greater or equal", &["0.0"]),
        ],
    );
    check(false, &[("", "greater", &["0"]), ("", "less", &["0"])]);
}

#[test]
fn text_operators_ignore_case() {
    check(
        true,
        &[
            (r#""Paris""#, "contains", &["PAR"]),
            (r#""Paris""#, "contains", &["x", "RIS"]),
            (r#""Paris""#, "starts with", &["x", "pa"]),
            (r#""ÉCLAIR""#, "contains", &["écl"]),
            (r#""ΟΔΟΣ ΑΣ""#, "contains", &["οδος", "x"]),
            (r#""ΟΔΟΣΑ""#, "starts with", &["ΟΔΟΣ"]),
            ("1234", "contains", &["23"]),
            (r#""x""#, "contains", &[""]),
            (r#""Paris""#, "does not contain", &["x", "y"]),
            (r#""Paris""#, "does not start with", &["aris"]),
        ],
    );
    check(
        false,
        &[
            (r#""Paris""#, "contains", &["Pariss", "x"]),
            (r#""Paris""#, "does not contain", &["x", "IS"]),
            (r#""Paris""#, "does not start with", &["x", "P"]),
            (r#""Paris""#, "starts with", &["aris"]),
        ],
    );
}

#[test]
fn order_is_numeric_between_numbers_and_by_text_otherwise() {
    check(
        true,
        &[
            ("9", "less", &["10"]),
            (r#""9""#, "less", &["10"]),
            ("10", "less or equal", &["10.0"]),
            ("-1.5", "less", &["-1"]),
            ("9007199254740993", "greater", &["9007199254740992.0"]),
            ("5", "greater or equal", &["5"]),
            (r#""2026-03-09""#, "less", &["2026-03-10"]),
            (r#""2026-03-10T00:00:00Z""#, "greater", &["2026-03-10"]),
            (r#""b""#, "greater", &["a"]),
            (r#""9""#, "greater", &["10a"]),
        ],
    );
    check(
        false,
        &[("10", "less", &["10"]), ("10", "greater", &["10"]), (r#""10""#, "greater", &["9.5e1"])],
    );
}

#[test]
fn lists_satisfy_positive_operators_with_some_element() {
    check(
        true,
        &[
            (r#"["A","B"]"#, "is", &["B", "C"]),
            (r#"["A","B"]"#, "contains", &["b"]),
            (r#"["A","B"]"#, "starts with", &["b"]),
            (r#"["/a/b","x"]"#, "glob match", &["/a/*"]),
            ("[1, 20]", "greater", &["10"]),
            ("[null]", "is", &["(none)"]),
            ("[ 1.0 , {\"a\": [2]} ]", "is", &["1"]),
            (r#"["A","B"]"#, "does not contain", &["c"]),
        ],
    );
    check(
        false,
        &[
            ("[]", "is", &["(none)"]),
            ("[]", "less", &["5"]),
            (r#"["A","B"]"#, "does not contain", &["c", "b"]),
            (r#"["A","B"]"#, "does not start with", &["a"]),
        ],
    );
}

#[test]
fn a_list_is_not_with_an_element_outside_the_values() {
    check(
        true,
        &[
            (r#"["A","B"]"#, "is not", &["A"]),
            ("[]", "is not", &["A"]),
            ("[]", "is not", &["(none)"]),
        ],
    );
    check(false, &[(r#"["A"]"#, "is not", &["A"]), (r#"["A","B"]"#, "is not", &["A", "B"])]);
}

#[test]
fn set_operators_take_their_values_together() {
    check(
        true,
        &[
            (r#"["A","B"]"#, "set is", &["B", "A"]),
            (r#"["A","B","A"]"#, "set is", &["B", "A"]),
            ("[1, 2.0]", "set is", &["2", "1.0"]),
            (r#""A""#, "set is", &["A"]),
            (r#"["A","B"]"#, "set is not", &["A"]),
            (r#"["A","B"]"#, "set is not", &["A", "B", "C"]),
            (r#"["A","B"]"#, "set contains", &["A", "B"]),
            (r#"["A","B"]"#, "set contains", &["B"]),
            (r#"["A","B"]"#, "set does not contain", &["A", "C"]),
            ("[]", "set is not", &["A"]),
            ("[]", "set does not contain", &["A"]),
        ],
    );
    check(
        false,
        &[
            (r#"["A","B"]"#, "set is", &["A"]),
            (r#"["a"]"#, "set is", &["A"]),
            (r#"["A","B"]"#, "set is not", &["B", "A"]),
            (r#"["A","B"]"#, "set contains", &["A", "C"]),
            (r#"["A","B"]"#, "set does not contain", &["A", "B"]),
            (r#"["A","B"]"#, "set does not contain", &["B"]),
        ],
    );
}

#[test]
fn globs_match_the_whole_value_and_its_case() {
    check(
        true,
        &[
            (r#""/a/b/c""#, "glob match", &["x", "/a/**"]),
            (r#""/a/b/c""#, "glob does not match", &["/a/*", "/b/**"]),
            (r#""/A""#, "glob does not match", &["/a"]),
            ("404", "glob match", &["4??"]),
        ],
    );
    check(
        false,
        &[
            (r#""/a/b/c""#, "glob match", &["/a/*"]),
            (r#""/a/b""#, "glob does not match", &["x", "/a/?"]),
        ],
    );
}

#[test]
fn several_conditions_on_a_list_act_together() {
    let all = |conditions: &[(&str, &[&str])], value: &str| {
        let conditions = conditions.iter().map(|(operator, values)| condition(operator, values));
        Conditions::new(conditions).hold(Some(value))
    };
    let list = r#"["A","B"]"#;
    assert!(all(&[("is not", &["A"])], list));
    assert!(!all(&[("is not", &["A"]), ("contains", &["a"]), ("is not", &["B"])], list));
    assert!(all(&[("is not", &["A"]), ("is not", &["C"])], list));
    assert!(all(&[("is", &["A"]), ("is", &["B"])], list));
    assert!(!all(&[("is", &["A"]), ("is", &["C"])], list));
    assert!(!all(&[("set does not contain", &["A"]), ("set does not contain", &["C"])], list));
    assert!(!all(&[("is", &["1"]), ("is", &["2"])], "1"));
    assert!(all(&[("greater", &["1"]), ("less", &["5"]), ("is not", &["3"])], "2"));
    assert!(all(&[], list) && Conditions::default().is_empty());

    let joined = Conditions::new([condition("is not", &["A"]), condition("is not", &["B"])]);
    assert_eq!(joined, Conditions::new([condition("is not", &["A", "B"])]));
}

/// `cohort-language.md` 10; the others are about events and windows.
#[test]
fn answers_the_test_vectors_of_the_cohort_language() {
    let tags = r#"["A","B"]"#;
    check(true, &[(r#""pro""#, "is", &["pro"])]); // 8
    check(false, &[(r#""free""#, "is", &["pro"])]); // 7
    check(true, &[("", "less", &["5"])]); // 10
    check(true, &[(tags, "is not", &["A"])]); // 11
    let both = [condition("is not", &["A"]), condition("is not", &["B"])];
    assert!(!Conditions::new(both).hold(Some(tags))); // 12
    check(true, &[(tags, "set does not contain", &["A", "C"])]); // 13
    check(true, &[(tags, "set is", &["B", "A"])]); // 14
    check(false, &[(r#""/a/b/c""#, "glob match", &["/a/*"])]); // 21
    check(true, &[(r#""/a/b/c""#, "glob match", &["/a/**"])]); // 21
    check(true, &[(r#""Paris""#, "contains", &["PAR"])]); // 22
    check(false, &[(r#""Paris""#, "is", &["paris"])]); // 22
}

#[test]
fn values_are_compared_as_far_as_they_are_stored() {
    let long = "é".repeat(2000);
    let raw = format!("\"{long}\"");
    let kept = "é".repeat(1024);
    check(
        true,
        &[
            (&raw, "is", &[&long]),
            (&raw, "is", &[&kept]),
            (&format!("\"{kept}\""), "is", &[&long]),
            (&format!("\"\\u00e9{kept}\""), "is", &[&kept]),
            (&format!("\"{kept}x\""), "does not contain", &["x"]),
        ],
    );
}

#[test]
fn wrong_conditions_are_refused_when_built() {
    let refusal = |operator: Operator, values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Condition::new(operator, values).expect_err("refused").to_string()
    };
    for operator in Operator::ALL {
        assert_eq!(refusal(operator, &[]), format!("operator `{operator}` needs a value"));
    }
    assert_eq!(refusal(Operator::Less, &["1", "2"]), "operator `less` takes one value, not 2");
    assert_eq!(
        refusal(Operator::GlobMatch, &["a", "[b"]),
        "`[b` is not a glob: `[` is never closed"
    );
    assert_eq!(
        refusal(Operator::GlobDoesNotMatch, &["[z-a]"]),
        "`[z-a]` is not a glob: range `z-a` is backwards"
    );
}

/// The text that a parser sees in a scalar.
fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => NONE.to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn any_scalar() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        (-3i8..3).prop_map(|n| Value::from(f64::from(n) / 2.0)),
        "[abAB/1-3.]{0,4}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn any_stored() -> impl Strategy<Value = serde_json::Value> {
    let list = proptest::collection::vec(any_scalar(), 0..4);
    prop_oneof![any_scalar(), list.prop_map(serde_json::Value::from)]
}

fn any_values() -> impl Strategy<Value = Vec<String>> {
    let value = prop_oneof!["[abAB/1-3.]{0,4}", any_scalar().prop_map(|value| text_of(&value))];
    proptest::collection::vec(value, 1..4)
}

/// Whether the condition holds; `None` when it cannot be built.
fn answer(operator: Operator, values: &[String], raw: &str) -> Option<bool> {
    Condition::new(operator, values.to_vec()).ok().map(|condition| condition.holds(Some(raw)))
}

const COMPLEMENTS: [(Operator, Operator); 5] = [
    (Operator::Contains, Operator::DoesNotContain),
    (Operator::StartsWith, Operator::DoesNotStartWith),
    (Operator::SetIs, Operator::SetIsNot),
    (Operator::SetContains, Operator::SetDoesNotContain),
    (Operator::GlobMatch, Operator::GlobDoesNotMatch),
];

proptest! {
    #[test]
    fn negations_are_exact_complements(stored in any_stored(), values in any_values()) {
        let raw = stored.to_string();
        for (positive, negative) in COMPLEMENTS {
            let (yes, no) = (answer(positive, &values, &raw), answer(negative, &values, &raw));
            prop_assert_eq!(yes, no.map(|no| !no), "{} {}", positive, raw);
        }
        if !stored.is_array() {
            let (is, is_not) = (Operator::Is, Operator::IsNot);
            prop_assert_ne!(answer(is, &values, &raw), answer(is_not, &values, &raw));
        }
    }

    #[test]
    fn order_operators_split_present_values(stored in any_scalar(), value in any_values()) {
        prop_assume!(!stored.is_null());
        let raw = stored.to_string();
        let value = &value[..1];
        let holds = |operator| answer(operator, value, &raw).expect("a condition");
        prop_assert_ne!(holds(Operator::Less), holds(Operator::GreaterOrEqual));
        prop_assert_ne!(holds(Operator::Greater), holds(Operator::LessOrEqual));
        prop_assert!(!(holds(Operator::Less) && holds(Operator::Greater)));
    }

    #[test]
    fn a_value_is_itself(stored in any_scalar(), others in any_values()) {
        let mut values = others;
        values.push(text_of(&stored));
        prop_assert_eq!(answer(Operator::Is, &values, &stored.to_string()), Some(true));
    }

    #[test]
    fn is_is_any_of_its_values(stored in any_stored(), values in any_values()) {
        let raw = stored.to_string();
        for operator in [Operator::Is, Operator::Contains, Operator::StartsWith, Operator::GlobMatch] {
            let each = values.iter().map(|value| answer(operator, std::slice::from_ref(value), &raw));
            let any = each.collect::<Option<Vec<_>>>().map(|each| each.contains(&true));
            prop_assert_eq!(answer(operator, &values, &raw), any, "{}", operator);
        }
    }

    #[test]
    fn splitting_is_not_changes_nothing(stored in any_stored(), left in any_values(), right in any_values()) {
        let raw = stored.to_string();
        let split = [&left, &right].map(|values| {
            Condition::new(Operator::IsNot, values.clone()).expect("a condition")
        });
        let joined = answer(Operator::IsNot, &[left, right].concat(), &raw);
        prop_assert_eq!(Some(Conditions::new(split).hold(Some(&raw))), joined);
    }

    #[test]
    fn space_around_json_does_not_matter(stored in any_stored(), values in any_values()) {
        let raw = stored.to_string();
        let spaced = format!(" \n{} ", raw.replacen('[', "[ ", usize::from(stored.is_array())));
        for operator in Operator::ALL {
            prop_assert_eq!(answer(operator, &values, &raw), answer(operator, &values, &spaced));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(raw: String, value: String) {
        let texts = [raw.clone(), format!("\"{raw}"), format!("[{raw}"), format!("-{raw}"), format!("[\"{raw}\"]")];
        for operator in Operator::ALL {
            for raw in &texts {
                answer(operator, std::slice::from_ref(&value), raw);
            }
        }
        drop(raw.parse::<Operator>());
    }
}
