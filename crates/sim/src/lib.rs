//! Sabir's sim crate.
