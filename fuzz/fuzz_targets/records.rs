//! Records of both logs, and raw JSON objects inside them: any bytes are refused or read back.

#![no_main]

use isthmus_core::json;
use isthmus_core::record::{AppliedBatch, IntakeBatch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(batch) = IntakeBatch::decode(input) {
        assert_eq!(IntakeBatch::decode(&batch.encode()).as_ref(), Ok(&batch));
    }
    if let Ok(batch) = AppliedBatch::decode(input) {
        assert_eq!(AppliedBatch::decode(&batch.encode()).as_ref(), Ok(&batch));
    }
    if let Ok(text) = std::str::from_utf8(input) {
        json::members(text).for_each(drop);
        drop(json::text_of(text));
    }
});
