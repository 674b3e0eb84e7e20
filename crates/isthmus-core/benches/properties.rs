//! Folding user properties and testing conditions, one at a time.

use criterion::{Criterion, criterion_group, criterion_main};
use isthmus_core::filter::{Condition, Conditions, Operator};
use isthmus_core::profile::{self, Properties};
use serde_json::{Value, json};
use std::hint::black_box;

fn object(value: &Value) -> Properties {
    value.as_object().cloned().unwrap_or_default()
}

/// A profile of forty properties.
fn rich() -> Properties {
    (0..40).map(|n| (format!("property_{n}"), json!(format!("value {n}")))).collect()
}

fn fold(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("fold");
    let set = json!({"plan": "pro", "property_7": "value 7", "seats": 4});
    let updates = [
        ("plain", set.clone()),
        ("set", json!({ "$set": set })),
        (
            "mixed",
            json!({
                "$setOnce": {"initial_utm_source": "newsletter"},
                "$set": {"utm_source": "newsletter"},
                "$add": {"visits": 1},
                "$postInsert": {"badges": ["night-owl", "early-bird"]},
            }),
        ),
    ];
    for (name, update) in &updates {
        let update = object(update);
        let mut settled = rich();
        profile::fold(&mut settled, &update);
        group.bench_function(format!("{name}, first time"), |bench| {
            let before = rich();
            bench.iter_batched_ref(
                || before.clone(),
                |properties| profile::fold(properties, black_box(&update)),
                criterion::BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("{name}, again"), |bench| {
            bench.iter(|| profile::fold(&mut settled, black_box(&update)));
        });
    }
    group.finish();
}

fn filter(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("conditions hold");
    let cases = [
        ("text is", Operator::Is, vec!["EUR"], r#""EUR""#),
        ("number greater", Operator::Greater, vec!["50"], "84.53"),
        ("text contains", Operator::Contains, vec!["OWL"], r#""The Night-Owl Shop""#),
        ("list contains all", Operator::SetContains, vec!["a", "b"], r#"["a","b","c","d"]"#),
        ("glob", Operator::GlobMatch, vec!["/shop/**/cart"], r#""/shop/jp/tokyo/cart""#),
    ];
    for (name, operator, values, value) in cases {
        let values = values.into_iter().map(str::to_owned).collect();
        let condition = Condition::new(operator, values).expect("a condition");
        let conditions = Conditions::new([condition]);
        group.bench_function(name, |bench| bench.iter(|| conditions.hold(black_box(Some(value)))));
    }
    group.finish();
}

criterion_group!(benches, fold, filter);
criterion_main!(benches);
