//! Who an event is about, and whom queries count together.
//!
//! Three rules of Amplitude's, as pure functions over what the caller looks up:
//! - [`resolve`]: which person an event belongs to, given what its ids lead to.
//! - merging: an anonymous person turned out to be a known one. Stored events keep their person;
//!   queries follow [`Resolution::merge`] once more. Two known persons never merge.
//! - [`mapping`]: a user id is counted as another one, at query time, and until it is taken back.

pub mod mapping;
#[cfg(test)]
mod tests;

use crate::AmplitudeId;

/// What is known of the person that an event's device id leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSight {
    /// With merges followed.
    pub person: AmplitudeId,
    /// Never bound to a user id.
    pub anonymous: bool,
}

/// What the event says of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserSight {
    /// The event has no user id.
    None,
    /// The event has a user id that was never seen.
    Unknown,
    /// The event has the user id of this person, with merges followed.
    Known(AmplitudeId),
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// The person that the event is about.
    pub person: Who,
    /// The event's user id is to be bound to the person.
    pub bind_user: bool,
    /// The event's device id leads to the person from now on.
    pub link_device: bool,
    /// This anonymous person turned out to be the person.
    pub merge: Option<AmplitudeId>,
}

/// The person an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Someone not seen before.
    New,
    /// Someone seen before.
    Existing(AmplitudeId),
}

impl Resolution {
    /// Whether somebody who was anonymous until now has a user id that nobody had: their events so
    /// far are that user's, without a merge.
    pub fn promotes(&self) -> bool {
        self.bind_user && matches!(self.person, Who::Existing(_))
    }
}

/// The six rules of `amplitude-ingest.md` 11.2 (Amplitude's "Track unique users", read 2026-03).
pub fn resolve(user: UserSight, device: Option<DeviceSight>) -> Resolution {
    let same = |person, bind_user, link_device, merge| Resolution {
        person: Who::Existing(person),
        bind_user,
        link_device,
        merge,
    };
    let new =
        |bind_user| Resolution { person: Who::New, bind_user, link_device: true, merge: None };
    match (user, device) {
        // Rules 1 and 2: without a user id, the device speaks for the last user seen on it.
        (UserSight::None, None) => new(false),
        (UserSight::None, Some(device)) => same(device.person, false, false, None),
        // Rule 3: a known user stays who they are, and claims an anonymous device.
        (UserSight::Known(person), None) => same(person, false, true, None),
        (UserSight::Known(person), Some(device)) => {
            let moved = device.person != person;
            let merge = (moved && device.anonymous).then_some(device.person);
            same(person, false, moved, merge)
        }
        // Rule 4: a new user on an anonymous device was that anonymous person all along.
        (UserSight::Unknown, Some(device)) if device.anonymous => {
            same(device.person, true, false, None)
        }
        // Rules 5 and 6: a new user on somebody else's device, or without one.
        (UserSight::Unknown, _) => new(true),
    }
}
