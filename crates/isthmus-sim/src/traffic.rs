//! What clients upload.

use crate::model::{Fate, Upload};
use crate::scenario::{API_KEY, IGNORED, ORDERED, UID, VIEWED};
use isthmus_core::seam::{Random, SeededRandom};
use serde_json::{Map, Value, json};

/// The event type of an identification in an upload of events.
const IDENTIFY: &str = "$identify";

/// A new upload by some of `users` users; its events take their uids from `next_uid` on.
pub(crate) fn upload(random: &SeededRandom, users: u64, next_uid: &mut u64) -> Upload {
    let (mut events, mut uids) = (Vec::new(), Vec::new());
    for _ in 0..=random.below(8) {
        let uid = format!("e{next_uid}");
        *next_uid += 1;
        let event_type = match random.below(10) {
            0..4 => VIEWED,
            4..7 => ORDERED,
            7 => IGNORED,
            _ => IDENTIFY,
        };
        events.push(event(random, users, event_type, &uid));
        // An identification becomes a change, which does not say what it came from.
        if event_type != IDENTIFY {
            uids.push(uid);
        }
    }
    let body = json!({ "api_key": API_KEY, "events": events }).to_string().into_bytes();
    Upload { body, uids, fate: Fate::Refused }
}

fn event(random: &SeededRandom, users: u64, event_type: &str, uid: &str) -> Value {
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
    put("event_type", event_type.into());
    put("insert_id", uid.into());
    put("event_properties", json!({ UID: uid }));
    if event_type != IDENTIFY && random.below(20) == 0 {
        // Of somebody who never logs in, on a device of their own.
        put("device_id", format!("device-of-nobody-{}", random.below(3)).into());
        return event.into();
    }
    let user = random.below(users);
    put("user_id", format!("user-{user}").into());
    put("device_id", format!("device-{user}").into());
    if matches!(event_type, IDENTIFY | IGNORED) {
        put("user_properties", operations(random, uid));
    }
    event.into()
}

fn operations(random: &SeededRandom, uid: &str) -> Value {
    let seats = random.below(1_000);
    match random.below(6) {
        0 => json!({ "$unset": { "plan": "-" } }),
        1 => json!({ "$set": { "seats": seats } }),
        2 => json!({ "$add": { "seats": 1 } }),
        3 => json!({ "$set": { "other": uid } }),
        4 => json!({ "$set": { "plan": uid, "seats": seats } }),
        _ => json!({ "$set": { "plan": uid } }),
    }
}
