//! Revenue sent as top-level fields, stored as event properties too, where SDKs put theirs.
//!
//! An HTTP client writes `price`, `quantity` and `revenue` beside `event_type`; an SDK writes
//! `$price`, `$quantity` and `$revenue` into `event_properties`. Copying the first form into the
//! second lets everything after the door know only one.

use isthmus_core::json::members;
use std::borrow::Cow;

/// Top-level fields of a revenue event, in the order they are copied, each with its property.
pub(crate) const PROPERTIES: [&str; 8] = [
    "$revenue",
    "$price",
    "$quantity",
    "$productId",
    "$revenueType",
    "$currency",
    "$receipt",
    "$receiptSig",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fields: &[(usize, &'static str)], properties: Option<&str>) -> Option<String> {
        let mut revenue = Revenue::default();
        for (place, raw) in fields {
            revenue.set(*place, Some(Cow::Borrowed(raw)));
        }
        revenue.into_properties(properties)
    }

    #[test]
    fn top_level_revenue_becomes_properties() {
        const REVENUE: usize = 0;
        const PRICE: usize = 1;
        const QUANTITY: usize = 2;
        const PRODUCT: usize = 3;
        for (fields, properties, expected) in [
            (&[(REVENUE, "12.5")][..], None, Some(r#"{"$revenue":12.5}"#)),
            (
                &[(REVENUE, "9"), (PRODUCT, r#""p1""#)],
                Some(r#"{"a":1}"#),
                Some(r#"{"$revenue":9,"$productId":"p1","a":1}"#),
            ),
            (
                &[(PRICE, "2.5"), (QUANTITY, "5")],
                Some("{}"),
                Some(r#"{"$price":2.5,"$quantity":5}"#),
            ),
            (
                &[(REVENUE, "99"), (PRICE, "2.5"), (QUANTITY, "5")],
                Some(" { } "),
                Some(r#"{"$revenue":12.5,"$price":2.5,"$quantity":5 } "#),
            ),
            (
                &[(REVENUE, "99"), (PRICE, "-9007199254740993"), (QUANTITY, "2")],
                None,
                Some(r#"{"$revenue":-18014398509481986,"$price":-9007199254740993,"$quantity":2}"#),
            ),
            (&[(PRICE, "3")], Some(r#"{"$price":4}"#), None),
            (&[(QUANTITY, "3"), (PRODUCT, r#""p1""#)], Some("{}"), None),
            (&[], Some(r#"{"$revenue":1}"#), None),
        ] {
            assert_eq!(with(fields, properties).as_deref(), expected);
        }
    }
}
