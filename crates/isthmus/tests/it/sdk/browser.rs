//! `@amplitude/analytics-browser` in headless Chromium, on a page of another origin.

use super::{event, user_with};
use crate::harness::clients::{chromium, node};
use crate::harness::lab::{API_KEY, Lab};
use serde_json::{Value, json};

#[test]
fn browser_sdk_reaches_braze_by_fetch_xhr_gzip_and_beacon() {
    let lab = Lab::shop();
    let url = lab.server().url("/2/httpapi");
    let settings =
        [("ISTHMUS_URL", url.as_str()), ("ISTHMUS_API_KEY", API_KEY), ("CHROMIUM", &chromium())];
    let outcome = node("browser.mjs", "full", &settings);

    for way in ["fetch", "gzip", "xhr", "captured"] {
        for result in outcome["results"][way].as_array().unwrap() {
            assert_eq!(result["code"], 200, "{way}: {result}");
        }
    }
    let wrong_key = json!({ "code": 400, "message": "Invalid API key: no-such-key" });
    assert_eq!(outcome["results"]["wrong_key"], wrong_key, "an answer that the page may read");
    let by_page = |page: &str| -> Vec<&Value> {
        let uploads = outcome["uploads"].as_array().unwrap();
        uploads.iter().filter(|upload| upload["page"] == page).collect()
    };
    assert_eq!(by_page("/gzip")[0]["content_encoding"], "gzip");
    assert_eq!(by_page("/xhr")[0]["type"], "xhr");
    assert_eq!(by_page("/wrong-key").len(), 1, "a wrong key is not tried again");

    // The beacon leaves with its page, and nobody waits for it.
    let left = user_with(&lab, "browser-user-2", |user| !user.events.is_empty());
    lab.settle();
    assert_eq!(left.events, [event("Product Viewed", json!({ "product": "beacon" }))]);

    let shopper = lab.braze().user("browser-user-1").unwrap();
    assert_eq!(
        Value::Object(shopper.attributes),
        json!({ "plan": "pro", "seats": 5, "tags": ["new", "vip"], "company": "Acme" })
    );
    assert_eq!(
        shopper.events,
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
                    "total": 84.5, "items": 3, "gift": false, "coupons": ["A", "B"], "note": "多言語 ✓",
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

    for (user, product) in [("browser-user-3", "gzip"), ("browser-user-4", "xhr")] {
        let user = lab.braze().user(user).unwrap();
        assert_eq!(user.events, [event("Product Viewed", json!({ "product": product }))]);
    }

    let captured = lab.braze().user("browser-user-5").unwrap();
    for name in ["session_start", "[Amplitude] Page Viewed", "Product Viewed"] {
        assert_eq!(captured.events_called(name).count(), 1, "{name}: {captured:?}");
    }
    assert!(lab.braze().user("browser-user-6").is_none());
}
