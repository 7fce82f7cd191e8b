//! The wire codec from outside: every API and version, round trips, bytes recorded from Kafka's
//! own serializer, and bytes that no client should send.

#[rustfmt::skip]
mod fill;
mod filler;
mod golden;
mod malformed;
mod round_trip;
