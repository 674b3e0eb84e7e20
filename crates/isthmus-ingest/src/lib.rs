//! The door (decode, validate, append) and the applier.
