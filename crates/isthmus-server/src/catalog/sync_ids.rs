//! Amplitude numbers what it syncs; here each stream has such a number. It is given when the stream
//! is first seen, stays with the name, and is never given to another stream.

use super::Catalog;
use anyhow::Context;
use sqlx::Row;
use std::collections::BTreeMap;

/// `AUTOINCREMENT`: a number is not used again, also if somebody deletes rows.
pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS sync_ids (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        stream TEXT NOT NULL UNIQUE
    ) STRICT";

impl Catalog {
    /// The numbers of `streams`; those that are seen for the first time get theirs, in this order.
    pub async fn sync_ids(&self, streams: &[&str]) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut known = self.known_sync_ids().await?;
        if streams.iter().all(|stream| known.contains_key(*stream)) {
            return Ok(known);
        }
        let mut transaction = self.pool.begin().await.context("catalog is busy")?;
        for stream in streams.iter().filter(|stream| !known.contains_key(**stream)) {
            sqlx::query("INSERT INTO sync_ids (stream) VALUES (?) ON CONFLICT (stream) DO NOTHING")
                .bind(*stream)
                .execute(&mut *transaction)
                .await
                .context("sync id cannot be stored")?;
        }
        transaction.commit().await.context("sync ids cannot be stored")?;
        known = self.known_sync_ids().await?;
        Ok(known)
    }

    async fn known_sync_ids(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let rows = sqlx::query("SELECT id, stream FROM sync_ids")
            .fetch_all(&self.pool)
            .await
            .context("sync ids cannot be read")?;
        rows.iter()
            .map(|row| {
                let id: i64 = row.try_get("id")?;
                Ok((row.try_get("stream")?, u64::try_from(id)?))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_keeps_its_number_and_nobody_else_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("catalog.sqlite");
        {
            let catalog = Catalog::open(&file).await.unwrap();
            let ids = catalog.sync_ids(&["orders", "users"]).await.unwrap();
            assert_eq!((ids["orders"], ids["users"]), (1, 2));
        }
        let catalog = Catalog::open(&file).await.unwrap();
        let ids = catalog.sync_ids(&["carts"]).await.unwrap();
        assert_eq!((ids["orders"], ids["users"], ids["carts"]), (1, 2, 3));
        sqlx::query("DELETE FROM sync_ids WHERE stream = 'carts'")
            .execute(&catalog.pool)
            .await
            .unwrap();
        assert_eq!(catalog.sync_ids(&["other"]).await.unwrap()["other"], 4);
    }
}
