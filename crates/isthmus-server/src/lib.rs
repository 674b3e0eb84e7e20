//! HTTP wiring and control API; builds the parts, starts them, stops them in order.
