//! Inflates the records of compressed batches, never beyond a bound: a few bytes can claim to be
//! gigabytes. Compresses nothing; batches are stored and served as they came.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;

use super::{BatchError, Compression};

/// Bytes that the records of one batch may inflate to where the caller sets no other limit.
pub const INFLATED_MAX: usize = 64 << 20;
/// Bytes that a batch may inflate to however short it is.
const RATIO_FREE: usize = 1 << 20;
/// Above that, bytes per compressed byte at most.
const RATIO_MAX: usize = 100;

/// Bytes of a window that a zstd frame may ask for, as a power of two: what level 22 uses. Only as
/// much of a window is touched as there is content.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What snappy-java writes before its blocks: a magic, its version, the oldest version that can
/// read it. Each block then has its length in front; raw snappy has none of this.
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

/// The records of a batch as they were before they were compressed, at most `limit` bytes, and
/// at most 100 times the input where that is above 1 MiB.
pub fn inflate(
    compression: Compression,
    bytes: &[u8],
    limit: usize,
) -> Result<Vec<u8>, BatchError> {
    let most = bytes.len().saturating_mul(RATIO_MAX).max(RATIO_FREE).min(limit);
    let out = match compression {
        Compression::None if bytes.len() > most => Err(BatchError::Inflated(most)),
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => drain(MultiGzDecoder::new(bytes), most),
        Compression::Snappy => snappy(bytes, most),
        Compression::Lz4 => drain(FrameDecoder::new(bytes), most),
        Compression::Zstd => zstd(bytes, most),
    }?;
    assert!(out.len() <= most, "{} bytes where {most} were allowed", out.len());
    Ok(out)
}

/// Reads to the end, or until there is more than allowed.
fn drain(source: impl Read, most: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    let read = source.take(most as u64 + 1).read_to_end(&mut out);
    if out.len() > most {
        return Err(BatchError::Inflated(most));
    }
    read.map_err(|_| BatchError::Compressed)?;
    Ok(out)
}

fn zstd(bytes: &[u8], most: usize) -> Result<Vec<u8>, BatchError> {
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| BatchError::Compressed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| BatchError::Compressed)?;
    drain(decoder, most)
}

fn snappy(bytes: &[u8], most: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    if !bytes.starts_with(&XERIAL_MAGIC) {
        snappy_block(bytes, most, &mut out)?;
        return Ok(out);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        // Streams may follow one another, each with its header; a length never begins so.
        if rest.starts_with(&XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER..).ok_or(BatchError::Compressed)?;
            continue;
        }
        let (len, after) = rest.split_first_chunk::<4>().ok_or(BatchError::Compressed)?;
        let len = u32::from_be_bytes(*len) as usize;
        let (block, after) = after.split_at_checked(len).ok_or(BatchError::Compressed)?;
        snappy_block(block, most, &mut out)?;
        rest = after;
    }
    Ok(out)
}

fn snappy_block(block: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let damaged = |_| BatchError::Compressed;
    let len = snap::raw::decompress_len(block).map_err(damaged)?;
    if len > most - out.len() {
        return Err(BatchError::Inflated(most));
    }
    let at = out.len();
    out.resize(at + len, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[at..]).map_err(damaged)?;
    if written == len { Ok(()) } else { Err(BatchError::Compressed) }
}
