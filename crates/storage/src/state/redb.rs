//! State rows in one redb file. A value is cut into pieces, because redb rounds what exceeds a page
//! up to the next power of two; each piece carries a checksum, because redb checks its pages only
//! when asked to walk the whole file.
//!
//! ```text
//! table "rows"   key 19 | piece u16  →  crc32c u32 (of all else) | length of the value u32 | data
//! table "meta"   0                   →  level u16 | checkpoint number u64 | crc32c u32
//! ```
//! All big-endian. Beside it `state.mark` witnesses the number of the last commit: redb keeps its
//! last commit but one, and one flipped bit can make that the current one.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};

use self::backend::{Backend, Overlay};
use self::mark::Mark;
use self::pieces::{Assembled, PieceKey, piece_key, put, remove_from};
use super::{Changes, Key, Result, StateError, StateStore};
use crate::crc::crc32c;
use crate::disk::{Disk, Mode};

mod backend;
pub(crate) mod mark;
mod pieces;

/// Name of the file with the rows.
pub const FILE: &str = "state.redb";
/// Name under which a new file is made before it is whole.
const FILE_NEW: &str = "state.redb.new";

/// Memory for redb's pages, in bytes.
const CACHE_BYTES: usize = 16 << 20;
/// Format level of what is in the tables.
const LEVEL: u16 = 1;

const ROWS: TableDefinition<'static, &PieceKey, &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'static, u8, &[u8]> = TableDefinition::new("meta");
const NUMBER: u8 = 0;

/// Name under which the mark of a store is made that replaces a damaged one.
const MARK_NEW: &str = "state.mark.new";

/// The rows of one data directory.
pub struct RedbState {
    db: Database,
    mark: Mark,
    /// Set when a commit has failed: the file may be ahead of what we know.
    broken: AtomicBool,
}

impl RedbState {
    /// Opens the store. A new one is made only if `create` is set and the file is absent or empty.
    ///
    /// `Damaged` if the file is not whole or has fallen back behind the last commit; it is left as
    /// it is. Pages are trusted as they are read, so run [`verify`] before where a damaged page
    /// must not go unnoticed.
    pub fn open(disk: &dyn Disk, create: bool) -> Result<RedbState> {
        let present = match disk.open(FILE, Mode::Read) {
            Ok(file) => file.len().map_err(|error| StateError::io(FILE, error))? > 0,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(StateError::io(FILE, error)),
        };
        if present {
            return RedbState::open_present(disk);
        }
        if !create {
            return Err(StateError::io(FILE, ErrorKind::NotFound.into()));
        }
        // Made whole under another name: redb refuses a file that was left half made.
        match disk.remove(FILE_NEW) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(StateError::io(FILE_NEW, error));
            }
            _ => {}
        }
        let file = open_file(disk, FILE_NEW)?;
        let db = guarded(|| create_db(Backend::new(file)))?;
        let mark = Mark::create(disk, mark::FILE)?;
        disk.rename(FILE_NEW, FILE).map_err(|error| StateError::io(FILE_NEW, error))?;
        disk.sync_dir("").map_err(|error| StateError::io(FILE, error))?;
        Ok(RedbState { db, mark, broken: AtomicBool::new(false) })
    }

    fn open_present(disk: &dyn Disk) -> Result<RedbState> {
        let mark = Mark::open(disk)?;
        let file = open_file(disk, FILE)?;
        // With quick repair each commit leaves what opening needs, so a file that asks for a
        // repair is one that something else has changed: refused before redb writes to it.
        let db = guarded(|| {
            let mut builder = builder();
            builder.set_repair_callback(|repair| repair.abort());
            builder.create_with_backend(Backend::new(file)).map_err(failed)
        })?;
        let number = guarded(|| stored_number(&db))?;
        mark.witness(number)?;
        Ok(RedbState { db, mark, broken: AtomicBool::new(false) })
    }

    fn apply(&self, expect: u64, next: u64, changes: &Changes) -> Result<Option<u64>> {
        let mut write = self.db.begin_write().map_err(failed)?;
        write.set_quick_repair(true);
        write.set_durability(Durability::Immediate).map_err(failed)?;
        let found = number_in(&write.open_table(META).map_err(failed)?)?;
        if found != expect {
            write.abort().map_err(failed)?;
            return Ok(Some(found));
        }
        {
            let mut rows = write.open_table(ROWS).map_err(failed)?;
            for (from, to) in changes.delete_ranges.iter().filter(|(from, to)| from < to) {
                let (from, to) = (piece_key(*from, 0), piece_key(*to, 0));
                rows.retain_in::<&PieceKey, _>(&from..&to, |_, _| false).map_err(failed)?;
            }
            for key in &changes.delete {
                remove_from(&mut rows, *key, 0)?;
            }
            for (key, value) in &changes.put {
                put(&mut rows, *key, value)?;
            }
        }
        put_number(&write, next)?;
        write.commit().map_err(failed)?;
        Ok(None)
    }

    fn usable(&self) -> Result<()> {
        if self.broken.load(Ordering::Acquire) {
            let error = std::io::Error::other("a commit has failed: open the store again");
            return Err(StateError::io(FILE, error));
        }
        Ok(())
    }
}

impl StateStore for RedbState {
    fn get(&self, key: Key) -> Result<Option<Vec<u8>>> {
        self.usable()?;
        guarded(|| {
            let read = self.db.begin_read().map_err(failed)?;
            let rows = read.open_table(ROWS).map_err(failed)?;
            let mut value = Assembled::default();
            loop {
                let place = piece_key(key, value.pieces);
                let Some(piece) = rows.get(&place).map_err(failed)? else {
                    return if value.pieces == 0 { Ok(None) } else { Err(pieces::cut_off(key)) };
                };
                if value.add(&place, piece.value())? {
                    return Ok(Some(value.data));
                }
            }
        })
    }

    fn scan(
        &self,
        from: Key,
        to: Key,
        visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.usable()?;
        scan(&self.db, from, to, visit)
    }

    fn commit(&self, expect: u64, next: u64, changes: &Changes) -> Result<()> {
        self.usable()?;
        changes.check(expect, next)?;
        let found = guarded(|| self.apply(expect, next, changes))
            .inspect_err(|_| self.broken.store(true, Ordering::Release))?;
        if let Some(found) = found {
            return Err(StateError::Conflict { expect, found });
        }
        self.mark.write(next).inspect_err(|_| self.broken.store(true, Ordering::Release))
    }

    fn number(&self) -> Result<u64> {
        self.usable()?;
        guarded(|| stored_number(&self.db))
    }
}

fn scan(
    db: &Database,
    from: Key,
    to: Key,
    visit: &mut dyn FnMut(Key, &[u8]) -> Result<()>,
) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let read = guarded(|| db.begin_read().map_err(failed))?;
    let rows = guarded(|| read.open_table(ROWS).map_err(failed))?;
    let (from, to) = (piece_key(from, 0), piece_key(to, 0));
    let mut range = guarded(|| rows.range::<&PieceKey>(&from..&to).map_err(failed))?;
    let mut value = Assembled::default();
    // The visitor's own panics are not redb's: only redb's part of each turn is guarded.
    while let Some(done) = guarded(|| value.next_row(&mut range))? {
        visit(done, &value.data)?;
        value = Assembled::default();
    }
    Ok(())
}

/// Reads every page of the store and checks it against its checksum, changing nothing: returns
/// the checkpoint number, or `Damaged`. Takes about as long as reading the file.
pub fn verify(disk: &dyn Disk) -> Result<u64> {
    look(disk)?.number()
}

/// The same, and gives the store, which is not to be written to: what it writes goes nowhere.
pub(crate) fn look(disk: &dyn Disk) -> Result<RedbState> {
    let file = disk.open(FILE, Mode::Read).map_err(|error| StateError::io(FILE, error))?;
    let mark = Mark::open(disk)?;
    let overlay = Overlay::over(file).map_err(|error| StateError::io(FILE, error))?;
    let state = guarded(|| {
        let mut builder = builder();
        builder.set_check_integrity_on_open(true);
        let db = builder.create_with_backend(overlay).map_err(failed)?;
        stored_number(&db)?;
        Ok(RedbState { db, mark, broken: AtomicBool::new(false) })
    })?;
    // What redb mends it mends in the overlay, by going back one commit: the mark tells.
    let number = state.number()?;
    state.mark.witness(number)?;
    let (from, to) = Key::everything();
    state.scan(from, to, &mut |_, _| Ok(()))?;
    Ok(state)
}

/// A store as it was read whole, without its witness.
pub(crate) struct Read {
    pub rows: Vec<(Key, Vec<u8>)>,
    pub number: u64,
}

/// Reads all rows of a store whose every page and piece is whole, whatever its mark says; None if
/// there is no store. Changes nothing.
pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Read>> {
    let file = match disk.open(FILE, Mode::Read) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| StateError::io(FILE, error))?,
    };
    if file.is_empty().map_err(|error| StateError::io(FILE, error))? {
        return Ok(None);
    }
    let overlay = Overlay::over(file).map_err(|error| StateError::io(FILE, error))?;
    guarded(|| {
        let mut builder = builder();
        builder.set_check_integrity_on_open(true);
        let db = builder.create_with_backend(overlay).map_err(failed)?;
        let number = stored_number(&db)?;
        let mut rows = Vec::new();
        let (from, to) = Key::everything();
        scan(&db, from, to, &mut |key, row| {
            rows.push((key, row.to_vec()));
            Ok(())
        })?;
        Ok(Some(Read { rows, number }))
    })
}

/// A store under another name than its own, to replace one that is damaged.
pub(crate) struct Building {
    pub state: Arc<RedbState>,
}

impl Building {
    /// Makes an empty one; what an earlier try has left is removed.
    pub fn begin(disk: &dyn Disk) -> Result<Building> {
        for name in [FILE_NEW, MARK_NEW] {
            match disk.remove(name) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(StateError::io(name, error));
                }
                _ => {}
            }
        }
        let file = open_file(disk, FILE_NEW)?;
        let db = guarded(|| create_db(Backend::new(file)))?;
        let mark = Mark::create(disk, MARK_NEW)?;
        let state = Arc::new(RedbState { db, mark, broken: AtomicBool::new(false) });
        Ok(Building { state })
    }

    /// Gives store and mark their names, the mark first: a store without a mark, or with one that
    /// is too high, is refused.
    pub fn install(self, disk: &dyn Disk) -> Result<()> {
        drop(self.state);
        for (from, to) in [(MARK_NEW, mark::FILE), (FILE_NEW, FILE)] {
            disk.rename(from, to).map_err(|error| StateError::io(to, error))?;
            disk.sync_dir("").map_err(|error| StateError::io(to, error))?;
        }
        Ok(())
    }
}

fn open_file(disk: &dyn Disk, name: &str) -> Result<Arc<dyn crate::disk::DiskFile>> {
    disk.open(name, Mode::Write).map_err(|error| StateError::io(name, error))
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn create_db(backend: Backend) -> Result<Database> {
    let db = builder().create_with_backend(backend).map_err(failed)?;
    let mut write = db.begin_write().map_err(failed)?;
    write.set_quick_repair(true);
    write.open_table(ROWS).map_err(failed)?;
    put_number(&write, 0)?;
    write.commit().map_err(failed)?;
    Ok(db)
}

fn stored_number(db: &Database) -> Result<u64> {
    let read = db.begin_read().map_err(failed)?;
    match read.open_table(META) {
        Ok(meta) => number_in(&meta),
        Err(TableError::Storage(error)) => Err(failed(error)),
        Err(error) => Err(StateError::damaged(FILE, error)),
    }
}

fn number_in(meta: &impl ReadableTable<u8, &'static [u8]>) -> Result<u64> {
    let Some(stored) = meta.get(NUMBER).map_err(failed)? else {
        return Err(StateError::damaged(FILE, "it has no checkpoint number"));
    };
    let Some((said, crc)) = stored.value().split_first_chunk::<10>() else {
        return Err(StateError::damaged(FILE, "its checkpoint number is cut off"));
    };
    if crc != crc32c(&[said]).to_be_bytes() {
        return Err(StateError::damaged(FILE, "the checksum of its checkpoint number"));
    }
    let level = u16::from_be_bytes([said[0], said[1]]);
    if level != LEVEL {
        let why = format!("format level {level}, this version reads {LEVEL}");
        return Err(StateError::damaged(FILE, why));
    }
    Ok(u64::from_be_bytes(said[2..].try_into().expect("eight bytes")))
}

fn put_number(write: &WriteTransaction, number: u64) -> Result<()> {
    let mut said = LEVEL.to_be_bytes().to_vec();
    said.extend_from_slice(&number.to_be_bytes());
    said.extend_from_slice(&crc32c(&[&said]).to_be_bytes());
    let mut meta = write.open_table(META).map_err(failed)?;
    meta.insert(NUMBER, said.as_slice()).map_err(failed)?;
    Ok(())
}

/// redb's many errors in our few.
fn failed(error: impl Into<::redb::Error>) -> StateError {
    match error.into() {
        ::redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            StateError::damaged(FILE, error)
        }
        ::redb::Error::Io(error) => StateError::io(FILE, error),
        error @ ::redb::Error::PreviousIo => StateError::io(FILE, std::io::Error::other(error)),
        error => StateError::damaged(FILE, error),
    }
}

/// redb panics where a page it trusts says what no page of its own says, so a panic under it is
/// damage too.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(StateError::damaged(FILE, said))
    })
}
