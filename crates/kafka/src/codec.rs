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
pub use writer::Writer;

use bytes::{Bytes, BytesMut};

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

/// Where the chunks of an encoded frame go, in order.
pub trait Sink {
    /// Takes the next chunk.
    fn put(&mut self, chunk: Bytes);
}

impl Sink for Vec<Bytes> {
    fn put(&mut self, chunk: Bytes) {
        self.push(chunk);
    }
}

/// Encodes a response with its length prefix and header: the chunks of one frame, in order.
pub fn frame_response<'a, M: Message<'a>>(
    correlation_id: i32,
    version: i16,
    message: &M,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut chunks = Vec::with_capacity(1);
    let mut buffer = BytesMut::with_capacity(FRAME_GUESS_BYTES);
    frame_response_into(&mut buffer, correlation_id, version, message, &mut chunks)?;
    Ok(chunks)
}

/// Like [`frame_response`], with a buffer that is used again: the connection keeps `buffer` and
/// thus allocates once for many small responses. Returns the bytes of the frame, its length prefix
/// included. After an error nothing was put into the sink.
pub fn frame_response_into<'a, M: Message<'a>>(
    buffer: &mut BytesMut,
    correlation_id: i32,
    version: i16,
    message: &M,
    sink: &mut impl Sink,
) -> Result<usize, EncodeError> {
    frame_held_response_into(buffer, (correlation_id, 0), version, message, sink)
}

/// Like [`frame_response_into`], for a client that is held back: besides the correlation id, how
/// long, in milliseconds, which goes into `throttle_time_ms` where the response has it.
pub fn frame_held_response_into<'a, M: Message<'a>>(
    buffer: &mut BytesMut,
    (correlation_id, throttle_ms): (i32, i32),
    version: i16,
    message: &M,
    sink: &mut impl Sink,
) -> Result<usize, EncodeError> {
    let header = ResponseHeader { correlation_id };
    let header_version = M::KEY.response_header_version(version);
    frame(buffer, sink, |writer| {
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
    let mut chunks = Vec::with_capacity(1);
    let mut buffer = BytesMut::with_capacity(FRAME_GUESS_BYTES);
    frame(&mut buffer, &mut chunks, |writer| {
        header.write(writer, M::KEY.request_header_version(version));
        message.encode(writer, version);
    })?;
    Ok(chunks)
}

/// First size of a frame's buffer: most responses fit.
const FRAME_GUESS_BYTES: usize = 256;

fn frame(
    buffer: &mut BytesMut,
    sink: &mut impl Sink,
    fill: impl FnOnce(&mut Writer),
) -> Result<usize, EncodeError> {
    let mut writer = Writer::framed(std::mem::take(buffer));
    fill(&mut writer);
    let (bytes, rest) = writer.finish_framed(sink)?;
    *buffer = rest;
    Ok(bytes)
}
