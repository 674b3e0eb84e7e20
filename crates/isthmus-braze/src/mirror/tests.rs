use super::*;
use isthmus_core::destination::{Guarantee, Lane, Section, Values};
use isthmus_core::{Place, Timestamp};

fn message(payload: &str) -> Message {
    Message {
        lane: Lane(1),
        section: ATTRIBUTES,
        name: "user update".to_owned(),
        payload: payload.to_owned(),
        guarantee: Guarantee::AtLeastOnce,
        after: None,
    }
}

/// An attributes object of ana with these members.
fn of_ana(members: &str) -> Message {
    let comma = if members.is_empty() { "" } else { "," };
    message(&format!(r#"{{"external_id":"ana"{comma}{members}}}"#))
}

/// Ana, once Braze took an object with these members.
fn ana(members: &str) -> Told {
    retold(None, &[(&of_ana(members), Answered::Accepted)]).expect("it creates her")
}

/// What is sent of each object, one per line; nothing where it says nothing new.
fn sent(told: Option<&Told>, run: &[Message]) -> String {
    let differences = differences(&run.iter().collect::<Vec<_>>(), told);
    let sent = run.iter().zip(differences).map(|(message, difference)| match difference {
        Difference::Whole => message.payload.clone(),
        Difference::Part { payload, .. } => payload,
        Difference::Nothing { .. } => String::new(),
    });
    sent.collect::<Vec<_>>().join("\n").replace(r#"{"external_id":"ana""#, "{ana")
}

/// What is sent of an object with these members to whom was told `told`.
fn then(told: &str, members: &str) -> String {
    sent(Some(&ana(told)), &[of_ana(members)])
}

#[test]
fn only_what_differs_is_sent() {
    let told = r#""plan":"pro","seats":3,"city":"Ulm""#;
    assert_eq!(then(told, r#""plan":"pro","seats":3"#), "");
    assert_eq!(then(told, r#""plan":"pro","seats":4,"age":1"#), r#"{ana,"seats":4,"age":1}"#);
    assert_eq!(then(told, r#""seats":4"#), r#"{ana,"seats":4}"#);
}

#[test]
fn a_user_of_whom_nothing_is_known_is_told_everything() {
    let bare = of_ana("");
    assert_eq!(sent(None, &[of_ana(r#""plan":null"#), bare.clone()]), "{ana,\"plan\":null}\n{ana}");
    let stranger = Told { identifier: "external_id:bob".to_owned(), ..ana(r#""plan":"pro""#) };
    assert_eq!(sent(Some(&stranger), &[of_ana(r#""plan":"pro""#)]), r#"{ana,"plan":"pro"}"#);
    assert_eq!(sent(Some(&ana(r#""plan":"pro""#)), &[bare]), "", "she was created");
}

#[test]
fn values_are_compared_by_what_they_mean() {
    for (told, same) in [
        ("1", "1.0"),
        ("1.0", "1"),
        ("0", "-0"),
        ("1e3", "1000"),
        ("0.10", "0.1"),
        (r#""é""#, r#""\u00e9""#),
        ("[1, 2]", "[1.0,2]"),
        (r#"{"a":1,"b":[true]}"#, r#"{"b": [true], "a": 1.0}"#),
        ("null", "null"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ] {
        assert_eq!(then(&format!("\"v\":{told}"), &format!("\"v\":{same}")), "", "{told} {same}");
    }
    for (told, other) in [
        ("1", "\"1\""),
        ("1", "true"),
        ("9007199254740993", "9007199254740992"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
        ("[1,2]", "[2,1]"),
        ("[1,2]", "[1]"),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
        ("\"pro\"", "\"Pro\""),
        ("1", "null"),
        ("null", "1"),
    ] {
        let sent = then(&format!("\"v\":{told}"), &format!("\"v\":{other}"));
        assert_eq!(sent, format!("{{ana,\"v\":{other}}}"), "{told} {other}");
    }
}

#[test]
fn of_objects_that_share_a_request_the_last_values_count() {
    let told = ana(r#""plan":"a","seats":1"#);
    let run = |objects: &[&str]| {
        sent(Some(&told), &objects.iter().map(|members| of_ana(members)).collect::<Vec<_>>())
    };
    assert_eq!(run(&[r#""plan":"b""#, r#""plan":"a""#]), "\n", "there and back");
    assert_eq!(
        run(&[r#""plan":"b","seats":2"#, r#""plan":"a""#]),
        "{ana,\"plan\":\"b\",\"seats\":2}\n{ana,\"plan\":\"a\"}",
        "one that is sent may be read again without the other"
    );
    assert_eq!(
        run(&[r#""plan":"b""#, r#""plan":"a""#, r#""seats":2"#]),
        "\n\n{ana,\"seats\":2}",
        "what goes there and back apart from it is not sent"
    );
    assert_eq!(
        run(&[r#""plan":"b""#, r#""plan":"c""#]),
        "{ana,\"plan\":\"b\"}\n{ana,\"plan\":\"c\"}",
        "each may be refused alone"
    );
}

#[test]
fn what_is_saved_is_counted_once_where_objects_share_one() {
    let told = ana(r#""plan":"a","tags":{"x":1,"y":2}"#);
    let run = [of_ana(r#""plan":"b""#), of_ana(r#""plan":"a","tags":{"x":1,"y":2}"#)];
    let saved = |attributes, points| Saved { attributes, points };
    assert_eq!(
        differences(&run.iter().collect::<Vec<_>>(), Some(&told)),
        [Difference::Nothing { saved: saved(0, 0) }, Difference::Nothing { saved: saved(2, 3) }]
    );
}

#[test]
fn operations_are_always_sent_and_leave_a_value_that_nobody_knows() {
    let told = r#""n":1,"tags":["a"]"#;
    for operation in [r#""n":{"inc":1}"#, r#""tags":{"add":["a"]}"#, r#""tags":{"$add":[{"a":1}]}"#]
    {
        assert_eq!(then(told, operation), format!("{{ana,{operation}}}"));
    }
    let after = retold(Some(&ana(told)), &[(&of_ana(r#""n":{"inc":1}"#), Answered::Accepted)]);
    assert_eq!(sent(after.as_ref(), &[of_ana(r#""n":1,"tags":["a"]"#)]), r#"{ana,"n":1}"#);
    // In one request with the value that was told, too.
    let run = [of_ana(r#""n":{"inc":1}"#), of_ana(r#""n":1"#)];
    assert_eq!(sent(Some(&ana(told)), &run), "{ana,\"n\":{\"inc\":1}}\n{ana,\"n\":1}");
}

#[test]
fn what_braze_may_have_dropped_is_sent_again() {
    for members in [
        format!("\"v\":\"{}\"", "x".repeat(256)),
        r#""v":["a",null]"#.to_owned(),
        r#""v":{"a":{"b":null}}"#.to_owned(),
        r#""v":{"a.b":1}"#.to_owned(),
        format!("\"v\":[{}1]", "1,".repeat(500)),
        r#""$v":1"#.to_owned(),
        r#""email_subscribe":"opted_in""#.to_owned(),
        r#""_merge_objects":true,"v":{"a":1}"#.to_owned(),
    ] {
        assert_eq!(then(&members, &members), format!("{{ana,{members}}}"));
    }
    let longest = format!("\"v\":\"{}\"", "é".repeat(255));
    assert_eq!(then(&longest, &longest), "");
}

#[test]
fn only_what_was_acknowledged_is_believed() {
    let told = ana(r#""plan":"a","seats":1"#);
    let run = [of_ana(r#""plan":"b""#)];
    let after = |answers: &[(&Message, Answered)]| retold(Some(&told), answers);
    assert_eq!(after(&[]), Some(told.clone()), "refused, or not taken");
    let unknown = after(&[(&run[0], Answered::Unknown)]);
    for value in ["\"a\"", "\"b\"", "null"] {
        let members = format!("\"plan\":{value}");
        let whole = format!("{{ana,{members}}}");
        assert_eq!(sent(unknown.as_ref(), &[of_ana(&members)]), whole);
    }
    assert_eq!(sent(unknown.as_ref(), &[of_ana(r#""seats":1"#)]), "");
    let accepted = after(&[(&run[0], Answered::Accepted)]);
    assert_eq!(sent(accepted.as_ref(), &run), "");
}

#[test]
fn objects_that_create_nobody_say_nothing_about_strangers() {
    let update = of_ana(r#""_update_existing_only":true,"plan":"a""#);
    assert_eq!(retold(None, &[(&update, Answered::Accepted)]), None);
    let known = ana(r#""plan":"b""#);
    assert_eq!(
        sent(Some(&known), std::slice::from_ref(&update)),
        sent(None, std::slice::from_ref(&update))
    );
    let known = retold(Some(&known), &[(&update, Answered::Accepted)]);
    assert_eq!(sent(known.as_ref(), &[update]), "");
    let alias = |flag: &str| {
        message(&format!(
            r#"{{"user_alias":{{"alias_name":"d","alias_label":"l"}}{flag},"plan":"a"}}"#
        ))
    };
    assert_eq!(retold(None, &[(&alias(""), Answered::Accepted)]), None);
    let creating = alias(r#","_update_existing_only":false"#);
    let told = retold(None, &[(&creating, Answered::Accepted)]).unwrap();
    assert_eq!(told.identifier, "user_alias:l:d");
    assert_eq!(told.values, Values::from_iter([("plan", "\"a\"")]));
    assert_eq!(sent(Some(&told), &[alias("")]), "");
}

#[test]
fn what_is_reduced_keeps_its_user_and_its_controls() {
    let told = Some(Told {
        identifier: "email:a@example.com".to_owned(),
        values: Values::from_iter([("plan", "\"a\"")]),
    });
    let object =
        message(r#"{"email":"a@example.com","_update_existing_only":false,"plan":"a","n":1}"#);
    assert_eq!(
        sent(told.as_ref(), &[object]),
        r#"{"email":"a@example.com","_update_existing_only":false,"n":1}"#
    );
}

#[test]
fn objects_cost_what_braze_bills() {
    let delivery = |section: Section, payload: &str| Delivery {
        stream: "product".into(),
        place: Place::default(),
        part: 0,
        accepted_at: Timestamp::default(),
        message: Message { section, ..message(payload) },
    };
    let attributes = |members: &str| delivery(ATTRIBUTES, &of_ana(members).payload);
    let points = |delivery: Delivery| costs(&[delivery])[0].points;
    for (members, expected) in [
        ("", 0),
        (r#""plan":"pro","seats":null"#, 2),
        (r#""tags":["a","b"]"#, 1),
        (r#""tags":{"add":["a","b"]}"#, 2),
        (r#""tags":{"add":["a"],"remove":["b","c"]}"#, 2),
        (r#""n":{"inc":2}"#, 1),
        (r#""first_name":"Ada","country":"DE""#, 2),
        (r#""email_subscribe":"opted_in""#, 0),
        (r#""song":{"name":"x","plays":{"today":1,"ever":2}}"#, 3),
        (r#""songs":[{"a":1,"b":2},{"a":1}]"#, 3),
        (r#""current_location":{"longitude":1,"latitude":2}"#, 1),
    ] {
        assert_eq!(points(attributes(members)), expected, "{members}");
    }
    let event = |name: &str| delivery(EVENTS, &format!(r#"{{"name":"{name}","time":"t"}}"#));
    assert_eq!(points(event("Tour Booked")), 1);
    assert_eq!(points(event("ecommerce.order_placed")), 0);
    assert_eq!(points(delivery(PURCHASES, r#"{"product_id":"p","quantity":3}"#)), 3);
    let shared =
        [attributes(r#""plan":"a","seats":1"#), attributes(r#""plan":"b""#), event("Tour Booked")];
    let costs = costs(&shared);
    let cost = |object, points| Cost { object, points };
    assert_eq!(costs, [cost(true, 1), cost(false, 1), cost(true, 1)]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_answered(payload: String, value: String) {
        let messages = [message(&payload), of_ana(&format!("\"v\":{value}"))];
        let run: Vec<&Message> = messages.iter().collect();
        let answered: Vec<_> = run.iter().map(|message| (*message, Answered::Accepted)).collect();
        let told = retold(Some(&ana("\"v\":1")), &answered);
        assert_eq!(differences(&run, told.as_ref()).len(), 2);
    }
}

/// Whoever comes back under the same id is new to Braze.
#[test]
fn of_a_deleted_user_nothing_is_told_any_more() {
    let deletion = Message { section: DELETE_EXTERNAL_IDS, ..of_ana("") };
    assert!(concerns(&deletion));
    let told = ana(r#""plan":"pro""#);
    assert_eq!(sent(Some(&told), std::slice::from_ref(&deletion)), "{ana}");
    for answered in [Answered::Accepted, Answered::Unknown] {
        assert_eq!(retold(Some(&told), &[(&deletion, answered)]), None);
    }
}
