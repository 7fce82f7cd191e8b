//! A group's durable state as rows: a head, and pages of offsets. How rows are keyed and cut is
//! the store's business.

use std::sync::Arc;

use super::codec::{self, DecodeError, Reader};
use super::{Group, Membership, OffsetPage, State};

const VERSION: u8 = 1;

/// Rows to write. `None` in place of a page's bytes: the row goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Present if it changed.
    pub head: Option<Vec<u8>>,
    pub pages: Vec<(OffsetPage, Option<Vec<u8>>)>,
    /// The group is deleted: all its rows go, whatever is above.
    pub deleted: bool,
}

impl Group {
    /// Every row as of now.
    pub fn image(&self) -> Rows {
        let pages = self.offsets.pages().into_iter();
        Rows {
            head: Some(self.encode_head()),
            pages: pages.map(|page| (page, self.offsets.encode_page(page))).collect(),
            deleted: self.state == State::Dead,
        }
    }

    /// The rows that differ from what this gave last.
    pub fn take_changed_rows(&mut self) -> Rows {
        let pages = self.offsets.take_changed().into_iter();
        let pages = pages.map(|page| (page, self.offsets.encode_page(page))).collect();
        let head = std::mem::take(&mut self.head_changed).then(|| self.encode_head());
        Rows { head, pages, deleted: self.state == State::Dead }
    }

    /// Takes in the head row of a group that is not open yet.
    pub fn load_head(&mut self, row: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(row);
        if reader.u8("a version")? != VERSION {
            return reader.fail("version 1");
        }
        let (name, created_ms) = (reader.text("a name")?, reader.i64("a time")?);
        let generation_last = reader.i32("a generation")?;
        let membership = Membership::decode(&mut reader)?;
        reader.end()?;
        self.name = name;
        self.created_ms = created_ms;
        self.generation_last = generation_last.max(membership.generation);
        self.saved = Arc::new(membership);
        Ok(())
    }

    /// Takes in a page of a group that is not open yet.
    pub fn load_page(&mut self, page: OffsetPage, row: &[u8]) -> Result<(), DecodeError> {
        self.offsets.load_page(page, row)
    }

    /// `version u8 = 1 | name text | created_ms i64 | generation_last i32 | membership`
    fn encode_head(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        codec::put_text(&mut out, &self.name);
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        out.extend_from_slice(&self.generation_last.to_le_bytes());
        self.saved.encode(&mut out);
        out
    }
}
