//! Samples of what went wrong in a stream, as the control API tells them.

use super::{Runtime, RuntimeError};
use crate::report::{SampleCategory, SampleReport, SamplesReport};
use isthmus_core::Timestamp;
use isthmus_state::delivery_samples::{Sample, SampleGroup};
use std::cmp::Reverse;

impl Runtime {
    /// What went wrong in `stream`, or of it only `category`, with up to `limit` samples of each.
    pub(crate) fn samples(
        &self,
        stream: &str,
        category: Option<&str>,
        limit: usize,
    ) -> Result<SamplesReport, RuntimeError> {
        self.serving(stream)?;
        let failed = |error| RuntimeError::Failed(anyhow::Error::new(error));
        let mut groups = self.samples.groups(stream, category, limit).map_err(failed)?;
        groups.sort_by_key(|group| Reverse(group.last_at));
        let categories = groups.into_iter().map(category_report).collect();
        Ok(SamplesReport { stream: stream.to_owned(), categories })
    }
}

fn category_report(group: SampleGroup) -> SampleCategory {
    let SampleGroup { category, count, last_at, samples, .. } = group;
    SampleCategory {
        category,
        count,
        last_at: last_at.to_string(),
        samples: samples.into_iter().rev().map(sample_report).collect(),
    }
}

fn sample_report(sample: Sample) -> SampleReport {
    let iso = |millis| Timestamp::from_millis(millis).to_string();
    let given = |text: String| (!text.is_empty()).then_some(text);
    let id = format!("{}-{}", sample.place(), sample.part);
    let request = given(sample.request).map(|text| {
        // What could not be shown without its values is not JSON.
        serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
    });
    SampleReport {
        at: iso(sample.at),
        id,
        name: given(sample.name),
        status: (sample.status != 0).then_some(sample.status),
        message: sample.message,
        response: given(sample.response),
        attempts: sample.attempts,
        first_attempt_at: sample.first_attempt_at.map(iso),
        next_attempt_at: sample.next_attempt_at.map(iso),
        request,
    }
}
