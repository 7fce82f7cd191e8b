//! Sabir's kafka crate.
