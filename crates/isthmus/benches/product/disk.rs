//! The limit: what the same disk does with nothing but writes and syncs.

use crate::process::now;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Bytes per second with `block` bytes between syncs, over `span`.
pub(crate) fn synced_write_rate(
    folder: &Path,
    block: usize,
    span: Duration,
) -> anyhow::Result<f64> {
    let bytes: Vec<u8> = (0..block).map(|at| u8::try_from(at * 31 % 251).unwrap_or(0)).collect();
    let mut file = File::create(folder.join("limit"))?;
    let (started, mut written) = (now(), 0u64);
    while started.elapsed() < span {
        file.write_all(&bytes)?;
        file.sync_data()?;
        written += block as u64;
    }
    let took = started.elapsed();
    std::fs::remove_file(folder.join("limit"))?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    Ok(written as f64 / took.as_secs_f64())
}
