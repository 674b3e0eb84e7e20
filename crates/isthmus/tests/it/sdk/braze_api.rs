//! `braze-api`, the community's Braze client, against the emulator: what it believes to be Braze.

use crate::harness::clients::node;
use crate::harness::process::Process;
use serde_json::{Value, json};

#[test]
fn braze_client_tracks_aliases_identifies_exports_merges_and_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Process::start(folder.path(), "sandbox", &["--apply-delay", "0ms"]);
    let settings = [("ISTHMUS_URL", sandbox.url("")), ("ISTHMUS_API_KEY", "any-key".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let outcome = node("braze.mjs", "full", &settings);
    let step = |name: &str| &outcome["steps"][name];
    let ok = |name: &str| &step(name)["ok"];

    assert_eq!(ok("track")["message"], "success", "{}", step("track"));
    assert_eq!(ok("track")["attributes_processed"], 2);
    assert_eq!(ok("track")["events_processed"], 2);
    assert_eq!(ok("track")["purchases_processed"], 1);
    assert_eq!(ok("track_bulk_header")["attributes_processed"], 1, "{}", step("track_bulk_header"));

    let partial = ok("track_partial");
    assert_eq!(partial["message"], "success", "{}", step("track_partial"));
    assert_eq!(partial["events_processed"], 1);
    assert_eq!(partial["errors"][0]["input_array"], "events");
    assert_eq!(partial["errors"][0]["index"], 1);
    let nothing = step("track_nothing_valid");
    assert_eq!(nothing["status"], 400, "{nothing}");
    assert_eq!(
        nothing["message"],
        "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
    );

    for name in ["alias_new", "track_alias", "identify", "merge"] {
        assert_eq!(ok(name)["message"], "success", "{name}: {}", step(name));
    }

    let export = ok("export");
    assert_eq!(export["invalid_user_ids"], json!(["nobody"]), "{}", step("export"));
    let first = user(export, "api-1");
    assert_eq!(first["first_name"], "Ada");
    assert_eq!(
        first["custom_attributes"],
        json!({ "plan": "pro", "seats": 5, "beta": true, "tags": ["a", "b"], "home": { "city": "Kyoto" } })
    );
    assert_eq!(first["custom_events"][0]["name"], "Order Completed");
    assert_eq!(first["custom_events"][0]["count"], 2);
    assert_eq!(first["purchases"][0]["name"], "kettle");
    assert_eq!(first["purchases"][0]["count"], 2);
    let third = user(export, "api-3");
    assert_eq!(third["custom_attributes"], json!({ "visits": 3 }), "the alias became this user");
    assert_eq!(third["user_aliases"], json!([{ "alias_name": "visitor-1", "alias_label": "web" }]));

    let merged = user(ok("export_merged"), "api-1");
    assert_eq!(merged["custom_attributes"]["plan"], "pro", "the kept user's value stays");
    let events: Vec<_> =
        merged["custom_events"].as_array().unwrap().iter().map(|e| &e["name"]).collect();
    assert!(events.contains(&&json!("Trial Started")), "{events:?}");

    assert_eq!(ok("delete")["deleted"], 1, "{}", step("delete"));
    assert_eq!(ok("export_deleted")["invalid_user_ids"], json!(["api-3"]));
}

fn user<'a>(export: &'a Value, external_id: &str) -> &'a Value {
    let users = export["users"].as_array().unwrap();
    users.iter().find(|user| user["external_id"] == external_id).unwrap()
}
