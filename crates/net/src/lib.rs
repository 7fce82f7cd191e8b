//! Sabir's net crate.
