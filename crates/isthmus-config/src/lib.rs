//! The shape of isthmus.toml and of resource files, and errors that point at a line.
