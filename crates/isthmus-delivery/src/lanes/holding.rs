//! Lanes that wait for another lane, or for what they were told to come into effect.
//!
//! A lane whose front comes after another lane is in no list until that one is empty. A lane that
//! is held itself holds nobody, so nobody waits in a circle.

use super::{Lanes, Ready, Standing, section_of, was_tried};
use isthmus_core::destination::{Lane, Message, Priority};
use std::time::Duration;

impl Lanes {
    /// The lane that the front of `lane` has to wait for.
    pub(super) fn waits_for(&self, lane: Lane) -> Option<Lane> {
        let other = self.by_lane.get(&lane)?.queue.front()?.delivery.message.after?;
        let holds = !matches!(self.standing(other)?, Standing::Held(_));
        (holds && other != lane).then_some(other)
    }

    /// Holds a lane of `ready` whose front has to wait for another; returns whether it does.
    pub(super) fn hold(&mut self, lane: Lane, ready: &mut Ready) -> bool {
        let Some(other) = self.waits_for(lane) else { return false };
        let Some(state) = self.by_lane.get_mut(&lane) else { return false };
        if let Standing::Fresh(_) = state.standing {
            ready.takeable -= state.takeable;
        }
        state.standing = Standing::Held(other);
        self.held.entry(other).or_default().push(lane);
        true
    }

    /// When the front of `lane` may leave, as far as its user and its device are concerned.
    pub(super) fn free_at(&mut self, lane: Lane, now: Duration) -> Duration {
        let Some(pacer) = &mut self.pacer else { return Duration::ZERO };
        let front = self.by_lane.get(&lane).and_then(|state| state.queue.front());
        front.map_or(Duration::ZERO, |front| pacer.free_at(&front.delivery.message, now))
    }

    /// Holds a lane of `ready` back whose front would be too much of its user or its device now;
    /// returns whether it would.
    pub(super) fn hold_back(&mut self, lane: Lane, ready: &mut Ready, now: Duration) -> bool {
        let free_at = self.free_at(lane, now);
        if free_at <= now {
            return false;
        }
        let stamp = self.stamp();
        let Some(state) = self.by_lane.get_mut(&lane) else { return false };
        if let Standing::Fresh(_) = state.standing {
            ready.takeable -= state.takeable;
        }
        state.standing = Standing::Waiting(free_at, stamp);
        self.waiting.insert((free_at, stamp), lane);
        true
    }

    /// The vendor asked whoever `message` is about to wait until `until`: their other lanes too,
    /// where it is known which.
    pub(crate) fn hold_user(&mut self, message: &Message, until: Duration, now: Duration) {
        if let Some(pacer) = &mut self.pacer {
            pacer.hold(message, until, now);
        }
    }

    /// Where the front of `lane` is of a call that depends on what was said before, lets that come
    /// into effect: what came before in this lane, or in the one that it comes after, may have been
    /// accepted just now.
    pub(super) fn settle_before(&mut self, lane: Lane, now: Duration) {
        let Some(state) = self.by_lane.get_mut(&lane) else { return };
        let Some(front) = state.queue.front() else { return };
        let limits = self.limits.of_call(section_of(front).call());
        if let Some(limits) = limits.filter(|_| !was_tried(front)) {
            state.settles = state.settles.max(now + limits.settle);
        }
    }

    /// Forgets a lane that is empty, and lets those go on that were held by it.
    pub(super) fn leave(&mut self, lane: Lane, now: Duration) {
        self.by_lane.remove(&lane);
        for waiter in self.held.remove(&lane).unwrap_or_default() {
            if self.standing(waiter) == Some(Standing::Held(lane)) {
                self.stand(waiter, false, now, now);
            }
        }
    }

    /// Keeps a lane that is in flight from sending anything more before `until`, unless the program
    /// ends before.
    pub(crate) fn settle(&mut self, lane: Lane, until: Duration) {
        if let Some(state) = self.by_lane.get_mut(&lane) {
            state.settles = state.settles.max(until);
        }
    }

    /// Makes every lane ready that waits for a retry.
    pub(crate) fn hurry(&mut self) {
        if let Some(pacer) = &mut self.pacer {
            pacer.release();
        }
        for ((at, stamp), lane) in std::mem::take(&mut self.waiting) {
            if self.by_lane.get(&lane).is_some_and(|state| state.settles == at) {
                self.waiting.insert((at, stamp), lane);
            } else {
                self.rouse(lane, Duration::ZERO);
            }
        }
    }

    /// Checks what holds between lanes and lists, walking all there is; returns what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut takeable = [0; Priority::ALL.len()];
        for (lane, state) in &self.by_lane {
            let fine = match state.standing {
                Standing::Held(other) => {
                    let front = state.queue.front();
                    self.by_lane.contains_key(&other)
                        && self.held.get(&other).is_some_and(|held| held.contains(lane))
                        && front.is_some_and(|front| front.delivery.message.after == Some(other))
                }
                Standing::Waiting(at, stamp) => {
                    self.waiting.get(&(at, stamp)) == Some(lane)
                        && (!state.queue.is_empty() || state.settles == at)
                }
                Standing::Fresh(_) => {
                    if let Some(sum) = takeable.get_mut(state.priority() as usize) {
                        *sum += state.takeable;
                    }
                    !state.queue.is_empty()
                }
                Standing::Again(_) => !state.queue.is_empty(),
                Standing::InFlight => true,
            };
            if !fine {
                return Err(format!("lane {lane:?} cannot be {:?}", state.standing));
            }
        }
        let known = self.ready.each_ref().map(|ready| ready.takeable);
        if takeable != known {
            return Err(format!("{takeable:?} objects could be taken, lists say {known:?}"));
        }
        Ok(())
    }
}
