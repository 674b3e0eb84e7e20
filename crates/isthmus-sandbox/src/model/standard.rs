//! Standard profile fields: what each takes, what it refuses, what it ignores.
//!
//! A refusal makes the whole object fail with an error entry; anything else that is wrong is
//! silently dropped. Source: "User attributes object", Braze documentation, read 2026-09.

use super::attribute::{Dropped, Points, longer_than};
use super::identifier::{EMAIL_BAD_FORMAT, is_email};
use super::instant;
use super::user::User;
use isthmus_core::json;
use serde_json::Value;

/// Countries, ISO 3166-1 alpha-2.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

/// How a standard field reads its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Text,
    Email,
    Phone,
    Country,
    Language,
    TimeZone,
    Gender,
    BirthDate,
    Location,
    Time,
    Subscription {
        refusal: &'static str,
    },
    Flag,
    SubscriptionGroups,
    PushTokens,
    AsGiven,
    /// Obsolete or a control key: read by nobody, and no custom attribute either.
    Ignored,
    /// Must not be there.
    Forbidden {
        refusal: &'static str,
    },
}

impl Field {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "first_name" | "last_name" | "home_city" => Self::Text,
            "email" => Self::Email,
            "phone" => Self::Phone,
            "country" => Self::Country,
            "language" => Self::Language,
            "time_zone" => Self::TimeZone,
            "gender" => Self::Gender,
            "dob" => Self::BirthDate,
            "current_location" => Self::Location,
            "date_of_first_session" | "date_of_last_session" | "marked_email_as_spam_at" => {
                Self::Time
            }
            "email_subscribe" => Self::Subscription { refusal: "BAD_EMAIL_SUBSCRIPTION_STATE" },
            "push_subscribe" => Self::Subscription { refusal: "BAD_PUSH_SUBSCRIPTION_STATE" },
            "email_open_tracking_disabled" | "email_click_tracking_disabled" => Self::Flag,
            "subscription_groups" => Self::SubscriptionGroups,
            "push_tokens" => Self::PushTokens,
            "facebook" | "twitter" | "image_url" => Self::AsGiven,
            "bio" | "alias_name" | "alias_label" => Self::Ignored,
            "email_subscription_info" => {
                Self::Forbidden { refusal: "INVALID_ATTRIBUTE_EMAIL_SUBSCRIPTION_INFO" }
            }
            _ => return None,
        })
    }

    /// Identifiers, subscription states and devices cost nothing.
    fn points(self) -> Points {
        match self {
            Self::Text
            | Self::Email
            | Self::Phone
            | Self::Country
            | Self::Language
            | Self::TimeZone
            | Self::Gender
            | Self::BirthDate
            | Self::Location => 1,
            _ => 0,
        }
    }
}

/// Whether `name` is a standard field rather than a custom attribute.
pub(crate) fn is_standard(name: &str) -> bool {
    Field::of(name).is_some()
}

/// Whether an object with this member can be taken; the reason when it cannot.
pub(crate) fn check(name: &str, raw: &str) -> Result<(), &'static str> {
    let Some(field) = Field::of(name) else { return Ok(()) };
    match field {
        Field::Email if raw != "null" => match json::text_of(raw) {
            Some(address) if is_email(&address) => Ok(()),
            _ => Err(EMAIL_BAD_FORMAT),
        },
        Field::Subscription { refusal } => match json::text_of(raw).as_deref() {
            Some("opted_in" | "subscribed" | "unsubscribed") => Ok(()),
            _ => Err(refusal),
        },
        Field::Location if raw != "null" => {
            let within = |key, bound: f64| {
                let raw = json::member(raw, key).and_then(|raw| raw.parse::<f64>().ok());
                raw.is_some_and(|degrees| degrees.abs() <= bound)
            };
            if within("longitude", 180.0) && within("latitude", 90.0) {
                Ok(())
            } else {
                Err("BAD_LOCATION_UPDATE")
            }
        }
        Field::SubscriptionGroups => check_subscription_groups(raw),
        Field::PushTokens => check_push_tokens(raw),
        Field::Forbidden { refusal } => Err(refusal),
        _ => Ok(()),
    }
}

fn check_subscription_groups(raw: &str) -> Result<(), &'static str> {
    if !raw.starts_with('[') {
        return Err("BAD_SUBSCRIPTION_GROUP_ARRAY");
    }
    for group in json::elements(raw) {
        let member = |key| json::member(group, key);
        let (Some(id), Some(state)) =
            (member("subscription_group_id"), member("subscription_state"))
        else {
            return Err("BAD_SUBSCRIPTION_GROUP_HASH");
        };
        if !json::text_of(id).is_some_and(|id| is_uuid(&id)) {
            return Err("BAD_SUBSCRIPTION_GROUP_ID");
        }
        if !matches!(json::text_of(state).as_deref(), Some("subscribed" | "unsubscribed")) {
            return Err("BAD_SUBSCRIPTION_GROUP_STATE");
        }
    }
    Ok(())
}

fn check_push_tokens(raw: &str) -> Result<(), &'static str> {
    let mut tokens = json::elements(raw);
    if !raw.starts_with('[') || tokens.any(|token| !token.starts_with('{')) {
        return Err("BAD_PUSH_TOKEN_VALUE");
    }
    for token in json::elements(raw) {
        let text = |key| json::member(token, key).and_then(json::text_of);
        if text("token").is_none_or(|token| token.is_empty()) {
            return Err("BAD_PUSH_TOKEN_STRING");
        }
        if text("app_id").is_none_or(|id| id.is_empty()) {
            return Err("BAD_PUSH_TOKEN_APP_ID");
        }
        let device = json::member(token, "device_id");
        if device
            .is_some_and(|raw| !json::text_of(raw).is_some_and(|id| (8..=255).contains(&id.len())))
        {
            return Err("BAD_DEVICE_ID");
        }
    }
    Ok(())
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// Writes a standard field into `user`; `None` when `name` is none.
///
/// Subscription groups and push tokens go to their own places on the user.
pub(crate) fn write(user: &mut User, name: &str, value: Value) -> Option<Result<Points, Dropped>> {
    let field = Field::of(name)?;
    Some(match field.read(value) {
        Ok(Read::Stored(value)) => {
            if user.standard.get(name) != Some(&value) {
                user.standard.insert(name.to_owned(), value);
            }
            Ok(field.points())
        }
        Ok(Read::Removed) => {
            user.standard.remove(name);
            Ok(field.points())
        }
        Ok(Read::SubscriptionGroups(groups)) => {
            user.subscription_groups.extend(groups);
            Ok(0)
        }
        Ok(Read::PushTokens(tokens)) => {
            for token in tokens {
                user.push_tokens.retain(|known| known.get("token") != token.get("token"));
                user.push_tokens.push(token);
            }
            Ok(0)
        }
        Err(dropped) => Err(dropped),
    })
}

enum Read {
    Stored(Value),
    Removed,
    SubscriptionGroups(Vec<(String, String)>),
    PushTokens(Vec<Value>),
}

impl Field {
    /// Reads a value that passed [`check`].
    fn read(self, value: Value) -> Result<Read, Dropped> {
        if value.is_null() {
            return Ok(Read::Removed);
        }
        match (self, value) {
            (Self::Text | Self::Email | Self::Phone, Value::String(text)) => {
                if longer_than(&text, 255) {
                    return Err(Dropped("string longer than 255 characters"));
                }
                Ok(Read::Stored(Value::String(text)))
            }
            (Self::Country, Value::String(text)) => Ok(country(&text)),
            (Self::Language, Value::String(text)) => {
                let code = text.to_lowercase();
                let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_lowercase());
                stored_if(is_code, Value::String(code), "language is no ISO 639-1 code")
            }
            (Self::TimeZone, Value::String(text)) => {
                let known = text.contains('/') || matches!(text.as_str(), "UTC" | "GMT");
                stored_if(known, Value::String(text), "time zone is no IANA name")
            }
            (Self::Gender, Value::String(text)) => {
                let known = matches!(text.as_str(), "M" | "F" | "O" | "N" | "P");
                stored_if(known, Value::String(text), "gender is none of M, F, O, N, P")
            }
            (Self::BirthDate, Value::String(text)) => {
                let date = instant::parse_date(&text).is_some();
                stored_if(date, Value::String(text), "dob is no date of the form YYYY-MM-DD")
            }
            (Self::Time, Value::String(text)) => match instant::parse(&text) {
                Some(at) => Ok(Read::Stored(Value::String(at.to_string()))),
                None => Err(Dropped("not a time")),
            },
            (Self::Flag, Value::Bool(flag)) => Ok(Read::Stored(Value::Bool(flag))),
            (Self::Location | Self::Subscription { .. } | Self::AsGiven, value) => {
                Ok(Read::Stored(value))
            }
            (Self::SubscriptionGroups, Value::Array(groups)) => {
                let text = |group: &Value, key| group.get(key)?.as_str().map(str::to_owned);
                let pair = |group: &Value| {
                    Some((
                        text(group, "subscription_group_id")?,
                        text(group, "subscription_state")?,
                    ))
                };
                Ok(Read::SubscriptionGroups(groups.iter().filter_map(pair).collect()))
            }
            (Self::PushTokens, Value::Array(tokens)) => Ok(Read::PushTokens(tokens)),
            (Self::Ignored, _) => Err(Dropped("this key is ignored")),
            _ => Err(Dropped("wrong type for a standard field")),
        }
    }
}

fn stored_if(fine: bool, value: Value, otherwise: &'static str) -> Result<Read, Dropped> {
    if fine { Ok(Read::Stored(value)) } else { Err(Dropped(otherwise)) }
}

/// What cannot be mapped to a country becomes null.
fn country(text: &str) -> Read {
    let code = text.trim().to_uppercase();
    if code.len() == 2 && COUNTRIES.split(' ').any(|known| known == code) {
        Read::Stored(Value::String(code))
    } else {
        Read::Removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn malformed_fields_refuse_the_object() {
        let id = "3f2b1c00-0000-4000-8000-1a2b3c4d5e6f";
        let group = |id: &str, state: &str| json!([{"subscription_group_id": id, "subscription_state": state}]);
        for (name, value, reason) in [
            ("email", json!("nobody"), EMAIL_BAD_FORMAT),
            ("email", json!(5), EMAIL_BAD_FORMAT),
            ("email_subscribe", json!("maybe"), "BAD_EMAIL_SUBSCRIPTION_STATE"),
            ("push_subscribe", json!(true), "BAD_PUSH_SUBSCRIPTION_STATE"),
            ("current_location", json!({"longitude": 1}), "BAD_LOCATION_UPDATE"),
            ("current_location", json!({"longitude": 181, "latitude": 0}), "BAD_LOCATION_UPDATE"),
            ("subscription_groups", json!({}), "BAD_SUBSCRIPTION_GROUP_ARRAY"),
            ("subscription_groups", json!([{}]), "BAD_SUBSCRIPTION_GROUP_HASH"),
            ("subscription_groups", group("7", "subscribed"), "BAD_SUBSCRIPTION_GROUP_ID"),
            ("subscription_groups", group(id, "no"), "BAD_SUBSCRIPTION_GROUP_STATE"),
            ("push_tokens", json!("t"), "BAD_PUSH_TOKEN_VALUE"),
            ("push_tokens", json!([{"token": 5}]), "BAD_PUSH_TOKEN_STRING"),
            ("push_tokens", json!([{"token": "t"}]), "BAD_PUSH_TOKEN_APP_ID"),
            (
                "push_tokens",
                json!([{"token": "t", "app_id": "a", "device_id": "short"}]),
                "BAD_DEVICE_ID",
            ),
            ("email_subscription_info", json!({}), "INVALID_ATTRIBUTE_EMAIL_SUBSCRIPTION_INFO"),
        ] {
            assert_eq!(check(name, &value.to_string()), Err(reason), "{name}: {value}");
        }
        assert_eq!(check("subscription_groups", &group(id, "subscribed").to_string()), Ok(()));
        assert_eq!(check("email", "null"), Ok(()));
        assert_eq!(check("anything", "null"), Ok(()));
    }

    fn after(writes: &[(&str, Value)]) -> Value {
        let mut user = User::default();
        for (name, value) in writes {
            assert!(write(&mut user, name, value.clone()).is_some(), "{name} is no standard field");
        }
        Value::Object(user.standard)
    }

    #[test]
    fn each_field_reads_its_own_form() {
        for (name, value, stored) in [
            ("first_name", json!("Ada"), json!({"first_name": "Ada"})),
            ("first_name", json!(5), json!({})),
            ("country", json!("de"), json!({"country": "DE"})),
            ("country", json!("Elbonia"), json!({})),
            ("language", json!("EN"), json!({"language": "en"})),
            ("language", json!("english"), json!({})),
            ("time_zone", json!("Europe/Paris"), json!({"time_zone": "Europe/Paris"})),
            ("time_zone", json!("Paris"), json!({})),
            ("gender", json!("F"), json!({"gender": "F"})),
            ("gender", json!("female"), json!({})),
            ("dob", json!("1990-02-28"), json!({"dob": "1990-02-28"})),
            ("dob", json!("1990-02-30"), json!({})),
            (
                "date_of_first_session",
                json!("2026-01-02"),
                json!({"date_of_first_session": "2026-01-02T00:00:00.000Z"}),
            ),
            ("bio", json!("long ago"), json!({})),
        ] {
            assert_eq!(after(&[(name, value.clone())]), stored, "{name}: {value}");
        }
        assert_eq!(after(&[("home_city", json!("Ulm")), ("home_city", json!(null))]), json!({}));
        assert!(write(&mut User::default(), "plan", json!("pro")).is_none());
    }
}
