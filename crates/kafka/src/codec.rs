//! Bytes to Kafka messages and back, for every served API and version: the runtime under the code
//! in `generated`. It knows fields and frames, not what a request means, and not the record batches
//! inside `records`.

#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]
#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod error;
mod header;
mod reader;
mod records;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::as_conversions)]
#[allow(clippy::expect_used, clippy::indexing_slicing)]
mod tests;
mod writer;

pub use error::{DecodeError, EncodeError};
pub use header::{RequestHeader, ResponseHeader};
pub use reader::Reader;
pub use records::Records;
pub use writer::{Splices, Writer};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::api::ApiKey;

/// A request or a response of one API. Strings, bytes and records borrow from the decoded input.
pub trait Message<'a>: Sized {
    /// The API this message belongs to.
    const KEY: ApiKey;

    /// Reads the fields of `version`, called by [`Message::decode`]. The version is in the
    /// served range.
    fn read(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>;

    /// Writes the fields of `version`, called by [`Message::encode`]. The version is in the served
    /// range.
    fn write(&self, writer: &mut Writer, version: i16);

    /// Decodes the message from the front of `reader`. What follows it stays there; see
    /// [`decode_body`] for a whole body. A field that `version` lacks has its default.
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if !Self::KEY.serves(version) {
            return Err(DecodeError::UnsupportedVersion);
        }
        Self::read(reader, version)
    }

    /// Appends the message. A field that `version` lacks is left out. What cannot be written is
    /// remembered by the writer and comes out of [`Writer::finish`].
    fn encode(&self, writer: &mut Writer, version: i16) {
        if Self::KEY.serves(version) {
            self.write(writer, version);
        } else {
            writer.fail(EncodeError::UnsupportedVersion);
        }
    }
}

/// A list that nearly always has one element, which it then holds in place.
pub type Few<T> = SmallVec<[T; 1]>;

/// A struct inside a message.
pub(crate) trait Part<'a>: Sized {
    /// The fewest bytes one takes in this version; never 0 where an array of it can occur.
    fn smallest(version: i16) -> usize;

    fn read(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>;

    fn write(&self, writer: &mut Writer, version: i16);
}

/// Decodes a body that must be exactly one message.
pub fn decode_body<'a, M: Message<'a>>(body: &'a [u8], version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(body);
    let message = M::decode(&mut reader, version)?;
    reader.finish()?;
    Ok(message)
}

/// Encodes a response with its length prefix and header: the chunks of one frame, in order.
pub fn frame_response<'a, M: Message<'a>>(
    correlation_id: i32,
    version: i16,
    message: &M,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut buffer = BytesMut::with_capacity(FRAME_GUESS_BYTES);
    let splices = frame_response_into(&mut buffer, correlation_id, version, message)?;
    Ok(writer::chunks(buffer.freeze(), splices))
}

/// Like [`frame_response`], over a buffer that is used again: what was in it is replaced by the
/// frame without its records, which are returned with their places in the buffer.
pub fn frame_response_into<'a, M: Message<'a>>(
    buffer: &mut BytesMut,
    correlation_id: i32,
    version: i16,
    message: &M,
) -> Result<Splices, EncodeError> {
    frame_held_response_into(buffer, (correlation_id, 0), version, message)
}

/// Like [`frame_response_into`], for a client that is held back: besides the correlation id, how
/// long, in milliseconds, which goes into `throttle_time_ms` where the response has it.
pub fn frame_held_response_into<'a, M: Message<'a>>(
    buffer: &mut BytesMut,
    (correlation_id, throttle_ms): (i32, i32),
    version: i16,
    message: &M,
) -> Result<Splices, EncodeError> {
    let header = ResponseHeader { correlation_id };
    let header_version = M::KEY.response_header_version(version);
    frame(buffer, |writer| {
        writer.hold(throttle_ms);
        header.write(writer, header_version);
        message.encode(writer, version);
    })
}

/// Encodes a request with its length prefix and header, as a client sends it.
pub fn frame_request<'a, M: Message<'a>>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    message: &M,
) -> Result<Vec<Bytes>, EncodeError> {
    let header =
        RequestHeader { api_key: M::KEY.number(), api_version: version, correlation_id, client_id };
    let mut buffer = BytesMut::with_capacity(FRAME_GUESS_BYTES);
    let splices = frame(&mut buffer, |writer| {
        header.write(writer, M::KEY.request_header_version(version));
        message.encode(writer, version);
    })?;
    Ok(writer::chunks(buffer.freeze(), splices))
}

/// First size of a frame's buffer: most responses fit.
const FRAME_GUESS_BYTES: usize = 256;

fn frame(buffer: &mut BytesMut, fill: impl FnOnce(&mut Writer)) -> Result<Splices, EncodeError> {
    let mut writer = Writer::framed(std::mem::take(buffer));
    fill(&mut writer);
    let (written, splices) = writer.finish_framed()?;
    *buffer = written;
    Ok(splices)
}
