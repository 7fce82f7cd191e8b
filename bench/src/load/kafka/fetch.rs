//! The consumer's side: fetch requests, and a reader of their answers that keeps nothing but the
//! headers, so that the records pass through one small buffer that stays in the CPU's cache.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::batch::{self, HEADER_BYTES};
use super::wire::{ANSWER_HEAD_BYTES, Api, Fields, Request, answer_len, check};
use crate::load::engine::{Deliveries, Seen};

pub const FETCH: Api = Api { name: "Fetch", key: 1, version: 11 };

/// Length, number, throttle time, error, session, number of topics.
const HEAD_BYTES: usize = ANSWER_HEAD_BYTES + 4 + 2 + 4 + 4;
/// Partition, error, three offsets, number of aborted transactions.
const PARTITION_BYTES: usize = 4 + 2 + 3 * 8 + 4;
const ABORTED_BYTES: usize = 16;
/// Enough of the first record to hold its time stamp: five numbers of at most 10 bytes, 8 of value.
const STAMP_REACH_BYTES: usize = 58;
/// The most that one answer may carry.
const ANSWER_BYTES_MAX: i32 = 64 << 20;

/// What a consumer asks for, again and again.
pub struct Fetches {
    pub topic: String,
    /// Bytes per partition and answer.
    pub bytes_max: i32,
    pub wait_ms: i32,
    /// The next offset of each partition.
    pub next: BTreeMap<i32, i64>,
}

impl Fetches {
    pub fn request(&self) -> Vec<u8> {
        let count = i32::try_from(self.next.len()).expect("checked by the options");
        let mut request = Request::new(FETCH)
            .i32(-1) // a client
            .i32(self.wait_ms)
            .i32(1) // byte at least
            .i32(ANSWER_BYTES_MAX)
            .i8(0) // what is not committed too
            .i32(0) // no session
            .i32(-1)
            .i32(1)
            .string(&self.topic)
            .i32(count);
        for (&partition, &offset) in &self.next {
            request = request.i32(partition).i32(-1).i64(offset).i64(-1).i32(self.bytes_max);
        }
        request.i32(0).string("").finish(0)
    }
}

/// What the next bytes of an answer are.
enum Place {
    Head,
    Topic,
    Partition,
    /// What stands between a partition's head and its records: `skip` bytes, then their length.
    RecordsLen {
        skip: usize,
    },
    /// Batches, of which `left` bytes are still to come.
    Records {
        left: usize,
    },
    /// The rest of a batch or of a cut one: `skip` bytes, after which `left` bytes of batches come.
    Body {
        skip: usize,
        left: usize,
        counted: u64,
    },
}

/// Reads answers as they come in.
pub struct FetchReader {
    fetches: Fetches,
    place: Place,
    /// Bytes of the answer that are still to come; topics and partitions likewise.
    answer_left: usize,
    topics_left: usize,
    partitions_left: usize,
    partition: i32,
}

impl FetchReader {
    pub fn new(fetches: Fetches) -> Self {
        Self {
            fetches,
            place: Place::Head,
            answer_left: 0,
            topics_left: 0,
            partitions_left: 0,
            partition: 0,
        }
    }

    /// Reads one part at the front of `input`; how many bytes it took, none if it is not whole.
    fn part(&mut self, input: &[u8], seen: &mut Seen) -> Result<Option<usize>> {
        match self.place {
            Place::Head => self.head(input),
            Place::Topic => self.topic(input),
            Place::Partition => self.partition(input),
            Place::RecordsLen { skip } => self.records_len(input, skip),
            Place::Records { left } => self.records(input, left, seen),
            Place::Body { skip, left, counted } => {
                let used = skip.min(input.len());
                if used < skip {
                    self.place = Place::Body { skip: skip - used, left, counted };
                    return Ok((used > 0).then_some(used));
                }
                seen.messages += counted;
                self.place = Place::Records { left };
                Ok(Some(used))
            }
        }
    }

    fn head(&mut self, input: &[u8]) -> Result<Option<usize>> {
        let Some(input) = input.get(..HEAD_BYTES) else { return Ok(None) };
        let mut fields = Fields::new(input);
        let len = answer_len(fields.bytes(4)?.try_into()?)?;
        self.answer_left = 4 + len;
        fields.bytes(4 + 4)?;
        check(fields.i16()?, "Fetch")?;
        fields.i32()?;
        self.topics_left = fields.len()?;
        self.partitions_left = 0;
        self.next_partition();
        Ok(Some(HEAD_BYTES))
    }

    fn topic(&mut self, input: &[u8]) -> Result<Option<usize>> {
        let Some(len) = input.first_chunk() else { return Ok(None) };
        let bytes = 2 + usize::try_from(i16::from_be_bytes(*len)).unwrap_or(0) + 4;
        let Some(input) = input.get(..bytes) else { return Ok(None) };
        let mut fields = Fields::new(input);
        fields.string()?;
        self.partitions_left = fields.len()?;
        self.topics_left -= 1;
        self.next_partition();
        Ok(Some(bytes))
    }

    fn partition(&mut self, input: &[u8]) -> Result<Option<usize>> {
        let Some(input) = input.get(..PARTITION_BYTES) else { return Ok(None) };
        let mut fields = Fields::new(input);
        self.partition = fields.i32()?;
        check(fields.i16()?, &format!("Fetch from partition {}", self.partition))?;
        fields.bytes(3 * 8)?;
        let skip = fields.len()? * ABORTED_BYTES + 4; // and the preferred replica
        self.partitions_left -= 1;
        self.place = Place::RecordsLen { skip };
        Ok(Some(PARTITION_BYTES))
    }

    fn records_len(&mut self, input: &[u8], skip: usize) -> Result<Option<usize>> {
        let Some(input) = input.get(skip..skip + 4) else { return Ok(None) };
        let left = Fields::new(input).len()?;
        ensure!(left <= self.answer_left, "the records are longer than their answer");
        self.place = Place::Records { left };
        Ok(Some(skip + 4))
    }

    fn records(&mut self, input: &[u8], left: usize, seen: &mut Seen) -> Result<Option<usize>> {
        if left < HEADER_BYTES {
            if input.len() < left {
                return Ok(None);
            }
            self.next_partition(); // what is left is a batch cut short, or nothing
            return Ok(Some(left));
        }
        let reach = left.min(HEADER_BYTES + if seen.timed { STAMP_REACH_BYTES } else { 0 });
        if input.len() < reach {
            return Ok(None);
        }
        let header = batch::header(input)?;
        let next = self.fetches.next.get_mut(&self.partition);
        let next = next.context("the server sent a partition that nobody asked for")?;
        let whole = header.len <= left;
        let mut counted = 0;
        if whole && header.end_offset > *next {
            let from = header.base_offset.max(*next);
            counted = (header.end_offset - from).cast_unsigned();
            *next = header.end_offset;
            if let Some(stamp) = batch::first_value(&input[HEADER_BYTES..reach]) {
                seen.stamp(u64::from_be_bytes(stamp));
            }
        }
        let body = header.len.min(left);
        let (skip, left) = (body - HEADER_BYTES, left - body);
        self.place = Place::Body { skip, left, counted };
        Ok(Some(HEADER_BYTES))
    }

    fn next_partition(&mut self) {
        self.place = match (self.partitions_left, self.topics_left) {
            (0, 0) => Place::Head,
            (0, _) => Place::Topic,
            _ => Place::Partition,
        };
    }
}

impl Deliveries for FetchReader {
    fn first(&mut self) -> Vec<u8> {
        self.fetches.request()
    }

    fn take(&mut self, input: &[u8], seen: &mut Seen) -> Result<usize> {
        let mut used = 0;
        while let Some(bytes) = self.part(&input[used..], seen)? {
            used += bytes;
            let left = self.answer_left.checked_sub(bytes);
            self.answer_left = left.context("an answer is longer than it says")?;
            if matches!(self.place, Place::Head) {
                ensure!(self.answer_left == 0, "an answer has {} bytes too many", self.answer_left);
                seen.replies.extend_from_slice(&self.fetches.request());
            }
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with the records of each partition.
    fn answer(partitions: &[(i32, &[u8])]) -> Vec<u8> {
        let api = Api { name: "", key: 0, version: 0 };
        let request = Request::new(api).finish(0).len();
        let mut body = Request::new(api).i32(0).i32(0).i16(0).i32(0).i32(1).string("t");
        body = body.i32(i32::try_from(partitions.len()).expect("few"));
        for (partition, records) in partitions {
            body = body.i32(*partition).i16(0).i64(9).i64(9).i64(0).i32(-1).i32(-1);
            body = body.i32(i32::try_from(records.len()).expect("short")).raw(records);
        }
        let body = body.finish(0).split_off(request); // all but the request's header
        let len = i32::try_from(body.len()).expect("short");
        [len.to_be_bytes().to_vec(), body].concat()
    }

    fn reader(next: &[(i32, i64)]) -> FetchReader {
        let next = next.iter().copied().collect();
        FetchReader::new(Fetches { topic: "t".to_owned(), bytes_max: 1000, wait_ms: 1, next })
    }

    fn batch_at(offset: i64, records: usize) -> Vec<u8> {
        let mut bytes = batch::encode(records, 20, 1).bytes;
        bytes[..8].copy_from_slice(&offset.to_be_bytes());
        bytes
    }

    /// Feeds `input` in pieces of `piece` bytes and keeps what is not taken, as a connection does.
    fn feed(reader: &mut FetchReader, input: &[u8], piece: usize, timed: bool) -> Result<Seen> {
        let (mut seen, mut kept) = (Seen::new(timed), Vec::new());
        for piece in input.chunks(piece) {
            kept.extend_from_slice(piece);
            let used = reader.take(&kept, &mut seen)?;
            kept.drain(..used);
        }
        assert!(kept.is_empty(), "{} bytes were left", kept.len());
        Ok(seen)
    }

    #[test]
    fn any_cut_of_the_input_gives_the_same() {
        let two = [batch_at(0, 10), batch_at(10, 5)].concat();
        let one = batch_at(7, 3);
        let input = [answer(&[(0, &two), (1, &[]), (4, &one)]), answer(&[(0, &[])])].concat();
        for piece in [1, 2, 3, 60, 61, 62, 119, 200, 1 << 20] {
            let mut reader = reader(&[(0, 0), (1, 0), (4, 7)]);
            let seen = feed(&mut reader, &input, piece, true).expect("well formed");
            assert_eq!(seen.messages, 18, "in pieces of {piece}");
            assert_eq!(seen.stamps().len(), 3, "in pieces of {piece}");
            assert_eq!(reader.fetches.next, [(0, 15), (1, 0), (4, 10)].into());
            let requests = reader.fetches.request().len() * 2;
            assert_eq!(seen.replies.len(), requests, "one request for each answer");
        }
    }

    #[test]
    fn only_whole_batches_from_the_wanted_offset_on_count() {
        let check = |next: i64, cut: usize, messages: u64, then: i64| {
            let two = [batch_at(0, 10), batch_at(10, 10)].concat();
            let input = answer(&[(3, &two[..two.len() - cut])]);
            let mut reader = reader(&[(3, next)]);
            let seen = feed(&mut reader, &input, 1000, false).expect("well formed");
            assert_eq!((seen.messages, reader.fetches.next[&3]), (messages, then), "{next} {cut}");
        };
        check(0, 0, 20, 20);
        check(4, 0, 16, 20);
        check(12, 0, 8, 20);
        check(20, 0, 0, 20);
        check(0, 1, 10, 10);
        check(0, batch_at(10, 10).len() - 30, 10, 10);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let refuse = |input: &[u8], part: &str| {
            let error = feed(&mut reader(&[(0, 0)]), input, 1000, false).err();
            let text = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(text.contains(part), "{part}: {text}");
        };
        let good = answer(&[(0, &batch_at(0, 1))]);
        refuse(&answer(&[(9, &batch_at(0, 1))]), "nobody asked");
        let mut failed = good.clone();
        failed[HEAD_BYTES + 7 + 5] = 1;
        refuse(&failed, "OFFSET_OUT_OF_RANGE");
        let mut long = good.clone();
        long[3] += 1;
        refuse(&long, "too many");
        let mut short = good;
        short[3] -= 1;
        refuse(&short, "longer");
    }
}
