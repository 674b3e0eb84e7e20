//! `/identify` and `/groupidentify`: any content type, query and body is answered.
//!
//! The input is three lines: content type, query, and the body as the rest.

#![no_main]

use isthmus_amplitude::{EndpointRules, Form, Refusal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let content_type = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let query = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let body = lines.next().unwrap_or_default();
    for rules in [EndpointRules::identify(), EndpointRules::group_identify()] {
        let answered = Form::parse(content_type, query, body, &rules).and_then(|form| {
            let upload = form.upload(&rules)?.check(&rules)?;
            upload.events().for_each(|event| assert!(event.event_type.starts_with('$')));
            Ok::<_, Refusal>(())
        });
        if let Err(refusal) = answered {
            let body: serde_json::Value = serde_json::from_str(&refusal.body()).expect("JSON");
            assert_eq!(body["code"], refusal.status());
        }
    }
});
