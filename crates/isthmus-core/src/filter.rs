//! Property conditions: one operator, a property and its values.
