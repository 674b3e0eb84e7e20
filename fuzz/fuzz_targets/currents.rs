//! Currents as a connector posts it and as files hold it: no bytes break the readers, and what they
//! read can be shown.

#![no_main]

use isthmus_braze::currents::{Form, Received, StorageReader, appear, echo_key, facts, read_batch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(batch) = read_batch(input) {
        batch.iter().flatten().for_each(show);
    }
    if let Ok(reader) = StorageReader::open(input, None) {
        reader.flatten().for_each(|event| show(&event));
    }
});

fn show(event: &Received<'_>) {
    drop(appear(event, &Form::default()));
    drop(facts(event));
    let _ = echo_key(event);
}
