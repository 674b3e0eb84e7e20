//! What Braze's connector to Amplitude does, for every event type at once.

use crate::container::{CODECS, Codec};
use crate::events::{posted, read_posted, read_stored, stored, upload};
use crate::golden::lacking;
use isthmus_braze::currents::catalogue::{self, EventType};
use isthmus_braze::currents::{Export, Form, Received, appear};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every type in both forms, with what Amplitude is shown.
fn all() -> Vec<(&'static EventType, Received<'static>, Value)> {
    let mut all = Vec::new();
    for about in catalogue::all() {
        let of_file = read_stored(about, &stored(about), Codec::Null);
        for event in posted(about).as_ref().map(read_posted).into_iter().chain([of_file]) {
            let shown = upload(&event, &Form::default());
            all.push((about, event, shown));
        }
    }
    assert_eq!(all.len(), 111 + 110);
    all
}

fn property_names(shown: &Value) -> BTreeSet<&str> {
    let properties = shown["event_properties"].as_object().expect("an object");
    properties.keys().map(String::as_str).collect()
}

#[test]
fn exactly_the_documented_properties_are_shown() {
    for about in catalogue::all() {
        let Some(event) = posted(about) else { continue };
        let shown = upload(&read_posted(&event), &Form::default());
        let mut expected: BTreeSet<&str> =
            about.event_properties.iter().map(String::as_str).collect();
        let of_user = event["user"].as_object().expect("an object");
        if !of_user.contains_key("timezone") {
            expected.remove("timezone");
        }
        let own = ["plan", "seats", "tags", "deep"];
        let prefix = match about.own_properties.as_deref() {
            Some("custom_properties") => Some("[Custom event property] "),
            Some(_) => Some("[Purchase property] "),
            None => None,
        };
        let own: Vec<String> =
            prefix.iter().flat_map(|prefix| own.map(|name| format!("{prefix}{name}"))).collect();
        expected.extend(own.iter().map(String::as_str));
        // Types that Amplitude is never told have no list.
        if about.label.is_some() || about.named_by.is_some() {
            assert_eq!(property_names(&shown), expected, "{}", about.event_type);
        }
    }
}

#[test]
fn a_content_card_is_a_card() {
    let mut cards = 0;
    for (about, _, shown) in all() {
        let names = property_names(&shown);
        assert!(!names.contains("content_card_id"), "{}", about.event_type);
        cards += usize::from(names.contains("card_id"));
    }
    // Four of Content Cards, two of in-app messages, three of the retired News Feed; in both forms.
    assert_eq!(cards, 2 * 9);
}

#[test]
fn price_and_product_stand_beside_the_properties_and_the_currency_among_them() {
    for (about, _, shown) in all() {
        let names = property_names(&shown);
        assert!(!names.contains("price") && !names.contains("product_id"), "{}", about.event_type);
        assert!(!names.contains("productId"), "{}", about.event_type);
        assert_eq!(shown.get("currency"), None, "{}", about.event_type);
        let is_purchase = about.event_type == "users.behaviors.Purchase";
        assert_eq!(names.contains("currency"), is_purchase, "{}", about.event_type);
        assert_eq!(shown.get("price").is_some(), is_purchase, "{}", about.event_type);
        for absent in ["quantity", "revenue", "revenueType", "platform", "user_properties"] {
            assert_eq!(shown.get(absent), None, "{}: {absent}", about.event_type);
        }
    }
}

#[test]
fn brazes_own_user_id_is_shown_nowhere() {
    for (about, event, shown) in all() {
        let is_about_nobody = event.user_id.is_none();
        assert!(
            is_about_nobody || event.user_id.as_deref() == Some("the user_id"),
            "{}",
            about.event_type
        );
        assert!(!shown.to_string().contains("the user_id"), "{}", about.event_type);
        assert_ne!(shown.get("user_id"), Some(&json!("the user_id")), "{}", about.event_type);
    }
}

/// What files lack, from the list of differences between the forms.
fn documented_lack(event_type: &str) -> BTreeSet<String> {
    let has_no_device = [
        "behaviors.InstallAttribution",
        "behaviors.subscriptiongroup.StateChange",
        "campaigns.Conversion",
        "campaigns.EnrollInControl",
        "canvas.Entry",
        "canvas.Conversion",
        "messages.email.Send",
        "messages.email.Delivery",
        "messages.email.Open",
        "messages.email.Click",
        "messages.email.Bounce",
        "messages.email.SoftBounce",
        "messages.email.MarkAsSpam",
        "messages.email.Unsubscribe",
        "messages.sms.Send",
        "messages.sms.CarrierSend",
        "messages.sms.Delivery",
        "messages.sms.DeliveryFailure",
        "messages.sms.Rejection",
        "messages.sms.ShortLinkClick",
        "messages.webhook.Send",
    ];
    let has_no_dispatch = [
        "campaigns.Conversion",
        "campaigns.EnrollInControl",
        "messages.contentcard.Send",
        "messages.contentcard.Impression",
        "messages.contentcard.Click",
        "messages.contentcard.Dismiss",
        "messages.inappmessage.Impression",
        "messages.inappmessage.Click",
    ];
    let name = event_type.strip_prefix("users.").unwrap_or(event_type);
    let mut lack = BTreeSet::new();
    let mut property = |name: &str| lack.extend([format!("event_properties.{name}")]);
    if has_no_dispatch.contains(&name) {
        property("dispatch_id");
    }
    match name {
        "behaviors.subscription.GlobalStateChange" => property("message_variation_name"),
        "messages.pushnotification.IosForeground" => {
            property("os_version");
            property("device_model");
        }
        "messages.whatsapp.Send" => property("canvas_variation_name"),
        _ => {}
    }
    if has_no_device.contains(&name) {
        lack.insert("device_id".to_owned());
    }
    lack
}

#[test]
fn both_forms_show_the_same_but_for_what_files_lack() {
    for about in catalogue::all() {
        let Some(event) = posted(about) else { continue };
        let form = Form::default();
        let posted = upload(&read_posted(&event), &form);
        let record = stored(about);
        for codec in CODECS {
            let stored = upload(&read_stored(about, &record, codec), &form);
            let lacking = lacking(&posted, &stored);
            assert_eq!(lacking, documented_lack(&about.event_type), "{}", about.event_type);
        }
    }
}

#[test]
fn repeating_an_event_shows_the_same_event() {
    for (about, event, shown) in all() {
        assert_eq!(upload(&event, &Form::default()), shown, "{}", about.event_type);
        assert_eq!(shown["insert_id"], json!(format!("id of {}", about.event_type)));
        assert_eq!(shown["time"], json!(1_767_258_000_000_i64));
        assert_eq!(shown["library"], json!("Braze"));
    }
}

#[test]
fn an_event_of_nobody_is_not_exported() {
    for (about, mut event, _) in all() {
        event.external_user_id = None;
        event.device_id = None;
        let export = appear(&event, &Form::default()).export;
        assert!(matches!(export, Export::No { .. }), "{}", about.event_type);
    }
}

#[test]
fn a_number_of_32_bits_stays_what_people_wrote() {
    let purchase = catalogue::find("users.behaviors.Purchase").expect("known");
    for (number, written) in
        [(3.14, "3.14"), (19.99, "19.99"), (0.1, "0.1"), (-5.0, "-5"), (16_777_216.0, "16777216")]
    {
        let mut record = stored(purchase);
        record["price"] = json!(number);
        let event = read_stored(purchase, &record, Codec::Null);
        let beside = appear(&event, &Form::default()).top_level;
        assert!(beside.contains(&format!("\"price\":{written},")), "{beside}");
    }
}

#[test]
fn unknown_types_and_fields_are_never_refused() {
    for about in catalogue::all() {
        let Some(mut event) = posted(about) else { continue };
        event["properties"]["new_field"] = json!({"a": [1]});
        event["user"]["new_id"] = json!("x");
        event["new"] = json!(true);
        let event = read_posted(&event);
        let shown = upload(&event, &Form::default());
        assert_eq!(
            shown["event_properties"]["new_field"],
            json!({"a": [1]}),
            "{}",
            about.event_type
        );
        let other = event.other.as_deref().expect("kept");
        assert_eq!(other, r#"{"new":true,"user":{"new_id":"x"}}"#, "{}", about.event_type);
    }
    let unknown =
        json!({"event_type": "users.Whatever", "id": "a", "time": 1, "user": {"device_id": "d"}});
    let event = read_posted(&unknown);
    assert_eq!(appear(&event, &Form::default()).export, Export::Expected);
}
