//! A small outdoor shop and its visitors: anonymous visits, sign-ups, carts, orders, upgrades.

use isthmus_core::Timestamp;
use isthmus_core::seam::{Random, SeededRandom};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// The shop's clock moves on by one to this many milliseconds with every event.
pub const STEP_MILLIS_MAX: u64 = 4;

const FIRST_NAMES: [&str; 16] = [
    "Ana", "Bo", "Chidi", "Daniela", "Emre", "Fumiko", "Gloria", "Hugo", "Ines", "Jonas", "Kavya",
    "Liam", "Mei", "Noor", "Olga", "Pedro",
];
const CITIES: [(&str, &str, &str); 8] = [
    ("Lisbon", "Portugal", "pt-PT"),
    ("Osaka", "Japan", "ja-JP"),
    ("Denver", "United States", "en-US"),
    ("Lyon", "France", "fr-FR"),
    ("Pune", "India", "en-IN"),
    ("Graz", "Austria", "de-AT"),
    ("Bergen", "Norway", "nb-NO"),
    ("Cusco", "Peru", "es-PE"),
];
const PRODUCTS: [(&str, &str, f64); 10] = [
    ("tent-2p", "camping", 249.0),
    ("stove-mini", "camping", 54.5),
    ("boots-alta", "footwear", 179.9),
    ("socks-merino", "footwear", 18.0),
    ("rope-60", "climbing", 159.0),
    ("harness-x", "climbing", 74.25),
    ("kayak-paddle", "water", 89.0),
    ("dry-bag-20", "water", 32.0),
    ("headlamp-350", "camping", 45.0),
    ("map-case", "navigation", 12.5),
];
const PLANS: [&str; 3] = ["free", "plus", "pro"];

/// One thing that happens in the shop, as the event that Amplitude's HTTP V2 API takes.
pub type Event = Value;

/// The shop. Iterating gives events without end, in the order they happen.
#[derive(Debug)]
pub struct Shop {
    random: SeededRandom,
    run: u64,
    shoppers: Vec<Shopper>,
    now: Timestamp,
    ready: VecDeque<Event>,
}

#[derive(Debug, Default)]
struct Shopper {
    number: usize,
    signed_up: bool,
    plan: usize,
    session: i64,
    visits: u32,
    events: u64,
    cart: Vec<usize>,
    orders: u32,
}

impl Shop {
    /// A shop with `shoppers` visitors that opens at `start`; `seed` decides everything.
    pub fn new(seed: u64, shoppers: usize, start: Timestamp) -> Self {
        let random = SeededRandom::new(seed);
        let run = random.next_u64();
        let shoppers = (0..shoppers).map(|number| Shopper { number, ..Shopper::default() });
        Self { random, run, shoppers: shoppers.collect(), now: start, ready: VecDeque::new() }
    }

    /// The user id that shopper `number` has once signed up.
    pub fn user_id(number: usize) -> String {
        format!("shopper-{number:04}")
    }

    fn visit(&mut self) {
        let shoppers = self.shoppers.len() as u64;
        let chosen = usize::try_from(self.random.below(shoppers)).unwrap_or(0);
        let Some(mut shopper) = self.shoppers.get_mut(chosen).map(std::mem::take) else { return };
        self.play(&mut shopper);
        if let Some(place) = self.shoppers.get_mut(chosen) {
            *place = shopper;
        }
    }

    fn play(&mut self, shopper: &mut Shopper) {
        shopper.visits += 1;
        shopper.session = self.now.as_millis();
        self.push(shopper, "Page Viewed", json!({ "page": "home", "visit": shopper.visits }));
        for _ in 0..=self.random.below(3) {
            let (product, (id, category, price)) = self.pick(&PRODUCTS);
            let properties = json!({ "product_id": id, "category": category, "price": price });
            self.push(shopper, "Product Viewed", properties.clone());
            if self.random.below(3) == 0 {
                shopper.cart.push(product);
                self.push(shopper, "Product Added", properties);
            }
        }
        if !shopper.signed_up && self.random.below(2) == 0 {
            self.sign_up(shopper);
        }
        if shopper.signed_up && !shopper.cart.is_empty() && self.random.below(3) != 0 {
            self.order(shopper);
        }
        if shopper.signed_up && shopper.plan + 1 < PLANS.len() && self.random.below(6) == 0 {
            shopper.plan += 1;
            let plan = PLANS.get(shopper.plan).copied().unwrap_or("free");
            let change = json!({ "$set": { "plan": plan, "seats": shopper.plan * 5 } });
            self.identify(shopper, change);
            self.push(shopper, "Plan Upgraded", json!({ "plan": plan }));
        }
    }

    fn sign_up(&mut self, shopper: &mut Shopper) {
        shopper.signed_up = true;
        let first_name =
            FIRST_NAMES.get(shopper.number % FIRST_NAMES.len()).copied().unwrap_or("Ana");
        let email = format!("{}.{}@example.test", first_name.to_lowercase(), shopper.number);
        self.push(shopper, "Signed Up", json!({ "method": "email" }));
        let set = json!({
            "$set": { "first_name": first_name, "email": email, "plan": "free", "seats": 1 },
            "$setOnce": { "signed_up_at": self.now.to_string() },
        });
        self.identify(shopper, set);
    }

    fn order(&mut self, shopper: &mut Shopper) {
        shopper.orders += 1;
        let items: Vec<_> =
            shopper.cart.drain(..).filter_map(|product| PRODUCTS.get(product)).collect();
        let total: f64 = items.iter().map(|(_, _, price)| price).sum();
        let mut categories: Vec<_> = items.iter().map(|(_, category, _)| *category).collect();
        categories.sort_unstable();
        categories.dedup();
        let order_id = format!("o-{:04}-{}", shopper.number, shopper.orders);
        let properties = json!({
            "order_id": order_id,
            "total": total,
            "currency": "EUR",
            "items": items.len(),
            "categories": categories,
            "coupon": null,
        });
        self.push(shopper, "Order Completed", properties);
        let change = json!({
            "$add": { "orders": 1, "spent": total },
            "$postInsert": { "categories": categories },
            "$set": { "last_order_id": order_id },
        });
        self.identify(shopper, change);
    }

    fn identify(&mut self, shopper: &mut Shopper, operations: Value) {
        let mut event = self.event(shopper, "$identify");
        insert(&mut event, "user_properties", operations);
        self.ready.push_back(event);
    }

    fn push(&mut self, shopper: &mut Shopper, event_type: &str, properties: Value) {
        let mut event = self.event(shopper, event_type);
        insert(&mut event, "event_properties", properties);
        self.ready.push_back(event);
    }

    fn event(&mut self, shopper: &mut Shopper, event_type: &str) -> Event {
        self.now = self.now.plus(Duration::from_millis(1 + self.random.below(STEP_MILLIS_MAX)));
        shopper.events += 1;
        let (city, country, language) =
            CITIES.get(shopper.number % CITIES.len()).copied().unwrap_or(("", "", ""));
        let mut event = json!({
            "event_type": event_type,
            "device_id": format!("device-{:016x}-{}", self.run, shopper.number),
            "time": self.now.as_millis(),
            "session_id": shopper.session,
            "event_id": shopper.events,
            "insert_id": self.random.uuid().to_string(),
            "platform": if shopper.number.is_multiple_of(3) { "iOS" } else { "Web" },
            "app_version": "4.2.0",
            "city": city,
            "country": country,
            "language": language,
            "library": "isthmus-demo/1.0",
            "ip": "$remote",
        });
        if shopper.signed_up {
            insert(&mut event, "user_id", Value::from(Self::user_id(shopper.number)));
        }
        event
    }

    fn pick<T: Copy>(&self, from: &[T]) -> (usize, T) {
        let chosen = usize::try_from(self.random.below(from.len() as u64)).unwrap_or(0);
        (chosen, *from.get(chosen).expect("the shop's lists are not empty"))
    }
}

impl Iterator for Shop {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.shoppers.is_empty() {
            return None;
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.visit();
        }
    }
}

fn insert(event: &mut Event, name: &str, value: Value) {
    if let Some(fields) = event.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// The body of an HTTP V2 upload.
pub fn upload_body(api_key: &str, events: &[Event]) -> String {
    json!({ "api_key": api_key, "events": events, "options": {} }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_repeats_the_shop_and_everything_happens_in_it() {
        let start = Timestamp::from_millis(1_770_000_000_000);
        let take = |seed| Shop::new(seed, 50, start).take(5_000).collect::<Vec<_>>();
        let events = take(1);
        assert_eq!(events, take(1));
        assert_ne!(events, take(2));
        let kinds: BTreeSet<_> = events.iter().filter_map(|e| e["event_type"].as_str()).collect();
        let expected = [
            "$identify",
            "Order Completed",
            "Page Viewed",
            "Plan Upgraded",
            "Product Added",
            "Product Viewed",
            "Signed Up",
        ];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
        let ids: BTreeSet<_> = events.iter().map(|e| e["insert_id"].as_str()).collect();
        assert_eq!(ids.len(), events.len());
    }
}
