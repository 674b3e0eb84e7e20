//! Published SDKs, unchanged, through the real program into the emulated Braze.

mod braze_api;
mod browser;
mod node;
mod python;

use crate::harness::braze::{Event, User};
use crate::harness::eventually;
use crate::harness::lab::Lab;
use serde_json::{Value, json};

/// The user called `external_id`, as soon as `there` holds for it.
fn user_with(lab: &Lab, external_id: &str, there: impl Fn(&User) -> bool) -> User {
    eventually(&format!("{external_id} is complete"), || match lab.braze().user(external_id) {
        Some(user) if there(&user) => Ok(user),
        found => Err(format!("{found:?}")),
    })
}

/// What the service SDKs' scenario `full` must leave in Braze for one user.
///
/// Attributes after all identify operations in the order in which they were called; of three
/// kinds of events the selected properties, in their native types, with the user properties of
/// that moment; nothing of what was not selected; nothing twice.
fn check_full_scenario(lab: &Lab, external_id: &str) {
    user_with(lab, external_id, |user| user.events.len() >= 3);
    let stream = lab.settle();
    let user = lab.braze().user(external_id).unwrap();
    assert_eq!(
        Value::Object(user.attributes),
        json!({
            "plan": "pro",
            "seats": 5,
            "beta": true,
            "tags": ["early", "vip"],
            "badges": ["gold"],
            "first_plan": "free",
            "company": "Acme",
        })
    );
    assert_eq!(
        user.events,
        [
            event(
                "Product Viewed",
                json!({
                    "product": "kettle", "price": 39.5, "in_stock": true, "plan": "free", "seats": 1,
                })
            ),
            event(
                "Order Completed",
                json!({
                    "total": 84.5, "items": 3, "gift": false, "currency": "EUR", "coupons": ["A", "B"],
                    "plan": "pro", "seats": 5,
                })
            ),
            event(
                "revenue_amount",
                json!({
                    "unit_price": 12.5, "units": 2, "sku": "kettle", "plan": "pro", "seats": 5,
                })
            ),
        ]
    );
    assert_eq!(stream["rejected"], 0, "{stream}");
    assert_eq!(stream["possible_duplicates"], 0, "{stream}");
}

fn event(name: &str, properties: Value) -> Event {
    Event { name: name.to_owned(), properties }
}

/// How often the SDK told its caller each status.
fn codes(outcome: &Value) -> Vec<(u64, usize)> {
    let mut codes = std::collections::BTreeMap::new();
    for result in outcome["results"].as_array().unwrap() {
        *codes.entry(result["code"].as_u64().unwrap()).or_default() += 1;
    }
    codes.into_iter().collect()
}

/// Every value of the event property `product` that Braze holds, sorted.
fn products(lab: &Lab, of: &str) -> Vec<String> {
    let users = lab.braze().users();
    let is_of = |user: &&User| user.external_id.as_deref().is_some_and(|id| id.starts_with(of));
    let mut products: Vec<_> = users
        .iter()
        .filter(is_of)
        .flat_map(|user| user.events_called("Product Viewed"))
        .map(|event| event.properties["product"].as_str().unwrap().to_owned())
        .collect();
    products.sort();
    products
}

/// `0` to `2000` as text, sorted as text.
fn two_thousand_and_one() -> Vec<String> {
    let mut numbers: Vec<_> = (0..=2_000).map(|number| number.to_string()).collect();
    numbers.sort();
    numbers
}
