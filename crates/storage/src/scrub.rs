//! Reads what nobody asks for: every region and every batch of a stretch, so that damage is known
//! before somebody needs what is damaged.

use std::ops::Range;

use crate::blob::{BlobError, BlobStore};
use crate::extent::Extent;
use crate::repair::stretches::check_region;
use crate::stretch::read_index;

/// Something damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the data directory.
    pub path: String,
    /// Bytes of the file.
    pub range: Range<u64>,
    /// What cannot be read because of it.
    pub offsets: Range<u64>,
    pub why: String,
}

/// Checks a stretch, region by region. `pace` is told the bytes of each and ends it with false.
/// Returns what is damaged, or what the device says when it does not read.
pub fn scrub(
    blobs: &dyn BlobStore,
    extent: &Extent,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Vec<Finding> {
    let all = extent.base..extent.next;
    let index = match read_index(blobs, extent) {
        Ok(index) => index,
        Err(error) => return vec![finding(extent, extent.position..extent.end(), all, error)],
    };
    let mut found = Vec::new();
    for number in 0..index.regions() {
        let region = index.region(number);
        if let Err(error) = check_region(blobs, extent, &index, number) {
            let range = extent.position + region.start..extent.position + region.end;
            found.push(finding(extent, range, index.region_offsets(number), error));
        }
        if !pace(region.end - region.start) {
            break;
        }
    }
    found
}

fn finding(extent: &Extent, range: Range<u64>, offsets: Range<u64>, error: BlobError) -> Finding {
    match error {
        BlobError::Damaged { blob, range, why } => {
            Finding { path: blob.path(), range, offsets, why }
        }
        BlobError::Missing { blob } => {
            Finding { path: blob.path(), range: 0..0, offsets, why: "it is not there".into() }
        }
        BlobError::Io { error, .. } => {
            let why = format!("it cannot be read: {error}");
            Finding { path: extent.blob.path(), range, offsets, why }
        }
    }
}
