//! Uploads in bulk: bodies of a known size, cheap enough to make that a load generator on the same
//! machine takes little from what it measures.

use isthmus_core::Timestamp;
use isthmus_core::seam::{Random, SeededRandom};
use std::fmt::Write;

/// Makes upload bodies of events of about 800 bytes, each with its own insert id.
#[derive(Debug)]
pub struct Bulk {
    random: SeededRandom,
    users: u64,
    api_key: String,
}

impl Bulk {
    /// Bodies for `api_key` with events of `users` users; `seed` decides everything.
    pub fn new(seed: u64, users: u64, api_key: &str) -> Self {
        Self { random: SeededRandom::new(seed), users, api_key: api_key.to_owned() }
    }

    /// A body with `count` events stamped `now`.
    pub fn body(&self, count: usize, now: Timestamp) -> String {
        self.body_of(count, |out| self.event(out, now))
    }

    /// A body with `count` sign-ups stamped `now`, each of which sets the properties of its user.
    pub fn sign_ups(&self, count: usize, now: Timestamp) -> String {
        self.body_of(count, |out| self.sign_up(out, now))
    }

    fn body_of(&self, count: usize, event: impl Fn(&mut String)) -> String {
        let mut body = String::with_capacity(count * 840 + 100);
        push(&mut body, format_args!("{{\"api_key\":\"{}\",\"events\":[", self.api_key));
        for number in 0..count {
            if number > 0 {
                body.push(',');
            }
            event(&mut body);
        }
        body.push_str("]}");
        body
    }

    /// One event of about 800 bytes: 12 event properties of every type, the usual fields.
    pub fn event(&self, out: &mut String, now: Timestamp) {
        const NAMES: [&str; 8] = [
            "Order Completed",
            "Product Viewed",
            "Product Added",
            "Page Viewed",
            "Search Performed",
            "Checkout Started",
            "Signed Up",
            "Page Viewed",
        ];
        let user = self.random.below(self.users);
        let (bits, more) = (self.random.next_u64(), self.random.next_u64());
        let name = NAMES.get(usize::try_from(bits % 8).unwrap_or(0)).copied().unwrap_or("Viewed");
        let millis = now.as_millis();
        push(
            out,
            format_args!(
                "{{\"event_type\":\"{name}\",\"user_id\":\"user-{user:08}\",\"device_id\":\"2f9c1b6a-77de-4e0e-9a41-{user:012x}\",\
             \"time\":{millis},\"session_id\":{session},\"event_id\":{event_id},\"insert_id\":\"{bits:016x}-{more:016x}\",\
             \"platform\":\"Web\",\"os_name\":\"Chrome\",\"os_version\":\"137\",\"device_model\":\"Mac\",\"language\":\"en-US\",\
             \"country\":\"United States\",\"city\":\"Denver\",\"ip\":\"$remote\",\"library\":\"amplitude-ts/2.33.1\",\
             \"event_properties\":{{\"order_id\":\"ord-{bits:016x}\",\"total\":{total}.25,\"currency\":\"EUR\",\"items\":{items},\
             \"first_order\":{first},\"categories\":[\"camping\",\"water\",\"climbing\"],\"page_title\":\"Two-person tents for every season\",\
             \"page_url\":\"https://shop.example.test/camping/tents/two-person?sort=price\",\"referrer\":\"https://search.example.test/\",\
             \"experiment\":{{\"name\":\"checkout-v2\",\"variant\":\"b\"}},\"coupon\":null,\"rating\":4.5}}}}",
                session = millis - 60_000,
                event_id = more % 1_000,
                total = bits % 500,
                items = 1 + bits % 7,
                first = bits.is_multiple_of(2),
            ),
        );
    }

    /// One event of about 520 bytes: eight user properties of every type, the usual fields.
    fn sign_up(&self, out: &mut String, now: Timestamp) {
        const PLANS: [&str; 4] = ["free", "plus", "pro", "team"];
        let user = self.random.below(self.users);
        let (bits, more) = (self.random.next_u64(), self.random.next_u64());
        let plan = PLANS.get(usize::try_from(bits % 4).unwrap_or(0)).copied().unwrap_or("free");
        let millis = now.as_millis();
        push(
            out,
            format_args!(
                "{{\"event_type\":\"Signed Up\",\"user_id\":\"user-{user:08}\",\"device_id\":\"2f9c1b6a-77de-4e0e-9a41-{user:012x}\",\
             \"time\":{millis},\"insert_id\":\"{bits:016x}-{more:016x}\",\"platform\":\"Web\",\"language\":\"en-US\",\
             \"country\":\"United States\",\"city\":\"Denver\",\"library\":\"amplitude-ts/2.33.1\",\
             \"user_properties\":{{\"plan\":\"{plan}\",\"lifetime_value\":{value}.75,\"orders\":{orders},\"newsletter\":{newsletter},\
             \"favourite_categories\":[\"camping\",\"water\"],\"signed_up_at\":\"2026-03-26T18:12:00Z\",\
             \"referrer\":\"https://search.example.test/\",\"cart\":\"{more:016x}\"}}}}",
                value = bits % 900,
                orders = more % 40,
                newsletter = bits.is_multiple_of(3),
            ),
        );
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_valid_and_about_800_bytes() {
        let bulk = Bulk::new(1, 1_000, "key");
        let body = bulk.body(100, Timestamp::from_millis(1_770_000_000_000));
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["events"].as_array().map(Vec::len), Some(100));
        assert!((780..860).contains(&(body.len() / 100)), "{} bytes an event", body.len() / 100);
    }

    #[test]
    fn sign_ups_set_eight_properties() {
        let bulk = Bulk::new(1, 1_000, "key");
        let body = bulk.sign_ups(100, Timestamp::from_millis(1_770_000_000_000));
        let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
        let events = parsed["events"].as_array().unwrap();
        assert_eq!(events.len(), 100);
        assert!(
            events.iter().all(|event| event["user_properties"].as_object().unwrap().len() == 8)
        );
        assert!((480..560).contains(&(body.len() / 100)), "{} bytes an event", body.len() / 100);
    }
}
