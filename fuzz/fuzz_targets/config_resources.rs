//! Resource files and `isthmus.toml`: any text is read, or refused at a line.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match isthmus_config::parse_resources(text, "input") {
        Ok(resources) => drop(isthmus_config::check_references(&resources)),
        Err(found) => assert!(!found.is_empty()),
    }
    drop(isthmus_config::parse_server(text, "input"));
});
