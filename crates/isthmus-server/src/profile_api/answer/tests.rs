//! Every shape of the answer, as in the examples of `amplitude-read.md` 2.2 to 2.5.

use super::super::parts::{NoParts, RecommendationType};
use super::*;
use insta::assert_snapshot;
use isthmus_state::people::Values;

/// Parts that exist, as later ones will.
struct Filled;

impl ProfileParts for Filled {
    fn cohort_ids(&self, _: Whose<'_>) -> Vec<String> {
        vec!["k3f9x2a".to_owned(), "m0q77zt".to_owned()]
    }

    fn computations(&self, _: Whose<'_>, which: Computations<'_>) -> Vec<(String, Option<String>)> {
        match which {
            Computations::All => vec![
                ("orders_30d".to_owned(), Some("3".to_owned())),
                ("plan".to_owned(), Some("computed".to_owned())),
            ],
            Computations::Named(_) => vec![("revenue_90d".to_owned(), None)],
        }
    }

    fn recommendations(
        &self,
        _: Whose<'_>,
        rec_ids: &[String],
        kind: Option<RecommendationType>,
    ) -> Vec<Recommendation> {
        let is_control = kind == Some(RecommendationType::Random);
        let one = |rec_id: &String| Recommendation {
            rec_id: rec_id.clone(),
            child_rec_id: rec_id.clone(),
            items: vec!["sku-4".to_owned(), "sku-19".to_owned()],
            is_control,
            source: "model".to_owned(),
            last_updated: 1_771_320_000,
        };
        rec_ids.iter().filter(|id| *id != "gone").map(one).collect()
    }

    fn propensities(
        &self,
        _: Whose<'_>,
        prediction_ids: &[String],
        _: PropensityType,
    ) -> Vec<(String, f64)> {
        prediction_ids.iter().filter(|id| *id != "gone").map(|id| (id.clone(), 12.5)).collect()
    }
}

fn ana() -> Person {
    let values = |text: &str| Values { text: text.to_owned(), since: Vec::new() };
    Person {
        project: "shop".to_owned(),
        user_id: Some("cust-7731".to_owned()),
        custom: values(r#"{"plan":"pro","seats":12,"tags":["a"],"trial":false}"#),
        built_in: values(r#"{"os_name":"iOS","os_version":"17.2","version_name":"4.1"}"#),
        library: Some("amplitude-ts/2.11.1".to_owned()),
        first_event_time: Some(1_762_041_600_000),
        last_event_day: Some(20_501),
        devices: vec!["d-1".to_owned(), "d-2".to_owned()],
        ..Person::default()
    }
}

fn told(person: &Person, query: &str, parts: &dyn ProfileParts) -> String {
    let query = Query::parse(query).unwrap();
    let body = body("shop", AmplitudeId(7), person, &query, parts);
    let read: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(read["userData"].is_object());
    body
}

#[test]
fn what_was_not_asked_for_is_null() {
    assert_snapshot!(told(&ana(), "user_id=cust-7731", &Filled), @r#"{"userData":{"recommendations":null,"user_id":"cust-7731","device_id":"d-2","amp_props":null,"cohort_ids":null}}"#);
    assert_snapshot!(told(&Person::default(), "device_id=d-9", &Filled), @r#"{"userData":{"recommendations":null,"user_id":null,"device_id":null,"amp_props":null,"cohort_ids":null}}"#);
}

#[test]
fn properties_keep_their_types_and_built_in_ones_are_among_them() {
    assert_snapshot!(told(&ana(), "device_id=d-1&get_amp_props=true", &Filled), @r#"{"userData":{"recommendations":null,"user_id":"cust-7731","device_id":"d-1","amp_props":{"plan":"pro","seats":12,"tags":["a"],"trial":false,"os_name":"iOS","os_version":"17.2","version_name":"4.1","library":"amplitude-ts/2.11.1","first_used":"2025-11-02","last_used":"2026-02-17","version":"4.1","os":"iOS 17.2"},"cohort_ids":null}}"#);
    assert_snapshot!(told(&Person::default(), "device_id=d&get_amp_props=true", &NoParts), @r#"{"userData":{"recommendations":null,"user_id":null,"device_id":null,"amp_props":{},"cohort_ids":null}}"#);
}

#[test]
fn computations_are_text_and_missing_ones_are_null() {
    assert_snapshot!(told(&ana(), "user_id=a&get_computations=true", &Filled), @r#"{"userData":{"recommendations":null,"user_id":"cust-7731","device_id":"d-2","amp_props":{"orders_30d":"3","plan":"computed"},"cohort_ids":null}}"#);
    assert_snapshot!(told(&ana(), "user_id=a&comp_id=c1", &Filled), @r#"{"userData":{"recommendations":null,"user_id":"cust-7731","device_id":"d-2","amp_props":{"revenue_90d":null},"cohort_ids":null}}"#);
    let both = told(&ana(), "user_id=a&get_computations=true&get_amp_props=true", &Filled);
    assert!(both.contains(r#""plan":"pro""#) && !both.contains("computed"), "{both}");
    assert!(both.contains(r#""orders_30d":"3""#));
}

#[test]
fn parts_that_do_not_exist_say_none() {
    assert_snapshot!(told(&ana(), "user_id=a&get_cohort_ids=true&rec_id=r1&get_computations=true", &NoParts), @r#"{"userData":{"recommendations":null,"user_id":"cust-7731","device_id":"d-2","amp_props":{},"cohort_ids":[]}}"#);
    assert_snapshot!(told(&ana(), "user_id=a&comp_id=c1&get_propensity=true&prediction_id=p1", &NoParts), @r#"{"userData":{"recommendations":null,"user_id":"cust-7731","device_id":"d-2","amp_props":{"c1":null},"cohort_ids":null,"propensity":null,"propensities":[]}}"#);
}

#[test]
fn recommendations_come_in_the_order_asked_for() {
    assert_snapshot!(told(&ana(), "user_id=a&rec_id=r2,gone,r1&rec_type=random&get_cohort_ids=1", &Filled), @r#"{"userData":{"recommendations":[{"child_rec_id":"r2","is_control":true,"items":["sku-4","sku-19"],"last_updated":1771320000,"rec_id":"r2","recommendation_source":"model"},{"child_rec_id":"r1","is_control":true,"items":["sku-4","sku-19"],"last_updated":1771320000,"rec_id":"r1","recommendation_source":"model"}],"user_id":"cust-7731","device_id":"d-2","amp_props":null,"cohort_ids":["k3f9x2a","m0q77zt"]}}"#);
}

#[test]
fn one_score_is_repeated_and_several_are_not() {
    let one = told(&ana(), "user_id=a&get_propensity=&prediction_id=p1", &Filled);
    assert!(one.ends_with(r#","propensity":12.5,"propensities":[{"pred_id":"p1","prop":12.5,"prop_type":"score"}]}}"#), "{one}");
    let several = told(
        &ana(),
        "user_id=a&get_propensity=1&prediction_id=p1,gone&propensity_type=pct",
        &Filled,
    );
    assert!(several.ends_with(r#","propensity":null,"propensities":[{"pred_id":"p1","prop":12.5,"prop_type":"pct"}]}}"#), "{several}");
}
