//! The headers before every request and response. Which version a header has follows from the
//! API and the version of the body (`api.rs`).

use super::{DecodeError, Reader, Writer};

/// What precedes a request's body. Header v0 lacks the client id, v2 adds tagged fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Reads the first eight bytes of a frame: key, version and correlation id stand at the same
    /// place in every header version, so that they can be judged before the rest.
    pub fn peek(frame: &[u8]) -> Result<(i16, i16, i32), DecodeError> {
        let mut reader = Reader::new(frame);
        Ok((reader.i16()?, reader.i16()?, reader.i32()?))
    }

    /// Reads a header of `header_version` (0 to 2).
    pub fn read(reader: &mut Reader<'a>, header_version: i16) -> Result<Self, DecodeError> {
        let api_key = reader.i16()?;
        let api_version = reader.i16()?;
        let correlation_id = reader.i32()?;
        // The client id keeps its two-byte length in v2: any broker can read it (KIP-482).
        let client_id = if header_version >= 1 { reader.string_opt(false, true)? } else { None };
        if header_version >= 2 {
            reader.skip_tags()?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }

    /// Writes a header of `header_version` (0 to 2).
    pub fn write(&self, writer: &mut Writer, header_version: i16) {
        writer.i16(self.api_key);
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        if header_version >= 1 {
            writer.string_opt(false, true, self.client_id);
        }
        if header_version >= 2 {
            writer.no_tags();
        }
    }
}

/// What precedes a response's body. Header v1 adds tagged fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads a header of `header_version` (0 or 1).
    pub fn read(reader: &mut Reader<'_>, header_version: i16) -> Result<Self, DecodeError> {
        let correlation_id = reader.i32()?;
        if header_version >= 1 {
            reader.skip_tags()?;
        }
        Ok(Self { correlation_id })
    }

    /// Writes a header of `header_version` (0 or 1).
    pub fn write(&self, writer: &mut Writer, header_version: i16) {
        writer.i32(self.correlation_id);
        if header_version >= 1 {
            writer.no_tags();
        }
    }
}
