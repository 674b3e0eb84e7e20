//! What each endpoint takes: the numbers that differ between them, as data.

use isthmus_core::ByteSize;
use isthmus_core::record::Source;

/// Longest id, event type or property value, in characters; longer values are truncated and
/// longer user and device ids refused.
pub const TEXT_LENGTH_MAX: usize = 1_024;
/// Shortest user id and device id that is taken unless the request says otherwise, in characters.
pub const ID_LENGTH_MIN: usize = 5;
/// Deepest nesting of a property object, itself included.
pub const DEPTH_MAX: usize = 40;
/// Most keys in one property object.
pub const KEYS_MAX: u16 = 1_024;

/// What to do with a user id or device id that is too short or stands on the list of invalid ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortIds {
    /// Refuse the request and list the event: what `/2/httpapi` does.
    Reject,
    /// Remove the id, and refuse only when none is left: what `/batch` does.
    Strip,
}

/// Limits and rules of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRules {
    pub source: Source,
    /// Largest body after decompression; a larger one is answered with 413.
    pub body_max: ByteSize,
    /// Most events, or identifications, in one request; more are answered with 413.
    pub events_max: usize,
    /// Most properties in all identifications of one request; more are answered with 413.
    pub properties_max: usize,
    /// Shortest user id and device id in characters, unless the request says otherwise in
    /// `options.min_id_length`.
    pub id_length_min: usize,
    pub short_ids: ShortIds,
    /// Events per second of one user id or device id, averaged over 30 seconds.
    pub events_per_second_max: u64,
}

impl EndpointRules {
    /// `POST /2/httpapi`: 1 MiB, 2000 events, 30 events/s for each user and device.
    pub const fn http_api() -> Self {
        Self {
            source: Source::HttpApi,
            body_max: ByteSize::mib(1),
            events_max: 2_000,
            properties_max: usize::MAX,
            id_length_min: ID_LENGTH_MIN,
            short_ids: ShortIds::Reject,
            events_per_second_max: 30,
        }
    }

    /// `POST /batch`: 20 MiB, 2000 events, 1000 events/s for each user and device.
    pub const fn batch() -> Self {
        Self {
            source: Source::Batch,
            body_max: ByteSize::mib(20),
            short_ids: ShortIds::Strip,
            events_per_second_max: 1_000,
            ..Self::http_api()
        }
    }

    /// `/identify`: like `/2/httpapi`, with the 1024 identifications of `/groupidentify`.
    pub const fn identify() -> Self {
        Self { source: Source::Identify, events_max: 1_024, ..Self::http_api() }
    }

    /// `/groupidentify`: 1 MiB, 1024 identifications and 1024 properties.
    pub const fn group_identify() -> Self {
        Self {
            source: Source::GroupIdentify,
            events_max: 1_024,
            properties_max: 1_024,
            ..Self::http_api()
        }
    }

    /// `/usermap`: 1 MiB, 2000 mappings.
    pub const fn user_map() -> Self {
        Self { source: Source::Command, ..Self::http_api() }
    }
}
