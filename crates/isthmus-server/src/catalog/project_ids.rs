//! Amplitude numbers projects, and calls the number `app`. Here a project gets its number when it is
//! first asked for; it stays with the name, and is never given to another project.

use super::Catalog;
use anyhow::Context;
use sqlx::Row;

/// `AUTOINCREMENT`: a number is not used again, also if somebody deletes rows.
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS project_ids (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        project TEXT NOT NULL UNIQUE
    ) STRICT";

impl Catalog {
    /// The number of `project`.
    pub async fn project_id(&self, project: &str) -> anyhow::Result<u64> {
        let known = "SELECT id FROM project_ids WHERE project = ?";
        let find = || sqlx::query(known).bind(project).fetch_optional(&self.pool);
        let mut row = find().await.context("project ids cannot be read")?;
        if row.is_none() {
            let add = "INSERT INTO project_ids (project) VALUES (?) ON CONFLICT DO NOTHING";
            let added = sqlx::query(add).bind(project).execute(&self.pool).await;
            added.context("project id cannot be stored")?;
            row = find().await.context("project ids cannot be read")?;
        }
        let id: i64 = row.context("project id is not stored")?.try_get("id")?;
        Ok(u64::try_from(id)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_project_keeps_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("catalog.sqlite");
        let catalog = Catalog::open(&file).await.unwrap();
        assert_eq!(catalog.project_id("shop").await.unwrap(), 1);
        assert_eq!(catalog.project_id("other").await.unwrap(), 2);
        let again = Catalog::open(&file).await.unwrap();
        assert_eq!(again.project_id("shop").await.unwrap(), 1);
    }
}
