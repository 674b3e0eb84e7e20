//! Revenue sent as top-level fields, stored as event properties too, where SDKs put theirs.
//!
//! An HTTP client writes `price`, `quantity` and `revenue` beside `event_type`; an SDK writes
//! `$price`, `$quantity` and `$revenue` into `event_properties`. Copying the first form into the
//! second lets everything after the door know only one.

use isthmus_core::json::members;
use std::borrow::Cow;

/// Top-level fields of a revenue event, in the order they are copied, each with its property.
pub(crate) const PROPERTIES: [&str; 8] = [
    "$revenue", "$price", "$quantity", "$productId", "$revenueType", "$currency", "$receipt", "$receiptSig",
];

/// Raw values of the revenue fields of one event, in the order of [`PROPERTIES`].
#[derive(Default)]
pub(crate) struct Revenue<'a>([Option<Cow<'a, str>>; PROPERTIES.len()]);

impl<'a> Revenue<'a> {
    /// Sets the field at `place` of [`PROPERTIES`].
    pub(crate) fn set(&mut self, place: usize, raw: Option<Cow<'a, str>>) {
        if let Some(slot) = self.0.get_mut(place) {
            *slot = raw;
        }
    }

    /// `event_properties` with these fields; a property that the client set itself stays.
    ///
    /// `None` when there is nothing to add: the fields mean revenue only with an amount.
    pub(crate) fn into_properties(mut self, event_properties: Option<&str>) -> Option<String> {
        let [revenue, price, quantity, ..] = &mut self.0;
        if revenue.is_none() && price.is_none() {
            return None;
        }
        if let (Some(revenue), Some(price), Some(quantity)) = (revenue, price, quantity)
            && let Some(total) = total(price, quantity)
        {
            *revenue = Cow::Owned(total);
        }
        let properties = event_properties.unwrap_or("{}");
        let mut out = String::with_capacity(properties.len() + 128);
        let mut separator = '{';
        for (name, value) in PROPERTIES.iter().zip(&self.0) {
            let Some(value) = value else { continue };
            if members(properties).any(|(key, _)| key == *name) {
                continue;
            }
            out.push(separator);
            separator = ',';
            out.push('"');
            out.push_str(name);
            out.push_str("\":");
            out.push_str(value);
        }
        if out.is_empty() {
            return None;
        }
        let rest = properties.trim_start_matches([' ', '\n', '\r', '\t']).strip_prefix('{')?;
        if members(properties).next().is_some() {
            out.push(',');
        }
        out.push_str(rest);
        Some(out)
    }
}

/// Price times quantity, which replaces the revenue when all three are sent.
fn total(price: &str, quantity: &str) -> Option<String> {
    let exact = || price.parse::<i64>().ok()?.checked_mul(quantity.parse().ok()?);
    if let Some(total) = exact() {
        return Some(total.to_string());
    }
    let total = price.parse::<f64>().ok()? * quantity.parse::<f64>().ok()?;
    total.is_finite().then(|| total.to_string())
}
