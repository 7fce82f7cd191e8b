//! One large stretch of one log as two blobs: its batches, one after the other and nothing else,
//! and before them, in a blob of its own, the index that says what they are ([`crate::index`]).

use crate::blob::{BlobError, BlobId, BlobStore, Put, Result};
use crate::extent::Extent;
use crate::index::StretchIndex;
use crate::stretch::{BatchRef, Built, index_of};

/// Makes a segment of batches in rising order. It is named by the first offset.
///
/// # Panics
/// If there are no batches, or they are not what they are said to be.
pub fn build(shard: u16, log: u64, rewrite: u32, batches: &[BatchRef]) -> Built {
    let index = index_of(log, batches);
    let blob = BlobId::segment(shard, log, rewrite, index.base);
    let ix = blob.index().expect("a segment");
    let content = batches.iter().map(|batch| batch.bytes.clone()).collect();
    Built {
        blobs: vec![
            Put { id: ix, parts: vec![index.encode().into()] },
            Put { id: blob, parts: content },
        ],
        extents: vec![extent(blob, &index)],
    }
}

/// Where a stretch lies that fills a blob from its beginning.
pub(crate) fn extent(blob: BlobId, index: &StretchIndex) -> Extent {
    Extent {
        log: index.log,
        blob,
        position: 0,
        len: index.len,
        base: index.base,
        next: index.next,
        max_timestamp: index.max_timestamp,
    }
}

/// Reads and checks the index blob of a segment.
pub(crate) fn read_index(blobs: &dyn BlobStore, ix: BlobId) -> Result<StretchIndex> {
    let len = blobs.len(ix)?;
    let bytes = blobs.get(ix, 0..len)?;
    StretchIndex::decode(&bytes)
        .ok_or_else(|| BlobError::damaged(ix, 0..len, "it is no intact index"))
}

/// What the segment with this log part says it holds.
pub(crate) fn read_footer(blobs: &dyn BlobStore, blob: BlobId) -> Result<Extent> {
    let ix = blob.index().expect("a segment");
    let index = read_index(blobs, ix)?;
    let BlobId::Segment { shard, rewrite, log, base, .. } = blob else {
        unreachable!("a segment, as above")
    };
    if (index.log, index.base) != (log, base) {
        return Err(BlobError::damaged(ix, 0..0, "it is the index of another segment"));
    }
    let content = BlobId::segment(shard, log, rewrite, base);
    let len = blobs.len(content)?;
    if len != index.len {
        let why = format!("it has {len} bytes, its index says {}", index.len);
        return Err(BlobError::damaged(content, 0..len, why));
    }
    Ok(extent(content, &index))
}
