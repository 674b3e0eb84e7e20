//! A story of the ledger as the control API tells it.

use super::view::View;
use crate::report::ledger::{LedgerHappening, LedgerObject};
use isthmus_delivery::journal::{Decision, Fate, Mark};
use isthmus_delivery::ledger::{Happening, State, Story, What};

/// What a state is called in questions and answers.
pub(in crate::runtime) fn state_name(state: State) -> &'static str {
    match state {
        State::InFlight => "in_flight",
        other => other.name(),
    }
}

/// The state that is called `name`, or the names that there are.
pub(crate) fn state_named(name: &str) -> Result<State, String> {
    State::ALL.into_iter().find(|state| state_name(*state) == name).ok_or_else(|| {
        let names = State::ALL.map(state_name);
        format!("`state` is one of {}, not {name:?}", names.join(", "))
    })
}

/// The object that `story` is about.
pub(in crate::runtime) fn object(view: &View<'_>, story: &Story) -> LedgerObject {
    let (stream, job) = view.named(story.key.stream);
    LedgerObject {
        stream,
        destination: view.destination.to_owned(),
        job,
        part: story.key.part,
        state: state_name(story.state()).to_owned(),
        why: story.happenings.last().and_then(|last| why(&last.what)),
        possible_duplicate: story.is_possible_duplicate(),
        happenings: story.happenings.iter().map(happening).collect(),
    }
}

/// Why the object is in the state that `last` brought it to.
fn why(last: &What) -> Option<String> {
    match last {
        What::Sent { request } => Some(format!("request {request} has no answer yet")),
        What::Ended { mark: Mark::Delivered | Mark::DeliveredAtOnce, .. } => None,
        What::Ended { message, .. } => said(message),
        What::NoAnswer { .. } => {
            Some("the program ended before an answer came, so it is sent again".to_owned())
        }
        What::Aside { reason, .. } => said(reason),
        What::Decided { decision, reason } => {
            let what = match decision {
                Decision::Resend => "to be sent again",
                Decision::Discard => "let go",
                Decision::Confirm => "confirmed to be delivered",
            };
            Some(format!("{what}: {reason}"))
        }
    }
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn happening(happening: &Happening) -> LedgerHappening {
    let mut told = LedgerHappening {
        at: happening.at.to_string(),
        what: name(&happening.what).to_owned(),
        request: None,
        status: None,
        message: None,
        took_ms: None,
        mark: None,
        retry_in_ms: None,
    };
    match &happening.what {
        What::Sent { request } | What::NoAnswer { request } => told.request = Some(*request),
        What::Ended { request, status, took, message, mark, wait } => {
            let millis = |duration: &std::time::Duration| u64::try_from(duration.as_millis()).ok();
            told.request = Some(*request);
            told.status = (*status > 0).then_some(*status);
            told.message = said(message);
            told.took_ms = millis(took);
            told.mark = Some(mark_name(*mark).to_owned());
            if matches!(mark, Mark::Again | Mark::Unknown) {
                told.retry_in_ms = millis(wait);
            }
        }
        What::Aside { reason, .. } | What::Decided { reason, .. } => told.message = said(reason),
    }
    told
}

fn name(what: &What) -> &'static str {
    match what {
        What::Sent { .. } => "sent",
        What::Ended { status: 0, .. } | What::NoAnswer { .. } => "not_answered",
        What::Ended { .. } => "answered",
        What::Aside { fate: Fate::Discarded, .. } => "discarded",
        What::Aside { fate: Fate::Refused, .. } => "refused",
        What::Aside { fate: Fate::Parked, .. } => "set_aside",
        What::Decided { decision: Decision::Resend, .. } => "to_be_resent",
        What::Decided { decision: Decision::Discard, .. } => "let_go",
        What::Decided { decision: Decision::Confirm, .. } => "confirmed",
    }
}

fn mark_name(mark: Mark) -> &'static str {
    match mark {
        Mark::DeliveredAtOnce | Mark::Delivered => "delivered",
        Mark::Rejected => "rejected",
        Mark::Expired => "expired",
        Mark::Again => "again",
        Mark::Deferred => "deferred",
        Mark::Unknown => "unknown",
        Mark::Parked => "set_aside",
    }
}
