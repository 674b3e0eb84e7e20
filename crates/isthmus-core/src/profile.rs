//! User and group properties, and the operations that change them.
