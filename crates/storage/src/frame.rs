//! The bytes of the write-ahead log: file headers, frames and their sections. Encodes, parses and
//! checks; opens no file. Drawn in `docs/format.md`; all numbers little-endian.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

use crate::aligned::{PAGE, Pool, PooledBuf, page_up};
use crate::batch::HEADER;
use crate::batch::open::{BatchIx, OpenBatches, seal};
use crate::log::Appended;
use crate::ticket::{Class, FrameNo};
use crate::wake::Waker;
use std::sync::Arc;

/// The format of the files under `wal/`.
pub const LEVEL: u32 = 1;
/// Bytes at the front of each WAL file.
pub const FILE_HEADER: usize = PAGE;
/// Bytes of a frame's header and of a section's.
pub const FRAME_HEADER: usize = 32;
pub const SECTION_HEADER: usize = 16;
/// The largest frame, in bytes, padding included.
pub const FRAME_MAX: usize = 64 << 20;

/// Sections in one frame at most: several per shard at the largest shard count.
const SECTIONS_MAX: usize = 2048;

const FILE_MAGIC: u64 = u64::from_le_bytes(*b"SABIRWAL");
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"SbFr");

/// Seeds every checksum of the WAL, so that a client's bytes cannot pose as a frame. From IDENT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub u64);

impl Secret {
    fn digest(self) -> Digest {
        let mut digest = Digest::new(Crc32Iscsi);
        digest.update(&self.0.to_le_bytes());
        digest
    }

    fn crc(self, bytes: &[u8]) -> u32 {
        let mut digest = self.digest();
        digest.update(bytes);
        digest.finalize() as u32
    }
}

/// What the first page of a WAL file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Number of the first frame in this file.
    pub first: FrameNo,
    pub generation: u32,
}

impl FileHeader {
    pub fn encode(&self, secret: Secret, page: &mut [u8]) {
        assert_eq!(page.len(), FILE_HEADER, "a file header is one page");
        page.fill(0);
        page[0..8].copy_from_slice(&FILE_MAGIC.to_le_bytes());
        page[12..16].copy_from_slice(&LEVEL.to_le_bytes());
        page[16..24].copy_from_slice(&self.first.to_le_bytes());
        page[24..28].copy_from_slice(&self.generation.to_le_bytes());
        let crc = secret.crc(&page[12..28]);
        page[8..12].copy_from_slice(&crc.to_le_bytes());
    }

    /// None if the page is no header of this WAL: unused, torn or of another directory.
    pub fn parse(secret: Secret, page: &[u8]) -> Option<FileHeader> {
        let page: &[u8; 28] = page.first_chunk()?;
        let valid = u64_at(page, 0) == FILE_MAGIC
            && u32_at(page, 12) == LEVEL
            && u32_at(page, 8) == secret.crc(&page[12..28]);
        valid.then(|| FileHeader { first: u64_at(page, 16), generation: u32_at(page, 24) })
    }
}

/// The numbers at the front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub generation: u32,
    pub number: FrameNo,
    /// Bytes of all sections with their headers.
    pub len: u32,
    /// Everything up to this frame was durable when this one was cut.
    pub synced_upto: FrameNo,
    crc: u32,
}

impl FrameHeader {
    /// Reads the numbers; the checksum is checked by [`FrameHeader::check`].
    pub fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let head: &[u8; FRAME_HEADER] = bytes.first_chunk()?;
        (u32_at(head, 0) == FRAME_MAGIC).then(|| FrameHeader {
            crc: u32_at(head, 4),
            generation: u32_at(head, 8),
            number: u64_at(head, 12),
            len: u32_at(head, 20),
            synced_upto: u64_at(head, 24),
        })
    }

    /// Bytes on disk, padding included.
    pub fn padded(&self) -> usize {
        page_up(FRAME_HEADER + self.len as usize)
    }

    /// Checks the header's checksum, which covers the section headers too. `read(at)` gives the 16
    /// bytes of a section header at a place counted from the front of the frame.
    pub fn check(
        &self,
        secret: Secret,
        front: &[u8; FRAME_HEADER],
        mut read: impl FnMut(usize) -> Option<[u8; SECTION_HEADER]>,
    ) -> bool {
        if self.padded() > FRAME_MAX {
            return false;
        }
        let mut digest = secret.digest();
        digest.update(&front[8..]);
        let end = FRAME_HEADER + self.len as usize;
        let mut at = FRAME_HEADER;
        let mut sections = 0;
        while at < end {
            sections += 1;
            if sections > SECTIONS_MAX {
                return false;
            }
            let Some(head) = read(at) else { return false };
            digest.update(&head);
            at += SECTION_HEADER + u32_at(&head, 4) as usize;
        }
        at == end && digest.finalize() as u32 == self.crc
    }
}

/// One section of a frame that was read back.
#[derive(Clone, Debug)]
pub struct SectionView {
    pub shard: u16,
    /// Effects in it.
    pub count: u32,
    pub effects: Bytes,
}

/// The sections of a whole frame in memory, or None if any of its checksums is wrong.
pub fn parse_frame(secret: Secret, frame: &Bytes) -> Option<(FrameHeader, Vec<SectionView>)> {
    let front: &[u8; FRAME_HEADER] = frame.first_chunk()?;
    let header = FrameHeader::parse(front)?;
    let section = |at: usize| frame.get(at..at + SECTION_HEADER)?.first_chunk().copied();
    if frame.len() < FRAME_HEADER + header.len as usize || !header.check(secret, front, section) {
        return None;
    }
    let mut sections = Vec::new();
    let mut at = FRAME_HEADER;
    while at < FRAME_HEADER + header.len as usize {
        let head = section(at)?;
        let start = at + SECTION_HEADER;
        at = start + u32_at(&head, 4) as usize;
        if at > frame.len() {
            return None;
        }
        let effects = frame.slice(start..at);
        if secret.crc(&effects) != u32_at(&head, 0) {
            return None;
        }
        let shard = u16::from_le_bytes([head[8], head[9]]);
        sections.push(SectionView { shard, count: u32_at(&head, 12), effects });
    }
    Some((header, sections))
}

/// What is left of the sections of a frame.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    pub whole: Vec<SectionView>,
    /// Their checksum is wrong, and so is something in them.
    pub damaged: Vec<SectionView>,
    /// Bytes of the frame, without padding.
    pub len: usize,
}

/// The sections of a frame whose header is whole; None if it is not.
pub(crate) fn salvage_frame(secret: Secret, frame: &Bytes) -> Option<Sections> {
    let front: &[u8; FRAME_HEADER] = frame.first_chunk()?;
    let header = FrameHeader::parse(front)?;
    let section = |at: usize| frame.get(at..at + SECTION_HEADER)?.first_chunk().copied();
    let end = FRAME_HEADER + header.len as usize;
    if frame.len() < end || !header.check(secret, front, section) {
        return None;
    }
    let mut found = Sections { len: FRAME_HEADER, ..Sections::default() };
    while found.len < end {
        let (view, is_whole) = section_at(secret, frame, found.len)?;
        found.len += SECTION_HEADER + view.effects.len();
        if is_whole { found.whole.push(view) } else { found.damaged.push(view) }
    }
    Some(found)
}

/// The sections of a frame whose header is not whole, as far as each is and says where the next
/// begins.
pub(crate) fn salvage_headless(secret: Secret, frame: &Bytes) -> Sections {
    let mut found = Sections { len: FRAME_HEADER, ..Sections::default() };
    while let Some((view, true)) = section_at(secret, frame, found.len) {
        if view.effects.is_empty() {
            break;
        }
        found.len += SECTION_HEADER + view.effects.len();
        found.whole.push(view);
    }
    found
}

/// The section that begins there and whether it is whole; None if the frame ends before.
fn section_at(secret: Secret, frame: &Bytes, at: usize) -> Option<(SectionView, bool)> {
    let head: &[u8; SECTION_HEADER] = frame.get(at..)?.first_chunk()?;
    let start = at + SECTION_HEADER;
    let end = start.checked_add(u32_at(head, 4) as usize)?;
    let effects = frame.get(start..end).map(|_| frame.slice(start..end))?;
    let is_whole = secret.crc(&effects) == u32_at(head, 0);
    let shard = u16::from_le_bytes([head[8], head[9]]);
    Some((SectionView { shard, count: u32_at(head, 12), effects }, is_whole))
}

/// Effects of one shard on their way into a frame: small ones copied, large payloads shared until
/// the frame is put together.
#[derive(Default)]
pub struct Section {
    pub shard: u16,
    /// Effects in it.
    pub count: u32,
    bytes: Vec<u8>,
    /// Payloads that belong before the byte of `bytes` at this place; in rising order.
    splices: Vec<(usize, Payload)>,
    spliced: usize,
    /// Batches made of single records.
    batches: OpenBatches,
    /// Bytes that the open ones of them will take.
    waiting: usize,
    /// The batches in it, which become readable from the frame.
    pub appends: Vec<Appended>,
    /// Whom to wake when the mark of their class reaches the frame.
    pub wakes: Vec<(Class, Waker)>,
    /// Work of each class in it.
    pub classes: Classes,
}

/// What is put between the bytes of a section.
enum Payload {
    Shared(Bytes),
    /// The records of a closed batch, whose header stands before this place and lacks the checksum.
    Records(BatchIx),
}

/// Which classes of work something holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    pub os: bool,
    pub durable: bool,
}

impl Classes {
    pub fn add(&mut self, class: Class) {
        match class {
            Class::Os => self.os = true,
            Class::Durable => self.durable = true,
        }
    }

    pub fn merge(&mut self, other: Classes) {
        self.os |= other.os;
        self.durable |= other.durable;
    }
}

impl Section {
    pub fn of(shard: u16) -> Section {
        Section { shard, ..Section::default() }
    }

    /// Bytes that it takes in a frame.
    pub fn len(&self) -> usize {
        self.end() + self.waiting
    }

    /// Where the next byte of an effect lies, counted from the first one. Open batches lie behind.
    pub fn end(&self) -> usize {
        self.bytes.len() + self.spliced
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.waiting == 0
    }

    /// The buffer to encode effects into.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a payload without copying it.
    pub fn splice(&mut self, payload: Bytes) {
        self.spliced += payload.len();
        self.splices.push((self.bytes.len(), Payload::Shared(payload)));
    }

    /// Makes it empty again and keeps its memory, up to 1 MiB.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.splices.clear();
        self.batches.clear();
        self.appends.clear();
        self.wakes.clear();
        (self.count, self.spliced, self.waiting) = (0, 0, 0);
        self.classes = Classes::default();
    }

    fn copy_to(&self, into: &mut [u8]) {
        let (mut from, mut to) = (0, 0);
        for (place, payload) in &self.splices {
            let own = place - from;
            into[to..to + own].copy_from_slice(&self.bytes[from..*place]);
            to += own;
            let start = to;
            match payload {
                Payload::Shared(payload) => {
                    to += payload.len();
                    into[start..to].copy_from_slice(payload);
                }
                Payload::Records(at) => {
                    to += self.batches.get(*at).map_or(0, |batch| batch.bytes);
                    self.batches.copy_to(*at, &mut into[start..to]);
                    seal(&mut into[start - HEADER..to]);
                }
            }
            from = *place;
        }
        into[to..].copy_from_slice(&self.bytes[from..]);
    }
}

/// Puts a frame together in a buffer of the pool. Returns it, its padded length, and where each
/// section's effects begin.
pub fn encode_frame(
    secret: Secret,
    number: FrameNo,
    generation: u32,
    synced_upto: FrameNo,
    sections: &[Section],
    pool: &Arc<Pool>,
) -> (PooledBuf, usize, Vec<usize>) {
    let len: usize = sections.iter().map(|section| SECTION_HEADER + section.len()).sum();
    let padded = page_up(FRAME_HEADER + len);
    assert!(padded <= FRAME_MAX, "a frame of {padded} bytes was admitted");
    let mut frame = pool.take(padded);
    let mut digest = secret.digest();
    frame[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    frame[8..12].copy_from_slice(&generation.to_le_bytes());
    frame[12..20].copy_from_slice(&number.to_le_bytes());
    frame[20..24].copy_from_slice(&(len as u32).to_le_bytes());
    frame[24..32].copy_from_slice(&synced_upto.to_le_bytes());
    digest.update(&frame[8..FRAME_HEADER]);
    let mut places = Vec::with_capacity(sections.len());
    let mut at = FRAME_HEADER;
    assert!(sections.len() <= SECTIONS_MAX, "{} sections in a frame", sections.len());
    assert!(sections.is_sorted_by_key(|section| section.shard), "shards are cut in order");
    for section in sections {
        assert!(section.count > 0, "a section of shard {} without effects", section.shard);
        assert_eq!(section.waiting, 0, "a batch of shard {} is still open", section.shard);
        let start = at + SECTION_HEADER;
        let end = start + section.len();
        section.copy_to(&mut frame[start..end]);
        let crc = secret.crc(&frame[start..end]);
        let head = &mut frame[at..start];
        head[0..4].copy_from_slice(&crc.to_le_bytes());
        head[4..8].copy_from_slice(&(section.len() as u32).to_le_bytes());
        head[8..10].copy_from_slice(&section.shard.to_le_bytes());
        head[10..12].fill(0);
        head[12..16].copy_from_slice(&section.count.to_le_bytes());
        digest.update(head);
        places.push(start);
        at = end;
    }
    frame[at..padded].fill(0);
    let crc = digest.finalize() as u32;
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    (frame, padded, places)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

mod open;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret = Secret(42);

    fn frame() -> Bytes {
        let mut first = Section { shard: 3, count: 2, ..Section::default() };
        first.buffer().extend_from_slice(b"head");
        first.splice(Bytes::from_static(b"-shared-"));
        first.buffer().extend_from_slice(b"tail");
        let mut second = Section { shard: 9, count: 1, ..Section::default() };
        second.splice(Bytes::from(vec![5; 5000]));
        let pool = Arc::new(Pool::default());
        let (frame, padded, places) = encode_frame(SECRET, 77, 4, 70, &[first, second], &pool);
        assert_eq!((padded, places), (8192, vec![48, 80]));
        frame.freeze().slice(..padded)
    }

    #[test]
    fn a_frame_reads_back_as_it_was_put_together() {
        let (header, sections) = parse_frame(SECRET, &frame()).expect("valid");
        assert_eq!((header.number, header.generation, header.synced_upto), (77, 4, 70));
        let got: Vec<_> = sections.iter().map(|s| (s.shard, s.count, s.effects.len())).collect();
        assert_eq!(got, vec![(3, 2, 16), (9, 1, 5000)]);
        assert_eq!(&sections[0].effects[..], b"head-shared-tail");
    }

    #[test]
    fn no_flipped_bit_and_no_other_secret_passes() {
        let frame = frame();
        assert!(parse_frame(Secret(43), &frame).is_none());
        for at in 0..FRAME_HEADER + 2 * SECTION_HEADER + 16 + 5000 {
            let mut bytes = frame.to_vec();
            bytes[at] ^= 1 << (at % 8);
            assert!(parse_frame(SECRET, &Bytes::from(bytes)).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_file_header_is_known_again_by_its_own_wal_only() {
        let mut page = vec![1; FILE_HEADER];
        let header = FileHeader { first: 12, generation: 3 };
        header.encode(SECRET, &mut page);
        assert_eq!(FileHeader::parse(SECRET, &page), Some(header));
        assert_eq!(FileHeader::parse(Secret(1), &page), None);
        page[20] ^= 1;
        assert_eq!(FileHeader::parse(SECRET, &page), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            let mut with_magic = FRAME_MAGIC.to_le_bytes().to_vec();
            with_magic.extend_from_slice(&bytes);
            assert!(parse_frame(SECRET, &Bytes::from(with_magic)).is_none());
        }
    }
}
