//! What clients say and hear, request by request, over the real broker on a disk in memory.

mod api_versions;
mod batches;
mod cluster;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod epochs;
mod fetch;
mod framing;
mod held;
mod house;
mod init_producer_id;
mod kept;
mod metadata;
mod namespaces;
mod page;
mod produce;
mod quotas;
mod records;
mod room;
mod sessions;
