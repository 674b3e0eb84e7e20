//! The demo, as somebody runs it who sees isthmus for the first time.

use crate::harness::process::ended;

#[test]
fn the_demo_shows_users_who_came_as_visitors_and_a_message_with_what_is_known_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--exit", "--events", "3000", "--shoppers", "40"];
    let ended = ended(folder.path(), &arguments);
    assert!(ended.status.success(), "{}", ended.stderr);
    let shown = ended.stdout;
    let after = |text: &str| {
        let found = shown.split_once(text);
        found.unwrap_or_else(|| panic!("no `{text}` in {shown}")).1
    };
    // The key is in a header, where logs of URLs do not have it.
    let message = after("A message that asks isthmus about its reader");
    assert!(message.contains(r#":headers {"Authorization": "Api-Key "#), "{message}");
    // What visitors did is theirs once they have signed up.
    let users = after("users as Braze sees them");
    assert!(users.contains(r#""alias_label": "visitor""#), "{users}");
    // City and country are no attributes at Braze: they come from the profile.
    let first = after("shopper-0000 reads (profile: 200 after");
    assert!(first.contains("Hello Ana, you are on the "), "{first}");
    assert!(first.contains(" Lisbon, Portugal"), "{first}");
    let second = after("shopper-0001 reads (profile: 200 after");
    assert!(second.contains("Hello Bo, you are on the "), "{second}");
    assert!(second.contains(" Osaka, Japan"), "{second}");
    let attributes = users.split_once("A message").unwrap().0;
    assert!(!attributes.contains("Portugal") && !attributes.contains("last_order"), "{attributes}");
}
