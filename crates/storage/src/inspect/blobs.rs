//! Bundles and segments: every index, every region and every batch checked, and what the rows say
//! of them compared with what is there.

use std::collections::BTreeSet;
use std::io::{Error, Result};
use std::ops::Range;

use super::state::Rows;
use super::{Fact, Facts, Look};
use crate::batch::{self, Header};
use crate::blob::fs::{FsBlobs, Looked};
use crate::blob::{BlobError, BlobId, BlobMeta, BlobStore, Part};
use crate::extent::Extent;
use crate::index::StretchIndex;
use crate::stretch::{read_footer, read_index};

/// Bytes per read, about.
const STEP_BYTES: u64 = 4 << 20;
const ORPHAN: &str = "no row lists it: nothing is lost, and the next start deletes it";
const UNKNOWN: &str = "whether it is needed is not known without the state rows";

/// What the rows make of a blob.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Listed,
    Orphan,
    Unknown,
}

/// What was counted in a blob.
#[derive(Default)]
struct Counts {
    stretches: u64,
    batches: u64,
    records: u64,
    parts: Vec<Facts>,
}

impl Look<'_> {
    pub(super) fn blobs(&mut self, rows: &Rows) -> Result<()> {
        let looked = FsBlobs::look(self.disk.clone());
        let Looked { store, blobs, unfinished, foreign } = looked.map_err(device)?;
        for path in unfinished {
            self.report.file(&path, 0, "unfinished", Vec::new());
            self.report.note(&path, "left by a write that did not come to its end; to be deleted");
        }
        for path in foreign {
            self.report.file(&path, 0, "foreign", Vec::new());
            self.report.note(&path, "no file of ours; a broker leaves it alone");
        }
        for blob in &blobs {
            if self.is_wanted(&blob.id.path()) {
                self.blob(&store, *blob, rows);
            }
        }
        self.missing(&blobs, rows);
        Ok(())
    }

    /// Names what rows list and is not there.
    fn missing(&mut self, blobs: &[BlobMeta], rows: &Rows) {
        let there: BTreeSet<BlobId> = blobs.iter().map(|blob| blob.id).collect();
        for (blob, extents) in &rows.extents {
            let means = self.unreadable(extents);
            for id in [Some(*blob), blob.index()].into_iter().flatten() {
                if !there.contains(&id) {
                    self.report.damage(&id.path(), 0..0, "it is not there", &means);
                }
            }
        }
    }

    fn blob(&mut self, store: &FsBlobs, blob: BlobMeta, rows: &Rows) {
        let BlobMeta { id, len } = blob;
        let path = id.path();
        let named = match id {
            BlobId::Segment { shard, log, rewrite, base, .. } => {
                BlobId::segment(shard, log, rewrite, base)
            }
            bundle => bundle,
        };
        let listed = rows.extents.get(&named).map_or(&[][..], Vec::as_slice);
        let used = match (rows.known, listed.is_empty()) {
            (false, _) => Use::Unknown,
            (true, true) => Use::Orphan,
            (true, false) => Use::Listed,
        };
        if used == Use::Orphan {
            self.report.note(&path, ORPHAN);
        }
        if let BlobId::Segment { part: Part::Index, .. } = id {
            self.index_blob(store, named, blob, (used, listed));
            return;
        }
        let kind = if matches!(id, BlobId::Bundle { .. }) { "bundle" } else { "segment" };
        let mut counts = Counts::default();
        let extents = match read_footer(store, id) {
            Ok(extents) => {
                for wrong in listed.iter().filter(|extent| !extents.contains(extent)) {
                    let range = wrong.position..wrong.end();
                    let means = self.unreadable(&[*wrong]);
                    self.report.damage(&path, range, "it is not what the rows say of it", &means);
                }
                extents
            }
            Err(error) => {
                let means = self.means_footer(id, used);
                // What is wrong with the index of a segment is said of the index.
                if let Some(error) = of_blob(error, id) {
                    self.blob_damage(error, &means);
                }
                listed.to_vec()
            }
        };
        for extent in &extents {
            self.stretch(store, extent, used, &mut counts);
        }
        let facts = vec![
            ("stretches", Fact::Number(counts.stretches)),
            ("batches", Fact::Number(counts.batches)),
            ("records", Fact::Number(counts.records)),
        ];
        self.report.file(&path, len, kind, facts);
        if self.in_detail(&path) {
            self.report.files.last_mut().expect("just added").parts = counts.parts;
        }
    }

    /// The index blob of a segment.
    fn index_blob(
        &mut self,
        store: &FsBlobs,
        segment: BlobId,
        ix: BlobMeta,
        (used, listed): (Use, &[Extent]),
    ) {
        let path = ix.id.path();
        let mut facts = Vec::new();
        match store.get(ix.id, 0..ix.len).map(|bytes| StretchIndex::decode(&bytes)) {
            Ok(Some(index)) => {
                facts.push(("log", Fact::Text(self.log_name(index.log))));
                facts.push(("regions", Fact::Number(index.regions() as u64)));
                let BlobId::Segment { log, base, .. } = segment else { return };
                if (index.log, index.base) != (log, base) {
                    let means = self.means(used, listed);
                    let what = "it is the index of another segment";
                    self.report.damage(&path, 0..ix.len, what, &means);
                }
            }
            Ok(None) => {
                let means = self.means(used, listed);
                self.report.damage(&path, 0..ix.len, "it is no intact index", &means);
            }
            Err(error) => {
                let means = self.means(used, listed);
                self.blob_damage(error, &means);
            }
        }
        self.report.file(&path, ix.len, "segment index", facts);
    }

    /// Checks one stretch, region by region and batch by batch.
    fn stretch(&mut self, store: &FsBlobs, extent: &Extent, used: Use, counts: &mut Counts) {
        counts.stretches += 1;
        let index = match read_index(store, extent) {
            Ok(index) => index,
            Err(error) => {
                let means = self.means(used, &[*extent]);
                if let Some(error) = of_blob(error, extent.blob) {
                    self.blob_damage(error, &means);
                }
                return;
            }
        };
        let before = (counts.batches, counts.records);
        // Neighbouring damaged regions are one: their bytes and their offsets.
        let mut bad: Option<(Range<u64>, Range<u64>, String)> = None;
        let mut first = 0;
        while first < index.regions() {
            let start = index.region(first).start;
            let mut after = first + 1;
            while after < index.regions() && index.region(after).end <= start + STEP_BYTES {
                after += 1;
            }
            let place = extent.position + start..extent.position + index.region(after - 1).end;
            let read = store.get(extent.blob, place);
            for number in first..after {
                let region = index.region(number);
                let found = match &read {
                    Ok(bytes) => {
                        let from = usize::try_from(region.start - start).expect("in a buffer");
                        let to = usize::try_from(region.end - start).expect("in a buffer");
                        check_region(&index, number, bytes.slice(from..to), counts)
                    }
                    Err(error) => Err(error.to_string()),
                };
                let Err(what) = found else { continue };
                let range = extent.position + region.start..extent.position + region.end;
                let offsets = index.region_offsets(number);
                match &mut bad {
                    Some((bytes, of, why)) if bytes.end == range.start && *why == what => {
                        (bytes.end, of.end) = (range.end, offsets.end);
                    }
                    other => {
                        let full = other.replace((range, offsets, what));
                        self.bad_regions(extent, used, full);
                    }
                }
            }
            first = after;
        }
        self.bad_regions(extent, used, bad);
        if self.in_detail(&extent.blob.path()) {
            counts.parts.push(vec![
                ("log", Fact::Text(self.log_name(extent.log))),
                ("at byte", Fact::Number(extent.position)),
                ("bytes", Fact::Number(extent.len)),
                ("from offset", Fact::Number(extent.base)),
                ("to offset", Fact::Number(extent.next - 1)),
                ("regions", Fact::Number(index.regions() as u64)),
                ("batches", Fact::Number(counts.batches - before.0)),
                ("records", Fact::Number(counts.records - before.1)),
            ]);
        }
    }

    fn bad_regions(
        &mut self,
        extent: &Extent,
        used: Use,
        bad: Option<(Range<u64>, Range<u64>, String)>,
    ) {
        let Some((range, offsets, what)) = bad else { return };
        let part = Extent { base: offsets.start, next: offsets.end, ..*extent };
        let means = self.means(used, &[part]);
        self.report.damage(&extent.blob.path(), range, what, &means);
    }

    fn blob_damage(&mut self, error: BlobError, means: &str) {
        match error {
            // Named where the rows are compared with the files.
            BlobError::Missing { .. } => {}
            BlobError::Damaged { blob, range, why } => {
                self.report.damage(&blob.path(), range, why, means);
            }
            BlobError::Io { at, error } => {
                self.report.damage(&at, 0..0, format!("it cannot be read: {error}"), means);
            }
        }
    }

    fn means(&self, used: Use, extents: &[Extent]) -> String {
        match used {
            Use::Listed => self.unreadable(extents),
            Use::Orphan => ORPHAN.to_owned(),
            Use::Unknown => UNKNOWN.to_owned(),
        }
    }

    fn means_footer(&self, id: BlobId, used: Use) -> String {
        match (used, id) {
            (Use::Listed, BlobId::Bundle { .. }) => {
                "no read needs it: the rows say where everything is".to_owned()
            }
            _ => self.means(used, &[]),
        }
    }

    fn unreadable(&self, extents: &[Extent]) -> String {
        let lost: Vec<String> = extents
            .iter()
            .map(|extent| {
                let name = self.log_name(extent.log);
                format!("offsets {} to {} of {name}", extent.base, extent.next - 1)
            })
            .collect();
        format!("{} cannot be read; all others can", lost.join(", "))
    }
}

/// Checks one region: its checksum, then that of each batch.
fn check_region(
    index: &StretchIndex,
    number: usize,
    bytes: bytes::Bytes,
    counts: &mut Counts,
) -> std::result::Result<(), String> {
    if !index.is_intact(number, &bytes) {
        return Err("the checksum is wrong".to_owned());
    }
    assert!(!bytes.is_empty(), "an index that was decoded has no empty region");
    let mut at = 0;
    while at < bytes.len() {
        let header = Header::parse(&bytes[at..]).map_err(|error| error.to_string())?;
        if batch::checksum(&bytes[at..at + header.len]) != header.crc {
            return Err(format!("the checksum of the batch at {} is wrong", header.base_offset));
        }
        counts.batches += 1;
        counts.records += u64::try_from(header.count).unwrap_or(0);
        at += header.len;
    }
    Ok(())
}

/// The error, unless it tells of another blob, which is looked at by itself.
fn of_blob(error: BlobError, id: BlobId) -> Option<BlobError> {
    match &error {
        BlobError::Missing { blob } | BlobError::Damaged { blob, .. } if *blob != id => None,
        _ => Some(error),
    }
}

fn device(error: BlobError) -> Error {
    Error::other(error.to_string())
}
