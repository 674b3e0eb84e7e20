//! Persons in memory as they are stored, packed: a million of them where the engine's tables would be
//! searched otherwise.
//!
//! What is here is what the last commit left in the tables, or nothing: one writer keeps and drops
//! persons around its commits, and readers only look. Bounded in bytes; whoever was not asked for since
//! the hand came by last has to leave.

use isthmus_core::Place;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of all persons in memory, with what it takes to find them.
const BYTES_MAX: usize = 352 << 20;
/// Parts with a lock each, so that those who read seldom wait for each other.
const SHARDS: usize = 16;
/// What a person takes beside the packed bytes: the slot, the index, what the allocator rounds up.
const SLOT_BYTES: usize = 80;
/// Persons packed by the same words before others are taken.
const SAME_WORDS: u32 = 2_048;
/// More of a person is not taken as words.
const WORDS_BYTES_MAX: usize = 2_048;

/// What a writer notes beside a person, in memory only.
pub type Notes = [u64; 2];

/// Persons by their Amplitude id.
pub(crate) struct Packed {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    index: FxHashMap<u64, u32>,
    /// Slots without a person.
    free: Vec<u32>,
    bytes: usize,
    bytes_max: usize,
    /// The slot that is looked at next when somebody has to leave.
    hand: usize,
    words: Arc<Words>,
    packed_by_words: u32,
    scratch: Vec<u8>,
}

/// A person as they are stored, by whom others are packed: most of another one stands there, too.
#[derive(Default)]
struct Words {
    of: u64,
    text: Vec<u8>,
}

struct Slot {
    id: u64,
    /// Whether somebody asked since the hand came by.
    used: bool,
    beside: Beside,
    words: Arc<Words>,
    /// Length of what was packed (four bytes), then its LZ4.
    packed: Box<[u8]>,
}

/// What is kept of a person beside their record, and changes more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Beside {
    pub(crate) notes: Notes,
    pub(crate) snapshot: Option<Place>,
}

impl Default for Packed {
    fn default() -> Self {
        Self::with_bytes(BYTES_MAX)
    }
}

impl Packed {
    fn with_bytes(bytes_max: usize) -> Self {
        let shard = || Shard { bytes_max: bytes_max / SHARDS, ..Shard::default() };
        Self { shards: std::array::from_fn(|_| Mutex::new(shard())) }
    }

    #[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "a remainder")]
    fn shard(&self, id: u64) -> MutexGuard<'_, Shard> {
        // Ids are given in turn, so every part gets as many.
        self.shards[id as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` with what was kept of `id`, as it is stored, and what is beside it.
    pub(crate) fn get<T>(&self, id: u64, read: impl FnOnce(&[u8], Beside) -> T) -> Option<T> {
        let (stored, beside) = self.shard(id).get(id)?;
        Some(read(&stored, beside))
    }

    /// Keeps `stored`, as it is in the tables now.
    pub(crate) fn keep(&self, id: u64, stored: &[u8], beside: Beside) {
        self.shard(id).keep(id, stored, beside);
    }

    /// Replaces what is beside the record of `id`, if that is here.
    pub(crate) fn note(&self, id: u64, beside: Beside) {
        if let Some(slot) = self.shard(id).slot(id) {
            slot.beside = beside;
        }
    }

    /// Drops what was kept of `id`, which is about to change.
    pub(crate) fn unkeep(&self, id: u64) {
        self.shard(id).remove(id);
    }

    /// Leaves nothing of `id` in memory.
    pub(crate) fn forget(&self, id: u64) {
        self.shard(id).forget(id);
    }
}

impl Shard {
    fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        self.slots.get_mut(*self.index.get(&id)? as usize)
    }

    fn get(&mut self, id: u64) -> Option<(Vec<u8>, Beside)> {
        let slot = self.slot(id)?;
        slot.used = true;
        let (length, packed) = slot.packed.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let words = &slot.words.text;
        let stored = lz4_flex::block::decompress_with_dict(packed, length, words).ok()?;
        Some((stored, slot.beside))
    }

    fn keep(&mut self, id: u64, raw: &[u8], beside: Beside) {
        let Ok(length) = u32::try_from(raw.len()) else { return self.remove(id) };
        let packed = self.pack(raw, length).filter(|packed| packed.len() <= self.bytes_max / 4);
        let Some(packed) = packed else { return self.remove(id) };
        self.bytes += packed.len();
        let slot = Slot { id, used: false, beside, words: Arc::clone(&self.words), packed };
        match self.slot(id) {
            Some(old) => {
                let old = std::mem::replace(old, Slot { used: true, ..slot });
                self.bytes -= old.packed.len();
            }
            None => self.add(id, slot),
        }
        self.packed_by_words += 1;
        let worn = self.words.text.is_empty() || self.packed_by_words >= SAME_WORDS;
        if worn && raw.len() <= WORDS_BYTES_MAX {
            self.words = Arc::new(Words { of: id, text: raw.to_vec() });
            self.packed_by_words = 0;
        }
        while self.bytes > self.bytes_max {
            self.turn();
        }
    }

    fn pack(&mut self, raw: &[u8], length: u32) -> Option<Box<[u8]>> {
        let room = lz4_flex::block::get_maximum_output_size(raw.len());
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let words = &self.words.text;
        let into = lz4_flex::block::compress_into_with_dict(raw, &mut self.scratch, words);
        let body = self.scratch.get(..into.ok()?)?;
        Some([&length.to_le_bytes(), body].concat().into())
    }

    fn add(&mut self, id: u64, slot: Slot) {
        self.bytes += SLOT_BYTES;
        if let Some(free) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(free as usize) {
                *place = slot;
                self.index.insert(id, free);
            }
        } else if let Ok(at) = u32::try_from(self.slots.len()) {
            self.slots.push(slot);
            self.index.insert(id, at);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(at) = self.index.remove(&id) else { return };
        if let Some(slot) = self.slots.get_mut(at as usize) {
            self.bytes -= SLOT_BYTES + std::mem::take(&mut slot.packed).len();
            slot.words = Arc::default();
            self.free.push(at);
        }
    }

    /// Leaves nothing of a person, also where others were packed by them.
    fn forget(&mut self, id: u64) {
        self.remove(id);
        let theirs = |slot: &&Slot| !slot.packed.is_empty() && slot.words.of == id;
        let others: Vec<u64> = self.slots.iter().filter(theirs).map(|slot| slot.id).collect();
        for other in others {
            self.remove(other);
        }
        if self.words.of == id {
            self.words = Arc::default();
        }
        self.scratch = Vec::new();
    }

    /// Moves the hand by one slot; its person leaves unless somebody asked for them since.
    fn turn(&mut self) {
        self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
        let Some(slot) = self.slots.get_mut(self.hand) else { return };
        if !slot.packed.is_empty() && !std::mem::take(&mut slot.used) {
            let id = slot.id;
            self.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NOTHING: Beside = Beside { notes: [0, 0], snapshot: None };

    fn read(packed: &Packed, id: u64) -> Option<(Vec<u8>, Beside)> {
        packed.get(id, |stored, beside| (stored.to_vec(), beside))
    }

    fn beside(id: u64) -> Beside {
        Beside { notes: [id, id + 1], snapshot: Some(Place { offset: id, index: 7 }) }
    }

    fn stored(id: u64) -> Vec<u8> {
        format!("project, user-{id:08}, {{\"plan\":\"pro\",\"orders\":{id}}}").into_bytes()
    }

    #[test]
    fn what_was_kept_last_is_read_back_until_it_is_dropped() {
        let packed = Packed::default();
        for id in 0..10_000 {
            packed.keep(id, &stored(id), NOTHING);
            packed.note(id, beside(id));
        }
        packed.keep(7, b"", NOTHING);
        assert_eq!(read(&packed, 7), Some((Vec::new(), NOTHING)));
        packed.unkeep(8);
        assert_eq!(read(&packed, 8), None);
        packed.note(8, beside(8));
        assert_eq!(read(&packed, 8), None);
        packed.keep(8, &stored(9), beside(5));
        assert_eq!(read(&packed, 8), Some((stored(9), beside(5))));
        for id in 9..10_000 {
            assert_eq!(read(&packed, id), Some((stored(id), beside(id))));
        }
        assert_eq!(read(&packed, 10_000), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Keep(u64, Vec<u8>),
        Note(u64),
        Unkeep(u64),
        Forget(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let id = || 0..40u64;
        let text = prop_oneof![
            4 => (0..200u64).prop_map(stored),
            1 => prop::collection::vec(any::<u8>(), 0..3_000),
        ];
        let step = prop_oneof![
            8 => (id(), text).prop_map(|(id, text)| Step::Keep(id, text)),
            2 => id().prop_map(Step::Note),
            1 => id().prop_map(Step::Unkeep),
            1 => id().prop_map(Step::Forget),
        ];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        /// Whoever is here is what was kept last, however full it is and by whomever they were packed.
        #[test]
        fn what_is_here_is_what_was_kept_last(steps in steps(), kibs in 4..64usize) {
            let packed = Packed::with_bytes(kibs << 10);
            let mut kept = BTreeMap::new();
            for (at, step) in (0..).zip(steps) {
                match step {
                    Step::Keep(id, text) => {
                        packed.keep(id, &text, beside(at));
                        kept.insert(id, (text, beside(at)));
                    }
                    Step::Note(id) => {
                        packed.note(id, beside(at));
                        if let Some((_, kept)) = kept.get_mut(&id) {
                            *kept = beside(at);
                        }
                    }
                    Step::Unkeep(id) => {
                        packed.unkeep(id);
                        kept.remove(&id);
                    }
                    Step::Forget(id) => {
                        packed.forget(id);
                        kept.remove(&id);
                        let by_them = packed.shards.iter().any(|shard| {
                            let shard = shard.lock().unwrap();
                            let words = shard.slots.iter().map(|slot| &slot.words);
                            let mut words = words.chain([&shard.words]);
                            words.any(|words| words.of == id && !words.text.is_empty())
                        });
                        prop_assert!(!by_them);
                    }
                }
                for id in (0..40).filter(|id| at % 8 == id % 8) {
                    if let Some(found) = read(&packed, id) {
                        prop_assert_eq!(Some(&found), kept.get(&id), "{} after step {}", id, at);
                    }
                }
                for shard in &packed.shards {
                    let shard = shard.lock().unwrap();
                    let packed = shard.slots.iter().map(|slot| slot.packed.len());
                    let held = packed.sum::<usize>() + SLOT_BYTES * shard.index.len();
                    prop_assert_eq!(shard.bytes, held);
                    prop_assert!(held <= shard.bytes_max);
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_whoever_is_asked_for_stays() {
        const BYTES: usize = 256 << 10;
        let packed = Packed::with_bytes(BYTES);
        for id in 0..50_000 {
            packed.keep(id, &stored(id), NOTHING);
            assert!(id < 3 || read(&packed, 3).is_some(), "gone when {id} came");
        }
        let held: usize = (0..SHARDS as u64).map(|shard| packed.shard(shard).bytes).sum();
        assert!(held <= BYTES, "{held}");
        let there = (0..50_000).filter(|id| read(&packed, *id).is_some()).count();
        assert!((500..5_000).contains(&there), "{there}");
        let slots: usize = (0..SHARDS as u64).map(|shard| packed.shard(shard).slots.len()).sum();
        assert!(slots < there + 200, "{slots} slots for {there}");
        for id in 0..50_000 {
            packed.unkeep(id);
        }
        let held: usize = (0..SHARDS as u64).map(|shard| packed.shard(shard).bytes).sum();
        assert_eq!(held, 0);
    }

    #[test]
    fn nothing_is_left_of_whom_others_were_packed_by() {
        let packed = Packed::default();
        let ids = (0..100u64).map(|number| number * SHARDS as u64);
        ids.clone().for_each(|id| packed.keep(id, &stored(id), NOTHING));
        packed.forget(0);
        assert!(
            ids.clone().all(|id| read(&packed, id).is_none_or(|(bytes, _)| bytes == stored(id)))
        );
        let shard = packed.shard(0);
        let texts = shard.slots.iter().map(|slot| &slot.words.text).chain([&shard.words.text]);
        let about = b"user-00000000";
        assert!(!texts.into_iter().any(|text| text.windows(about.len()).any(|w| w == about)));
    }

    #[test]
    fn a_person_too_large_for_memory_is_not_kept_and_neither_is_who_they_were() {
        let packed = Packed::with_bytes(64 << 10);
        packed.keep(1, &stored(1), NOTHING);
        let mut seed = 1u64;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        });
        packed.keep(1, &noise.take(8 << 10).collect::<Vec<_>>(), NOTHING);
        assert_eq!(read(&packed, 1), None);
    }
}
