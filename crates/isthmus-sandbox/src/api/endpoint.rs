//! The table of endpoints: path, permission, limits. A new one is a row, a kind and a handler.

/// What an endpoint is and how it is limited.
#[derive(Debug)]
pub(super) struct Endpoint {
    path: &'static str,
    pub(super) kind: Kind,
    pub(super) permission: &'static str,
    /// Requests that are counted together.
    pub(super) bucket: Bucket,
    pub(super) body_bytes_max: usize,
    /// Status for a body beyond that.
    pub(super) too_large_status: u16,
}

/// The endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Track,
    TrackBulk,
    TrackSync,
    Identify,
    AliasNew,
    AliasUpdate,
    Merge,
    Delete,
    ExternalIdsRename,
    ExternalIdsRemove,
    ExportIds,
}

/// Endpoints that share a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    Track,
    TrackBulk,
    TrackSync,
    Identity,
    ExternalIdsRename,
    ExternalIdsRemove,
    Export,
}

/// Size of a request body: 4 MB on most endpoints ("API basics", read 2026-09).
const BODY_BYTES_MAX: usize = 4_000_000;
const BULK_BODY_BYTES_MAX: usize = 2_000_000;

const fn row(path: &'static str, kind: Kind, permission: &'static str, bucket: Bucket) -> Endpoint {
    Endpoint {
        path,
        kind,
        permission,
        bucket,
        body_bytes_max: BODY_BYTES_MAX,
        too_large_status: 413,
    }
}

static TABLE: [Endpoint; 11] = [
    row("/users/track", Kind::Track, "users.track", Bucket::Track),
    Endpoint {
        body_bytes_max: BULK_BODY_BYTES_MAX,
        too_large_status: 400,
        ..row("/users/track/bulk", Kind::TrackBulk, "users.track.bulk", Bucket::TrackBulk)
    },
    row("/users/track/sync", Kind::TrackSync, "users.track.sync", Bucket::TrackSync),
    row("/users/identify", Kind::Identify, "users.identify", Bucket::Identity),
    row("/users/alias/new", Kind::AliasNew, "users.alias.new", Bucket::Identity),
    row("/users/alias/update", Kind::AliasUpdate, "users.alias.update", Bucket::Identity),
    row("/users/merge", Kind::Merge, "users.merge", Bucket::Identity),
    row("/users/delete", Kind::Delete, "users.delete", Bucket::Identity),
    row(
        "/users/external_ids/rename",
        Kind::ExternalIdsRename,
        "users.external_ids.rename",
        Bucket::ExternalIdsRename,
    ),
    row(
        "/users/external_ids/remove",
        Kind::ExternalIdsRemove,
        "users.external_ids.remove",
        Bucket::ExternalIdsRemove,
    ),
    row("/users/export/ids", Kind::ExportIds, "users.export.ids", Bucket::Export),
];

impl Endpoint {
    /// The endpoint with exactly this path.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        TABLE.iter().find(|endpoint| endpoint.path == path)
    }
}
