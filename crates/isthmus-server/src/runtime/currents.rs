//! Currents sources and imports of their files, as the control API tells them.

use super::ledger::{blocking, failed};
use super::{Runtime, RuntimeError};
use crate::following::FollowingHandle;
use crate::imports::Imports;
use crate::report::currents::{
    CurrentsReport, CurrentsSourceReport, FollowedFiles, ImportReport, ImportRequest,
};
use isthmus_config::Spec;
use isthmus_config::resource::CurrentsSource;
use isthmus_core::Timestamp;
use isthmus_ingest::follow::{BucketSettings, TallyView};
use isthmus_state::currents_counts::{CountsOfCurrents, CurrentsCounts};

/// What is asked about Currents sources.
pub(crate) struct CurrentsDesk {
    pub(crate) counts: CountsOfCurrents,
    pub(crate) following: FollowingHandle,
    pub(crate) imports: Imports,
}

impl Runtime {
    pub(crate) async fn currents_sources(&self) -> Result<CurrentsReport, RuntimeError> {
        let mut sources: Vec<CurrentsSource> = {
            let resources = self.resources.lock().await;
            let sources = resources.iter().filter_map(|resource| match &resource.spec {
                Spec::CurrentsSource(source) => Some(source.clone()),
                _ => None,
            });
            sources.collect()
        };
        sources.sort_by(|one, other| one.name.cmp(&other.name));
        let (counts, quarantine) = (self.currents.counts.clone(), self.quarantine.clone());
        let known = blocking(move || {
            let known = sources.into_iter().map(|source| {
                let counts = counts.get(&source.name).map_err(failed)?;
                let quarantined = quarantine.count(&source.name) as u64;
                Ok((source, counts, quarantined))
            });
            known.collect::<Result<Vec<_>, RuntimeError>>()
        })
        .await?;
        let now = self.clock.now();
        let sources = known.into_iter().map(|(source, counts, quarantined)| {
            let view = self.currents.following.view(&source.name).unwrap_or_default();
            let files = self.currents.following.files(&source.name);
            let files = files.map(|files| followed(files.bucket.url, &view, now));
            report(source, counts, quarantined, files)
        });
        Ok(CurrentsReport { sources: sources.collect() })
    }

    /// Begins to read what `request` names as events of `source`, which is a line of the audit log;
    /// or goes on, where that is being done already.
    pub(crate) async fn start_import(
        &self,
        source: &str,
        request: ImportRequest,
    ) -> Result<ImportReport, RuntimeError> {
        let is_it = |spec: &Spec| matches!(spec, Spec::CurrentsSource(of) if of.name == source);
        if !self.resources.lock().await.iter().any(|resource| is_it(&resource.spec)) {
            return Err(RuntimeError::NotFound(format!("currents_source {source}")));
        }
        let ImportRequest { url, endpoint, region, dry_run } = request;
        // The bucket of an import is like that of the source, unless it is said to be elsewhere.
        let like = self.currents.following.files(source).map(|files| files.bucket);
        let like = like.filter(|like| {
            let are_buckets = [&url, &like.url].iter().all(|url| url.starts_with("s3://"));
            are_buckets && endpoint.is_none()
        });
        let like = like.unwrap_or_default();
        let settings = BucketSettings {
            url,
            endpoint: endpoint.or(like.endpoint),
            region: region.or(like.region),
            keys: like.keys,
        };
        let imports = self.currents.imports.clone();
        let of = source.to_owned();
        let (report, is_new) = blocking(move || imports.start(&of, &settings, dry_run)).await?;
        if is_new {
            let what = if dry_run { "import (dry run)" } else { "import" };
            self.note(what, &format!("currents/{source}"), &report.url).await?;
        }
        Ok(report)
    }
}

fn report(
    source: CurrentsSource,
    counts: CurrentsCounts,
    quarantined: u64,
    files: Option<FollowedFiles>,
) -> CurrentsSourceReport {
    let iso = |millis: i64| Timestamp::from_millis(millis).to_string();
    CurrentsSourceReport {
        takes_posts: source.takes_posts(),
        name: source.name,
        project: source.project,
        events: counts.events,
        duplicates: counts.duplicates,
        refused: counts.refused,
        unusable: counts.unusable,
        quarantined,
        last_event_at: counts.newest_event_at.map(iso),
        last_received_at: counts.received_at.map(iso),
        files,
    }
}

fn followed(url: String, view: &TallyView, now: Timestamp) -> FollowedFiles {
    let iso = |at: Timestamp| at.to_string();
    let (error_at, error) = view.error.clone().unzip();
    FollowedFiles {
        url,
        read_until: view.newest_done.map(iso),
        read: view.files,
        damaged: view.files_damaged,
        pending: view.files_pending,
        lag_seconds: view.oldest_pending.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()),
        looked_at: view.looked_at.map(iso),
        error,
        error_at: error_at.map(iso),
    }
}
