//! What others see of a dispatcher: whether it is idle, how it is doing, and whether its invariants
//! hold. Nothing here changes what is sent.

use super::{Dispatcher, Moment, StreamNumber};
use crate::health::Condition;
use crate::lanes::Ticket;
use crate::status::{DestinationStatus, StreamStatus};
use isthmus_core::destination::{Delivery, Priority};
use isthmus_state::delivery_history::Bill;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Dispatcher {
    /// Whether everything that concerns any stream, in a log that ends at `end`, is finished.
    pub fn is_idle(&self, end: u64) -> bool {
        self.requests.is_empty() && self.streams.values().all(|stream| stream.is_idle(end))
    }

    /// How the destination is doing.
    pub fn condition(&self) -> Condition {
        self.health.condition()
    }

    /// A snapshot for people and programs.
    pub fn status(&mut self, name: &Arc<str>, now: Moment) -> DestinationStatus {
        let (throttled_for, budget, rate) = {
            let mut governor = self.governor.lock();
            let free_at = governor.free_at(now.monotonic, Priority::Triggers);
            let budget = governor.used(now.monotonic);
            (free_at.checked_sub(now.monotonic), budget, governor.sustained())
        };
        let mut in_flight: BTreeMap<StreamNumber, u64> = BTreeMap::new();
        for ticket in self.requests.values().flat_map(|request| &request.tickets) {
            *in_flight.entry(ticket.stream).or_default() += 1;
        }
        let bills = self.streams.values().map(|s| self.bill_of(s.number.0, s.counts.requests));
        let bills: Vec<Bill> = bills.collect();
        let streams = self.streams.values_mut().zip(bills).map(|(stream, bill)| StreamStatus {
            name: stream.name.clone(),
            number: stream.number,
            job: stream.job.as_ref().map(|job| job.record.clone()),
            born: stream.born(),
            gaps: stream.gaps().to_vec(),
            stop_at: stream.stop_at(),
            enabled: stream.enabled,
            cursor: stream.cursor(),
            cursor_on_disk: stream.cursor_on_disk,
            holds_log: stream.holds_log(),
            position: stream.position(),
            pending: stream.pending + stream.counts.parked,
            in_flight: in_flight.get(&stream.number).copied().unwrap_or(0),
            retrying: stream.retrying() as u64,
            unknown_pending: stream.unknown_pending() as u64 + stream.counts.parked,
            counts: stream.counts,
            bill,
            discards: stream.discards.clone(),
            latency: stream.latency.summary(now.monotonic),
        });
        DestinationStatus {
            name: name.clone(),
            condition: self.health.condition(),
            throttled_for: throttled_for.filter(|wait| !wait.is_zero()),
            budget,
            rate,
            requests_in_flight: self.requests.len(),
            on_disk: self.steps.is_empty()
                && self.asides.is_empty()
                && self.mirroring.is_empty()
                && !self.checkpoint_wanted,
            lanes: self.lanes.len(),
            lanes_waiting: self.lanes.waiting(),
            totals: self.totals,
            streams: streams.collect(),
            past_bills: self
                .dormant
                .iter()
                .map(|record| (record.number, self.bill_of(record.number, record.counts.requests)))
                .collect(),
            past_jobs: self.dormant.iter().filter(|record| record.job.is_some()).cloned().collect(),
        }
    }

    /// Sets the gauges to what `status` says, and to what the journal has on disk.
    pub fn gauge(&self, status: &DestinationStatus, journal_bytes: Option<u64>) {
        self.meters.gauge(status, journal_bytes);
    }

    /// Checks every invariant, walking all there is: for tests and the simulator.
    ///
    /// Returns what is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        let mut pending: BTreeMap<StreamNumber, (u64, u64)> = BTreeMap::new();
        let mut count = |ticket: &Ticket, delivery: &Delivery| {
            let entry = pending.entry(ticket.stream).or_default();
            entry.0 += 1;
            entry.1 += delivery.message.payload.len() as u64;
        };
        let mut in_flight = BTreeMap::new();
        self.lanes.check()?;
        for (id, request) in &self.requests {
            let mut sections = request.batch.iter().map(|delivery| delivery.message.section);
            let first = sections.next();
            let limits = &self.rules.limits;
            if sections.any(|other| first.is_some_and(|one| !limits.share_a_request(one, other))) {
                return Err(format!("{id:?} holds what cannot share a request"));
            }
            for (delivery, ticket) in request.batch.iter().zip(&request.tickets) {
                count(ticket, delivery);
                let lane = delivery.message.lane;
                if *in_flight.entry(lane).or_insert(*id) != *id {
                    return Err(format!("lane {lane:?} is in two requests"));
                }
            }
        }
        for (lane, queue, flies) in self.lanes.queues() {
            for queued in queue {
                count(&queued.ticket, &queued.delivery);
            }
            if flies != in_flight.contains_key(&lane) {
                return Err(format!("lane {lane:?} and its request disagree"));
            }
        }
        for stream in self.streams.values() {
            let (objects, bytes) = pending.remove(&stream.number).unwrap_or_default();
            let name = &stream.name;
            if (objects, bytes) != (stream.pending, stream.pending_bytes) {
                return Err(format!("stream {name} holds {objects} objects, {bytes} bytes"));
            }
            let open = stream.open() + stream.revived().len() as u64;
            if open != objects {
                return Err(format!("stream {name} has {open} open, holds {objects}"));
            }
            let counts = stream.counts;
            let known = counts.ended() + stream.pending;
            if counts.accepted != known {
                return Err(format!("stream {name} accepted {}, knows {known}", counts.accepted));
            }
        }
        Ok(())
    }
}
