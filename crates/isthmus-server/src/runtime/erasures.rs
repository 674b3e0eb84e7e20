//! Asking for people to be forgotten, and what became of that.

use super::profiles::Who;
use super::{API_ORIGIN, Runtime, RuntimeError};
use crate::catalog::deletions::{Deletion, DeletionStatus, NewDeletion};
use crate::erasures::day_of;
use crate::report::erasures::{ErasureReport, ErasuresReport};
use isthmus_core::Timestamp;

impl Runtime {
    /// Every erasure that was asked for, in order of asking.
    pub(crate) async fn erasures(&self) -> Result<ErasuresReport, RuntimeError> {
        let deletions = self.catalog.deletions().await?;
        let erasures = deletions.into_iter().map(report).collect::<Result<_, _>>()?;
        Ok(ErasuresReport { erasures })
    }

    /// The erasure with this number.
    pub(crate) async fn erasure(&self, id: i64) -> Result<ErasureReport, RuntimeError> {
        let mut all = self.erasures().await?.erasures;
        let at = all.iter().position(|erasure| erasure.id == id);
        let at = at.ok_or_else(|| RuntimeError::NotFound(format!("erasure {id}")))?;
        Ok(all.swap_remove(at))
    }

    /// Has a person forgotten at once.
    pub(crate) async fn erase(
        &self,
        project: Option<String>,
        who: &Who,
        requester: &str,
    ) -> Result<ErasureReport, RuntimeError> {
        let project = self.project_named(project).await?;
        let found = self.profiles.find(&project, who);
        let found = found.map_err(|error| RuntimeError::Failed(error.into()))?;
        let (id, person) = found.ok_or_else(|| RuntimeError::NotFound(who.to_string()))?;
        let now = self.clock.now();
        let new = NewDeletion {
            project: &project,
            day: &day_of(now),
            amplitude_id: id.0,
            user_id: person.user_id.as_deref(),
            requester,
            requested_at: now.as_millis(),
        };
        let ids = self.add_deletions(&[new]).await?;
        self.erasure(ids.first().copied().unwrap_or_default()).await
    }

    /// Adds `deletions` to those that are waiting; returns their numbers, in order.
    pub(crate) async fn add_deletions(
        &self,
        deletions: &[NewDeletion<'_>],
    ) -> Result<Vec<i64>, RuntimeError> {
        let ids = self.catalog.add_deletions(deletions).await?;
        let now = self.clock.now();
        for deletion in deletions {
            let about = format!("person/{}", deletion.amplitude_id);
            let detail = format!("for {}, on {}", deletion.requester, deletion.day);
            self.catalog.note(API_ORIGIN, now, "ask to forget", &about, &detail).await?;
        }
        self.erasures_asked.notify_one();
        Ok(ids)
    }

    /// Takes a deletion back; returns whether it had not begun.
    pub(crate) async fn revoke_deletion(&self, deletion: &Deletion) -> Result<bool, RuntimeError> {
        let revoked = self.catalog.revoke_deletion(deletion.id).await?;
        if revoked {
            let about = format!("person/{}", deletion.amplitude_id);
            let (now, detail) = (self.clock.now(), format!("on {}", deletion.day));
            self.catalog.note(API_ORIGIN, now, "ask no more to forget", &about, &detail).await?;
        }
        Ok(revoked)
    }
}

fn report(deletion: Deletion) -> Result<ErasureReport, RuntimeError> {
    let waits_for = match (deletion.status, &deletion.subject) {
        (DeletionStatus::Staging, _) => Some(format!("the {}", deletion.day)),
        (DeletionStatus::Submitted, None) if deletion.receipt.is_some() => {
            Some("the catalog to be rewritten".to_owned())
        }
        (DeletionStatus::Submitted, None) => Some("the applier".to_owned()),
        (DeletionStatus::Submitted, Some(_)) => {
            Some("the destinations to be asked, and the logs to be rewritten".to_owned())
        }
        (DeletionStatus::Done, _) => None,
    };
    let receipt = deletion.receipt.as_deref().map(serde_json::from_str).transpose();
    Ok(ErasureReport {
        id: deletion.id,
        project: deletion.project,
        amplitude_id: deletion.amplitude_id,
        user_id: deletion.user_id,
        requester: deletion.requester,
        requested_at: Timestamp::from_millis(deletion.requested_at).to_string(),
        day: deletion.day,
        status: deletion.status.name().to_owned(),
        waits_for,
        receipt: receipt.map_err(|error| RuntimeError::Failed(error.into()))?,
    })
}
