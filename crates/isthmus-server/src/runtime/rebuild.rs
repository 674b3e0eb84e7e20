//! The mirror of a destination, filled in from its ledger.

use super::{Runtime, RuntimeError};
use crate::report::rebuild::RebuildReport;

impl Runtime {
    /// Adds to the mirror of `destination` the users of whom it knows nothing and the ledger does; with
    /// `everything`, also by what was sent before the destination or its streams were what they are.
    /// Nothing is sent to it meanwhile.
    pub(crate) async fn rebuild_mirror(
        &self,
        destination: &str,
        everything: bool,
    ) -> Result<RebuildReport, RuntimeError> {
        let served = self.deliveries.served().remove(destination);
        let served =
            served.ok_or_else(|| RuntimeError::NotFound(format!("destination {destination}")))?;
        if served.mirror.is_none() {
            let why = format!("destination {destination} keeps no mirror; see its `mirror`");
            return Err(RuntimeError::Conflict(why));
        }
        let refilled = self.deliveries.refill(destination, everything).await?;
        let detail = format!("{} of {} users added", refilled.added, refilled.users);
        self.note("rebuild mirror", &format!("destination/{destination}"), &detail).await?;
        Ok(RebuildReport {
            destination: destination.to_owned(),
            since: refilled.since.map(|at| at.to_string()),
            users: refilled.users,
            added: refilled.added,
            lost: refilled.lost,
        })
    }
}
