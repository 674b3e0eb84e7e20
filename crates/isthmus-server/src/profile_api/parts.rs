//! What a profile shows beside its properties. Each part says "none" in the documented way until
//! something fills it.

use isthmus_core::AmplitudeId;

/// A person, as parts are asked about them.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "no part exists yet that looks at the person")]
pub(crate) struct Whose<'a> {
    pub(crate) project: &'a str,
    pub(crate) person: AmplitudeId,
}

/// A list of items for a person (`amplitude-read.md` 2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recommendation {
    pub(crate) rec_id: String,
    pub(crate) child_rec_id: String,
    /// Best first, at most 100.
    pub(crate) items: Vec<String>,
    /// The caller must show what it shows by default.
    pub(crate) is_control: bool,
    /// Name of the model.
    pub(crate) source: String,
    /// In seconds since the Unix epoch.
    pub(crate) last_updated: i64,
}

/// Whose answer a recommendation is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecommendationType {
    Model,
    Random,
}

/// As what a prediction is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PropensityType {
    /// A probability, from 0 to 1.
    Score,
    /// A percentile, from 0 to 100.
    Percentile,
}

/// Which computations are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Computations<'a> {
    All,
    Named(&'a [String]),
}

/// What fills the parts of a profile.
pub(crate) trait ProfileParts: Send + Sync {
    /// Ids of the cohorts the person is in, of those that are synced to the User Profile API.
    fn cohort_ids(&self, whose: Whose<'_>) -> Vec<String>;

    /// Names of computed properties and their values as text; a named computation that does not
    /// exist, or has no value for the person, has none.
    fn computations(
        &self,
        whose: Whose<'_>,
        which: Computations<'_>,
    ) -> Vec<(String, Option<String>)>;

    /// Those of `rec_ids` that exist, in that order.
    fn recommendations(
        &self,
        whose: Whose<'_>,
        rec_ids: &[String],
        kind: Option<RecommendationType>,
    ) -> Vec<Recommendation>;

    /// The score of the person in each of `prediction_ids` that has one, in that order.
    fn propensities(
        &self,
        whose: Whose<'_>,
        prediction_ids: &[String],
        kind: PropensityType,
    ) -> Vec<(String, f64)>;
}

/// No cohorts, computations, recommendations or predictions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NoParts;

impl ProfileParts for NoParts {
    fn cohort_ids(&self, _: Whose<'_>) -> Vec<String> {
        Vec::new()
    }

    fn computations(&self, _: Whose<'_>, which: Computations<'_>) -> Vec<(String, Option<String>)> {
        match which {
            Computations::All => Vec::new(),
            Computations::Named(ids) => ids.iter().map(|id| (id.clone(), None)).collect(),
        }
    }

    fn recommendations(
        &self,
        _: Whose<'_>,
        _: &[String],
        _: Option<RecommendationType>,
    ) -> Vec<Recommendation> {
        Vec::new()
    }

    fn propensities(&self, _: Whose<'_>, _: &[String], _: PropensityType) -> Vec<(String, f64)> {
        Vec::new()
    }
}
