//! Destinations as the control API sees them: how they are doing, halted and resumed.

use super::{Runtime, RuntimeError};
use crate::deliveries::Served;
use crate::report::{BudgetReport, DestinationDetail, DestinationsReport};
use isthmus_delivery::engine::ControlError;
use isthmus_delivery::health::Condition;

impl Runtime {
    pub(crate) fn destinations(&self) -> DestinationsReport {
        let served = self.deliveries.served();
        let destinations = served.iter().map(|(name, served)| detail(name, served)).collect();
        DestinationsReport { destinations }
    }

    /// Stops all sending to a destination until [`Self::resume_destination`]; nothing is lost.
    pub(crate) async fn pause_destination(
        &self,
        name: &str,
        reason: &str,
    ) -> Result<DestinationsReport, RuntimeError> {
        // Held so that no engine is replaced in between.
        let _resources = self.resources.lock().await;
        let served = self.destination(name)?;
        self.note("pause", &format!("destination/{name}"), reason).await?;
        carried_out(served.handle.pause(reason.to_owned()).await)?;
        Ok(self.destinations())
    }

    /// Sends again, at once, whatever it was that sending waited for.
    pub(crate) async fn resume_destination(
        &self,
        name: &str,
    ) -> Result<DestinationsReport, RuntimeError> {
        let _resources = self.resources.lock().await;
        let served = self.destination(name)?;
        self.note("resume", &format!("destination/{name}"), "").await?;
        carried_out(served.handle.resume().await)?;
        Ok(self.destinations())
    }

    fn destination(&self, name: &str) -> Result<Served, RuntimeError> {
        let found = self.deliveries.served().remove(name);
        found.ok_or_else(|| RuntimeError::NotFound(format!("destination {name}")))
    }
}

fn carried_out(result: Result<(), ControlError>) -> Result<(), RuntimeError> {
    result.map_err(|error| RuntimeError::Failed(error.into()))
}

fn detail(name: &str, served: &Served) -> DestinationDetail {
    let status = served.handle.status();
    let (condition, reason, since) = match &status.condition {
        Condition::Well => ("well", None, None),
        Condition::Struggling { failures, reason } => {
            ("retrying", Some(format!("{failures} failures in a row: {reason}")), None)
        }
        Condition::Paused { reason, since } => ("paused", Some(reason.clone()), Some(*since)),
        Condition::Halted { reason } => ("halted", Some(reason.clone()), None),
    };
    let budget =
        status.budget.map(|(used, limit)| BudgetReport { used: used.into(), limit: limit.into() });
    DestinationDetail {
        name: name.to_owned(),
        condition: condition.to_owned(),
        reason,
        since: since.map(|since| since.to_string()),
        budget,
        throttled_for_seconds: status.throttled_for.map(|wait| wait.as_secs_f64()),
        requests_in_flight: status.requests_in_flight as u64,
        pending: status.streams.iter().map(|stream| stream.pending).sum(),
        streams: served.streams.iter().map(|stream| stream.resource.name.clone()).collect(),
        jobs: status.jobs_running() as u64,
    }
}
