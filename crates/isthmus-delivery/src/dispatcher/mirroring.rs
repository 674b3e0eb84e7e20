//! Only differences are sent: what the vendor was told of each user, compared with what is about to
//! be said while a request is filled.
//!
//! A lane has one request in flight, so what was acknowledged is exactly what the vendor has while a
//! run of the lane's messages is compared. What says nothing new ends there, by a rule called
//! [`UNCHANGED`]; what says more than is new is reduced. An outcome changes what was told: what was
//! accepted counts, what was refused or not taken changes nothing, and of what nobody knows the
//! outcome, nobody knows the values.
//!
//! What was told is read from the store and changed here; whoever drives the dispatcher takes the
//! changes with [`Dispatcher::take_told`] and keeps them.

use super::ending::Fate;
use super::{Dispatcher, InFlight, Moment, RequestId, StreamNumber, note};
use crate::dead_letters::LetterChange;
use crate::journal::{self, ObjectKey, Step};
use crate::lanes::{Queued, Ticket};
use crate::mirror::{MirrorStore, Retold};
use isthmus_core::Timestamp;
use isthmus_core::destination::{
    Answered, Cost, Delivery, Destination, Difference, Lane, Message, Saved, Told,
};
use isthmus_state::delivery_history::Bill;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rule by which an object is discarded that says nothing that the vendor was not told.
pub const UNCHANGED: &str = "unchanged";

/// What the vendor was told, and what it bills for.
#[derive(Debug, Default)]
pub(super) struct Mirroring {
    destination: Option<Arc<dyn Destination>>,
    store: Option<Arc<dyn MirrorStore>>,
    /// What the store does not have yet.
    told: BTreeMap<Lane, Option<Arc<Told>>>,
    /// Since the last step that tells of it.
    billed: BTreeMap<u32, Bill>,
    /// Letters of objects that were sent again and then said nothing new.
    letters: Vec<LetterChange>,
}

/// What was found not worth sending.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    unchanged: Vec<(Queued, Saved)>,
    /// Payload bytes that are not waiting any more.
    reduced: Vec<(StreamNumber, u64, Saved)>,
}

impl Mirroring {
    /// Takes out of `run`, objects of one lane that would share a request, what says nothing new.
    pub(super) fn sift(&self, run: &mut Vec<Queued>, sifted: &mut Sifted) {
        let (Some(destination), Some(first)) = (&self.destination, run.first()) else { return };
        if self.store.is_none() {
            return;
        }
        let lane = first.delivery.message.lane;
        let messages: Vec<&Message> = run
            .iter()
            .map(|queued| &queued.delivery.message)
            .take_while(|message| destination.is_mirrored(message))
            .collect();
        if messages.is_empty() {
            return;
        }
        let told = self.told(lane);
        let differences = destination.differences(&messages, told.as_deref());
        let mut differences = differences.into_iter();
        let mut left = Vec::with_capacity(run.len());
        for mut queued in run.drain(..) {
            match differences.next() {
                None | Some(Difference::Whole) => {}
                Some(Difference::Nothing { saved }) => {
                    sifted.unchanged.push((queued, saved));
                    continue;
                }
                Some(Difference::Part { payload, saved }) => {
                    let before = &mut queued.delivery.message.payload;
                    let bytes = before.len().saturating_sub(payload.len()) as u64;
                    if bytes > 0 {
                        *before = payload;
                        sifted.reduced.push((queued.ticket.stream, bytes, saved));
                    }
                }
            }
            left.push(queued);
        }
        *run = left;
    }

    /// What `message` would spare if it says nothing new, where nothing of its user is on its way.
    pub(super) fn is_unchanged(&self, message: &Message) -> Option<Saved> {
        let destination = self.destination.as_ref()?;
        if self.store.is_none() || !destination.is_mirrored(message) {
            return None;
        }
        let told = self.told(message.lane)?;
        match destination.differences(&[message], Some(&told)).pop() {
            Some(Difference::Nothing { saved }) => Some(saved),
            _ => None,
        }
    }

    fn told(&self, lane: Lane) -> Option<Arc<Told>> {
        if let Some(told) = self.told.get(&lane) {
            return told.clone();
        }
        match self.store.as_ref()?.get(lane) {
            Ok(told) => told,
            Err(error) => {
                // Nothing is known then, and everything is sent.
                tracing::error!(%error, "mirror cannot be read");
                None
            }
        }
    }

    /// Takes in how a request with `batch` ended.
    pub(super) fn answered(&mut self, batch: &[Delivery], fates: &[Fate]) {
        let Some(destination) = self.destination.clone() else { return };
        if self.store.is_none() {
            return;
        }
        let mut lanes: BTreeMap<Lane, Vec<(&Message, Answered)>> = BTreeMap::new();
        for (delivery, fate) in batch.iter().zip(fates) {
            let message = &delivery.message;
            if let Some(answered) = fate.answered()
                && destination.is_mirrored(message)
            {
                lanes.entry(message.lane).or_default().push((message, answered));
            }
        }
        for (lane, run) in lanes {
            let before = self.told(lane);
            let after = destination.retold(before.as_deref(), &run);
            if before.as_deref() != after.as_ref() {
                self.told.insert(lane, after.map(Arc::new));
            }
        }
    }

    /// What each object of `batch` costs if the vendor takes it.
    pub(super) fn costs(&self, batch: &[Delivery]) -> Vec<Cost> {
        let destination = self.destination.as_ref();
        destination.map(|destination| destination.costs(batch)).unwrap_or_default()
    }

    /// Adds to what the next step tells.
    fn bill(&mut self, stream: StreamNumber, bill: &Bill) {
        self.billed.entry(stream.0).or_default().add(bill);
    }

    /// What was billed since the last call.
    pub(super) fn step(&mut self) -> Option<Step> {
        let billed = std::mem::take(&mut self.billed);
        (!billed.is_empty()).then_some(Step::Billed(billed))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.billed.is_empty()
    }
}

impl Fate {
    /// What it means for what the user was told: nothing where the vendor did not take it.
    fn answered(&self) -> Option<Answered> {
        match self {
            Self::Delivered => Some(Answered::Accepted),
            Self::Again(super::ending::Again::Unknown, _) => Some(Answered::Unknown),
            Self::Rejected(_) | Self::Again(..) => None,
        }
    }
}

impl Dispatcher {
    /// Counts what `destination` says that objects cost.
    #[must_use]
    pub fn billed_by(mut self, destination: Arc<dyn Destination>) -> Self {
        self.mirroring.destination = Some(destination);
        self
    }

    /// Sends only what differs from what `store` says was told, as the destination of
    /// [`Self::billed_by`] compares it.
    pub fn mirror_in(&mut self, store: Arc<dyn MirrorStore>) {
        self.mirroring.store = Some(store);
    }

    /// Every stream and job that is known: its number, its stream's name and that one's number.
    pub fn stream_names(&self) -> Vec<(StreamNumber, Arc<str>, StreamNumber)> {
        let present = self.streams.values().map(|stream| (stream.number, stream.name.clone()));
        let jobs = self.dormant.iter().filter(|record| record.job.is_some());
        let jobs = jobs.map(|record| (StreamNumber(record.number), Arc::from(&*record.name)));
        let named = |(number, name): (StreamNumber, Arc<str>)| {
            let parent = self.number_of(&name).ok()?;
            Some((number, name, parent))
        };
        present.chain(jobs).filter_map(named).collect()
    }

    /// What users were told since the last call: to be kept in the store before the dispatcher is
    /// asked for anything else.
    pub fn take_told(&mut self) -> Vec<Retold> {
        std::mem::take(&mut self.mirroring.told).into_iter().collect()
    }

    /// Letters of objects that ended while requests were filled: to be on disk before the next
    /// entry.
    pub fn take_letters(&mut self, letters: &mut Vec<LetterChange>) {
        letters.append(&mut self.mirroring.letters);
    }

    /// Starts the next request if one may start now. Its intent is among the steps to journal;
    /// the request must not leave before that is on disk.
    pub fn start(&mut self, now: Moment) -> Option<RequestId> {
        loop {
            let mut sifted = Sifted::default();
            let started = self.start_sifted(now, &mut sifted);
            let nothing_ended = sifted.unchanged.is_empty();
            self.take_out(sifted, now);
            if started.is_some() || nothing_ended {
                return started;
            }
        }
    }

    /// Ends what was found to say nothing new, and counts what was spared.
    fn take_out(&mut self, sifted: Sifted, now: Moment) {
        for (stream, bytes, saved) in sifted.reduced {
            let Some(known) = self.streams.get_mut(&stream) else { continue };
            known.pending_bytes -= bytes;
            self.spare(stream, 0, saved, now.wall);
        }
        for (Queued { delivery, ticket }, saved) in sifted.unchanged {
            let Some(stream) = self.streams.get_mut(&ticket.stream) else { continue };
            let key = super::ending::let_go(stream, &delivery, &ticket, UNCHANGED);
            self.unchanged(&ticket, key, saved, now.wall);
        }
    }

    /// Takes note of an object that was discarded because it says nothing new.
    pub(super) fn unchanged(
        &mut self,
        ticket: &Ticket,
        key: ObjectKey,
        saved: Saved,
        now: Timestamp,
    ) {
        note(&mut self.asides, journal::Fate::Discarded, UNCHANGED, key);
        self.meters.discarded(UNCHANGED);
        self.spare(ticket.stream, 1, saved, now);
        // As for what is delivered: the letter of an attempt before this one.
        if (ticket.item.is_none() || ticket.unknown)
            && let Some(stream) = self.streams.get(&ticket.stream)
        {
            let letter = (stream.name.to_string(), key.place, key.part);
            self.mirroring.letters.push(LetterChange::Remove(letter));
        }
    }

    fn spare(&mut self, stream: StreamNumber, objects: u64, saved: Saved, now: Timestamp) {
        let Saved { attributes, points } = saved;
        let bill = Bill {
            objects_saved: objects,
            attributes_saved: attributes,
            points_saved: points,
            ..Bill::default()
        };
        self.charge(stream, &bill, now);
    }

    fn charge(&mut self, stream: StreamNumber, bill: &Bill, now: Timestamp) {
        let Some(known) = self.streams.get(&stream) else { return };
        self.recorder.billed(known, now, bill);
        self.bills.entry(stream.0).or_default().add(bill);
        self.mirroring.bill(stream, bill);
    }

    /// Counts a request of `stream` that is about to leave.
    pub(super) fn charge_request(&mut self, stream: StreamNumber, now: Timestamp) {
        if let Some(known) = self.streams.get(&stream) {
            self.recorder.billed(known, now, &Bill { requests: 1, ..Bill::default() });
        }
    }

    /// Takes in what the vendor took of `request`: it is told, and billed.
    pub(super) fn tell(&mut self, request: &InFlight, fates: &[Fate], now: Timestamp) {
        self.mirroring.answered(&request.batch, fates);
        let costs = self.mirroring.costs(&request.batch);
        let mut bills: BTreeMap<StreamNumber, Bill> = BTreeMap::new();
        for ((ticket, fate), cost) in request.tickets.iter().zip(fates).zip(costs) {
            if matches!(fate, Fate::Delivered) {
                let bill = bills.entry(ticket.stream).or_default();
                bill.objects += u64::from(cost.object);
                bill.points += cost.points;
            }
        }
        for (stream, bill) in bills {
            self.charge(stream, &bill, now);
        }
    }

    /// What the stream with this number cost so far.
    pub(super) fn bill_of(&self, stream: u32, requests: u64) -> Bill {
        let bill = self.bills.get(&stream).copied().unwrap_or_default();
        Bill { requests, ..bill }
    }
}
