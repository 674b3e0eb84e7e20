//! Who an event is about: the rules of Amplitude's identity resolution as one pure function.

use isthmus_core::AmplitudeId;

/// What is known of the person that an event's device id leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeviceSight {
    pub(super) person: AmplitudeId,
    /// Never bound to a user id.
    pub(super) anonymous: bool,
}

/// What the event says of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UserSight {
    /// The event has no user id.
    None,
    /// The event has a user id that was never seen.
    Unknown,
    /// The event has the user id of this person.
    Known(AmplitudeId),
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolution {
    pub(super) person: Who,
    /// The event's user id is to be bound to the person.
    pub(super) bind_user: bool,
    /// The event's device id leads to the person from now on.
    pub(super) link_device: bool,
    /// This anonymous person turned out to be the person.
    pub(super) merge: Option<AmplitudeId>,
}

/// The person an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Someone not seen before.
    New,
    Existing(AmplitudeId),
}

/// The six rules of `amplitude-ingest.md` 11.2 (Amplitude's "Track unique users", read 2026-03).
pub(super) fn resolve(user: UserSight, device: Option<DeviceSight>) -> Resolution {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// The reference model: three maps and the function above.
    #[derive(Default)]
    struct Model {
        users: HashMap<&'static str, u64>,
        devices: HashMap<&'static str, u64>,
        bound: HashMap<u64, &'static str>,
        merges: Vec<(u64, u64)>,
        next: u64,
    }

    impl Model {
        fn see(&mut self, device: Option<&'static str>, user: Option<&'static str>) -> u64 {
            let device_sight = device.and_then(|id| self.devices.get(id)).map(|&id| DeviceSight {
                person: AmplitudeId(id),
                anonymous: !self.bound.contains_key(&id),
            });
            let user_sight = match user {
                None => UserSight::None,
                Some(id) => self
                    .users
                    .get(id)
                    .map_or(UserSight::Unknown, |&id| UserSight::Known(AmplitudeId(id))),
            };
            let resolution = resolve(user_sight, device_sight);
            let person = match resolution.person {
                Who::Existing(AmplitudeId(id)) => id,
                Who::New => {
                    self.next += 1;
                    self.next + 99
                }
            };
            if let (true, Some(user)) = (resolution.bind_user, user) {
                self.users.insert(user, person);
                self.bound.insert(person, user);
            }
            if let (true, Some(device)) = (resolution.link_device, device) {
                self.devices.insert(device, person);
            }
            if let Some(AmplitudeId(anonymous)) = resolution.merge {
                self.merges.push((anonymous, person));
            }
            person
        }
    }

    #[test]
    fn follows_the_worked_table_of_the_spec() {
        let mut model = Model::default();
        let steps = [
            ("d1", None, 100),
            ("d1", Some("ana"), 100),
            ("d1", None, 100),
            ("d1", Some("bo"), 101),
            ("d1", None, 101),
            ("d2", None, 102),
            ("d2", Some("ana"), 100),
            ("d2", None, 100),
        ];
        for (number, (device, user, expected)) in steps.into_iter().enumerate() {
            assert_eq!(model.see(Some(device), user), expected, "step {}", number + 1);
        }
        assert_eq!(model.merges, [(102, 100)]);
    }

    proptest! {
        #[test]
        fn a_user_is_never_split_and_users_never_merge(
            steps in proptest::collection::vec((0usize..4, 0usize..4), 1..60)
        ) {
            const DEVICES: [&str; 4] = ["d1", "d2", "d3", "d4"];
            const USERS: [Option<&str>; 4] = [None, Some("ana"), Some("bo"), Some("cy")];
            let mut model = Model::default();
            let mut person_of: HashMap<&str, u64> = HashMap::new();
            for (device, user) in steps {
                let person = model.see(Some(DEVICES[device]), USERS[user]);
                if let Some(user) = USERS[user] {
                    prop_assert_eq!(*person_of.entry(user).or_insert(person), person);
                }
            }
            for (anonymous, into) in &model.merges {
                prop_assert!(!model.bound.contains_key(anonymous));
                prop_assert!(model.bound.contains_key(into));
            }
        }
    }
}
