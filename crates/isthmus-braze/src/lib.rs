//! Everything we know about Braze: /users/track, limits, stream mapping, verdicts.
