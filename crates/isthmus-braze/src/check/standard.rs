//! Fields of Braze's standard profile whose wrong values refuse the whole attributes object ("User
//! attributes object" and "Fatal errors", Braze documentation, read 2026-09).

use super::text;
use serde_json::Value;

/// Values of `email_subscribe` and `push_subscribe`.
const SUBSCRIPTIONS: [&str; 3] = ["opted_in", "subscribed", "unsubscribed"];
/// Values of `subscription_state` in a subscription group.
const GROUP_SUBSCRIPTIONS: [&str; 2] = ["subscribed", "unsubscribed"];

/// Why Braze would refuse an object for its attribute `name`; only standard fields have a reason.
///
/// A null takes a field away, which is always allowed.
pub(super) fn attribute(name: &str, value: &Value) -> Result<(), String> {
    if name == "email_subscription_info" {
        return Err("`email_subscription_info` is no attribute".to_owned());
    }
    if value.is_null() {
        return Ok(());
    }
    match name {
        "email" => email(value),
        "email_subscribe" | "push_subscribe" => one_of(&SUBSCRIPTIONS, value, name),
        "current_location" => location(value),
        "subscription_groups" => groups(value),
        _ => Ok(()),
    }
}

/// Whether there is something before and something after an `@`; the rest is Braze's to judge.
pub(super) fn email(value: &Value) -> Result<(), String> {
    let address = text(value, "email")?;
    let is_address = address.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains(char::is_whitespace)
    });
    if is_address { Ok(()) } else { Err(format!("`email` is not an address: {address:?}")) }
}

fn location(value: &Value) -> Result<(), String> {
    let is_number = |part| value.get(part).is_some_and(Value::is_number);
    if is_number("longitude") && is_number("latitude") {
        return Ok(());
    }
    Err("`current_location` must have the numbers `longitude` and `latitude`".to_owned())
}

fn groups(value: &Value) -> Result<(), String> {
    let Value::Array(groups) = value else {
        return Err("`subscription_groups` must be a list".to_owned());
    };
    for (at, group) in groups.iter().enumerate() {
        let part = |part| (format!("subscription_groups[{at}].{part}"), group.get(part));
        let (field, id) = part("subscription_group_id");
        text(id.unwrap_or(&Value::Null), &field)?;
        let (field, state) = part("subscription_state");
        one_of(&GROUP_SUBSCRIPTIONS, state.unwrap_or(&Value::Null), &field)?;
    }
    Ok(())
}

fn one_of(words: &[&str], value: &Value, field: &str) -> Result<(), String> {
    if value.as_str().is_some_and(|text| words.contains(&text)) {
        return Ok(());
    }
    Err(format!("`{field}` must be one of {}", words.join(", ")))
}
