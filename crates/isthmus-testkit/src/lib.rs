//! Generators of believable traffic, for the demo, tests and benchmarks.
