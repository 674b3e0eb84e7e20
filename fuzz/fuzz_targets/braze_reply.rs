//! Braze's replies: whatever status and body come back, every delivery gets exactly one verdict.
//!
//! The first two bytes are the status, the third says how many deliveries there were, and of which
//! call.

#![no_main]

use isthmus_braze::Braze;
use isthmus_braze::export::Person;
use isthmus_config::Spec;
use isthmus_config::resource::DestinationSettings;
use isthmus_core::destination::{Delivery, Destination, Guarantee, Lane, Message, Section};
use isthmus_core::seam::Reply;
use isthmus_core::{Place, Timestamp};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static BRAZE: LazyLock<Braze> = LazyLock::new(|| {
    let text =
        "{kind: destination, name: b, type: braze, endpoint: http://127.0.0.1:1, rest_key: k}";
    let mut resources = isthmus_config::parse_resources(text, "fuzz").expect("a good resource");
    let Some(Spec::Destination(destination)) = resources.pop().map(|each| each.spec) else {
        panic!("a destination was written");
    };
    let DestinationSettings::Braze(settings) = destination.settings;
    Braze::build(&settings, "k").expect("a good destination")
});

fuzz_target!(|input: &[u8]| {
    let [high, low, count, body @ ..] = input else { return };
    let of_call = |index| delivery(index, *count / 80);
    let batch: Vec<Delivery> = (0..u32::from(*count % 80)).map(of_call).collect();
    let reply = Reply {
        status: u16::from_be_bytes([*high, *low]) % 1_000,
        headers: http::HeaderMap::new(),
        body: body.to_vec().into(),
        received_at: Timestamp::from_millis(0),
    };
    assert_eq!(BRAZE.judge(&batch, &reply).len(), batch.len());
    let _ = BRAZE.budget(&reply);
    drop(BRAZE.judge_probe(&reply));
    let asked = ["u", "v"].map(|id| Person::ExternalId(id.to_owned()));
    if let Ok(exported) = BRAZE.judge_export(&asked, &reply) {
        let told = exported.known.len() + exported.unknown.len() + exported.unclear.len();
        assert_eq!(told, asked.len());
    }
});

fn delivery(index: u32, call: u8) -> Delivery {
    let user = index / 3;
    Delivery {
        stream: "s".into(),
        place: Place { offset: 0, index },
        part: 0,
        accepted_at: Timestamp::from_millis(0),
        message: Message {
            lane: Lane::of(&format!("external_id:{user}")),
            section: match call {
                0 => Section(u8::try_from(index % 3).unwrap_or(0)),
                call => Section(call << 4),
            },
            name: "n".to_owned(),
            payload: format!("{{\"external_id\":\"{user}\",\"a\":{index}}}"),
            guarantee: Guarantee::AtLeastOnce,
            after: None,
        },
    }
}
