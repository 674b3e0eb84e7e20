//! Who may use how much of a destination's request budget.

/// What a piece of work is for; the first is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Events and user updates of streams, which set off campaigns.
    Triggers,
    /// Cohorts whose members are told as they come and go.
    RealtimeCohorts,
    /// Syncs that run by the clock.
    ScheduledSyncs,
    /// What is sent for the past.
    Backfill,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 4] =
        [Self::Triggers, Self::RealtimeCohorts, Self::ScheduledSyncs, Self::Backfill];

    /// The word for it in configuration and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Triggers => "triggers",
            Self::RealtimeCohorts => "realtime_cohorts",
            Self::ScheduledSyncs => "scheduled_syncs",
            Self::Backfill => "backfill",
        }
    }
}

/// The part of each request budget that work of a priority may use at most: more than 0, at most 1.
/// Triggers may use all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    pub realtime_cohorts: f64,
    pub scheduled_syncs: f64,
    pub backfill: f64,
}

/// A tenth is for triggers alone, and backfill leaves another one to everything else.
impl Default for Shares {
    fn default() -> Self {
        Self { realtime_cohorts: 0.9, scheduled_syncs: 0.9, backfill: 0.8 }
    }
}

impl Shares {
    /// The part that work of `priority` may use.
    pub fn of(&self, priority: Priority) -> f64 {
        match priority {
            Priority::Triggers => 1.0,
            Priority::RealtimeCohorts => self.realtime_cohorts,
            Priority::ScheduledSyncs => self.scheduled_syncs,
            Priority::Backfill => self.backfill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_comes_first_and_may_use_the_most() {
        assert!(Priority::ALL.is_sorted());
        let shares = Priority::ALL.map(|priority| Shares::default().of(priority));
        assert!(shares.is_sorted_by(|more, less| more >= less));
        assert!(shares.iter().all(|share| *share > 0.0 && *share <= 1.0));
    }

    #[test]
    fn names_are_told_apart() {
        let names = Priority::ALL.map(Priority::name);
        assert_eq!(names, ["triggers", "realtime_cohorts", "scheduled_syncs", "backfill"]);
    }
}
