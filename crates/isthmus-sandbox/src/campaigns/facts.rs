//! What events say about a message besides its user.

use super::engagement::What;
use crate::currents::Exporter;
use serde_json::{Map, Value, json};

/// Longest `abort_log`, in characters.
const ABORT_LOG_MAX: usize = 128;
const USER_AGENT: &str =
    "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15";

/// Which campaign, and which transmission of it.
pub(super) fn of_campaign(
    facts: &mut Map<String, Value>,
    exporter: &Exporter<'_>,
    name: &str,
    dispatch_id: &str,
) {
    let id = |what| exporter.api_id(what, name);
    facts.extend(members(json!({
        "campaign_id": id("campaign"),
        "campaign_name": name,
        "message_variation_id": id("variation"),
        "message_variation_name": "Variant 1",
        "dispatch_id": dispatch_id,
        "content_card_id": id("card"),
        "card_id": id("card"),
    })));
}

/// What happened. Each type takes of it what it has a field for.
pub(super) fn of(facts: &mut Map<String, Value>, what: What) {
    facts.extend(members(json!({
        "ip_pool": "default",
        "from_domain": "mail.example.test",
        "esp": "SparkPost",
    })));
    facts.extend(members(match what {
        What::Sent => json!({}),
        What::Carried => json!({"from_phone_number": "+15005550006"}),
        What::Delivered => json!({
            "sending_ip": "192.0.2.10", "from_phone_number": "+15005550006", "is_sms_fallback": false,
        }),
        What::Bounced => json!({
            "sending_ip": "192.0.2.10", "bounce_reason": "550 5.1.1 no such user", "is_drop": false,
            "error": "unreachable", "provider_error_code": "30003",
            "http_status_code": 500, "webhook_failure_source": "endpoint", "is_terminal": true,
            "endpoint_url": "https://hooks.example.test/braze", "host": "hooks.example.test",
            "url_path": "/braze", "retry_count": 0, "webhook_duration": 120,
        }),
        What::SoftBounced => json!({
            "sending_ip": "192.0.2.10", "bounce_reason": "452 4.2.2 mailbox full",
        }),
        What::MachineOpened => json!({"machine_open": "true", "user_agent": "Mozilla/5.0"}),
        What::Opened => json!({"user_agent": USER_AGENT, "is_amp": false, "is_unique": true}),
        What::Clicked => json!({
            "user_agent": USER_AGENT, "is_amp": false, "is_unique": true,
            "url": "https://shop.example.test/offer", "link_id": "offer", "link_alias": "offer",
            "short_url": "https://brz.example.test/offer", "is_suspected_bot_click": false,
            "button_id": "0",
        }),
        What::Unsubscribed => json!({
            "subscription_status": "Unsubscribed", "state_change_source": "List-Unsubscribe",
        }),
    }));
}

/// Why a message gave up on itself.
pub(super) fn of_abort(facts: &mut Map<String, Value>, reason: &str) {
    facts.extend(members(json!({
        "abort_type": "liquid_abort_message",
        "abort_log": reason.chars().take(ABORT_LOG_MAX).collect::<String>(),
        "ip_pool": "default",
        "version": "triggered",
    })));
}

fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaigns::definition::Channel;
    use crate::campaigns::engagement::abort_type;
    use crate::currents::{Event, Kind};
    use crate::model::User;
    use isthmus_core::Timestamp;
    use isthmus_core::seam::SeededRandom;

    const CHANNELS: [Channel; 6] = [
        Channel::Email,
        Channel::Push,
        Channel::Sms,
        Channel::InAppMessage,
        Channel::ContentCard,
        Channel::Webhook,
    ];
    const WHATS: [What; 9] = [
        What::Sent,
        What::Carried,
        What::Delivered,
        What::Bounced,
        What::SoftBounced,
        What::MachineOpened,
        What::Opened,
        What::Clicked,
        What::Unsubscribed,
    ];

    /// An event about a user who can be reached.
    fn event(name: &str, add: impl FnOnce(&mut Map<String, Value>)) -> Event {
        let random = SeededRandom::new(1);
        let exporter = Exporter { workspace: "default", random: &random };
        let mut user = User { braze_id: "b".to_owned(), ..User::default() };
        user.standard.insert("email".to_owned(), "u@example.test".into());
        let mut known = exporter.facts(&user);
        of_campaign(&mut known, &exporter, "Hi", "d");
        add(&mut known);
        let kind = Kind::of(name).expect("in the catalogue");
        exporter.event(kind, Timestamp::default(), &known)
    }

    #[test]
    fn events_have_what_their_types_require() {
        let mut checked = 0;
        for channel in CHANNELS {
            for what in WHATS {
                let Some(name) = what.event_type(channel) else { continue };
                let event = event(name, |known| of(known, what));
                assert_eq!(event.missing(), Vec::<&str>::new(), "{name}");
                checked += 1;
            }
            let name = abort_type(channel);
            let event = event(name, |known| of_abort(known, "no reason"));
            assert_eq!(event.missing(), Vec::<&str>::new(), "{name}");
        }
        assert_eq!(checked, 23);
    }

    #[test]
    fn only_machines_open_like_machines() {
        let open = |what| event("users.messages.email.Open", |known| of(known, what)).to_http();
        assert_eq!(open(What::MachineOpened)["properties"]["machine_open"], json!("true"));
        assert!(open(What::Opened)["properties"].get("machine_open").is_none());
    }
}
