//! The control API, and the commands that ask it.

use super::http::{Answer, send};
use super::lab::Lab;
use super::process::{Ended, ended};
use serde_json::Value;

impl Lab {
    /// Asks the control API.
    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> Answer {
        let token = std::fs::read_to_string(self.folder().join("data/control.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("/control/v1/{path}");
        send(self.server().address(), method, &path, &headers, body.as_bytes()).unwrap()
    }

    /// What the control API answers when all is well.
    pub(crate) fn told(&self, path: &str) -> Value {
        let answer = self.control("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Runs a command that asks the server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ended {
        let target = ["--data-dir", "data"];
        ended(self.folder(), &[arguments, &target].concat())
    }

    /// What a command prints when all is well.
    pub(crate) fn printed(&self, arguments: &[&str]) -> String {
        let ended = self.command(arguments);
        assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    /// The lines of the audit log about dead letters, newest first: what was done, and to what.
    pub(crate) fn audited(&self) -> Vec<String> {
        let audit = self.told("audit");
        let line = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (text("action").contains("dead letter"))
                .then(|| format!("{} {}: {}", text("action"), text("subject"), text("detail")))
        };
        audit.as_array().unwrap().iter().filter_map(line).collect()
    }
}
