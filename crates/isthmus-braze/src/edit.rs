//! Objects that people edited: they stay about the same user, and in the form of every object.

use crate::check::{Object, PRIMARY, given};
use isthmus_core::json;
use serde_json::Value;

/// What takes the place of `before` where somebody edited it to `after`: each member once with its
/// last value, the one that names the user first. Or why it would be about somebody else, and so
/// leave the order of the user it belongs to.
pub(crate) fn edited(before: &str, after: &str) -> Result<String, String> {
    let Some((field, value)) = user(before) else {
        return Err(
            "the object names no user, so nobody can say whether the new one does".to_owned()
        );
    };
    match user(after) {
        Some((same, given)) if same == field && given == value => {}
        Some((other, _)) if other != field => {
            return Err(format!(
                "`{other}` cannot take the place of `{field}`: an object keeps its user, here {value}"
            ));
        }
        _ => return Err(format!("`{field}` must stay {value}: an object keeps its user")),
    }
    let mut members: Vec<(String, &str)> = Vec::new();
    for (name, raw) in json::members(after) {
        match members.iter_mut().find(|(known, _)| *known == *name) {
            Some((_, last)) => *last = raw,
            None => members.push((name.into_owned(), raw)),
        }
    }
    members.sort_by_key(|(name, _)| name != field);
    let mut object = String::with_capacity(after.len());
    let mut opening = '{';
    for (name, raw) in members {
        object.push(opening);
        opening = ',';
        json::push_text(&mut object, &name);
        object.push(':');
        object.push_str(raw);
    }
    object.push('}');
    Ok(object)
}

/// The member by which Braze knows the user of an object, and its value.
fn user(object: &str) -> Option<(&'static str, Value)> {
    let object: Object = serde_json::from_str(object).ok()?;
    let known = |field: &&str| given(&object, field).is_some();
    let field = PRIMARY.into_iter().chain(["email", "phone"]).find(known)?;
    given(&object, field).map(|value| (field, value.clone()))
}

#[cfg(test)]
mod tests {
    use super::edited;
    use insta::assert_snapshot;

    #[test]
    fn an_edited_object_keeps_its_user_and_its_form() {
        let ana = r#"{"external_id":"ana","email":"a@example.com"}"#;
        let alias = r#"{"user_alias":{"alias_name":"d-1","alias_label":"device"}}"#;
        let cases = [
            (
                ana,
                r#"{ "email": "b@example.com", "external_id": "ana", "n": 1.50, "n": 12345678901234567890123 }"#,
            ),
            (ana, r#"{"external_id":"ana","external_id":"bob"}"#),
            (ana, r#"{"email":"a@example.com"}"#),
            (ana, "{}"),
            (alias, r#"{"user_alias":{"alias_label":"device","alias_name":"d-1"}}"#),
            (alias, r#"{"user_alias":{"alias_name":"d-2","alias_label":"device"}}"#),
            (r#"{"email":"a@example.com"}"#, r#"{"email":"b@example.com"}"#),
            (r#"{"name":"x"}"#, ana),
        ];
        let answers = cases.map(|(before, after)| edited(before, after).unwrap_or_else(|no| no));
        assert_snapshot!(answers.join("\n"), @r#"
        {"external_id":"ana","email":"b@example.com","n":12345678901234567890123}
        `external_id` must stay "ana": an object keeps its user
        `email` cannot take the place of `external_id`: an object keeps its user, here "ana"
        `external_id` must stay "ana": an object keeps its user
        {"user_alias":{"alias_label":"device","alias_name":"d-1"}}
        `user_alias` must stay {"alias_label":"device","alias_name":"d-1"}: an object keeps its user
        `email` must stay "a@example.com": an object keeps its user
        the object names no user, so nobody can say whether the new one does
        "#);
    }
}
