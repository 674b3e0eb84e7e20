//! What a request asks for: the parameters of `amplitude-read.md` 2.1. Unknown ones are passed over.

use super::parts::{PropensityType, RecommendationType};

/// A request, read and consistent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Query {
    pub(super) user_id: Option<String>,
    pub(super) device_id: Option<String>,
    /// Empty when none are asked for.
    pub(super) rec_ids: Vec<String>,
    pub(super) rec_type: Option<RecommendationType>,
    pub(super) properties: bool,
    pub(super) cohort_ids: bool,
    pub(super) computations: bool,
    /// Restricts the computations, and asks for them.
    pub(super) comp_ids: Vec<String>,
    /// Empty when none are asked for.
    pub(super) prediction_ids: Vec<String>,
    pub(super) propensity_type: Option<PropensityType>,
}

impl Query {
    /// Reads what follows `?`; says what is wrong with it, for people.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let (mut get_recs, mut rec_ids) = (None, Vec::new());
        let (mut get_propensity, mut prediction_ids) = (false, Vec::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            match &*name {
                "user_id" => read.user_id = id(value).or(read.user_id),
                "device_id" => read.device_id = id(value).or(read.device_id),
                "get_recs" => get_recs = Some(flag(&name, value)?),
                "rec_id" => rec_ids.extend(list(value)),
                "rec_type" => read.rec_type = rec_type(value)?,
                "get_amp_props" => read.properties = flag(&name, value)?,
                // The second is its name in an older guide.
                "get_cohort_ids" | "get_cohorts" => read.cohort_ids = flag(&name, value)?,
                "get_computations" => read.computations = flag(&name, value)?,
                "comp_id" => read.comp_ids.extend(list(value)),
                "get_propensity" => get_propensity = flag(&name, value)?,
                "prediction_id" => prediction_ids.extend(list(value)),
                "propensity_type" => read.propensity_type = propensity_type(value)?,
                _ => {}
            }
        }
        if read.user_id.is_none() && read.device_id.is_none() {
            return Err("user_id or device_id is required".to_owned());
        }
        // An older guide sends `rec_id` alone, and is answered.
        if get_recs != Some(false) {
            read.rec_ids = rec_ids;
        }
        if get_recs == Some(true) && read.rec_ids.is_empty() {
            return Err("rec_id is required with get_recs".to_owned());
        }
        if get_propensity {
            if prediction_ids.is_empty() {
                return Err("prediction_id is required with get_propensity".to_owned());
            }
            read.prediction_ids = prediction_ids;
        }
        Ok(read)
    }

    /// Whether computations are asked for, all or some.
    pub(super) fn wants_computations(&self) -> bool {
        self.computations || !self.comp_ids.is_empty()
    }
}

fn id(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// Present without a value means yes: one documented form asks that way.
fn flag(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{name} must be true or false")),
    }
}

fn list(value: &str) -> impl Iterator<Item = String> {
    value.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned)
}

fn rec_type(value: &str) -> Result<Option<RecommendationType>, String> {
    match value {
        "" => Ok(None),
        "model" => Ok(Some(RecommendationType::Model)),
        "random" => Ok(Some(RecommendationType::Random)),
        _ => Err("rec_type must be model or random".to_owned()),
    }
}

fn propensity_type(value: &str) -> Result<Option<PropensityType>, String> {
    match value {
        "" => Ok(None),
        "score" => Ok(Some(PropensityType::Score)),
        "pct" => Ok(Some(PropensityType::Percentile)),
        _ => Err("propensity_type must be score or pct".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_flags_and_lists_are_read() {
        let query = Query::parse(
            "user_id=ana%40example.org&get_amp_props=TRUE&get_cohorts=1&comp_id=a,,b&get_propensity=&prediction_id=p1&propensity_type=pct&what=ever",
        )
        .unwrap();
        assert_eq!(query.user_id.as_deref(), Some("ana@example.org"));
        assert!(query.properties && query.cohort_ids && query.wants_computations());
        assert_eq!(query.comp_ids, ["a", "b"]);
        assert_eq!(query.prediction_ids, ["p1"]);
        assert_eq!(query.propensity_type, Some(PropensityType::Percentile));
        assert!(!query.computations && query.rec_ids.is_empty());
    }

    #[test]
    fn a_recommendation_id_asks_for_itself_unless_told_not_to() {
        let rec_ids = |query: &str| Query::parse(query).unwrap().rec_ids;
        assert_eq!(rec_ids("device_id=d&rec_id=r1"), ["r1"]);
        assert_eq!(rec_ids("device_id=d&rec_id=r1&get_recs=true"), ["r1"]);
        assert!(rec_ids("device_id=d&rec_id=r1&get_recs=false").is_empty());
    }

    #[test]
    fn what_cannot_be_answered_is_named() {
        let cases = [
            ("", "user_id or device_id is required"),
            ("user_id=&device_id=+", "user_id or device_id is required"),
            ("user_id=a&get_recs=true", "rec_id is required with get_recs"),
            ("user_id=a&get_propensity", "prediction_id is required with get_propensity"),
            ("user_id=a&get_amp_props=maybe", "get_amp_props must be true or false"),
            ("user_id=a&rec_type=best", "rec_type must be model or random"),
            ("user_id=a&propensity_type=odds", "propensity_type must be score or pct"),
        ];
        for (query, why) in cases {
            assert_eq!(Query::parse(query), Err(why.to_owned()), "{query}");
        }
    }
}
