//! Objects that people edited: they stay about the same user and device, and ids come first.

use isthmus_core::json;

const IDS: [&str; 2] = ["user_id", "device_id"];

/// What takes the place of `before` where somebody edited it to `after`: each member once with its last
/// value, ids first. Or why it would be about somebody else, and so leave the order it belongs to.
pub(super) fn edited(before: &str, after: &str) -> Result<String, String> {
    for field in IDS {
        let (was, is) = (json::member(before, field), json::member(after, field));
        // What has no good id may get one where it had none.
        if was.is_some() && was.and_then(json::text_of) != is.and_then(json::text_of) {
            return Err(format!(
                "`{field}` must stay {}: an object keeps its user",
                was.unwrap_or_default()
            ));
        }
    }
    let mut members: Vec<(String, &str)> = Vec::new();
    for (name, raw) in json::members(after) {
        match members.iter_mut().find(|(known, _)| *known == *name) {
            Some((_, last)) => *last = raw,
            None => members.push((name.into_owned(), raw)),
        }
    }
    members.sort_by_key(|(name, _)| IDS.iter().position(|id| id == name).unwrap_or(IDS.len()));
    let mut object = String::with_capacity(after.len());
    let mut opening = '{';
    for (name, raw) in members {
        object.push(opening);
        opening = ',';
        json::push_text(&mut object, &name);
        object.push(':');
        object.push_str(raw);
    }
    object.push(if opening == '{' { '{' } else { '}' });
    if opening == '{' {
        object.push('}');
    }
    Ok(object)
}
