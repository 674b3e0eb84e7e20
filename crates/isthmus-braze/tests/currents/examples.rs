//! The worked examples of `examples.md`, to the letter.

use crate::container::Codec;
use crate::events::{read_posted, read_stored, upload};
use isthmus_braze::currents::{Export, Form, Received, appear, catalogue, read_json_line};
use serde_json::Value;

const EXAMPLES: &str = include_str!("examples.md");

/// Title, type of the file if it is a record of one, what comes in, what goes out.
fn examples() -> Vec<(&'static str, Option<&'static str>, Value, Option<Value>)> {
    let sections = EXAMPLES.split("\n## ").skip(1);
    sections
        .map(|section| {
            let title = section.lines().next().unwrap();
            let file_of = section.split_once("A record of a file of `");
            let file_of = file_of.and_then(|(_, rest)| Some(rest.split_once('`')?.0));
            let mut blocks = section.split("```json\n").skip(1).map(|block| {
                let (block, _) = block.split_once("```").unwrap();
                serde_json::from_str::<Value>(block).unwrap()
            });
            let input = blocks.next().unwrap();
            let output = blocks.next();
            assert_eq!(output.is_none(), section.contains("Nothing is sent."), "{title}");
            (title, file_of, input, output)
        })
        .collect()
}

fn sent(event: &Received<'_>) -> Option<Value> {
    let form = Form::default();
    let is_exported = !matches!(appear(event, &form).export, Export::No { .. });
    is_exported.then(|| upload(event, &form))
}

#[test]
fn every_worked_example_comes_out_as_it_is_written() {
    let examples = examples();
    assert_eq!(examples.len(), 20);
    for (title, file_of, input, output) in examples {
        let Some(event_type) = file_of else {
            assert_eq!(sent(&read_posted(&input)), output, "{title}");
            continue;
        };
        let about = catalogue::find(event_type).expect(title);
        assert_eq!(sent(&read_stored(about, &input, Codec::Null)), output, "{title}");
        let line = input.to_string();
        let event = read_json_line(&line, Some(event_type)).expect(title);
        assert_eq!(sent(&event), output, "{title}, as JSON");
    }
}
