//! `forward` of a stream: what an Amplitude destination gets, as it came.

use super::Stream;
use crate::check;
use crate::decode::{Decode, Fields, Report, Rule, Wrong, list};
use crate::diagnostic::{Problem, listed, meant};
use crate::node::{Node, Value};
use crate::shape::{section, words};

section! {
    /// `forward` of a stream to an Amplitude destination: events, identifies and group identifies go on
    /// unchanged and in order. Nothing is forwarded that is not named.
    pub struct Forward {
        /// Product events, by event type.
        pub events: Selection = Selection::None,
        /// Identifies: what changes user properties without an event.
        pub identifies: bool = false,
        /// Group identifies.
        pub group_identifies: bool = false,
        /// Events of Braze Currents; without it none are.
        pub currents: Option<ForwardCurrents> = None,
        /// What of the properties stays here.
        pub properties: PersonalData = PersonalData::default(),
    }
}

section! {
    /// `forward.currents` of a stream: events of Braze Currents, as Amplitude shows them. Types are
    /// Braze's own, such as `users.messages.email.Open`; `*` stands for any part of a name.
    pub struct ForwardCurrents {
        /// Which of them.
        pub types: Selection = Selection::All,
        /// What becomes of selected types that no documentation knows.
        pub unknown_types: UnknownTypes = UnknownTypes::Forward,
        /// Part of the users whose events of a type are forwarded: a type and a percentage. It is always
        /// the same users, so that what happened to one of them stays whole. Of several entries that fit
        /// a type the first counts.
        pub sample: Shares = Shares(Vec::new()),
        /// Types of which at most one event per user, campaign and period is kept: the events of one
        /// period share an `insert_id`, of which Amplitude keeps the first. Of several entries that fit a
        /// type the first counts.
        pub roll_up: Periods = Periods(Vec::new()),
        /// Whether those are forwarded that only say what a stream of ours told Braze.
        pub echoes: bool = false,
    }
}

section! {
    /// `forward.properties` of a stream: names of properties of events, users and groups, and of other
    /// fields of an event; `*` stands for any part of a name.
    pub struct PersonalData {
        /// Left out.
        pub drop: Vec<String> = Vec::new() => not_identity,
        /// Sent as the SHA-256 of the value, in hex: equal values stay equal, and who knows a value
        /// recognises it.
        pub hash: Vec<String> = Vec::new() => not_identity,
    }
}

words! {
    /// What becomes of types that no documentation knows.
    pub enum UnknownTypes {
        /// Sent, under a name made from the type.
        Forward = "forward",
        /// Kept as dead letters until somebody sends them.
        Hold = "hold",
    }
}

words! {
    /// A period of time, in UTC.
    pub enum Period {
        Hour = "hour",
        Day = "day",
    }
}

/// Which names are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `none`.
    None,
    /// `all`.
    All,
    /// Those that one of these patterns fits.
    Only(Vec<String>),
    /// Those that none of these patterns fits.
    Except(Vec<String>),
}

impl Selection {
    const WORDS: [&'static str; 2] = ["all", "none"];
}

impl Decode for Selection {
    const EXPECTED: &'static str = "`all`, `none`, `{ only: [...] }` or `{ except: [...] }`";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        match node.text() {
            Some("all") => return Some(Self::All),
            Some("none") => return Some(Self::None),
            Some(text) => {
                let message = format!("must be {}, found {}", Self::EXPECTED, node.found());
                let hint = match meant(text, Self::WORDS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("write `{{ only: [{text}] }}`"),
                };
                report.wrong(node.at, Wrong::new(message).hint(hint));
                return None;
            }
            None => {}
        }
        if let Value::List(_) = &node.value {
            let message = format!("must be {}, found a list", Self::EXPECTED);
            report.wrong(node.at, Wrong::new(message).hint("write `{ only: [...] }`"));
            return None;
        }
        let mut fields = Fields::open(node, Self::EXPECTED, &[], report)?;
        let rule = |key| Rule::<Option<Vec<String>>>::new(key).decode(patterns);
        let only = fields.take(&rule("only"), report)?;
        let except = fields.take(&rule("except"), report)?;
        fields.close(report);
        match (only, except) {
            (Some(only), None) => Some(Self::Only(only)),
            (None, Some(except)) => Some(Self::Except(except)),
            (Some(_), Some(_)) => {
                let wrong = Wrong::new("has both `only` and `except`");
                report.wrong(node.at, wrong.hint("what `only` leaves out needs no `except`"));
                None
            }
            (None, None) => {
                report.wrong(node.at, Wrong::new(format!("must be {}", Self::EXPECTED)));
                None
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Self::None => "`none`".to_owned(),
            Self::All => "`all`".to_owned(),
            Self::Only(_) | Self::Except(_) => "see there".to_owned(),
        }
    }
}

/// At least one name, none of them blank.
#[expect(clippy::option_option, reason = "what reads a key that may be absent")]
fn patterns(node: &Node, report: &mut Report) -> Option<Option<Vec<String>>> {
    let read = |node: &Node, report: &mut Report| {
        let name = String::decode(node, report)?;
        if let Err(wrong) = check::not_blank(&name) {
            report.wrong(node.at, wrong);
        }
        Some(name)
    };
    let names = list(node, report, read)?;
    if names.is_empty() {
        let wrong = Wrong::new("names nothing");
        report.wrong(node.at, wrong.hint("name at least one, or write `all` or `none`"));
    }
    Some(Some(names))
}

/// Names and what each of them has, in the order in which they were written.
fn each<T>(
    node: &Node,
    report: &mut Report,
    decode: impl Fn(&Node, &mut Report) -> Option<T>,
) -> Option<Vec<(String, T)>> {
    let Value::Map(entries) = &node.value else {
        let message = format!("must be a mapping, found {}", node.found());
        report.wrong(node.at, Wrong::new(message));
        return None;
    };
    let read = entries.iter().filter_map(|entry| {
        let value = report.inside(&entry.key, |report| decode(&entry.value, report))?;
        Some((entry.key.clone(), value))
    });
    Some(read.collect())
}

/// Patterns of types, each with a part of all users.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares(pub Vec<(String, f64)>);

impl Decode for Shares {
    const EXPECTED: &'static str =
        "types and percentages, such as `users.messages.email.Send: 10%`";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        each(node, report, percentage).map(Self)
    }

    fn show(&self) -> String {
        "none".to_owned()
    }
}

/// `10%` or `0.5%`, as a part of one.
fn percentage(node: &Node, report: &mut Report) -> Option<f64> {
    let percents = node
        .text()
        .and_then(|text| text.strip_suffix('%'))
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|percents| *percents > 0.0 && *percents <= 100.0);
    if percents.is_none() {
        let message = format!("must be a percentage up to 100%, found {}", node.found());
        let hint = "write 10%, or leave the type out of `types` to forward none of it";
        report.wrong(node.at, Wrong::new(message).hint(hint));
    }
    percents.map(|percents| percents / 100.0)
}

/// Patterns of types, each with a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Periods(pub Vec<(String, Period)>);

impl Decode for Periods {
    const EXPECTED: &'static str =
        "types and periods, such as `users.messages.email.Delivery: day`";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        each(node, report, Period::decode).map(Self)
    }

    fn show(&self) -> String {
        "none".to_owned()
    }
}

#[expect(clippy::ptr_arg, reason = "a check is a function of the very type of its field")]
fn not_identity(names: &Vec<String>) -> Result<(), Wrong> {
    const IDENTITY: [&str; 3] = ["user_id", "device_id", "insert_id"];
    match names.iter().find(|name| IDENTITY.contains(&name.as_str())) {
        Some(name) => Err(Wrong::new(format!(
            "names `{name}`, without which an event is another one"
        ))
        .hint("an event that may not be told of is left out with `events: { except: [...] }`")),
        None if names.iter().any(|name| name.trim().is_empty()) => {
            Err(Wrong::new("has an empty name"))
        }
        None => Ok(()),
    }
}

impl Forward {
    /// What is wrong between the keys of `stream`, whose section this is.
    pub(super) fn check(&self, stream: &Stream) -> Vec<Problem> {
        let mut problems = Vec::new();
        let braze = [
            ("identify_by", stream.identify_by.is_some()),
            ("anonymous", stream.anonymous.is_some()),
            ("user_alias_label", stream.user_alias_label.is_some()),
            ("update_existing_only", stream.update_existing_only),
            ("nested_values", stream.nested_values != super::NestedValues::Drop),
            ("send_events", stream.send_events.is_some()),
            ("send_users", stream.send_users.is_some()),
        ];
        for key in braze.into_iter().filter(|(_, given)| *given).map(|(key, _)| key) {
            let message = format!("`{key}` has no meaning beside `forward`");
            let hint = match key {
                "send_events" => "`forward.events` selects events; they go on as they are",
                "send_users" => "`forward.identifies` passes on what changes user properties",
                "identify_by" | "anonymous" | "user_alias_label" => {
                    "remove it: Amplitude knows users by the ids that they came with"
                }
                _ => "remove it: what is forwarded is not changed",
            };
            problems.push(Problem::new(key, message).hint(hint));
        }
        let nothing = self.events == Selection::None
            && !self.identifies
            && !self.group_identifies
            && self.currents.is_none();
        if nothing {
            let message = "`forward` forwards nothing";
            let known = listed(["events", "identifies", "group_identifies", "currents"]);
            problems.push(Problem::new("forward", message).hint(format!("add {known}")));
        }
        if self.currents.as_ref().is_some_and(|currents| currents.types == Selection::None) {
            let message = "`forward.currents.types` is `none`";
            let hint = "remove `currents`: without it none are forwarded";
            problems.push(Problem::new("forward.currents.types", message).hint(hint));
        }
        problems
    }
}
