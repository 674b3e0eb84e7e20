//! `/2/httpapi` and `/batch`: any body is answered, and what is accepted can be kept.

#![no_main]

use isthmus_amplitude::{EndpointRules, Refusal, parse_upload};
use isthmus_core::record::IntakeBatch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for rules in [EndpointRules::http_api(), EndpointRules::batch()] {
        let upload = match parse_upload(body, &rules) {
            Ok(upload) => upload,
            Err(refusal) => return answers(&refusal),
        };
        let count = upload.event_count();
        match upload.check(&rules) {
            Err(refusal) => {
                answers(&refusal);
                let Refusal::Events(problems) = refusal else { panic!("{refusal:?}") };
                let indexes = problems.indexes();
                assert!(!indexes.is_empty() && indexes.iter().all(|index| *index < count));
            }
            Ok(upload) => {
                for event in upload.events() {
                    let objects = [
                        event.event_properties,
                        event.user_properties,
                        event.groups,
                        event.group_properties,
                        event.fields,
                    ];
                    for object in objects.into_iter().flatten() {
                        let read = serde_json::from_str::<serde_json::Value>(object);
                        assert!(read.expect("the log holds valid JSON").is_object());
                    }
                }
                let batch = IntakeBatch {
                    project: "shop",
                    source: rules.source,
                    received_at: 0,
                    client_upload_time: upload.client_upload_time(),
                    remote_address: None,
                    events: upload.events().collect(),
                    commands: Vec::new(),
                    currents: None,
                };
                assert_eq!(IntakeBatch::decode(&batch.encode()), Ok(batch));
            }
        }
    }
});

fn answers(refusal: &Refusal) {
    let body: serde_json::Value = serde_json::from_str(&refusal.body()).expect("JSON");
    assert_eq!(body["code"], refusal.status());
}
