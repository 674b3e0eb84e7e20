//! Durations in what people write: `"500ms"`, `"30s"`, `"7d"`.

use isthmus_config::parse_duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// Units from the largest to the smallest, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration that is written with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// In the largest unit that divides it.
impl Serialize for Span {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fits = |(_, unit): &(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
        match UNITS.into_iter().find(fits) {
            Some((name, unit)) => out.collect_str(&format_args!("{}{name}", millis / unit)),
            None => out.serialize_str("0s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_as_it_is_written() {
        for (written, shown) in [("500ms", "500ms"), ("90s", "90s"), ("24h", "1d"), ("0s", "0s")] {
            let span: Span = serde_json::from_str(&format!("\"{written}\"")).expect("a span");
            assert_eq!(serde_json::to_string(&span).expect("JSON"), format!("\"{shown}\""));
        }
        assert!(serde_json::from_str::<Span>("\"soon\"").is_err());
    }
}
