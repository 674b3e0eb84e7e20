//! The durable log: append, sync, read from an offset, trim.
