//! Sabir's broker crate.
