//! What a URL names: a folder, one file, or a prefix in a bucket.

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a bucket may send nothing of a file that is being read.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// How long one request is tried again before whoever asked is told; they come again by themselves.
const TRIED_FOR: Duration = Duration::from_secs(30);

/// Where files are, as people write it; secrets are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketSettings {
    /// `s3://BUCKET/PREFIX`, `file:///FOLDER` or a path.
    pub url: String,
    /// Where the bucket is served, if not by AWS.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// The keys to use, if not those that the environment has for every AWS client.
    pub keys: Option<S3Keys>,
}

/// Credentials of a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Keys {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Why something cannot be opened; the operator must act.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BucketError {
    /// The setting that is wrong.
    pub field: &'static str,
    pub message: String,
}

impl BucketError {
    fn of_url(message: String) -> Self {
        Self { field: "url", message }
    }
}

/// A folder, a file or a prefix, open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Option<Path>,
    /// What the paths of its files are put behind to name them: `s3://BUCKET/`, `file:///`.
    pub(super) base: String,
    /// Whether what is listed is the one file that was named.
    pub(super) one_file: bool,
}

impl Bucket {
    /// Opens what `settings` name. A folder must exist; of a bucket nothing is asked yet.
    pub fn open(settings: &BucketSettings) -> Result<Self, BucketError> {
        match settings.url.split_once("://") {
            Some(("s3", rest)) => Self::open_s3(settings, rest),
            Some(("file", path)) => Self::open_folder(settings, path),
            Some((scheme, _)) => {
                let message = format!("`{scheme}://` is not known; write `s3://` or a path");
                Err(BucketError::of_url(message))
            }
            None => Self::open_folder(settings, &settings.url),
        }
    }

    /// A bucket in `store`, for what is listed under `prefix`.
    pub fn of_store(store: Arc<dyn ObjectStore>, base: &str, prefix: Option<Path>) -> Self {
        Self { store, prefix, base: base.to_owned(), one_file: false }
    }

    /// The name of everything in it: the same for every way of writing it.
    pub fn address(&self) -> String {
        self.address_of(self.prefix.as_ref().unwrap_or(&Path::default()))
    }

    /// The name of the file at `path`.
    pub(super) fn address_of(&self, path: &Path) -> String {
        format!("{}{path}", self.base)
    }

    fn open_folder(settings: &BucketSettings, path: &str) -> Result<Self, BucketError> {
        for (field, given) in [
            ("endpoint", settings.endpoint.is_some()),
            ("region", settings.region.is_some()),
            ("access_key_id", settings.keys.is_some()),
        ] {
            if given {
                let message = format!("`{field}` is of buckets, and `{path}` is a folder");
                return Err(BucketError { field, message });
            }
        }
        let wrong = |error: &dyn fmt::Display| {
            BucketError::of_url(format!("`{path}` cannot be read: {error}"))
        };
        let whole = PathBuf::from(path).canonicalize().map_err(|error| wrong(&error))?;
        let one_file = whole.is_file();
        let prefix = Path::from_absolute_path(&whole).map_err(|error| wrong(&error))?;
        let store = Arc::new(LocalFileSystem::new());
        Ok(Self { store, prefix: Some(prefix), base: "file:///".to_owned(), one_file })
    }

    fn open_s3(settings: &BucketSettings, rest: &str) -> Result<Self, BucketError> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(BucketError::of_url("`s3://` has no bucket".to_owned()));
        }
        let prefix = Path::parse(prefix.trim_matches('/'))
            .map_err(|error| BucketError::of_url(error.to_string()))?;
        // Another client of this process may have installed it already; either serves.
        drop(rustls::crypto::ring::default_provider().install_default());
        // Large files are read for as long as the log takes them.
        let options = ClientOptions::new().with_timeout_disabled().with_read_timeout(READ_TIMEOUT);
        let retry = RetryConfig { max_retries: 5, retry_timeout: TRIED_FOR, ..Default::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(options)
            .with_retry(retry);
        if let Some(endpoint) = &settings.endpoint {
            if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
                let message = format!("`{endpoint}` is no web address; write https://HOST");
                return Err(BucketError { field: "endpoint", message });
            }
            let plain = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint).with_allow_http(plain);
        }
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        if let Some(keys) = &settings.keys {
            builder = builder
                .with_access_key_id(&keys.access_key_id)
                .with_secret_access_key(&keys.secret_access_key);
            if let Some(token) = &keys.session_token {
                builder = builder.with_token(token);
            }
        }
        let store = builder.build().map_err(|error| BucketError::of_url(error.to_string()))?;
        let base = format!("s3://{bucket}/");
        let prefix = Some(prefix).filter(|prefix| !prefix.as_ref().is_empty());
        Ok(Self { store: Arc::new(store), prefix, base, one_file: false })
    }
}
