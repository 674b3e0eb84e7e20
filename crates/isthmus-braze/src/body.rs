//! The body of a request, and which of its objects each delivery became.
//!
//! Braze answers by position: `input_array` and `index`. The layout is a function of the batch
//! alone, so reading a reply computes it again instead of remembering it.
//!
//! Several attributes objects of one user are joined into one, later values winning: Braze
//! documents no order among the objects of one array, and one object is one to pay for.

use crate::calls::{self, ATTRIBUTES, About, LISTS_MAX, List};
use crate::track::OBJECT_BYTES_MAX;
use isthmus_core::destination::{Call, Delivery, EncodeError, Lane, Section};
use isthmus_core::json;
use std::borrow::Cow;
use std::collections::HashMap;

/// Room for the names of the lists and their brackets, and for what else a request says.
const ENVELOPE_BYTES: usize = 96;

/// Says whether an attributes object may create its user. Joined objects may if any of them may.
pub(crate) const UPDATE_ONLY: &str = "_update_existing_only";

/// Where the objects of a batch stand in its request.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    /// For each delivery, its section and the index of its object there; none where the section
    /// is unknown.
    pub(crate) slots: Vec<Option<(Section, usize)>>,
    /// Payloads of each object of `attributes`, in order of delivery.
    attributes: Vec<Vec<&'a str>>,
    /// The call, which that of the first delivery is.
    pub(crate) about: Option<&'static About>,
    /// Number of objects in each of its lists.
    counts: [usize; LISTS_MAX],
}

/// The newest attributes object of a lane, while others can join it.
struct Open<'a> {
    index: usize,
    identifier: Option<Member<'a>>,
    bytes: usize,
}

type Member<'a> = (Cow<'a, str>, &'a str);

impl<'a> Layout<'a> {
    pub(crate) fn of(batch: &'a [Delivery]) -> Self {
        let mut layout = Self {
            slots: Vec::with_capacity(batch.len()),
            attributes: Vec::new(),
            about: calls::about(call_of(batch)),
            counts: [0; LISTS_MAX],
        };
        let mut open: HashMap<Lane, Open<'a>> = HashMap::new();
        for delivery in batch {
            let message = &delivery.message;
            let at = layout.position(message.section);
            let slot = match at.and_then(|at| layout.counts.get_mut(at)) {
                None => None,
                Some(count) if message.section == ATTRIBUTES => {
                    let index = join(&mut open, message.lane, &message.payload, *count);
                    if let Some(payloads) = layout.attributes.get_mut(index) {
                        payloads.push(&message.payload);
                    } else {
                        layout.attributes.push(vec![&message.payload]);
                        *count += 1;
                    }
                    Some((message.section, index))
                }
                Some(count) => {
                    *count += 1;
                    Some((message.section, *count - 1))
                }
            };
            layout.slots.push(slot);
        }
        layout
    }

    /// The lists of the call.
    pub(crate) fn lists(&self) -> &'static [List] {
        self.about.map_or(&[], |about| about.lists)
    }

    fn position(&self, section: Section) -> Option<usize> {
        self.lists().iter().position(|list| list.section == section)
    }

    /// Objects in all lists.
    pub(crate) fn objects(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Objects in the list of `section`.
    pub(crate) fn objects_in(&self, section: Section) -> usize {
        let count = self.position(section).and_then(|at| self.counts.get(at));
        count.copied().unwrap_or_default()
    }

    /// The body for `batch`, from which this layout was made.
    pub(crate) fn body(&self, batch: &[Delivery]) -> Result<String, EncodeError> {
        if let Some(at) = self.slots.iter().position(Option::is_none) {
            let section = batch.get(at).map(|delivery| delivery.message.section.0);
            let reason = format!("Braze has no section {}", section.unwrap_or_default());
            return Err(EncodeError { reason });
        }
        let bytes: usize = batch.iter().map(|delivery| delivery.message.payload.len() + 1).sum();
        let mut body = String::with_capacity(bytes + ENVELOPE_BYTES);
        let mut opening = '{';
        for List { section, key, bare, .. } in self.lists() {
            let section = *section;
            if self.objects_in(section) == 0 {
                continue;
            }
            body.push(opening);
            opening = ',';
            json::push_text(&mut body, key);
            body.push_str(":[");
            let from = body.len();
            if section == ATTRIBUTES {
                for payloads in &self.attributes {
                    push_separator(&mut body, from);
                    push_joined(&mut body, payloads);
                }
            } else {
                for delivery in batch.iter().filter(|of| of.message.section == section) {
                    push_separator(&mut body, from);
                    let payload = &delivery.message.payload;
                    let identifier = json::members(payload).next().filter(|_| *bare);
                    body.push_str(identifier.map_or(payload, |(_, value)| value));
                }
            }
            body.push(']');
        }
        body.push_str(self.about.map_or("", |about| about.rest));
        body.push('}');
        Ok(body)
    }
}

/// The call that a request with `batch` is.
pub(crate) fn call_of(batch: &[Delivery]) -> Call {
    batch.first().map_or(Call::MAIN, |delivery| delivery.message.section.call())
}

/// The index of the attributes object that `payload` becomes part of; `next` when it is a new one.
fn join<'a>(
    open: &mut HashMap<Lane, Open<'a>>,
    lane: Lane,
    payload: &'a str,
    next: usize,
) -> usize {
    // Lanes are hashes: two users that share one must not become one.
    let identifier = json::members(payload).next();
    match open.get_mut(&lane) {
        Some(known)
            if known.identifier == identifier
                && known.bytes + payload.len() <= OBJECT_BYTES_MAX =>
        {
            known.bytes += payload.len();
            known.index
        }
        _ => {
            open.insert(lane, Open { index: next, identifier, bytes: payload.len() });
            next
        }
    }
}

fn push_separator(body: &mut String, from: usize) {
    if body.len() > from {
        body.push(',');
    }
}

/// Appends the objects of one user as one: each key once, where it first stood, with its last value.
fn push_joined(body: &mut String, payloads: &[&str]) {
    if let [payload] = payloads {
        body.push_str(payload);
        return;
    }
    let mut members: Vec<Member<'_>> = Vec::new();
    let mut positions: HashMap<Cow<'_, str>, usize> = HashMap::new();
    let mut flags: Vec<Option<&str>> = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let mut flag = None;
        for (key, value) in json::members(payload) {
            if key == UPDATE_ONLY {
                flag = Some(value);
            } else if let Some(known) = positions.get(&key).and_then(|at| members.get_mut(*at)) {
                known.1 = value;
            } else {
                positions.insert(key.clone(), members.len());
                members.push((key, value));
            }
        }
        flags.push(flag);
    }
    let flag = flags.into_iter().find(|flag| *flag != Some("true")).unwrap_or(Some("true"));
    // The identifier comes first, as in every object.
    let after_identifier = members.len().min(1);
    if let Some(value) = flag {
        members.insert(after_identifier, (Cow::Borrowed(UPDATE_ONLY), value));
    }
    let mut opening = '{';
    for (key, value) in members {
        body.push(opening);
        opening = ',';
        json::push_text(body, &key);
        body.push(':');
        body.push_str(value);
    }
    body.push('}');
}
