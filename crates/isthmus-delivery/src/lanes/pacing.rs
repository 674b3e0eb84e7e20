//! How much the vendor gets of one user or device: the paces of a destination, as
//! [`Limits::paces`](isthmus_core::destination::Limits) say. Pure: time is passed in.
//!
//! Over any stretch of time as long as a pace's window, no more objects of one key leave than it
//! allows. As in the governor, a window is watched in slots, and an object counts for one slot longer
//! than it must.
//!
//! Memory is bounded. Short windows know each key by itself and forget those that are idle. A window
//! of hours would have to remember everybody of a day, so it counts in a table of fixed size: a key
//! has one cell in each of two rows, shared with others, and is let through while one of the two has
//! room. What is counted is never less than what left; whoever shares both cells with somebody who
//! uses all of a day's allowance waits with them, which is one in hundreds of millions.
//!
//! Nothing of it survives a restart: the vendor's answer is what holds then.

use isthmus_core::destination::{Destination, Lane, Message, Pace};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Slots of a window that knows each key.
const SLOTS: u32 = 10;
/// From here on a window counts in cells.
const LONG: Duration = Duration::from_mins(10);
/// Slots of a window that counts in cells: hours of a day.
const LONG_SLOTS: u32 = 24;
/// Cells of a row.
const CELLS: usize = 16_384;
const ROWS: usize = 2;
/// Keys that are kept before idle ones are looked for.
const KEYS_MIN: usize = 1_024;

/// Decides when an object of a user or a device may leave.
#[derive(Debug)]
pub(crate) struct Pacer {
    destination: Arc<dyn Destination>,
    windows: Vec<Window>,
    /// Keys that the vendor asked to wait, and until when.
    held: ByKey<Duration>,
}

impl Pacer {
    /// The pacer of `destination`; `None` where it has no paces.
    pub(crate) fn new(destination: Arc<dyn Destination>, paces: &[Pace]) -> Option<Self> {
        let windows: Vec<_> = paces.iter().map(|pace| Window::new(*pace)).collect();
        (!windows.is_empty()).then(|| Self { destination, windows, held: ByKey::default() })
    }

    /// When `message` may leave; not after `now` means at once.
    pub(crate) fn free_at(&mut self, message: &Message, now: Duration) -> Duration {
        let keys = self.destination.paced_by(message);
        let mut at = Duration::ZERO;
        for key in keys {
            at = at.max(self.held.get(key).copied().unwrap_or_default());
            for window in &mut self.windows {
                at = at.max(window.free_at(key, now));
            }
        }
        at
    }

    /// Counts that `message` leaves now, which [`Self::free_at`] allowed.
    pub(crate) fn spend(&mut self, message: &Message, now: Duration) {
        for key in self.destination.paced_by(message) {
            for window in &mut self.windows {
                window.spend(key, now);
            }
        }
    }

    /// The vendor asked whoever `message` is about to wait until `until`.
    pub(crate) fn hold(&mut self, message: &Message, until: Duration, now: Duration) {
        for key in self.destination.paced_by(message) {
            let held = self.held.entry(key, |until| *until > now);
            *held = until.max(*held);
        }
    }

    /// The operator says that waiting is over.
    pub(crate) fn release(&mut self) {
        self.held = ByKey::default();
    }
}

/// Values by key; idle ones are forgotten when there are many.
#[derive(Debug)]
struct ByKey<T> {
    known: HashMap<Lane, T>,
    /// Idle keys are looked for when there are so many.
    full: usize,
}

impl<T> Default for ByKey<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), full: KEYS_MIN }
    }
}

impl<T: Default> ByKey<T> {
    fn get(&self, key: Lane) -> Option<&T> {
        self.known.get(&key)
    }

    /// The value of `key`. Those that `is_busy` does not hold for may go.
    fn entry(&mut self, key: Lane, is_busy: impl Fn(&T) -> bool) -> &mut T {
        if self.known.len() >= self.full {
            self.known.retain(|_, value| is_busy(value));
            self.full = (self.known.len() * 2).max(KEYS_MIN);
        }
        self.known.entry(key).or_default()
    }
}

#[derive(Debug)]
struct Window {
    objects: u32,
    slots: Slots,
    counts: Counts,
}

#[derive(Debug)]
enum Counts {
    Keys(ByKey<Spent>),
    Cells(Vec<Spent>),
}

/// How a window is cut.
#[derive(Debug, Clone, Copy)]
struct Slots {
    length: Duration,
    count: u32,
}

impl Slots {
    fn number_of(self, at: Duration) -> u32 {
        u32::try_from(at.as_nanos() / self.length.as_nanos()).unwrap_or(u32::MAX)
    }

    /// When objects that left in slot `number` stop counting.
    fn end_of(self, number: u32) -> Duration {
        let slots = u128::from(number) + u128::from(self.count) + 1;
        let nanos = self.length.as_nanos().saturating_mul(slots);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Window {
    fn new(pace: Pace) -> Self {
        let is_long = pace.per >= LONG;
        let count = if is_long { LONG_SLOTS } else { SLOTS };
        // Rounded up, so that the slots never cover less than the window.
        let slots = Slots { length: pace.per / count + Duration::from_nanos(1), count };
        let counts = if is_long {
            Counts::Cells((0..ROWS * CELLS).map(|_| Spent::default()).collect())
        } else {
            Counts::Keys(ByKey::default())
        };
        Self { objects: pace.objects.max(1), slots, counts }
    }

    fn free_at(&mut self, key: Lane, now: Duration) -> Duration {
        let (objects, slots) = (self.objects, self.slots);
        match &mut self.counts {
            Counts::Keys(keys) => match keys.known.get_mut(&key) {
                Some(spent) => spent.free_at(objects, slots, now),
                None => Duration::ZERO,
            },
            Counts::Cells(cells) => cells_of(key)
                .filter_map(|cell| Some(cells.get_mut(cell)?.free_at(objects, slots, now)))
                .min()
                .unwrap_or_default(),
        }
    }

    fn spend(&mut self, key: Lane, now: Duration) {
        let slots = self.slots;
        match &mut self.counts {
            Counts::Keys(keys) => {
                keys.entry(key, |spent| spent.is_busy(slots, now)).spend(slots, now);
            }
            Counts::Cells(cells) => {
                for cell in cells_of(key) {
                    if let Some(spent) = cells.get_mut(cell) {
                        spent.spend(slots, now);
                    }
                }
            }
        }
    }
}

/// The cells of `key`, one in each row.
fn cells_of(key: Lane) -> impl Iterator<Item = usize> {
    // A key is a hash, so its halves are two of them.
    let halves = [key.0, key.0 >> 32];
    (0..ROWS).zip(halves).map(|(row, half)| {
        row * CELLS + usize::try_from(half & 0xffff_ffff).unwrap_or_default() % CELLS
    })
}

/// Objects that left, by slot, oldest first.
#[derive(Debug, Default)]
struct Spent {
    by_slot: VecDeque<(u32, u32)>,
    total: u32,
}

impl Spent {
    fn forget(&mut self, slots: Slots, now: Duration) {
        while let Some(&(number, count)) = self.by_slot.front() {
            if slots.end_of(number) > now {
                break;
            }
            self.by_slot.pop_front();
            self.total -= count;
        }
    }

    /// When fewer than `objects` count.
    fn free_at(&mut self, objects: u32, slots: Slots, now: Duration) -> Duration {
        self.forget(slots, now);
        if self.total < objects {
            return Duration::ZERO;
        }
        self.by_slot.front().map_or(Duration::ZERO, |(number, _)| slots.end_of(*number))
    }

    fn spend(&mut self, slots: Slots, now: Duration) {
        self.forget(slots, now);
        let number = slots.number_of(now);
        match self.by_slot.back_mut() {
            Some((last, count)) if *last == number => *count += 1,
            _ => self.by_slot.push_back((number, 1)),
        }
        self.total += 1;
    }

    fn is_busy(&self, slots: Slots, now: Duration) -> bool {
        self.by_slot.back().is_some_and(|(number, _)| slots.end_of(*number) > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn most_in_any_window(starts: &[Duration], per: Duration) -> usize {
        let within = |&first: &Duration| {
            starts.iter().filter(|&&start| start >= first && start < first + per).count()
        };
        starts.iter().map(within).max().unwrap_or(0)
    }

    fn pace(objects: u32, per: Duration) -> Pace {
        Pace { objects, per }
    }

    #[test]
    fn a_long_window_lets_all_of_a_day_through_and_no_more() {
        let day = Duration::from_hours(24);
        let mut window = Window::new(pace(50_000, day));
        let (busy, other) = (Lane::of("busy"), Lane::of("other"));
        let mut now = Duration::from_secs(1);
        let mut left = 0;
        while window.free_at(busy, now) <= now {
            window.spend(busy, now);
            left += 1;
            now += Duration::from_millis(100);
        }
        assert_eq!(left, 50_000);
        assert!(window.free_at(other, now) <= now, "others are not held up");
        let free = window.free_at(busy, now);
        assert!(free > day && free <= day + Duration::from_hours(2), "{free:?}");
    }

    #[test]
    fn idle_keys_are_forgotten() {
        let mut window = Window::new(pace(5, Duration::from_secs(1)));
        for user in 0..100_000u64 {
            window.spend(Lane(user), Duration::from_millis(user));
        }
        let Counts::Keys(keys) = &window.counts else { panic!("a second is short") };
        assert!(keys.known.len() <= 2 * 1_200, "{}", keys.known.len());
    }

    proptest! {
        #[test]
        fn never_exceeds_a_pace_in_any_window_and_uses_most_of_it(
            objects in 1u32..40,
            minutes in prop_oneof![Just(false), Just(true)],
            per in 1u64..5_000,
            waits in prop::collection::vec((0u64..6, 0u64..2_000), 1..300),
        ) {
            // Windows of both kinds.
            let per = if minutes { LONG + Duration::from_secs(per) } else { Duration::from_millis(per) };
            let step = per / 2_000;
            let mut window = Window::new(pace(objects, per));
            let mut now = Duration::ZERO;
            let mut starts: HashMap<Lane, Vec<Duration>> = HashMap::new();
            for (user, wait) in waits {
                now += step * u32::try_from(wait).unwrap();
                let key = Lane::of(&user.to_string());
                if window.free_at(key, now) <= now {
                    window.spend(key, now);
                    starts.entry(key).or_default().push(now);
                }
            }
            for starts in starts.values() {
                prop_assert!(most_in_any_window(starts, per) <= objects as usize);
            }
            // As fast as it may: at least what the slots lose less than the whole.
            let (key, end) = (Lane::of("eager"), now + per * 20);
            let mut left = 0u32;
            loop {
                now = now.max(window.free_at(key, now));
                if now >= end {
                    break;
                }
                window.spend(key, now);
                left += 1;
            }
            prop_assert!(left >= objects * 17, "{left} of {}", objects * 20);
        }
    }
}
