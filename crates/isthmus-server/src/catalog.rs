//! Resources that were given through the control API, and the audit log of every change.
//!
//! SQLite: small, transactional, and readable with any SQLite tool. Resources that came as files
//! stay in their files.

pub mod deletions;
mod project_ids;
mod sync_ids;

use anyhow::Context;
use isthmus_core::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use std::collections::BTreeMap;
use std::path::Path;

/// Connections kept: the control API is the only user.
const CONNECTIONS_MAX: u32 = 2;

const SCHEMA: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS resources (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        text TEXT NOT NULL,
        updated_at INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT",
    "CREATE TABLE IF NOT EXISTS audit (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT",
    "CREATE TABLE IF NOT EXISTS switches (
        stream TEXT PRIMARY KEY,
        enabled INTEGER NOT NULL
    ) STRICT",
    sync_ids::SCHEMA,
    deletions::SCHEMA,
    project_ids::SCHEMA,
];

/// The catalog, open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    pool: SqlitePool,
}

/// A resource as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResource {
    pub kind: String,
    pub name: String,
    /// YAML or JSON.
    pub text: String,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditEntry {
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub detail: String,
}

impl Catalog {
    /// Opens the catalog in `file`, creating it if needed.
    pub async fn open(file: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect_with(options)
            .await
            .with_context(|| format!("catalog {} cannot be opened", file.display()))?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(&pool).await.context("catalog has no tables")?;
        }
        Ok(Self { pool })
    }

    /// Every resource, by kind and name.
    pub async fn resources(&self) -> anyhow::Result<Vec<StoredResource>> {
        let rows = sqlx::query("SELECT kind, name, text FROM resources ORDER BY kind, name")
            .fetch_all(&self.pool)
            .await
            .context("resources cannot be read")?;
        rows.iter()
            .map(|row| {
                Ok(StoredResource {
                    kind: row.try_get("kind")?,
                    name: row.try_get("name")?,
                    text: row.try_get("text")?,
                })
            })
            .collect()
    }

    /// Stores `resources`, all or none, replacing those of the same kind and name.
    pub async fn put(
        &self,
        resources: &[StoredResource],
        actor: &str,
        at: Timestamp,
    ) -> anyhow::Result<()> {
        let mut transaction = self.pool.begin().await.context("catalog is busy")?;
        for resource in resources {
            sqlx::query(
                "INSERT INTO resources (kind, name, text, updated_at) VALUES (?, ?, ?, ?)
                 ON CONFLICT (kind, name) DO UPDATE SET text = excluded.text,
                 updated_at = excluded.updated_at",
            )
            .bind(&resource.kind)
            .bind(&resource.name)
            .bind(&resource.text)
            .bind(at.as_millis())
            .execute(&mut *transaction)
            .await
            .context("resource cannot be stored")?;
            if resource.kind == "stream" {
                // What was given anew says itself whether it is enabled.
                sqlx::query("DELETE FROM switches WHERE stream = ?")
                    .bind(&resource.name)
                    .execute(&mut *transaction)
                    .await
                    .context("stream cannot be stored")?;
            }
            let subject = format!("{}/{}", resource.kind, resource.name);
            audit(&mut transaction, actor, at, "put", &subject, "").await?;
        }
        transaction.commit().await.context("resources cannot be stored")
    }

    /// Removes a resource; returns whether it was there.
    pub async fn remove(
        &self,
        kind: &str,
        name: &str,
        actor: &str,
        at: Timestamp,
    ) -> anyhow::Result<bool> {
        let mut transaction = self.pool.begin().await.context("catalog is busy")?;
        let removed = sqlx::query("DELETE FROM resources WHERE kind = ? AND name = ?")
            .bind(kind)
            .bind(name)
            .execute(&mut *transaction)
            .await
            .context("resource cannot be removed")?
            .rows_affected()
            > 0;
        if removed {
            audit(&mut transaction, actor, at, "remove", &format!("{kind}/{name}"), "").await?;
        }
        transaction.commit().await.context("resource cannot be removed")?;
        Ok(removed)
    }

    /// Notes that `stream` is enabled or not, whatever its resource says.
    pub async fn switch(
        &self,
        stream: &str,
        enabled: bool,
        actor: &str,
        at: Timestamp,
    ) -> anyhow::Result<()> {
        let mut transaction = self.pool.begin().await.context("catalog is busy")?;
        sqlx::query(
            "INSERT INTO switches (stream, enabled) VALUES (?, ?)
             ON CONFLICT (stream) DO UPDATE SET enabled = excluded.enabled",
        )
        .bind(stream)
        .bind(enabled)
        .execute(&mut *transaction)
        .await
        .context("switch cannot be stored")?;
        let action = if enabled { "enable" } else { "disable" };
        audit(&mut transaction, actor, at, action, &format!("stream/{stream}"), "").await?;
        transaction.commit().await.context("switch cannot be stored")
    }

    /// Streams that were enabled or disabled apart from their resources.
    pub async fn switches(&self) -> anyhow::Result<BTreeMap<String, bool>> {
        let rows = sqlx::query("SELECT stream, enabled FROM switches")
            .fetch_all(&self.pool)
            .await
            .context("switches cannot be read")?;
        rows.iter().map(|row| Ok((row.try_get("stream")?, row.try_get("enabled")?))).collect()
    }

    /// Adds a line to the audit log, of something that is kept elsewhere.
    pub async fn note(
        &self,
        actor: &str,
        at: Timestamp,
        action: &str,
        subject: &str,
        detail: &str,
    ) -> anyhow::Result<()> {
        let mut connection = self.pool.acquire().await.context("catalog is busy")?;
        audit(&mut connection, actor, at, action, subject, detail).await
    }

    /// The newest `limit` lines of the audit log, newest first.
    pub async fn audit(&self, limit: u32) -> anyhow::Result<Vec<AuditEntry>> {
        let rows = sqlx::query(
            "SELECT at, actor, action, subject, detail FROM audit ORDER BY id DESC LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .context("audit log cannot be read")?;
        rows.iter()
            .map(|row| {
                Ok(AuditEntry {
                    at: row.try_get("at")?,
                    actor: row.try_get("actor")?,
                    action: row.try_get("action")?,
                    subject: row.try_get("subject")?,
                    detail: row.try_get("detail")?,
                })
            })
            .collect()
    }
}

async fn audit(
    connection: &mut sqlx::SqliteConnection,
    actor: &str,
    at: Timestamp,
    action: &str,
    subject: &str,
    detail: &str,
) -> anyhow::Result<()> {
    sqlx::query("INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(at.as_millis())
        .bind(actor)
        .bind(action)
        .bind(subject)
        .bind(detail)
        .execute(connection)
        .await
        .context("audit log cannot be written")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn resources_survive_reopening_and_every_change_is_audited() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("catalog.sqlite");
        let resource = |text: &str| StoredResource {
            kind: "stream".into(),
            name: "orders".into(),
            text: text.into(),
        };
        let at = Timestamp::from_millis;
        {
            let catalog = Catalog::open(&file).await.unwrap();
            catalog.put(&[resource("a: 1")], "api", at(1)).await.unwrap();
            catalog.put(&[resource("a: 2")], "api", at(2)).await.unwrap();
        }
        let catalog = Catalog::open(&file).await.unwrap();
        assert_eq!(catalog.resources().await.unwrap(), [resource("a: 2")]);
        catalog.switch("orders", true, "api", at(2)).await.unwrap();
        assert_eq!(catalog.switches().await.unwrap(), [("orders".to_owned(), true)].into());
        catalog.put(&[resource("a: 2")], "api", at(2)).await.unwrap();
        assert!(catalog.switches().await.unwrap().is_empty(), "given anew");
        assert!(catalog.remove("stream", "orders", "api", at(3)).await.unwrap());
        assert!(!catalog.remove("stream", "orders", "api", at(4)).await.unwrap());
        let audit = catalog.audit(10).await.unwrap();
        let lines: Vec<_> = audit.iter().map(|entry| (entry.at, entry.action.as_str())).collect();
        assert_eq!(lines, [(3, "remove"), (2, "put"), (2, "enable"), (2, "put"), (1, "put")]);
    }
}
