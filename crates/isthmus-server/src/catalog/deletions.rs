//! Who is to be forgotten, how far that is, and the receipts.
//!
//! Ids other than the Amplitude id are kept only until the person is forgotten.

use super::Catalog;
use anyhow::Context;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS deletions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        project TEXT NOT NULL,
        day TEXT NOT NULL,
        amplitude_id INTEGER NOT NULL,
        user_id TEXT,
        requester TEXT NOT NULL,
        requested_at INTEGER NOT NULL,
        status TEXT NOT NULL,
        submitted_at INTEGER,
        events_from INTEGER,
        subject TEXT,
        scrubbed_on TEXT,
        receipt TEXT
    ) STRICT";

/// How far a deletion is; the names are Amplitude's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionStatus {
    /// Not begun: it can be taken back.
    Staging,
    /// Under way.
    Submitted,
    Done,
}

impl DeletionStatus {
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Submitted => "submitted",
            Self::Done => "done",
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "staging" => Self::Staging,
            "submitted" => Self::Submitted,
            _ => Self::Done,
        }
    }
}

/// A person to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub id: i64,
    pub project: String,
    /// Day on which it begins, `YYYY-MM-DD`, UTC.
    pub day: String,
    pub amplitude_id: u64,
    /// Until the person is forgotten.
    pub user_id: Option<String>,
    /// Who asked, in their words.
    pub requester: String,
    /// Milliseconds since the Unix epoch.
    pub requested_at: i64,
    pub status: DeletionStatus,
    /// When it began, in milliseconds since the Unix epoch.
    pub submitted_at: Option<i64>,
    /// Offset of the event log from which on the erasure is found.
    pub events_from: Option<u64>,
    /// Whom it is about in detail, as JSON, until the person is forgotten.
    pub subject: Option<String>,
    /// Day on which everything was gone, `YYYY-MM-DD`.
    pub scrubbed_on: Option<String>,
    /// What was removed where, as JSON.
    pub receipt: Option<String>,
}

/// What is new of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeletion<'a> {
    pub project: &'a str,
    pub day: &'a str,
    pub amplitude_id: u64,
    pub user_id: Option<&'a str>,
    pub requester: &'a str,
    /// Milliseconds since the Unix epoch.
    pub requested_at: i64,
}

impl Catalog {
    /// Adds `deletions`, all or none; one whose person is waiting already is not added again. Returns
    /// their numbers, in order.
    pub async fn add_deletions(&self, deletions: &[NewDeletion<'_>]) -> anyhow::Result<Vec<i64>> {
        let mut transaction = self.pool.begin().await.context("catalog is busy")?;
        let mut ids = Vec::with_capacity(deletions.len());
        for new in deletions {
            let amplitude_id = i64::try_from(new.amplitude_id)?;
            let known = sqlx::query(
                "SELECT id FROM deletions WHERE project = ? AND amplitude_id = ? AND status != 'done'",
            )
            .bind(new.project)
            .bind(amplitude_id)
            .fetch_optional(&mut *transaction)
            .await
            .context("deletions cannot be read")?;
            if let Some(row) = known {
                let id: i64 = row.try_get("id")?;
                // Whoever wants it sooner gets it sooner.
                sqlx::query(
                    "UPDATE deletions SET day = ? WHERE id = ? AND status = 'staging' AND day > ?",
                )
                .bind(new.day)
                .bind(id)
                .bind(new.day)
                .execute(&mut *transaction)
                .await
                .context("deletion cannot be stored")?;
                ids.push(id);
                continue;
            }
            let added = sqlx::query(
                "INSERT INTO deletions
                 (project, day, amplitude_id, user_id, requester, requested_at, status)
                 VALUES (?, ?, ?, ?, ?, ?, 'staging')",
            )
            .bind(new.project)
            .bind(new.day)
            .bind(amplitude_id)
            .bind(new.user_id)
            .bind(new.requester)
            .bind(new.requested_at)
            .execute(&mut *transaction)
            .await
            .context("deletion cannot be stored")?;
            ids.push(added.last_insert_rowid());
        }
        transaction.commit().await.context("deletions cannot be stored")?;
        Ok(ids)
    }

    /// Every deletion, in order of asking.
    pub async fn deletions(&self) -> anyhow::Result<Vec<Deletion>> {
        let rows = sqlx::query("SELECT * FROM deletions ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .context("deletions cannot be read")?;
        rows.iter().map(read).collect()
    }

    /// Takes a deletion back that has not begun; returns whether there was one.
    pub async fn revoke_deletion(&self, id: i64) -> anyhow::Result<bool> {
        let removed = sqlx::query("DELETE FROM deletions WHERE id = ? AND status = 'staging'")
            .bind(id)
            .execute(&self.pool)
            .await
            .context("deletion cannot be taken back")?;
        Ok(removed.rows_affected() > 0)
    }

    /// Writes how far `deletion` is; returns whether it is there, and was not taken back.
    pub async fn put_deletion(&self, deletion: &Deletion) -> anyhow::Result<bool> {
        let events_from = deletion.events_from.map(i64::try_from).transpose()?;
        let put = sqlx::query(
            "UPDATE deletions SET user_id = ?, status = ?, submitted_at = ?, events_from = ?,
             subject = ?, scrubbed_on = ?, receipt = ? WHERE id = ?",
        )
        .bind(&deletion.user_id)
        .bind(deletion.status.name())
        .bind(deletion.submitted_at)
        .bind(events_from)
        .bind(&deletion.subject)
        .bind(&deletion.scrubbed_on)
        .bind(&deletion.receipt)
        .bind(deletion.id)
        .execute(&self.pool)
        .await
        .context("deletion cannot be stored")?;
        Ok(put.rows_affected() > 0)
    }

    /// Leaves nothing in the file of what was removed from it.
    pub async fn scrub(&self) -> anyhow::Result<()> {
        sqlx::query("VACUUM").execute(&self.pool).await.context("catalog cannot be rewritten")?;
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.pool)
            .await
            .context("catalog cannot be rewritten")?;
        let busy: i64 = row.try_get(0)?;
        anyhow::ensure!(busy == 0, "catalog is being read, and cannot be rewritten now");
        Ok(())
    }
}

fn read(row: &SqliteRow) -> anyhow::Result<Deletion> {
    let status: String = row.try_get("status")?;
    let events_from: Option<i64> = row.try_get("events_from")?;
    Ok(Deletion {
        id: row.try_get("id")?,
        project: row.try_get("project")?,
        day: row.try_get("day")?,
        amplitude_id: u64::try_from(row.try_get::<i64, _>("amplitude_id")?)?,
        user_id: row.try_get("user_id")?,
        requester: row.try_get("requester")?,
        requested_at: row.try_get("requested_at")?,
        status: DeletionStatus::named(&status),
        submitted_at: row.try_get("submitted_at")?,
        events_from: events_from.map(u64::try_from).transpose()?,
        subject: row.try_get("subject")?,
        scrubbed_on: row.try_get("scrubbed_on")?,
        receipt: row.try_get("receipt")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_person_waits_once_and_can_be_taken_back_until_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
        let new = |amplitude_id| NewDeletion {
            project: "shop",
            day: "2026-03-19",
            amplitude_id,
            user_id: Some("ana"),
            requester: "dpo@example.org",
            requested_at: 5,
        };
        let sooner = NewDeletion { day: "2026-03-18", ..new(100) };
        let ids = catalog.add_deletions(&[new(100), new(101), sooner, new(100)]).await.unwrap();
        assert_eq!(ids, [1, 2, 1, 1]);
        assert!(catalog.revoke_deletion(2).await.unwrap());
        let mut deletion = catalog.deletions().await.unwrap().remove(0);
        assert_eq!((deletion.amplitude_id, deletion.status), (100, DeletionStatus::Staging));
        assert_eq!(deletion.day, "2026-03-18", "as soon as anybody asked");
        deletion.status = DeletionStatus::Submitted;
        deletion.events_from = Some(7);
        catalog.put_deletion(&deletion).await.unwrap();
        assert_eq!(catalog.deletions().await.unwrap(), [deletion.clone()]);
        assert!(!catalog.revoke_deletion(1).await.unwrap(), "it has begun");
        deletion.status = DeletionStatus::Done;
        deletion.user_id = None;
        catalog.put_deletion(&deletion).await.unwrap();
        catalog.scrub().await.unwrap();
        let file = std::fs::read(folder.path().join("catalog.sqlite")).unwrap();
        assert!(!file.windows(3).any(|window| window == b"ana"), "the id is gone from the file");
        assert_eq!(catalog.add_deletions(&[new(100)]).await.unwrap(), [3], "a new person");
    }
}
