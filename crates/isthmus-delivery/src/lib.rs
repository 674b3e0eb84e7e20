//! Lanes, batches, rate limits, retries, journal, dead letters; knows no vendor.
