//! The demo, as somebody runs it who sees isthmus for the first time.

use crate::harness::process::ended;

#[test]
fn the_demo_shows_users_as_braze_sees_them_a_message_and_what_came_of_messages() {
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
    // What people did with the thanks of Braze is in Amplitude, as often as somebody did it.
    let amplitude = after("stored in Amplitude");
    let stored = |name: &str| -> (u64, u64) {
        let line = amplitude.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no `{name}` in {amplitude}"));
        let mut numbers = line.rsplit(' ').filter_map(|word| word.parse().ok());
        let one = numbers.next().unwrap();
        (numbers.next().unwrap(), one)
    };
    let (sent, delivered) = (stored("[Appboy] Email Send"), stored("[Appboy] Email Delivery"));
    assert_eq!(sent, delivered);
    let (opened, shop) = (stored("[Appboy] Email Open"), stored("the shop's own events"));
    assert!(0 < opened.0 && opened.0 < sent.0, "{opened:?} of {sent:?}");
    assert!(0 < sent.1 && sent.1 < shop.1, "{sent:?}, {shop:?}");
    assert!(shop.1 < shop.0 && sent.1 < sent.0, "{sent:?}, {shop:?}");
    // What isthmus told Braze came back too, and stayed.
    let (repeated, rest) = after("events that Braze told, ").split_once(" only repeated").unwrap();
    assert!(repeated.parse::<u64>().unwrap() >= sent.0, "an order is told to Braze: {repeated}");
    assert!(rest.contains("Braze. 0 of them went on to Amplitude."), "{rest}");
}
