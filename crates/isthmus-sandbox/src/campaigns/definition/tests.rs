use super::*;
use serde_json::json;

fn error(written: &Value) -> String {
    Campaign::read("c", written).expect_err("refused").to_string()
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let email = |name: &str, value: Value| json!({"channel": "email", name: value});
    for (written, problem) in [
        (json!([]), "must be an object"),
        (json!({}), "channel: is required"),
        (email("name", json!("d")), "name: must be `c`, as in the path"),
        (email("control", json!(2)), "control: must be from 0 to 1, not 2"),
        (email("trigger", json!({})), "trigger.event: is required"),
        (
            email("trigger", json!({"event": "e", "after": 1})),
            "trigger.after: is unknown; there are event",
        ),
        (
            email("engagement", json!({"opened": -1})),
            "engagement.opened: must be from 0 to 1, not -1",
        ),
        (email("engagement", json!({"speed": 0})), "engagement.speed: must be more than 0"),
        (
            email("engagement", json!({"bounced": 0.6, "soft_bounced": 0.6})),
            "engagement.soft_bounced: is more than 1 together with bounced",
        ),
        (
            json!({"channel": "sms", "engagement": {"opened": 0.5}}),
            "engagement.opened: is nothing that happens to sms",
        ),
        (
            email("segment", json!({"all": [{"attribute": "a"}]})),
            "segment.all[0].attribute: needs exactly one of equals, not, greater, less, exists and contains",
        ),
        (
            email("segment", json!({"any": [{"event": "e"}, {"attribute": "a", "less": "b"}]})),
            "segment.any[1].less: must be a number or a time",
        ),
        (
            email("segment", json!({"event": "e", "at_least": 0})),
            "segment.at_least: must be at least 1",
        ),
        (
            email("segment", json!({"some": []})),
            "segment: needs one of all, any, none, attribute and event",
        ),
        (
            email("segment", json!({"attribute": "a", "equals": [1]})),
            "segment.equals: must be a text, a number or a boolean",
        ),
    ] {
        assert_eq!(error(&written), problem, "{written}");
    }
    assert!(error(&json!({"channel": "fax"})).starts_with("channel: unknown variant `fax`"));
    assert!(error(&email("message", json!("{{"))).starts_with("message: line 1: "));
    assert!(error(&email("mesage", json!("hi"))).starts_with("mesage: is unknown; there are name"));
    assert!(
        error(&email("re_eligible_after", json!("soon"))).starts_with("re_eligible_after: `soon`")
    );
    let mut nested = json!({"event": "e"});
    for _ in 0..20 {
        nested = json!({ "all": [nested] });
    }
    assert!(error(&email("segment", nested)).ends_with("is nested deeper than 8"));
}

#[test]
fn a_campaign_needs_a_channel_alone() {
    let campaign = Campaign::read("c", &json!({"channel": "webhook"})).expect("a campaign");
    assert_eq!(campaign.segment, Segment::everybody());
    assert_eq!((campaign.trigger, campaign.re_eligible_after), (None, None));
    assert!((campaign.engagement.delivered - 0.0).abs() < f64::EPSILON);
    assert!(Campaign::read("", &json!({"channel": "email"})).is_err());
}
