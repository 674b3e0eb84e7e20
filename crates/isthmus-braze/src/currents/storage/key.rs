//! What the key of a stored file says.

use isthmus_core::Timestamp;

/// The parts of an object's key that are of use.
///
/// ```text
/// <prefix>/dataexport.<cluster>.<connection>.integration.<integration-id>/event_type=<event-type>/date=<date>/
///     <schema-id>/<zone>/dataexport.<...>+<partition>+<offset>.avro
/// ```
///
/// Braze says that this may change, so every part may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectKey<'a> {
    /// `users.messages.email.Open`.
    pub event_type: Option<&'a str>,
    /// The hour in which the events were queued, UTC. Events may be far older.
    pub hour: Option<Timestamp>,
    /// Id of the connector.
    pub integration_id: Option<&'a str>,
}

impl<'a> ObjectKey<'a> {
    /// Reads what `key` says; folders are divided by `/`.
    pub fn parse(key: &'a str) -> Self {
        let mut parsed = Self::default();
        let mut folders: Vec<&str> = key.split('/').collect();
        let file = folders.pop().unwrap_or_default();
        for folder in folders {
            if let Some(event_type) = folder.strip_prefix("event_type=") {
                parsed.event_type = Some(event_type).filter(|name| !name.is_empty());
            } else if let Some(date) = folder.strip_prefix("date=") {
                parsed.hour = hour(date);
            } else if let Some(id) = integration_id(folder) {
                parsed.integration_id = Some(id);
            }
        }
        let of_file = integration_id(file).and_then(|rest| rest.split('+').next());
        parsed.integration_id = parsed.integration_id.or(of_file);
        parsed
    }
}

/// `64b7...` of `dataexport.prod-02.S3.integration.64b7...`; an old key has no cluster.
fn integration_id(name: &str) -> Option<&str> {
    let (_, id) = name.strip_prefix("dataexport.")?.split_once("integration.")?;
    Some(id).filter(|id| !id.is_empty())
}

/// The hour that `2026-01-01-09` is.
fn hour(date: &str) -> Option<Timestamp> {
    let (day, hour) = date.rsplit_once('-').filter(|(_, hour)| hour.len() == 2)?;
    Timestamp::parse_iso(&format!("{day}T{hour}:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(key: &str) -> String {
        let ObjectKey { event_type, hour, integration_id } = ObjectKey::parse(key);
        let hour = hour.map_or("-".to_owned(), |hour| hour.to_string());
        format!("{} {hour} {}", event_type.unwrap_or("-"), integration_id.unwrap_or("-"))
    }

    #[test]
    fn a_key_says_type_hour_and_connector() {
        let id = "64b7f0c2a9d3e41b5c8f0a12";
        let file = format!("dataexport.prod-02.S3.integration.{id}+3+0000184220.avro");
        let folders = format!(
            "currents/dataexport.prod-02.S3.integration.{id}/event_type=users.messages.sms.Delivery/date=2026-01-01-09/412/prod"
        );
        let whole = format!("users.messages.sms.Delivery 2026-01-01T09:00:00.000Z {id}");
        assert_eq!(shown(&format!("{folders}/{file}")), whole);
        assert_eq!(shown(&file), format!("- - {id}"));
        assert_eq!(shown(&format!("dataexport.S3.integration.{id}/x.avro")), format!("- - {id}"));
    }

    #[test]
    fn parts_that_are_missing_or_odd_are_passed_over() {
        for key in [
            "",
            "/",
            "a/b/c.avro",
            "event_type=/date=2026-13-01-09/x",
            "date=today/x",
            "date=2026-01-01/x",
        ] {
            assert_eq!(shown(key), "- - -", "{key}");
        }
        assert_eq!(
            shown("event_type=agentconsole.AgentExecuted/x"),
            "agentconsole.AgentExecuted - -"
        );
        // A file is no folder.
        assert_eq!(shown("event_type=users.canvas.Entry"), "- - -");
    }

    proptest! {
        #[test]
        fn any_key_is_answered(key: String) {
            let _parsed = ObjectKey::parse(&key);
        }
    }
}
