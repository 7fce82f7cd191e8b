//! Sabir's storage crate.
