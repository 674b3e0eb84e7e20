//! Files as other programs write them, and files that are damaged.
