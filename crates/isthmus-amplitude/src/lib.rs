//! Everything we know about Amplitude: wire types, validation, limits, answers.
