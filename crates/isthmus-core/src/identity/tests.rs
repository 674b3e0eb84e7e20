//! Laws of identity, and a model that says the same in another way.
//!
//! The model looks at a whole history at once: an event with a user id is that user's; one without
//! belongs to the last user seen on its device before, else to the first one seen on it after, else
//! to the device alone. `resolve` must come to the same one step at a time.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

type Step = (Option<u8>, Option<u8>);

/// What the applier keeps, as three maps.
#[derive(Debug, Default, Clone, PartialEq)]
struct World {
    users: BTreeMap<u8, u64>,
    devices: BTreeMap<u8, u64>,
    bound: BTreeMap<u64, u8>,
    merges: BTreeMap<u64, u64>,
    next: u64,
}

impl World {
    fn canonical(&self, person: u64) -> u64 {
        self.merges.get(&person).copied().unwrap_or(person)
    }

    /// Sees one event, which has a device, a user or both; a user alone comes with a device of its
    /// own, as derived ids do.
    fn see(&mut self, (device, user): Step) -> u64 {
        let device = device.or(user.map(|user| 100 + user));
        let device_sight = device.and_then(|id| self.devices.get(&id)).map(|&id| {
            let id = self.canonical(id);
            DeviceSight { person: AmplitudeId(id), anonymous: !self.bound.contains_key(&id) }
        });
        let user_sight = match user {
            None => UserSight::None,
            Some(id) => self.users.get(&id).map_or(UserSight::Unknown, |&id| {
                UserSight::Known(AmplitudeId(self.canonical(id)))
            }),
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
            self.merges.insert(anonymous, person);
        }
        person
    }

    fn see_all(steps: &[Step]) -> (Self, Vec<u64>) {
        let mut world = Self::default();
        let persons = steps.iter().map(|step| world.see(*step)).collect();
        (world, persons)
    }

    /// Whose each event is now, merges followed.
    fn owners(steps: &[Step]) -> Vec<Owner> {
        let (world, persons) = Self::see_all(steps);
        let owner = |(person, (device, _)): (u64, &Step)| match (
            world.bound.get(&world.canonical(person)),
            device,
        ) {
            (Some(user), _) => Owner::User(*user),
            (None, device) => Owner::Device(device.unwrap_or_default()),
        };
        persons.into_iter().zip(steps).map(owner).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    User(u8),
    Device(u8),
}

/// The model: see the head of this file.
fn owners_by_the_book(steps: &[Step]) -> Vec<Owner> {
    let owner = |(at, (device, user)): (usize, &Step)| {
        if let Some(user) = user {
            return Owner::User(*user);
        }
        let on_device = |step: &&Step| step.0 == *device && step.1.is_some();
        let before = steps[..at].iter().rev().find(on_device);
        let after = steps[at..].iter().find(on_device);
        match before.or(after).and_then(|step| step.1) {
            Some(user) => Owner::User(user),
            None => Owner::Device(device.unwrap_or_default()),
        }
    };
    steps.iter().enumerate().map(owner).collect()
}

fn step() -> impl Strategy<Value = Step> {
    (prop::option::weighted(0.9, 0u8..5), prop::option::weighted(0.5, 0u8..4))
        .prop_filter("an event has an id", |(device, user)| device.is_some() || user.is_some())
}

#[test]
fn follows_the_worked_table_of_the_spec() {
    const ANA: Option<u8> = Some(1);
    const BO: Option<u8> = Some(2);
    let mut world = World::default();
    let steps = [
        (1, None, 100),
        (1, ANA, 100),
        (1, None, 100),
        (1, BO, 101),
        (1, None, 101),
        (2, None, 102),
        (2, ANA, 100),
        (2, None, 100),
    ];
    for (number, (device, user, expected)) in steps.into_iter().enumerate() {
        assert_eq!(world.see((Some(device), user)), expected, "step {}", number + 1);
    }
    assert_eq!(world.merges, BTreeMap::from([(102, 100)]));
}

proptest! {
    #[test]
    fn agrees_with_the_model(steps in prop::collection::vec(step(), 1..60)) {
        prop_assert_eq!(World::owners(&steps), owners_by_the_book(&steps));
    }

    #[test]
    fn a_user_is_never_split_and_users_never_merge(steps in prop::collection::vec(step(), 1..60)) {
        let (world, persons) = World::see_all(&steps);
        let mut person_of: HashMap<u8, u64> = HashMap::new();
        for ((_, user), person) in steps.iter().zip(persons) {
            if let Some(user) = user {
                prop_assert_eq!(*person_of.entry(*user).or_insert(person), person);
            }
        }
        let distinct: BTreeSet<_> = person_of.values().collect();
        prop_assert_eq!(distinct.len(), person_of.len(), "two users are two persons");
        for (anonymous, into) in &world.merges {
            prop_assert!(!world.bound.contains_key(anonymous));
            prop_assert!(world.bound.contains_key(into));
            prop_assert!(!world.merges.contains_key(into), "a chain has one link");
        }
    }

    #[test]
    fn seeing_an_event_again_changes_nothing(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::default();
        for step in steps {
            let person = world.see(step);
            let before = world.clone();
            prop_assert_eq!(world.see(step), person);
            prop_assert_eq!(&world, &before);
        }
    }

    /// Where nobody shares a device, it makes no difference when who was heard of.
    #[test]
    fn the_order_of_arrival_makes_no_difference_on_unshared_devices(
        steps in prop::collection::vec((0u8..8, any::<bool>()), 1..40),
        keys in prop::collection::vec(any::<u32>(), 40),
    ) {
        // Two devices to a user: 0 and 1 are user 0's.
        let steps: Vec<Step> =
            steps.into_iter().map(|(device, known)| (Some(device), known.then_some(device / 2))).collect();
        let mut shuffled: Vec<_> = steps.iter().copied().zip(keys).collect();
        shuffled.sort_by_key(|(_, key)| *key);
        let shuffled: Vec<Step> = shuffled.into_iter().map(|(step, _)| step).collect();
        let owners = |steps: &[Step]| -> BTreeMap<Step, Owner> {
            steps.iter().copied().zip(World::owners(steps)).collect()
        };
        prop_assert_eq!(owners(&steps), owners(&shuffled));
    }
}
