//! What a person gets wrong, and what they are told.

use crate::harness::lab::{Lab, SHOP};
use crate::harness::process::ended;

const WRONG: &str = r"kind: project
name: shop
api_key: shop-key
---
kind: destination
name: braze
type: braze
endpoint: http://127.0.0.1:8500
rest_kye: { env: ISTHMUS_TEST_REST_KEY }
---
kind: stream
name: events
project: shop
destination: brace
identify_by: { from: user_id, to: externalid }
send_events:
  events: [ { name: _all } ]
enabled: yes please
";

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wrong.yaml"), WRONG).unwrap();
    std::fs::write(
        folder.path().join("isthmus.toml"),
        "[server]\nlisten = \"127.0.0.1:8400\"\nlissen = 1\n",
    )
    .unwrap();
    for command in ["check", "serve"] {
        let ended = ended(
            folder.path(),
            &[command, "--config", "isthmus.toml", "--resources", "wrong.yaml"],
        );
        assert!(!ended.status.success(), "{command}");
        let said = ended.stderr;
        // A mistyped key, an unknown value, a wrong type, and a mistyped key of the other file.
        for place in ["wrong.yaml:9:1: ", "wrong.yaml:15:", "wrong.yaml:18:", "isthmus.toml:3:1: "]
        {
            assert!(said.contains(place), "{command} does not point at {place}\n{said}");
        }
        for words in ["rest_kye", "did you mean `rest_key`", "externalid", "lissen"] {
            assert!(said.contains(words), "{command} does not say {words}\n{said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn what_points_nowhere_is_reported_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let wrong =
        SHOP.replace("BRAZE", "127.0.0.1:8500").replace("destination: braze", "destination: brace");
    std::fs::write(folder.path().join("wrong.yaml"), &wrong).unwrap();
    let line = 1 + wrong.lines().position(|line| line == "destination: brace").unwrap();
    let ended = ended(folder.path(), &["check", "--resources", "wrong.yaml"]);
    assert!(!ended.status.success());
    let said = ended.stderr;
    assert!(said.contains(&format!("wrong.yaml:{line}:")), "{said}");
    assert!(said.contains("brace"), "{said}");
}

#[test]
fn event_names_that_cannot_be_streamed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wrong =
        SHOP.replace("BRAZE", "127.0.0.1:8500").replace("name: Product Viewed", "name: _all");
    std::fs::write(folder.path().join("wrong.yaml"), &wrong).unwrap();
    let line = 1 + wrong.lines().position(|line| line.ends_with("name: _all")).unwrap();
    let ended = ended(folder.path(), &["check", "--resources", "wrong.yaml"]);
    assert!(!ended.status.success());
    assert!(ended.stderr.contains(&format!("wrong.yaml:{line}:")), "{}", ended.stderr);
    assert!(ended.stderr.contains("_all"), "{}", ended.stderr);
}

#[test]
fn what_is_right_is_said_to_be_right() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), SHOP.replace("BRAZE", "127.0.0.1:8500"))
        .unwrap();
    let ended = ended(folder.path(), &["check", "--resources", "shop.yaml"]);
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(ended.stdout, "configuration is good: 3 resources\n");
}

#[test]
fn a_second_server_on_the_same_data_refuses_to_start() {
    let lab = Lab::shop();
    let arguments =
        ["serve", "--data-dir", "data", "--listen", "127.0.0.1:0", "--resources", "shop.yaml"];
    let second = ended(lab.folder(), &arguments);
    assert!(!second.status.success());
    assert!(second.stderr.contains("data"), "it names the folder: {}", second.stderr);
    assert!(!second.stderr.contains("panicked"), "{}", second.stderr);
    lab.settle();
}
