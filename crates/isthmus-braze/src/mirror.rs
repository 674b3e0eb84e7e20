//! What Braze was told of its users, and what an attributes object would change about it.
//!
//! Braze takes each write at face value and bills it, also where it changes nothing. So only what
//! differs is sent, compared as Braze would compare it:
//! - Values by what they mean: `1` and `1.0` are one number, `1` and `"1"` are not. Arrays are lists
//!   with an order, objects are equal as wholes.
//! - Several objects of one user that share a request become one object, so their last values
//!   count: there and back again is no change, unless one of them is sent for something else.
//! - An operation (`{"inc":1}`) is not a value: it is always sent, and what it leaves is not known.
//! - Neither is known what Braze holds after a value that it may drop without an error (a string of
//!   more than 255 characters, a null inside an array).
//! - Subscription states and push tokens change on Braze's side too: they are always sent.
//! - An object that creates no user says nothing about users of which nothing is known: Braze
//!   answers success where it has none. Nothing is remembered of it before another object did.

use crate::body::{Layout, UPDATE_ONLY};
use crate::calls::{ATTRIBUTES, DELETE_EXTERNAL_IDS, EVENTS, PURCHASES};
use crate::check::{MERGE_OBJECTS, PRIMARY};
use crate::value::CHARACTERS_MAX;
use isthmus_core::destination::{Answered, Cost, Delivery, Difference, Message, Saved, Told};
use isthmus_core::json;
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Fields that change on Braze's side too. They cost nothing ("Data points", Braze documentation,
/// read 2026-09).
const CHANGED_BY_OTHERS: [&str; 4] =
    ["email_subscribe", "push_subscribe", "subscription_groups", "push_tokens"];
/// Other standard fields that cost nothing (same page).
const FREE: [&str; 8] = [
    "date_of_first_session",
    "date_of_last_session",
    "marked_email_as_spam_at",
    "email_open_tracking_disabled",
    "email_click_tracking_disabled",
    "facebook",
    "twitter",
    "image_url",
];
/// Members of an attributes object that are about the object.
const CONTROLS: [&str; 3] = [UPDATE_ONLY, MERGE_OBJECTS, "push_token_import"];
/// Members of which Braze takes no notice ("User attributes object", read 2026-09).
const IGNORED: [&str; 3] = ["bio", "alias_name", "alias_label"];
/// Most elements of an array that Braze keeps (same page).
const ELEMENTS_MAX: usize = 500;
/// Keys of an object that is an operation on the value that is there.
const OPERATIONS: [&str; 6] = ["inc", "add", "remove", "$add", "$remove", "$update"];
/// Events of Braze's own e-commerce schema, which cost nothing ("Data points", read 2026-09).
const RECOMMENDED: [&str; 6] = [
    "ecommerce.product_viewed",
    "ecommerce.cart_updated",
    "ecommerce.checkout_started",
    "ecommerce.order_placed",
    "ecommerce.order_cancelled",
    "ecommerce.order_refunded",
];

type Member<'a> = (Cow<'a, str>, &'a str);

/// An attributes object, taken apart.
struct Object<'a> {
    identifier: String,
    /// The member that names the user, and what is about the object.
    head: Vec<Member<'a>>,
    attributes: Vec<Member<'a>>,
    creates: bool,
    /// Whether its values are what the user has afterwards.
    sets: bool,
}

impl<'a> Object<'a> {
    /// `None` where it names no user in a way that is understood.
    fn of(payload: &'a str) -> Option<Self> {
        let mut members: Vec<Member<'a>> = json::members(payload).collect();
        let names_user =
            |name: &str| members.iter().position(|(key, value)| *key == name && *value != "null");
        let at = PRIMARY.into_iter().chain(["email", "phone"]).find_map(names_user)?;
        let user = members.remove(at);
        let identifier = identifier(&user.0, user.1)?;
        let creates_unless_told = user.0 != "user_alias";
        let (head, attributes): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|(key, _)| CONTROLS.iter().any(|name| name == key));
        let flag = |name| head.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let creates = match flag(UPDATE_ONLY) {
            Some("true") => false,
            Some("false") => true,
            _ => creates_unless_told,
        };
        let is_set = |name| flag(name).is_some_and(|value| value != "false");
        let sets = !is_set(MERGE_OBJECTS) && !is_set("push_token_import");
        let head = [user].into_iter().chain(head).collect();
        Some(Self { identifier, head, attributes, creates, sets })
    }

    /// The object with those of its attributes that `keeps` lets through.
    fn with(&self, keeps: impl Fn(&str) -> bool) -> String {
        let kept = self.attributes.iter().filter(|(key, _)| keeps(key));
        let mut object = String::new();
        let mut opening = '{';
        for (key, value) in self.head.iter().chain(kept) {
            object.push(opening);
            opening = ',';
            json::push_text(&mut object, key);
            object.push(':');
            object.push_str(value);
        }
        object.push('}');
        object
    }
}

/// The text that names a user, as its lane does: `external_id:u-1`.
fn identifier(name: &str, raw: &str) -> Option<String> {
    let text = |raw| json::text_of(raw);
    match raw.as_bytes().first()? {
        b'"' => Some(format!("{name}:{}", text(raw)?)),
        b'{' => {
            let label = text(json::member(raw, "alias_label")?)?;
            Some(format!("{name}:{label}:{}", text(json::member(raw, "alias_name")?)?))
        }
        _ => Some(format!("{name}:{raw}")),
    }
}

/// Whether `message` has to do with what users were told: attributes tell, and a deletion makes
/// everything untold.
pub(crate) fn concerns(message: &Message) -> bool {
    message.section == ATTRIBUTES || deletes(message)
}

fn deletes(message: &Message) -> bool {
    message.section.call() == DELETE_EXTERNAL_IDS.call()
}

/// What each of `run` has to say beyond `told`.
pub(crate) fn differences(run: &[&Message], told: Option<&Told>) -> Vec<Difference> {
    let whole = || vec![Difference::Whole; run.len()];
    let Some(told) = told else { return whole() };
    if run.iter().any(|message| deletes(message)) {
        return whole();
    }
    let objects: Option<Vec<Object<'_>>> =
        run.iter().map(|message| Object::of(&message.payload)).collect();
    let Some(objects) = objects else { return whole() };
    if objects.iter().any(|object| object.identifier != told.identifier || !object.sets) {
        return whole();
    }
    let mut last: BTreeMap<&str, Last<'_>> = BTreeMap::new();
    for (index, object) in objects.iter().enumerate() {
        for (key, raw) in &object.attributes {
            let operates = is_operation(raw);
            let known = last.entry(key).or_insert(Last { index, raw, operates });
            *known = Last { index, raw, operates: operates || known.operates };
        }
    }
    last.retain(|key, last| !last.operates && is_told(told, key, last.raw));
    keep_together(&objects, told, &mut last);
    let unchanged = last;
    let difference = |(index, object): (usize, &Object<'_>)| {
        let is_left_out = |key: &str| unchanged.contains_key(key);
        let mut saved = Saved::default();
        let mut kept = 0;
        for (key, raw) in &object.attributes {
            match unchanged.get(&**key) {
                None => kept += 1,
                // Of values for the same attribute only the last one would have been sent.
                Some(last) if last.index == index && std::ptr::eq(last.raw, *raw) => {
                    saved.attributes += 1;
                    saved.points += points_of(key, raw);
                }
                Some(_) => {}
            }
        }
        if kept == 0 {
            Difference::Nothing { saved }
        } else if kept == object.attributes.len() {
            Difference::Whole
        } else {
            Difference::Part { payload: object.with(|key| !is_left_out(key)), saved }
        }
    };
    objects.iter().enumerate().map(difference).collect()
}

/// Takes out of `unchanged` what goes there and back in a run of which a part is sent: after a crash
/// that part is mapped again as a whole, and would go there once more without what brings it back.
fn keep_together(objects: &[Object<'_>], told: &Told, unchanged: &mut BTreeMap<&str, Last<'_>>) {
    loop {
        let mut sent = objects.iter().filter(|object| {
            object.attributes.iter().any(|(key, _)| !unchanged.contains_key(&**key))
        });
        let strays = |object: &&Object<'_>| {
            let stray = |(key, raw): &&Member<'_>| {
                unchanged.contains_key(&**key) && !is_told(told, key, raw)
            };
            object.attributes.iter().find(stray).map(|(key, _)| key.to_string())
        };
        let Some(key) = sent.find_map(|object| strays(&object)) else { return };
        unchanged.remove(&*key);
    }
}

/// The last value of an attribute in a run.
struct Last<'a> {
    index: usize,
    raw: &'a str,
    /// Whether any of the run operates on it.
    operates: bool,
}

/// Whether the user has this value.
fn is_told(told: &Told, key: &str, raw: &str) -> bool {
    IGNORED.contains(&key)
        || !CHANGED_BY_OTHERS.contains(&key)
            // The text alone tells most, and reading it takes longer.
            && told.values.get(key).is_some_and(|known| known == raw || known == canonical(raw))
}

/// What the user was told after Braze answered `run`.
pub(crate) fn retold(told: Option<&Told>, run: &[(&Message, Answered)]) -> Option<Told> {
    let mut told = told.cloned();
    for (message, answered) in run {
        if deletes(message) {
            // Gone, or perhaps gone.
            told = None;
            continue;
        }
        // Whoever it is about, nothing is certain any more.
        let object = Object::of(&message.payload)?;
        let about_them = told.as_ref().is_some_and(|told| told.identifier == object.identifier);
        if !about_them {
            if *answered != Answered::Accepted || !object.creates {
                continue;
            }
            // A lane that two users share knows the last of them.
            let identifier = object.identifier.clone();
            told = Some(Told { identifier, ..Told::default() });
        }
        let Some(told) = &mut told else { continue };
        for (key, raw) in &object.attributes {
            if CHANGED_BY_OTHERS.contains(&&**key) || IGNORED.contains(&&**key) {
                continue;
            }
            let certain = *answered == Answered::Accepted && object.sets && is_kept(key, raw);
            let value = if certain { canonical(raw) } else { Cow::default() };
            told.values.insert(key, &value);
        }
    }
    told
}

/// What each delivery of a request costs if Braze takes it.
pub(crate) fn costs(batch: &[Delivery]) -> Vec<Cost> {
    let layout = Layout::of(batch);
    // Deliveries of each attributes object that are not looked at yet, and all of them.
    let mut objects: HashMap<usize, (u32, u32)> = HashMap::new();
    for (section, index) in layout.slots.iter().flatten() {
        if *section == ATTRIBUTES {
            let (left, all) = objects.entry(*index).or_default();
            (*left, *all) = (*left + 1, *all + 1);
        }
    }
    let mut written: HashSet<(usize, Cow<'_, str>)> = HashSet::new();
    let mut costs: Vec<Cost> = Vec::with_capacity(batch.len());
    // From the end: the last value of an attribute is the one that is written.
    for (delivery, slot) in batch.iter().zip(&layout.slots).rev() {
        let message = &delivery.message;
        let index = slot.filter(|(section, _)| *section == ATTRIBUTES).map(|(_, index)| index);
        let Some((index, (left, all))) =
            index.and_then(|index| Some((index, objects.get_mut(&index)?)))
        else {
            costs.push(Cost { object: true, points: points_of_other(message) });
            continue;
        };
        *left -= 1;
        let attributes = Object::of(&message.payload).map(|object| object.attributes);
        let points = attributes
            .unwrap_or_default()
            .into_iter()
            .filter(|(key, _)| *all == 1 || written.insert((index, key.clone())))
            .map(|(key, raw)| points_of(&key, raw))
            .sum();
        costs.push(Cost { object: *left == 0, points });
    }
    costs.reverse();
    costs
}

/// What an event or a purchase costs.
fn points_of_other(message: &Message) -> u64 {
    let payload = &message.payload;
    match message.section {
        EVENTS => {
            let recommended = payload.contains("\"ecommerce.")
                && json::member(payload, "name")
                    .and_then(json::text_of)
                    .is_some_and(|name| RECOMMENDED.contains(&&*name));
            u64::from(!recommended)
        }
        PURCHASES => {
            json::member(payload, "quantity").and_then(|raw| raw.parse().ok()).unwrap_or(1)
        }
        _ => 0,
    }
}

/// What it costs to write this value ("Data points", read 2026-09; where pages differ, the more).
fn points_of(name: &str, raw: &str) -> u64 {
    if CHANGED_BY_OTHERS.contains(&name) || FREE.contains(&name) || IGNORED.contains(&name) {
        return 0;
    }
    match raw.as_bytes().first() {
        Some(b'{') if name == "current_location" => 1,
        Some(b'{') if is_operation(raw) => points_of_operation(raw),
        Some(b'{') => keys_written(raw).max(1),
        Some(b'[') if json::elements(raw).any(|element| element.starts_with('{')) => {
            json::elements(raw).map(keys_written).sum::<u64>().max(1)
        }
        _ => 1,
    }
}

fn points_of_operation(raw: &str) -> u64 {
    let list = |name: &str, each: fn(&str) -> u64| {
        json::member(raw, name).map_or(0, |list| json::elements(list).map(each).sum())
    };
    let is_there = |name| u64::from(json::member(raw, name).is_some());
    let one = |_: &str| 1;
    is_there("inc")
        + is_there("remove")
        + list("add", one)
        + list("$remove", one)
        + list("$add", keys_written)
        + list("$update", keys_written)
}

/// Keys of an object and of those inside it that have a value; one for anything else.
fn keys_written(raw: &str) -> u64 {
    if !raw.starts_with('{') || json::member(raw, "$time").is_some() {
        return 1;
    }
    let inside = |(_, value): Member<'_>| {
        if value.starts_with('{') { keys_written(value).max(1) } else { 1 }
    };
    json::members(raw).map(inside).sum()
}

/// Whether the value is an operation on the one that is there.
fn is_operation(raw: &str) -> bool {
    raw.starts_with('{')
        && json::members(raw).next().is_some()
        && json::members(raw).all(|(key, _)| OPERATIONS.iter().any(|name| *name == key))
}

/// Whether the user has this value once Braze took it: some it drops without an error.
fn is_kept(name: &str, raw: &str) -> bool {
    let name_is_fine = !name.starts_with('$') && !is_long(name);
    let value_is_fine = match raw.as_bytes().first() {
        Some(b'"') => json::text_of(raw).is_some_and(|text| !is_long(&text)),
        Some(b'[' | b'{') => {
            let fits = json::elements(raw).count() <= ELEMENTS_MAX;
            let value = serde_json::from_str::<Value>(raw);
            fits && !is_operation(raw) && value.is_ok_and(|value| is_valid(&value))
        }
        _ => true,
    };
    name_is_fine && value_is_fine
}

/// Whether nothing inside a nested value voids it.
fn is_valid(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !is_long(text),
        Value::Array(items) => items.iter().all(is_valid),
        Value::Object(object) => object
            .iter()
            .all(|(key, value)| !is_long(key) && !key.contains(['.', ' ']) && is_valid(value)),
    }
}

fn is_long(text: &str) -> bool {
    text.len() > CHARACTERS_MAX && text.chars().nth(CHARACTERS_MAX).is_some()
}

/// One spelling for values that mean the same.
pub(crate) fn canonical(raw: &str) -> Cow<'_, str> {
    /// Digits of a whole number that is its own only spelling, whoever reads it.
    const DIGITS_MAX: usize = 15;
    let plain = match raw.as_bytes() {
        [b'"', ..] => !raw.contains('\\'),
        [b't' | b'f' | b'n', ..] => true,
        [b'1'..=b'9', rest @ ..] => rest.len() < DIGITS_MAX && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if plain {
        return Cow::Borrowed(raw);
    }
    match serde_json::from_str::<Value>(raw) {
        // A whole number too long for 64 bits keeps its digits.
        Ok(Value::Number(number))
            if number.is_f64() && raw.len() > DIGITS_MAX && is_digits(raw) =>
        {
            Cow::Borrowed(raw)
        }
        Ok(value) => Cow::Owned(normal(value).to_string()),
        Err(_) => Cow::Borrowed(raw),
    }
}

fn is_digits(raw: &str) -> bool {
    raw.strip_prefix('-').unwrap_or(raw).bytes().all(|byte| byte.is_ascii_digit())
}

/// The value with each number in its shortest form and members in order.
fn normal(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(shortest(number)),
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        Value::Object(object) => {
            let mut members: Vec<_> = object.into_iter().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(members.into_iter().map(|(key, value)| (key, normal(value))).collect())
        }
        other => other,
    }
}

fn shortest(number: Number) -> Number {
    /// Below 2^53 in size, every whole number is a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
            #[expect(clippy::cast_possible_truncation, reason = "whole, and checked to fit")]
            let whole = float as i64;
            Number::from(whole)
        }
        _ => number,
    }
}

#[cfg(test)]
mod tests;
