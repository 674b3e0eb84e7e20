//! Files of Braze Currents: followed, imported, damaged, and the same events as by posts.

use crate::harness::eventually;
use crate::harness::http::send;
use crate::harness::lab::Lab;
use crate::harness::process::isthmus;
use isthmus_testkit::currents as kit;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROJECT: &str = "kind: project\nname: shop\napi_key: shop-key\n";

/// A source with the folder `exports`, one that takes posts of the same events, and one for imports.
const SOURCES: &str = "---\nkind: currents_source\nname: exports\nproject: shop\n\
                       files: { url: exports, poll: 50ms, settle: 0s }\n---\n\
                       kind: currents_source\nname: posts\nproject: shop\nopen: true\n\
                       same_events_as: exports\n---\n\
                       kind: currents_source\nname: history\nproject: shop\nopen: true\n";

fn lab() -> Lab {
    Lab::with(&format!("{PROJECT}{SOURCES}"))
}

/// Writes a file of e-mail opens at once, as a bucket shows it. Returns its path.
fn put(folder: &Path, hour: &str, number: u64, bytes: &[u8]) -> PathBuf {
    let path = folder.join(kit::key(&format!("2026-01-01-{hour}"), number));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let draft = path.with_extension("draft");
    std::fs::write(&draft, bytes).unwrap();
    std::fs::rename(draft, &path).unwrap();
    path
}

fn source(lab: &Lab, name: &str) -> Value {
    let report = lab.told("currents");
    let sources = report["sources"].as_array().unwrap();
    sources.iter().find(|source| source["name"] == name).unwrap().clone()
}

/// Waits until the source has so many events.
fn has(lab: &Lab, name: &str, events: u64) -> Value {
    eventually(&format!("{name} has {events} events"), || {
        let source = source(lab, name);
        if source["events"] == events { Ok(source) } else { Err(source.to_string()) }
    })
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn following_goes_on_in_the_middle_of_a_file_after_a_power_cut() {
    const EVENTS: u64 = 10_000;
    let mut lab = lab();
    let exports = lab.folder().join("exports");
    let gone = eventually("a folder that is not there is told of", || {
        source(&lab, "exports")["files"]["error"].as_str().map(str::to_owned).ok_or(String::new())
    });
    assert!(gone.contains("`exports` cannot be read"), "{gone}");
    put(&exports, "09", 1, &kit::file(0..EVENTS));
    put(&exports, "10", 2, &kit::file(EVENTS..2 * EVENTS));
    // Killed while it reads, again and again, until all is read.
    let mut accepted = 0;
    for _ in 0..3 {
        accepted = eventually("some more is accepted", || {
            let end = count(&lab.told("status")["intake"], "end");
            if end > accepted { Ok(end) } else { Err(end.to_string()) }
        });
        lab.take_server().kill();
        lab.start();
    }
    let report = eventually("everything is read", || {
        let source = source(&lab, "exports");
        if source["events"] == 2 * EVENTS { Ok(source) } else { Err(source.to_string()) }
    });
    // What was in the log and not noted at each of three ends: a record or two of each of two files.
    assert!(count(&report, "duplicates") <= 3 * 2 * 2 * 1_000, "{report}");
    put(&exports, "11", 3, &kit::file(2 * EVENTS..2 * EVENTS + 5));
    let report = has(&lab, "exports", 2 * EVENTS + 5);
    assert_eq!(count(&report, "unusable"), 0);
    eventually("nothing waits", || {
        let files = source(&lab, "exports")["files"].clone();
        let is_well = files["pending"] == 0 && files["error"].is_null();
        if is_well && files["read_until"].is_string() { Ok(()) } else { Err(files.to_string()) }
    });
    assert_eq!(count(&lab.told("status"), "events_applied"), 2 * EVENTS + 5);
}

#[test]
fn the_same_events_by_posts_and_files_count_once_and_damage_holds_up_nothing() {
    let lab = lab();
    let exports = lab.folder().join("exports");
    let whole = kit::file(0..3_000);
    let event = |number: u64| {
        json!({ "event_type": "users.messages.email.Open", "id": kit::id(number),
                "time": 1_767_258_000 + number / 50, "user": {}, "properties": {} })
    };
    let body = json!({ "events": [event(1), event(2), event(9_000)] }).to_string();
    let posted = send(lab.server().address(), "POST", "/currents/http/posts", &[], body.as_bytes());
    assert_eq!(posted.unwrap().status, 200);
    has(&lab, "posts", 3);
    // Two that end in the middle, in the second and in the first block; a whole one, twice; one of lines.
    let cut = put(&exports, "08", 1, &whole[..whole.len() / 2]);
    put(&exports, "09", 2, &whole[..2_000]);
    put(&exports, "10", 3, &whole);
    put(&exports, "11", 4, &whole);
    put(&exports, "12", 5, b"no Avro at all");
    let lines = [event(9_000).to_string(), event(9_001).to_string(), "{}".to_owned()].join("\n");
    std::fs::write(exports.join("by-hand.jsonl"), lines).unwrap();
    let report = has(&lab, "exports", 2_999);
    let report = eventually("everything is read", || {
        let files = source(&lab, "exports");
        let quarantined = count(&files, "quarantined");
        if quarantined == 4 { Ok(files) } else { Err(format!("{files} after {report}")) }
    });
    assert_eq!(count(&report, "events"), 2_999, "ids 1, 2 and 9000 were posted");
    assert_eq!((count(&report["files"], "read"), count(&report["files"], "damaged")), (6, 3));

    let letters = lab.printed(&["dead-letters", "currents:exports"]);
    let address = format!("from file file://{}", cut.canonicalize().unwrap().display());
    assert!(letters.contains(&address), "{address}\n{letters}");
    assert!(letters.contains("it ends in the middle") && letters.contains("no `event_type`"));
    let letters = lab.told("streams/currents:exports/dead-letters");
    assert_eq!(letters["dead_letters"].as_array().unwrap().len(), 4);
    let shown = lab.printed(&["currents"]);
    for words in ["exports", "3 damaged", "isthmus dead-letters currents:exports"] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    let told: Value = serde_json::from_str(&lab.printed(&["currents", "--json"])).unwrap();
    assert_eq!(told["sources"][0]["name"], "exports");
    let metrics = send(lab.server().address(), "GET", "/metrics", &[], b"").unwrap().text();
    for line in [
        r#"isthmus_currents_files_read_total{source="exports",outcome="damaged"} 3"#,
        r#"isthmus_currents_files_pending{source="exports"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    // It has files alone.
    let posted = send(lab.server().address(), "POST", "/currents/http/exports", &[], b"").unwrap();
    assert_eq!(posted.status, 404);
}

#[test]
fn files_of_a_source_are_followed_from_when_it_is_given_and_no_longer_than_it_is_there() {
    let lab = lab();
    let text = |url: &str, more: &str| {
        format!(
            "kind: currents_source\nname: more\nproject: shop\n\
             files: {{ url: {url}, poll: 50ms, settle: 0s{more} }}\n"
        )
    };
    let give = |text: &str| {
        let token = std::fs::read_to_string(lab.folder().join("data/control.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", &*bearer)];
        let path = "/control/v1/resources";
        send(lab.server().address(), "PUT", path, &headers, text.as_bytes()).unwrap()
    };
    put(&lab.folder().join("one"), "09", 1, &kit::file(0..10));
    put(&lab.folder().join("two"), "09", 1, &kit::file(5..30));
    assert_eq!(give(&text("one", "")).status, 200);
    has(&lab, "more", 10);
    assert_eq!(give(&text("two", "")).status, 200);
    let report = has(&lab, "more", 30);
    assert_eq!(count(&report, "duplicates"), 5);
    let refused = give(&text("\"s3://\"", ""));
    assert!(refused.status == 400 && refused.text().contains("`files.url` names no bucket"));
    let removed = lab.control("DELETE", "resources/currents_source/more", &Value::Null);
    assert_eq!(removed.status, 200);
    // Given again, it knows what it has read, and passes over what it is told to.
    put(&lab.folder().join("three"), "09", 1, &kit::file(100..110));
    assert_eq!(give(&text("three", ", from_the_beginning: false")).status, 200);
    eventually("the folder is looked at", || {
        let files = source(&lab, "more")["files"].clone();
        if files["looked_at"].is_string() { Ok(()) } else { Err(files.to_string()) }
    });
    put(&lab.folder().join("three"), "10", 2, &kit::file(110..113));
    has(&lab, "more", 33);
}

#[test]
fn an_import_tells_what_it_came_to_and_what_it_read_before_is_passed_over() {
    let lab = lab();
    let old = lab.folder().join("old");
    let whole = kit::file(0..3_000);
    put(&old, "09", 1, &whole);
    put(&old, "10", 2, &kit::file(2_000..5_000));
    put(&old, "11", 3, &whole[..whole.len() - 100]);
    let import = |arguments: &[&str]| {
        let all = [&["import", "currents"], arguments, &["--source", "history", "--json"]].concat();
        let printed = lab.printed(&all);
        serde_json::from_str::<Value>(&printed).unwrap_or_else(|_| panic!("{printed}"))
    };
    let dry = import(&["old", "--dry-run"]);
    assert_eq!((&dry["state"], count(&dry, "files")), (&json!("done"), 3));
    assert_eq!((count(&dry, "unusable"), count(&source(&lab, "history"), "events")), (1, 0));
    let report = import(&["old"]);
    let counts = ["files", "files_damaged", "events", "new_events", "unusable", "files_known"]
        .map(|name| count(&report, name));
    // Of the third file, the last block is not whole.
    let events = count(&report, "events");
    assert!((8_000..9_000).contains(&events), "{report}");
    assert_eq!(counts, [3, 1, events, 5_000, 1, 0]);
    assert_eq!(count(&report, "duplicates"), events - 5_000);
    assert_eq!(report["bytes"], report["bytes_total"]);
    assert_eq!(report["by_type"]["users.messages.email.Open"], events);

    put(&old, "12", 4, &kit::file(4_990..5_010));
    let again = lab.printed(&["import", "currents", "old", "--source", "history"]);
    let lines: Vec<_> = again.lines().map(str::trim_start).collect();
    for line in ["10  new", "10  duplicates", "3  files that were read before"] {
        assert!(lines.contains(&line), "{line}\n{again}");
    }
    let audit = lab.told("audit").to_string();
    assert!(audit.contains("import (dry run)") && audit.contains("currents/history"), "{audit}");
    assert_eq!(lab.told("imports")["imports"].as_array().unwrap().len(), 3);
}

#[test]
fn an_import_that_was_interrupted_goes_on_when_it_is_asked_for_again() {
    const EVENTS: u64 = 20_000;
    let mut lab = lab();
    put(&lab.folder().join("old"), "09", 1, &kit::file(0..EVENTS));
    let arguments = ["import", "currents", "old", "--source", "history", "--data-dir", "data"];
    let said = lab.folder().join("interrupted.err");
    let spawn = || {
        let stderr = std::fs::File::create(&said).unwrap();
        let mut command = isthmus(&arguments);
        command.current_dir(lab.folder()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
    };
    let mut import = spawn();
    let begun = || {
        let imports = lab.told("imports")["imports"].clone();
        let is_reading = imports[0]["state"] == "reading" && count(&imports[0], "events") > 0;
        if is_reading { Ok(imports) } else { Err(imports.to_string()) }
    };
    eventually("the import reads", begun);
    // Asked for again while it runs, it is the same one.
    let url = lab.folder().join("old").display().to_string();
    let again = lab.control("POST", "currents/history/imports", &json!({ "url": url })).json();
    assert_eq!(again["id"], "import-1");
    let id = import.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
    assert!(!import.wait().unwrap().success());
    let words = std::fs::read_to_string(&said).unwrap();
    assert!(words.contains("interrupted; run it again to go on where it was"), "{words}");
    eventually("it has stopped", || {
        let state = lab.told("imports/import-1")["state"].clone();
        if state == "stopped" { Ok(()) } else { Err(state.to_string()) }
    });
    // The next one ends with the server.
    let mut import = spawn();
    eventually("the import reads on", begun);
    lab.take_server().kill();
    assert!(!import.wait().unwrap().success());
    let words = std::fs::read_to_string(&said).unwrap();
    assert!(words.contains("run it again to go on"), "{words}");
    lab.start();
    let printed = lab.printed(&[&arguments[..5], &["--json"]].concat());
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert!(count(&report, "events") < EVENTS, "it began anew: {report}");
    let source = has(&lab, "history", EVENTS);
    assert!(count(&source, "duplicates") <= 2_000, "{source}");
}

#[test]
fn an_import_that_cannot_be_done_says_why() {
    let lab = lab();
    std::fs::create_dir(lab.folder().join("empty")).unwrap();
    std::fs::write(lab.folder().join("empty/readme.txt"), "nothing").unwrap();
    let refused = |arguments: &[&str]| {
        let ended = lab.command(&[&["import", "currents"], arguments].concat());
        assert!(!ended.status.success(), "{}", ended.stdout);
        ended.stderr
    };
    for (arguments, words) in [
        (["none", "--source", "history"], "none` cannot be read: No such file or directory"),
        (["empty", "--source", "history"], "ends in .avro, .json, .jsonl or .ndjson"),
        (["empty", "--source", "elsewhere"], "there is no currents_source elsewhere"),
        (["gs://b/c", "--source", "history"], "`gs://` is not known; write `s3://` or a path"),
        (["s3://", "--source", "history"], "`s3://` has no bucket"),
    ] {
        let said = refused(&arguments);
        assert!(said.contains(words), "{words}\n{said}");
    }
    let said = refused(&["s3://b/c", "--source", "history", "--endpoint", "example.com"]);
    assert!(said.contains("`endpoint`: `example.com` is no web address"), "{said}");
    let asked = lab.control("POST", "currents/history/imports", &json!({ "urll": "x" }));
    assert_eq!((asked.status, asked.text().contains("unknown field `urll`")), (400, true));
    assert_eq!(lab.control("GET", "imports/import-9", &Value::Null).status, 404);
}
