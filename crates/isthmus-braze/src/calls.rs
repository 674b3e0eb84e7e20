//! The calls that objects travel by, and the lists of each.
//!
//! A section's high half names the call, its low half the list. Facts are from "User track
//! endpoint", "Identify users endpoint" and "Delete users endpoint", Braze documentation, read
//! 2026-09, and from the sources of public integrations where the documentation is silent.

use isthmus_core::destination::{Call, Section};

/// `attributes` of a track request: Braze processes it first.
pub(crate) const ATTRIBUTES: Section = Section(0x00);
/// `events` of a track request.
pub(crate) const EVENTS: Section = Section(0x01);
/// `purchases` of a track request: Braze processes it last.
pub(crate) const PURCHASES: Section = Section(0x02);
/// `aliases_to_identify` of an identify request.
pub(crate) const IDENTIFY: Section = Section(0x10);
/// The lists of a delete request, which has only one of them: one kind of identifier each.
pub(crate) const DELETE_EXTERNAL_IDS: Section = Section(0x20);
pub(crate) const DELETE_ALIASES: Section = Section(0x21);
pub(crate) const DELETE_BRAZE_IDS: Section = Section(0x22);
pub(crate) const DELETE_EMAILS: Section = Section(0x23);

/// Lists of the call that has most of them.
pub(crate) const LISTS_MAX: usize = 4;

/// One of Braze's APIs that objects travel by.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) call: Call,
    /// A slash at its end would be answered with 403.
    pub(crate) path: &'static str,
    pub(crate) permission: &'static str,
    pub(crate) lists: &'static [List],
    /// What a request says beside its lists.
    pub(crate) rest: &'static str,
}

/// A list inside a request.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) section: Section,
    /// What the request calls it.
    pub(crate) key: &'static str,
    /// What errors may call it instead.
    pub(crate) also: &'static str,
    /// What an answer counts its objects by.
    pub(crate) counter: &'static str,
    /// Whether it holds bare identifiers instead of objects.
    pub(crate) bare: bool,
}

const fn list(section: Section, key: &'static str, counter: &'static str) -> List {
    List { section, key, also: key, counter, bare: false }
}

const fn deleted(section: Section, key: &'static str, bare: bool) -> List {
    List { bare, ..list(section, key, "deleted") }
}

pub(crate) static TRACK: About = About {
    call: Call::MAIN,
    path: "/users/track",
    permission: "users.track",
    lists: &[
        list(ATTRIBUTES, "attributes", "attributes_processed"),
        list(EVENTS, "events", "events_processed"),
        list(PURCHASES, "purchases", "purchases_processed"),
    ],
    rest: "",
};

pub(crate) static IDENTIFY_USERS: About = About {
    call: Call(1),
    path: "/users/identify",
    permission: "users.identify",
    lists: &[List {
        also: "user_identifiers",
        ..list(IDENTIFY, "aliases_to_identify", "aliases_processed")
    }],
    // The default by now, which used to be the other one.
    rest: r#","merge_behavior":"merge""#,
};

pub(crate) static DELETE_USERS: About = About {
    call: Call(2),
    path: "/users/delete",
    permission: "users.delete",
    lists: &[
        deleted(DELETE_EXTERNAL_IDS, "external_ids", true),
        deleted(DELETE_ALIASES, "user_aliases", true),
        deleted(DELETE_BRAZE_IDS, "braze_ids", true),
        deleted(DELETE_EMAILS, "email_addresses", false),
    ],
    rest: "",
};

/// What is known of `call`, where Braze has it.
pub(crate) fn about(call: Call) -> Option<&'static About> {
    [&TRACK, &IDENTIFY_USERS, &DELETE_USERS].into_iter().find(|about| about.call == call)
}
