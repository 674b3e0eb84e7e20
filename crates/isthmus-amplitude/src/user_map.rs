//! `/usermap`: which user ids are counted as which global ones (`amplitude-ingest.md` section 7;
//! Amplitude's "User mapping (aliasing) API" page, read 2026-03).

use crate::form::Form;
use crate::identity::{Worth, user_id_worth};
use crate::refusal::{EventProblems, Refusal};
use crate::rules::EndpointRules;
use serde_json::{Map, Value};

/// One mapping as it was sent, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub user_id: String,
    /// What it is counted as; `None` takes that back.
    pub global_user_id: Option<String>,
}

/// The mappings of a request, or every problem of every one of them.
pub fn mappings(form: &Form<'_>, rules: &EndpointRules) -> Result<Vec<Mapping>, Refusal> {
    let text = form.mapping().ok_or(Refusal::MissingField("mapping"))?;
    let list = match serde_json::from_str(text) {
        Ok(Value::Array(list)) => list,
        Ok(object @ Value::Object(_)) => vec![object],
        Ok(_) | Err(_) => return Err(Refusal::MissingField("mapping")),
    };
    if list.len() > rules.events_max {
        return Err(Refusal::TooLarge);
    }
    let length_min = form.id_length_min().unwrap_or(rules.id_length_min);
    let mut problems = EventProblems::default();
    let mut read = Vec::with_capacity(list.len());
    for (index, mapping) in list.iter().enumerate() {
        match mapping {
            Value::Object(mapping) => {
                read.extend(one(mapping, index, length_min, &mut problems));
            }
            _ => problems.invalid.entry("mapping").or_default().push(index),
        }
    }
    if problems.is_empty() { Ok(read) } else { Err(Refusal::Events(Box::new(problems))) }
}

fn one(
    mapping: &Map<String, Value>,
    index: usize,
    length_min: usize,
    problems: &mut EventProblems,
) -> Option<Mapping> {
    let unmap = match mapping.get("unmap") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(unmap)) => *unmap,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => true,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => false,
        Some(_) => {
            problems.invalid.entry("unmap").or_default().push(index);
            return None;
        }
    };
    let user_id = id(mapping, "user_id", index, length_min, problems);
    if unmap {
        return Some(Mapping { user_id: user_id?, global_user_id: None });
    }
    let global = id(mapping, "global_user_id", index, length_min, problems);
    Some(Mapping { user_id: user_id?, global_user_id: Some(global?) })
}

/// A user id, trimmed; a number is taken by its text.
fn id(
    mapping: &Map<String, Value>,
    name: &'static str,
    index: usize,
    length_min: usize,
    problems: &mut EventProblems,
) -> Option<String> {
    let text = match mapping.get(name) {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        None | Some(Value::Null) => String::new(),
        Some(_) => {
            problems.invalid.entry(name).or_default().push(index);
            return None;
        }
    };
    let list = match user_id_worth(Some(&text), length_min) {
        Worth::Good => return Some(text),
        Worth::Absent => &mut problems.missing,
        Worth::Invalid => &mut problems.invalid,
        Worth::TooShort | Worth::TooLong => {
            problems.invalid.entry(name).or_default().push(index);
            &mut problems.id_lengths
        }
    };
    list.entry(name).or_default().push(index);
    None
}

/// The body of the answer that `count` mappings were taken.
pub fn mapped_body(count: usize) -> String {
    format!(r#"{{"code":200,"mappings_processed":{count}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Vec<Mapping>, Refusal> {
        let rules = EndpointRules::user_map();
        mappings(&Form::parse(None, Some(query), b"", &rules).unwrap(), &rules)
    }

    fn mapping(text: &str) -> Result<Vec<Mapping>, Refusal> {
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        read(&format!("api_key=k&mapping={encoded}"))
    }

    #[test]
    fn an_object_and_a_list_are_read() {
        let mapped = |user: &str, global: Option<&str>| Mapping {
            user_id: user.to_owned(),
            global_user_id: global.map(str::to_owned),
        };
        let one = mapping(r#"{"user_id":" ana@home ","global_user_id":12345678}"#).unwrap();
        assert_eq!(one, [mapped("ana@home", Some("12345678"))]);
        let two = mapping(
            r#"[{"user_id":"ana@home","global_user_id":"cust-1"},{"user_id":"ana@work","unmap":true}]"#,
        );
        assert_eq!(two.unwrap(), [mapped("ana@home", Some("cust-1")), mapped("ana@work", None)]);
    }

    #[test]
    fn every_problem_names_its_mapping() {
        assert_eq!(read("api_key=k"), Err(Refusal::MissingField("mapping")));
        assert_eq!(mapping("7"), Err(Refusal::MissingField("mapping")));
        let refusal = mapping(
            r#"[{"global_user_id":"cust-1"},{"user_id":"ana@home"},{"user_id":"ana","global_user_id":"cust-1"},
               {"user_id":"anonymous","global_user_id":[]},3,{"user_id":"ana@home","unmap":"maybe"}]"#,
        )
        .unwrap_err();
        insta::assert_snapshot!(refusal.body(), @r#"{"code":400,"error":"Request missing required field","events_with_invalid_fields":{"global_user_id":[3],"mapping":[4],"unmap":[5],"user_id":[2,3]},"events_with_missing_fields":{"global_user_id":[1],"user_id":[0]},"events_with_invalid_id_lengths":{"user_id":[2]}}"#);
    }

    #[test]
    fn more_than_two_thousand_are_too_many() {
        let one = r#"{"user_id":"ana@home","unmap":true}"#;
        let list = |count| format!("[{}]", vec![one; count].join(","));
        assert_eq!(mapping(&list(2_000)).unwrap().len(), 2_000);
        assert_eq!(mapping(&list(2_001)), Err(Refusal::TooLarge));
    }
}
