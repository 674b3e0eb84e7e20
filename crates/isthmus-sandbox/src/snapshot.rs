//! The users in a file, so that a sandbox survives a restart.
//!
//! The file is JSON with a version; it is replaced as a whole, so a crash leaves the former one.
//! Occurrences, requests, faults and what waits to take effect are not in it.

use crate::model::{Counters, User};
use crate::sandbox::{SandboxError, Shared};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use tokio_util::sync::CancellationToken;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    version: u32,
    workspaces: BTreeMap<String, WorkspaceSnapshot>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WorkspaceSnapshot {
    counters: Counters,
    users: Vec<User>,
}

/// Reads the file that the configuration names, if it is there.
pub(crate) async fn read(shared: &Shared) -> Result<(), SandboxError> {
    let Some(path) = &shared.config.snapshot else { return Ok(()) };
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(SandboxError::Snapshot { path: path.clone(), action: "read", source });
        }
    };
    let wrong = |reason: String| SandboxError::SnapshotFormat { path: path.clone(), reason };
    let snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    if snapshot.version != VERSION {
        return Err(wrong(format!("version {}, not {VERSION}", snapshot.version)));
    }
    for (name, saved) in snapshot.workspaces {
        if let Some(room) = shared.room(Some(&name)) {
            room.lock().restore(saved.users, saved.counters);
        } else {
            tracing::warn!(workspace = name, "snapshot of a workspace that has no key");
        }
    }
    Ok(())
}

/// Writes the file now and then, when something changed, until `stop`.
pub(crate) async fn keep(shared: &Shared, stop: CancellationToken) -> Result<(), SandboxError> {
    if shared.config.snapshot.is_none() {
        return Ok(());
    }
    let mut written = counters(shared);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            // Nothing is lost: the wait begins anew.
            () = shared.wait(shared.config.snapshot_every) => {}
        }
        let state = counters(shared);
        if written != state {
            write(shared).await?;
            written = state;
        }
    }
}

/// Writes the file a last time, with everything applied that was answered.
pub(crate) async fn finish(shared: &Shared) -> Result<(), SandboxError> {
    for (_, room) in shared.rooms() {
        room.lock().settle(shared.now());
    }
    write(shared).await
}

/// Changes with everything that a snapshot holds.
fn counters(shared: &Shared) -> Vec<Counters> {
    shared.rooms().map(|(_, room)| shared.enter(room).counters().clone()).collect()
}

async fn write(shared: &Shared) -> Result<(), SandboxError> {
    let Some(path) = &shared.config.snapshot else { return Ok(()) };
    let workspaces = shared.rooms().map(|(name, room)| {
        let workspace = shared.enter(room);
        let users = workspace.directory().iter().map(|(_, user)| user.clone()).collect();
        (name.to_owned(), WorkspaceSnapshot { counters: workspace.counters().clone(), users })
    });
    let snapshot = Snapshot { version: VERSION, workspaces: workspaces.collect() };
    let written = replace(path, &snapshot).await;
    written.map_err(|source| SandboxError::Snapshot {
        path: path.clone(),
        action: "written",
        source,
    })
}

async fn replace(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let bytes = serde_json::to_vec(snapshot)?;
    let new = path.with_added_extension("new");
    tokio::fs::write(&new, bytes).await?;
    tokio::fs::rename(&new, path).await
}
