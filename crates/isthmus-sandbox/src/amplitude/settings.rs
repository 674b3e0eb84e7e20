//! What can be changed about Amplitude while the sandbox runs: the member `amplitude` of
//! `/_sandbox/settings`.

use super::Amplitude;
use super::config::{AmplitudeConfig, AmplitudeLimits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What it is now.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) limits: AmplitudeLimits,
    pub(super) silenced_devices: BTreeSet<String>,
}

/// A set of limits with a name.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Documented,
    Unhurried,
}

/// [`Settings`] as they are shown and written; what is left out stays as it is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// All limits at once; the others are applied to these.
    #[serde(skip_serializing)]
    limits: Option<Named>,
    http_api_per_second: Option<u64>,
    http_api_per_day: Option<u64>,
    batch_per_second: Option<u64>,
    batch_per_day: Option<u64>,
    project_http_api_per_second: Option<u64>,
    project_per_second: Option<u64>,
    project_group_identify_per_second: Option<u64>,
    rate_window_s: Option<u64>,
    dedup_window_s: Option<u64>,
    property_updates_per_hour: Option<u64>,
    events_max: Option<usize>,
    http_api_bytes_max: Option<usize>,
    batch_bytes_max: Option<usize>,
    silenced_devices: Option<BTreeSet<String>>,
}

impl Settings {
    pub(super) fn of(config: &AmplitudeConfig) -> Self {
        let silenced_devices = config.silenced_devices.iter().cloned().collect();
        Self { limits: config.limits, silenced_devices }
    }

    fn take(&mut self, written: Written) {
        let from = match written.limits {
            Some(Named::Documented) => AmplitudeLimits::documented(),
            Some(Named::Unhurried) => AmplitudeLimits::unhurried(),
            None => self.limits,
        };
        let duration = |seconds: Option<u64>, from| seconds.map_or(from, Duration::from_secs);
        self.limits = AmplitudeLimits {
            http_api_per_second: written.http_api_per_second.unwrap_or(from.http_api_per_second),
            http_api_per_day: written.http_api_per_day.unwrap_or(from.http_api_per_day),
            batch_per_second: written.batch_per_second.unwrap_or(from.batch_per_second),
            batch_per_day: written.batch_per_day.unwrap_or(from.batch_per_day),
            project_http_api_per_second: written
                .project_http_api_per_second
                .unwrap_or(from.project_http_api_per_second),
            project_per_second: written.project_per_second.unwrap_or(from.project_per_second),
            project_group_identify_per_second: written
                .project_group_identify_per_second
                .unwrap_or(from.project_group_identify_per_second),
            rate_window: duration(written.rate_window_s, from.rate_window),
            dedup_window: duration(written.dedup_window_s, from.dedup_window),
            property_updates_per_hour: written
                .property_updates_per_hour
                .unwrap_or(from.property_updates_per_hour),
            events_max: written.events_max.unwrap_or(from.events_max),
            http_api_bytes_max: written.http_api_bytes_max.unwrap_or(from.http_api_bytes_max),
            batch_bytes_max: written.batch_bytes_max.unwrap_or(from.batch_bytes_max),
        };
        if let Some(devices) = written.silenced_devices {
            self.silenced_devices = devices;
        }
    }
}

impl Amplitude {
    /// The settings as they are shown.
    pub(crate) fn written_settings(&self) -> Written {
        let settings = self.settings();
        let limits = settings.limits;
        Written {
            limits: None,
            http_api_per_second: Some(limits.http_api_per_second),
            http_api_per_day: Some(limits.http_api_per_day),
            batch_per_second: Some(limits.batch_per_second),
            batch_per_day: Some(limits.batch_per_day),
            project_http_api_per_second: Some(limits.project_http_api_per_second),
            project_per_second: Some(limits.project_per_second),
            project_group_identify_per_second: Some(limits.project_group_identify_per_second),
            rate_window_s: Some(limits.rate_window.as_secs()),
            dedup_window_s: Some(limits.dedup_window.as_secs()),
            property_updates_per_hour: Some(limits.property_updates_per_hour),
            events_max: Some(limits.events_max),
            http_api_bytes_max: Some(limits.http_api_bytes_max),
            batch_bytes_max: Some(limits.batch_bytes_max),
            silenced_devices: Some(settings.silenced_devices.clone()),
        }
    }

    /// Changes what somebody wrote, from now on. What is counted towards a limit stays counted.
    pub(crate) fn write_settings(&self, written: Written) {
        self.change(|settings| settings.take(written));
    }
}
