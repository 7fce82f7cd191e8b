//! Every limit of the core, related to one another by the compiler.

use std::time::Duration;

/// Bytes of a name.
pub const NAME_MAX: usize = 255;
/// Partitions of one topic.
pub const PARTITIONS_MAX: u32 = 10_000;
/// A publish is admitted while less than this is staged, in bytes, whatever its own size.
pub const STAGED_MAX: usize = 4 << 20;
/// What is admitted at once at most, in bytes: a frame with the stage full before must hold it.
pub const OPERATION_MAX: usize = 48 << 20;
/// Single records wait in no line: they are admitted while less than this is staged, in bytes.
pub const BESIDE_STAGED_MAX: usize = STAGED_MAX + (1 << 20);
/// Effects that are no publish are admitted as long as no more than this is staged with them: what
/// publishes may fill leaves room for them.
pub const EFFECTS_STAGED_MAX: usize = 60 << 20;
/// Payloads of at least this many bytes are shared with the stage instead of copied into it.
pub const SHARE_MIN: usize = 64 << 10;
/// A batch takes further single records while it has at most this many bytes, and records.
pub const JOINED_BYTES_MAX: usize = 1 << 20;
pub const JOINED_RECORDS_MAX: i32 = 1 << 14;
/// Single records are taken at once, with one hold of each shard's lock, up to this many bytes.
pub const TURN_BYTES: usize = 256 << 10;
/// Producers that one log remembers; the one not heard of for longest is forgotten first.
pub const PRODUCERS_MAX: usize = 100_000;
/// Batches that a log remembers of one producer, to know a resend again.
pub const RESENDS: usize = 5;
/// Producer ids that one durable effect reserves.
pub const PRODUCER_BLOCK: i64 = 1000;
/// Shards of a new data directory.
pub const SHARDS: u16 = 16;
/// Partitions of all topics together.
pub const LOGS_MAX: usize = 200_000;
/// Groups of all namespaces together.
pub const GROUPS_MAX: usize = 200_000;
/// Namespaces beside `default`.
pub const NAMESPACES_MAX: usize = 10_000;
/// What a rate allows at once after a pause: as much as it allows in this time.
pub const QUOTA_BURST: Duration = Duration::from_secs(1);
/// The longest that anybody is held back for a rate; no longer than a connection may be idle.
pub const QUOTA_DEBT_MAX: Duration = Duration::from_secs(600);

const _: () = assert!(QUOTA_BURST.as_nanos() < QUOTA_DEBT_MAX.as_nanos());
const _: () = assert!(BESIDE_STAGED_MAX + OPERATION_MAX < EFFECTS_STAGED_MAX);
// The rest is for the fronts of effects and sections.
const _: () = assert!(EFFECTS_STAGED_MAX + (2 << 20) < sabir_storage::frame::FRAME_MAX);
const _: () = assert!(SHARE_MIN < STAGED_MAX);
const _: () = assert!(TURN_BYTES < STAGED_MAX && SHARE_MIN <= TURN_BYTES);
