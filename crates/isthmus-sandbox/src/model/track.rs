//! The objects of a `/users/track` request: read, checked one by one, and not yet applied.
//!
//! Checking needs no state. It is deterministic, so that a request that takes effect later is
//! simply checked again.

use super::ecommerce::Recommended;
use super::identifier::{Identifier, Identifying, Reason};
use super::properties::{self, Bearer, Properties};
use super::{attribute, currency, instant, standard};
use crate::config::LimitMode;
use isthmus_core::{Timestamp, json};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest event name and product id, in characters.
const NAME_MAX: usize = 255;
/// Units that one purchase object may stand for.
const QUANTITY_MAX: i64 = 100;

/// One of the arrays of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Array {
    Attributes,
    Events,
    Purchases,
}

impl Array {
    /// In the order in which Braze processes them.
    pub(crate) const ALL: [Self; 3] = [Self::Attributes, Self::Events, Self::Purchases];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Attributes => "attributes",
            Self::Events => "events",
            Self::Purchases => "purchases",
        }
    }
}

/// A body that is valid JSON, with its three arrays found.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    /// Raw objects, in the order of [`Array::ALL`].
    arrays: [Vec<&'a str>; 3],
}

/// A body of which nothing can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    Syntax,
    NotAnArray(Array),
}

impl<'a> Body<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(bytes).map_err(|_| Unusable::Syntax)?;
        let object: &RawValue = serde_json::from_str(text).map_err(|_| Unusable::Syntax)?;
        let object = object.get();
        if !object.starts_with('{') {
            return Err(Unusable::Syntax);
        }
        let mut arrays = [const { Vec::new() }; 3];
        for (key, raw) in json::members(object) {
            for (array, place) in Array::ALL.into_iter().zip(&mut arrays) {
                if key != array.name() {
                    continue;
                }
                place.clear();
                match raw.as_bytes().first() {
                    Some(b'[') => place.extend(json::elements(raw)),
                    Some(b'n') => {}
                    _ => return Err(Unusable::NotAnArray(array)),
                }
            }
        }
        Ok(Self { arrays })
    }

    /// Objects as `mode` counts them.
    pub(crate) fn objects(&self, mode: LimitMode) -> usize {
        let lengths = self.arrays.iter().map(Vec::len);
        match mode {
            LimitMode::Combined => lengths.sum(),
            LimitMode::Legacy => lengths.max().unwrap_or(0),
        }
    }

    /// Checks every object. `now` replaces times in the future. `refuse` may refuse an object
    /// that is fine.
    pub(crate) fn check(
        self,
        now: Timestamp,
        mut refuse: impl FnMut(&Spot<'_>) -> Option<Reason>,
    ) -> Checked<'a> {
        let mut checked = Checked::default();
        let mut position = 0;
        for (array, objects) in Array::ALL.into_iter().zip(self.arrays) {
            for (index, raw) in objects.into_iter().enumerate() {
                let mut refuse = |who: &Who<'_>, name: Option<&str>| {
                    refuse(&Spot { array, index, position, who: &who.identifier, name })
                };
                if let Err(reason) = checked.take(array, raw, now, &mut refuse) {
                    checked.refusals.push(Refusal { reason, array, index });
                }
                position += 1;
            }
        }
        checked
    }
}

/// Where an object stands in its request and what it is about.
pub(crate) struct Spot<'a> {
    pub(crate) array: Array,
    /// Position in its array.
    pub(crate) index: usize,
    /// Position over all three arrays.
    pub(crate) position: usize,
    pub(crate) who: &'a Identifier<'a>,
    /// Event name or product id.
    pub(crate) name: Option<&'a str>,
}

/// What is left of a request after checking it.
#[derive(Debug, Default)]
pub(crate) struct Checked<'a> {
    pub(crate) attributes: Vec<Attributes<'a>>,
    pub(crate) events: Vec<Event<'a>>,
    pub(crate) purchases: Vec<Purchase<'a>>,
    pub(crate) refusals: Vec<Refusal>,
}

/// An object that is not processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) array: Array,
    pub(crate) index: usize,
}

/// Whom an object is about, and whether it may create that user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who<'a> {
    pub(crate) identifier: Identifier<'a>,
    update_existing_only: Option<bool>,
}

impl Who<'_> {
    /// Whether an unknown user is created: not for aliases unless asked to, never for `braze_id`.
    pub(crate) fn creates(&self) -> bool {
        match self.identifier {
            Identifier::BrazeId(_) => false,
            Identifier::Alias { .. } => self.update_existing_only == Some(false),
            _ => self.update_existing_only != Some(true),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    pub(crate) who: Who<'a>,
    pub(crate) merge_objects: bool,
    /// Everything but identifiers and control keys, raw. Email and phone are here unless they
    /// decide who is meant.
    pub(crate) members: Vec<(Cow<'a, str>, &'a str)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) who: Who<'a>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) time: Timestamp,
    pub(crate) app_id: Option<Cow<'a, str>>,
    pub(crate) properties: Properties<'a>,
    pub(crate) recommended: Option<Recommended>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Purchase<'a> {
    pub(crate) who: Who<'a>,
    pub(crate) product_id: Cow<'a, str>,
    pub(crate) currency: Cow<'a, str>,
    pub(crate) price: f64,
    pub(crate) quantity: u8,
    pub(crate) time: Timestamp,
    pub(crate) app_id: Option<Cow<'a, str>>,
    pub(crate) properties: Properties<'a>,
}

type Refuse<'r> = &'r mut dyn FnMut(&Who<'_>, Option<&str>) -> Option<Reason>;

impl<'a> Checked<'a> {
    /// Objects that are processed, of one array.
    pub(crate) fn accepted(&self, array: Array) -> usize {
        match array {
            Array::Attributes => self.attributes.len(),
            Array::Events => self.events.len(),
            Array::Purchases => self.purchases.len(),
        }
    }

    /// Objects that are processed, of all arrays.
    pub(crate) fn accepted_total(&self) -> usize {
        Array::ALL.into_iter().map(|array| self.accepted(array)).sum()
    }

    /// Whom the processed objects are about.
    pub(crate) fn people(&self) -> impl Iterator<Item = &Identifier<'a>> {
        let attributes = self.attributes.iter().map(|object| &object.who);
        let events = self.events.iter().map(|object| &object.who);
        let purchases = self.purchases.iter().map(|object| &object.who);
        attributes.chain(events).chain(purchases).map(|who| &who.identifier)
    }

    /// Checks in the order: who is meant, required fields, their formats.
    fn take(
        &mut self,
        array: Array,
        raw: &'a str,
        now: Timestamp,
        refuse: Refuse<'_>,
    ) -> Result<(), Reason> {
        if !raw.starts_with('{') {
            return Err(Reason::Owned(format!("'{}' must be an array of objects", array.name())));
        }
        let object = Object::read(raw);
        match array {
            Array::Attributes => {
                let attributes = object.attributes()?;
                refuse(&attributes.who, None).map_or(Ok(()), Err)?;
                self.attributes.push(attributes);
            }
            Array::Events => {
                let event = object.event(now)?;
                refuse(&event.who, Some(&event.name)).map_or(Ok(()), Err)?;
                self.events.push(event);
            }
            Array::Purchases => {
                let purchase = object.purchase(now)?;
                refuse(&purchase.who, Some(&purchase.product_id)).map_or(Ok(()), Err)?;
                self.purchases.push(purchase);
            }
        }
        Ok(())
    }
}

/// The members of an object, sorted by what they are for; raw.
#[derive(Default)]
struct Object<'a> {
    identifying: Identifying<'a>,
    update_existing_only: Option<&'a str>,
    /// Everything else, in order; a repeated key counts once, with its last value.
    rest: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Object<'a> {
    fn read(raw: &'a str) -> Self {
        let mut object = Self { rest: Vec::with_capacity(8), ..Self::default() };
        for (key, value) in json::members(raw) {
            if object.identifying.take(&key, value) {
                continue;
            }
            if key == "_update_existing_only" {
                object.update_existing_only = Some(value);
            } else {
                object.rest.push((key, value));
            }
        }
        object
    }

    /// The last value under `key`; a null counts as absent.
    fn get(&self, key: &str) -> Option<&'a str> {
        let found = self.rest.iter().rev().find(|(known, _)| known == key);
        found.map(|(_, raw)| *raw).filter(|raw| *raw != "null")
    }

    fn who(&self, push_tokens: bool) -> Result<Who<'a>, Reason> {
        let identifier = self.identifying.deciding(push_tokens)?;
        let update_existing_only = match self.update_existing_only {
            None | Some("null") => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(not_valid("_update_existing_only")),
        };
        Ok(Who { identifier, update_existing_only })
    }

    fn attributes(mut self) -> Result<Attributes<'a>, Reason> {
        let imports_tokens = self.get("push_token_import") == Some("true");
        if imports_tokens {
            let named = self.identifying.external_id.or(self.identifying.braze_id);
            if named.is_some() || self.get("push_tokens").is_none() {
                return Err(Reason::Borrowed("BAD_PUSH_TOKEN_IMPORT"));
            }
        }
        let who = self.who(imports_tokens)?;
        let merge_objects = match self.get("_merge_objects") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(not_valid("_merge_objects")),
        };
        self.rest.retain(|(key, _)| key != "_merge_objects" && key != "push_token_import");
        // Addresses that do not decide who is meant are fields to be written. They come first, in
        // no particular order to the others.
        for (key, raw) in [("email", self.identifying.email), ("phone", self.identifying.phone)] {
            if let Some(raw) = raw {
                self.rest.push((Cow::Borrowed(key), raw));
            }
        }
        for (name, raw) in &self.rest {
            standard::check(name, raw)?;
            if !standard::is_standard(name) && !attribute::name_is_valid(name) {
                return Err(Reason::Owned(format!("'{name}' is not valid")));
            }
        }
        Ok(Attributes { who, merge_objects, members: self.rest })
    }

    fn event(self, now: Timestamp) -> Result<Event<'a>, Reason> {
        let who = self.who(false)?;
        let name = self.required("name")?;
        let time = self.required("time")?;
        let name = text_up_to(name, NAME_MAX).ok_or_else(|| not_valid("name"))?;
        let time = event_time(time, now)?;
        let properties = properties::read(self.get("properties"), Bearer::Event)?;
        let recommended = Recommended::of(&name);
        if let Some(recommended) = recommended {
            recommended.check(&properties.json)?;
        }
        Ok(Event { who, name, time, app_id: self.app_id(), properties, recommended })
    }

    fn purchase(self, now: Timestamp) -> Result<Purchase<'a>, Reason> {
        let who = self.who(false)?;
        let product_id = self.required("product_id")?;
        let currency = self.required("currency")?;
        let price = self.required("price")?;
        let time = self.required("time")?;
        let product_id = text_up_to(product_id, NAME_MAX).ok_or_else(|| not_valid("product_id"))?;
        let currency = json::text_of(currency).filter(|code| currency::is_known(code));
        // The sentence seen in live answers.
        let currency =
            currency.ok_or(Reason::Borrowed("'currency' must be an ISO 4217 currency"))?;
        let price = price.parse::<f64>().ok().filter(|price| price.is_finite());
        let price = price.ok_or_else(|| not_valid("price"))?;
        let quantity = match self.get("quantity") {
            None => 1,
            Some(raw) => {
                let quantity = raw.parse::<i64>().ok();
                let quantity = quantity.filter(|count| (1..=QUANTITY_MAX).contains(count));
                quantity.ok_or_else(|| not_valid("quantity"))?
            }
        };
        Ok(Purchase {
            who,
            product_id,
            currency,
            price,
            quantity: u8::try_from(quantity).unwrap_or(u8::MAX),
            time: event_time(time, now)?,
            app_id: self.app_id(),
            properties: properties::read(self.get("properties"), Bearer::Purchase)?,
        })
    }

    fn required(&self, key: &str) -> Result<&'a str, Reason> {
        self.get(key).ok_or_else(|| Reason::Owned(format!("'{key}' is required")))
    }

    /// Never checked against a list: whether Braze does is not documented.
    fn app_id(&self) -> Option<Cow<'a, str>> {
        self.get("app_id").and_then(json::text_of)
    }
}

/// A time in the future is replaced by the time of receipt.
fn event_time(raw: &str, now: Timestamp) -> Result<Timestamp, Reason> {
    let at = json::text_of(raw).and_then(|text| instant::parse(&text));
    Ok(at.ok_or_else(|| not_valid("time"))?.min(now))
}

fn not_valid(field: &str) -> Reason {
    Reason::Owned(format!("'{field}' is not valid"))
}

fn text_up_to(raw: &str, max: usize) -> Option<Cow<'_, str>> {
    let text = json::text_of(raw)?;
    (!text.is_empty() && !attribute::longer_than(&text, max)).then_some(text)
}

#[cfg(test)]
mod tests;
