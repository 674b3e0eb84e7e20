//! Finding files: everything under a prefix, or what recent hours have.
//!
//! Braze writes an hour's files of one type under `.../event_type=TYPE/date=YYYY-MM-DD-HH/...`. What stands
//! before `date=` is learnt from listing everything; from then on one request per type, which begins at
//! the hour, finds what is new. A type that is new itself is found by listing what stands beside the known
//! ones. Files whose keys have no date are found when everything is listed, so a bucket that is small
//! enough for that is listed whole each time.

use super::bucket::Bucket;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use isthmus_braze::currents::ObjectKey;
use isthmus_core::Timestamp;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use std::collections::BTreeSet;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// How far back recent hours go: Braze writes an hour's files within minutes, and clocks differ.
const RECENT: Duration = Duration::from_hours(3);
/// Files up to which everything is listed each time: five requests to S3.
const LISTED_WHOLE_MAX: u64 = 5_000;
/// Event types whose recent hours are listed; there are some hundred.
const STEMS_MAX: usize = 2_000;
/// Lists that are asked for at once.
const LISTS_AT_ONCE: usize = 8;

/// A file that may have to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: Path,
    pub(super) address: String,
    pub(super) bytes: u64,
    pub(super) modified: Timestamp,
    /// What tells its present content from another.
    pub(super) content: u64,
    pub(super) gzipped: bool,
    pub(super) event_type: Option<String>,
    pub(super) hour: Option<Timestamp>,
}

impl Found {
    /// What `meta` is, if it is a file that can hold events.
    fn of(bucket: &Bucket, meta: ObjectMeta) -> Option<Self> {
        let gzipped = is_gzipped(meta.location.filename()?)?;
        let key = meta.location.as_ref();
        let parsed = ObjectKey::parse(key);
        let (event_type, hour) = (parsed.event_type.map(str::to_owned), parsed.hour);
        let modified = Timestamp::from_millis(meta.last_modified.timestamp_millis());
        let content = match &meta.e_tag {
            Some(tag) => xxh3_64(tag.as_bytes()),
            None => xxh3_64(format!("{} {}", meta.size, modified.as_millis()).as_bytes()),
        };
        let address = bucket.address_of(&meta.location);
        Some(Self {
            path: meta.location,
            address,
            bytes: meta.size,
            modified,
            content,
            gzipped,
            event_type,
            hour,
        })
    }
}

/// Whether the file called `name` is compressed as a whole; `None` where it holds no events.
fn is_gzipped(name: &str) -> Option<bool> {
    if name.starts_with('.') {
        return None;
    }
    let (plain, gzipped) = match name.strip_suffix(".gz") {
        Some(plain) => (plain, true),
        None => (name, false),
    };
    let (_, ending) = plain.rsplit_once('.')?;
    let known = ["avro", "json", "jsonl", "ndjson"];
    known.iter().any(|known| ending.eq_ignore_ascii_case(known)).then_some(gzipped)
}

/// What is known of where a bucket's files are.
#[derive(Debug)]
pub(super) struct Listing {
    bucket: Bucket,
    /// What stands before `date=`.
    stems: BTreeSet<String>,
    /// Files when everything was listed last; none until then.
    files: Option<u64>,
}

impl Listing {
    pub(super) fn new(bucket: Bucket) -> Self {
        Self { bucket, stems: BTreeSet::new(), files: None }
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Whether everything is so little that recent hours need not be told apart.
    pub(super) fn is_small(&self) -> bool {
        self.files.is_none_or(|files| files <= LISTED_WHOLE_MAX)
    }

    /// Everything.
    pub(super) fn everything(&self) -> BoxStream<'static, object_store::Result<Found>> {
        let bucket = self.bucket.clone();
        if bucket.one_file {
            let path = bucket.prefix.clone().unwrap_or_default();
            return stream::once(async move {
                let meta = object_store::ObjectStoreExt::head(&*bucket.store, &path).await?;
                Ok(Found::of(&bucket, meta))
            })
            .try_filter_map(|found| async move { Ok(found) })
            .boxed();
        }
        let metas = bucket.store.list(bucket.prefix.as_ref());
        metas.try_filter_map(move |meta| std::future::ready(Ok(Found::of(&bucket, meta)))).boxed()
    }

    /// Learns from a file that was found.
    pub(super) fn learn(&mut self, found: &Found) {
        if let Some((stem, _)) = found.path.as_ref().split_once("/date=")
            && self.stems.len() < STEMS_MAX
            && !self.stems.contains(stem)
        {
            self.stems.insert(stem.to_owned());
        }
    }

    /// Learns that everything was listed, and how many files that are.
    pub(super) fn learn_all(&mut self, files: u64) {
        self.files = Some(files);
    }

    /// The files of the hours before `now`, of every type that is known or stands beside a known one.
    pub(super) async fn recent(&mut self, now: Timestamp) -> object_store::Result<Vec<Found>> {
        let parents: BTreeSet<Path> = self
            .stems
            .iter()
            .filter_map(|stem| Path::parse(stem.rsplit_once("/event_type=")?.0).ok())
            .collect();
        for parent in parents {
            let beside = self.bucket.store.list_with_delimiter(Some(&parent)).await?;
            for folder in beside.common_prefixes {
                if folder.filename().is_some_and(|name| name.starts_with("event_type="))
                    && self.stems.len() < STEMS_MAX
                {
                    self.stems.insert(folder.as_ref().to_owned());
                }
            }
        }
        let since = hour_of(Timestamp::from_millis(
            now.as_millis().saturating_sub(i64::try_from(RECENT.as_millis()).unwrap_or(i64::MAX)),
        ));
        let lists = self.stems.iter().map(|stem| {
            let bucket = self.bucket.clone();
            let (prefix, offset) = (Path::parse(stem), format!("{stem}/date={since}"));
            async move {
                let (prefix, offset) = (prefix?, Path::parse(offset)?);
                let metas = bucket.store.list_with_offset(Some(&prefix), &offset);
                let found =
                    metas.try_filter_map(|meta| std::future::ready(Ok(Found::of(&bucket, meta))));
                found.try_collect::<Vec<_>>().await
            }
        });
        let lists: Vec<_> = lists.collect();
        let found: Vec<Vec<Found>> =
            stream::iter(lists).buffer_unordered(LISTS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// `2026-01-01-09`.
fn hour_of(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, "00"));
    format!("{day}-{}", time.get(..2).unwrap_or("00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_endings() {
        for (name, expected) in [
            ("x.avro", Some(false)),
            ("x+3+00001.avro", Some(false)),
            ("x.JSON", Some(false)),
            ("x.jsonl.gz", Some(true)),
            ("x.ndjson", Some(false)),
            ("x.gz", None),
            (".x.avro", None),
            ("x.avro.tmp", None),
            ("avro", None),
            ("_SUCCESS", None),
        ] {
            assert_eq!(is_gzipped(name), expected, "{name}");
        }
    }

    #[test]
    fn hours_are_written_as_keys_have_them() {
        let at = Timestamp::parse_iso("2026-01-01T09:59:59Z").unwrap();
        assert_eq!(hour_of(at), "2026-01-01-09");
    }

    #[tokio::test]
    async fn recent_hours_of_known_and_of_new_types_are_found_without_listing_everything() {
        use object_store::ObjectStoreExt;
        use object_store::memory::InMemory;
        use std::sync::Arc;
        let store = Arc::new(InMemory::new());
        let key = |event_type: &str, date: &str| {
            Path::from(format!("c/d/event_type={event_type}/date={date}/4/a/x.avro"))
        };
        for (event_type, date) in [
            ("users.canvas.Entry", "2026-01-01-05"),
            ("users.canvas.Entry", "2026-01-01-06"),
            ("users.canvas.Entry", "2026-01-01-09"),
            ("users.canvas.Exit", "2026-01-01-08"),
        ] {
            store.put(&key(event_type, date), "x".into()).await.unwrap();
        }
        let bucket = Bucket::of_store(store, "s3://b/", Some(Path::from("c")));
        let mut listing = Listing::new(bucket);
        let mut everything: Vec<Found> = listing.everything().try_collect().await.unwrap();
        everything.retain(|found| found.event_type.as_deref() == Some("users.canvas.Entry"));
        assert_eq!(everything.len(), 3);
        for found in &everything {
            listing.learn(found);
        }
        assert!(listing.is_small());
        listing.learn_all(LISTED_WHOLE_MAX + 1);
        assert!(!listing.is_small());

        let now = Timestamp::parse_iso("2026-01-01T09:10:00Z").unwrap();
        let recent = listing.recent(now).await.unwrap();
        let mut recent: Vec<_> = recent.iter().map(|found| found.path.clone()).collect();
        recent.sort();
        let expected = [
            key("users.canvas.Entry", "2026-01-01-06"),
            key("users.canvas.Entry", "2026-01-01-09"),
            key("users.canvas.Exit", "2026-01-01-08"),
        ];
        assert_eq!(recent, expected);
    }
}
