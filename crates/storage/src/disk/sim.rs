//! A disk in memory that can lose, tear and reorder what was not synced, fail at a given operation
//! and run full. For tests and the simulator; the same code as on real files runs over it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, Entry, Mode};
use crate::aligned::PAGE;

/// The unit that a power cut keeps or loses, in bytes.
const SECTOR: usize = 512;
/// What a disk without a capacity claims to have, in bytes.
const UNBOUNDED: u64 = 1 << 40;

/// What becomes of everything that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it is lost.
    Lost,
    /// Each sector of each write survives with this chance in 256, and of the changes of each
    /// directory some first part.
    Torn(u8),
    /// The process died, not the machine: all of it is there, and still not synced.
    Kept,
}

/// Which operation fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from the moment the fault is set; 0 is the next one.
    pub after: u64,
    pub kind: ErrorKind,
    /// Only syncs count and fail.
    pub syncs_only: bool,
}

/// A simulated disk. Clones of the `Arc` are the same disk.
#[derive(Default)]
pub struct SimDisk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, Content>,
    /// The tree as the running process sees it, and as a cut would leave it.
    seen: BTreeMap<String, u64>,
    kept: BTreeMap<String, u64>,
    changes: Vec<Change>,
    /// Directories that were made, and those of them that a cut would leave out.
    dirs: BTreeSet<String>,
    fresh_dirs: BTreeSet<String>,
    next: u64,
    /// Rises at every cut: files opened before it fail.
    life: u64,
    fault: Option<Fault>,
    capacity: Option<u64>,
    operations: u64,
    syncs: u64,
}

#[derive(Default)]
struct Content {
    seen: Vec<u8>,
    kept: Vec<u8>,
    writes: Vec<Write>,
    /// A sync failed: `seen` shows what the device does not have and never will.
    forgot: bool,
}

impl Content {
    /// What the device gives, past the page cache.
    fn on_device(&self) -> Vec<u8> {
        let mut device = self.kept.clone();
        self.writes.iter().for_each(|write| write.apply(&mut device));
        // The length is the file system's: what it never wrote reads as zeros.
        device.resize(self.seen.len(), 0);
        device
    }
}

enum Write {
    Bytes { at: usize, bytes: Vec<u8> },
    Len(usize),
}

struct Change {
    dir: String,
    from: Option<String>,
    to: Option<(String, u64)>,
}

impl SimDisk {
    pub fn new() -> Arc<SimDisk> {
        Arc::new(SimDisk::default())
    }

    /// The next operations fail as told, until [`SimDisk::mend`].
    pub fn fail(&self, fault: Fault) {
        self.state.lock().fault = Some(fault);
    }

    pub fn mend(&self) {
        self.state.lock().fault = None;
    }

    /// True while a fault is set.
    pub fn is_failing(&self) -> bool {
        self.state.lock().fault.is_some()
    }

    /// Bytes that all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = Some(bytes);
    }

    /// As much as anybody wants.
    pub fn unbound(&self) {
        self.state.lock().capacity = None;
    }

    /// True while there is a capacity.
    pub fn is_bounded(&self) -> bool {
        self.state.lock().capacity.is_some()
    }

    /// Operations that change or sync something, so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Ends the process that used the disk, and says what survives. `chance` gives random numbers.
    pub fn cut(&self, cut: Cut, mut chance: impl FnMut() -> u64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.life += 1;
        state.fault = None;
        if cut == Cut::Kept {
            return;
        }
        let mut dirs: BTreeMap<String, usize> = BTreeMap::new();
        for change in &state.changes {
            *dirs.entry(change.dir.clone()).or_default() += 1;
        }
        for count in dirs.values_mut() {
            *count = match cut {
                Cut::Lost | Cut::Kept => 0,
                Cut::Torn(_) => usize::try_from(chance()).unwrap_or(0) % (*count + 1),
            };
        }
        for change in std::mem::take(&mut state.changes) {
            let left = dirs.get_mut(&change.dir).expect("counted above");
            if *left > 0 {
                *left -= 1;
                change.apply(&mut state.kept);
            }
        }
        for dir in std::mem::take(&mut state.fresh_dirs) {
            if cut == Cut::Lost || chance().is_multiple_of(2) {
                state.dirs.remove(&dir);
                state.kept.retain(|path, _| dir_of(path) != dir);
            }
        }
        state.seen = state.kept.clone();
        for content in state.files.values_mut() {
            for write in std::mem::take(&mut content.writes) {
                write.survive(&mut content.kept, cut, &mut chance);
            }
            content.seen.clone_from(&content.kept);
            content.forgot = false;
        }
        let live: Vec<u64> = state.seen.values().copied().collect();
        state.files.retain(|id, _| live.contains(id));
    }

    /// Another disk with the files as they are seen now, all of them synced.
    pub fn copy(&self) -> Arc<SimDisk> {
        let state = self.state.lock();
        let files = state.files.iter().map(|(id, content)| {
            let (seen, kept) = (content.seen.clone(), content.seen.clone());
            (*id, Content { seen, kept, ..Content::default() })
        });
        let copy = State {
            files: files.collect(),
            seen: state.seen.clone(),
            kept: state.seen.clone(),
            dirs: state.dirs.clone(),
            next: state.next,
            ..State::default()
        };
        Arc::new(SimDisk { state: Mutex::new(copy) })
    }

    /// True if a sync failed and its writes are lost, though the page cache shows them.
    pub fn forgets(&self) -> bool {
        self.state.lock().files.values().any(|content| content.forgot)
    }

    /// Flips one bit of a file at rest.
    pub fn flip(&self, path: &str, byte: u64, bit: u8) {
        let mut state = self.state.lock();
        let id = state.seen[path];
        let content = state.files.get_mut(&id).expect("seen files exist");
        let at = usize::try_from(byte).expect("in memory");
        content.seen[at] ^= 1 << (bit % 8);
        if let Some(kept) = content.kept.get_mut(at) {
            *kept ^= 1 << (bit % 8);
        }
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state.lock();
        let len = |id| state.files[id].seen.len() as u64;
        state.seen.iter().map(|(path, id)| (path.clone(), len(id))).collect()
    }
}

impl State {
    fn act(&mut self, sync: bool) -> Result<()> {
        self.operations += 1;
        self.syncs += u64::from(sync);
        match &mut self.fault {
            Some(fault) if sync || !fault.syncs_only => {
                if fault.after == 0 {
                    return Err(Error::new(fault.kind, "a planted fault"));
                }
                fault.after -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.seen.values().map(|id| self.files[id].seen.len() as u64).sum()
    }

    fn change(&mut self, from: Option<&str>, to: Option<(&str, u64)>) {
        let path = from.or(to.map(|to| to.0)).expect("one of the two");
        let dir = dir_of(path).to_owned();
        let change =
            Change { dir, from: from.map(str::to_owned), to: to.map(|to| (to.0.to_owned(), to.1)) };
        change.apply(&mut self.seen);
        self.changes.push(change);
    }
}

/// The directory that holds a file.
fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Change {
    fn apply(&self, tree: &mut BTreeMap<String, u64>) {
        if let Some(from) = &self.from {
            tree.remove(from);
        }
        if let Some((to, id)) = &self.to {
            tree.insert(to.clone(), *id);
        }
    }
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Write::Bytes { at, bytes } => put(content, *at, bytes),
            Write::Len(len) => content.resize(*len, 0),
        }
    }

    fn survive(&self, content: &mut Vec<u8>, cut: Cut, chance: &mut impl FnMut() -> u64) {
        match (cut, self) {
            (Cut::Lost | Cut::Kept, _) => {}
            (Cut::Torn(share), Write::Len(len)) => {
                if chance() % 256 < u64::from(share) {
                    content.resize(*len, 0);
                }
            }
            (Cut::Torn(share), Write::Bytes { at, bytes }) => {
                for (sector, part) in bytes.chunks(SECTOR).enumerate() {
                    if chance() % 256 < u64::from(share) {
                        put(content, at + sector * SECTOR, part);
                    }
                }
            }
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() == at {
        content.extend_from_slice(bytes);
        return;
    }
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A handle; the disk itself is behind the `Arc`.
pub struct Handle(pub Arc<SimDisk>);

impl Disk for Handle {
    fn open(&self, path: &str, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.0.state.lock();
        let writes = matches!(mode, Mode::Write | Mode::WriteDirect);
        let id = match state.seen.get(path) {
            Some(id) => *id,
            None if writes => {
                state.act(false)?;
                state.next += 1;
                let id = state.next;
                state.files.insert(id, Content::default());
                state.change(None, Some((path, id)));
                id
            }
            None => return Err(Error::new(ErrorKind::NotFound, format!("{path}: not found"))),
        };
        let direct = matches!(mode, Mode::WriteDirect | Mode::ReadDirect);
        Ok(Arc::new(SimFile { disk: self.0.clone(), id, life: state.life, direct }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.0.state.lock();
        state.act(false)?;
        let id = *state.seen.get(from).ok_or(ErrorKind::NotFound)?;
        state.change(Some(from), Some((to, id)));
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut state = self.0.state.lock();
        state.act(false)?;
        if !state.seen.contains_key(path) {
            return Err(ErrorKind::NotFound.into());
        }
        state.change(Some(path), None);
        Ok(())
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        let mut state = self.0.state.lock();
        state.act(false)?;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let dir = path[..end].to_owned();
            if state.dirs.insert(dir.clone()) {
                state.fresh_dirs.insert(dir);
            }
        }
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let state = self.0.state.lock();
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (file, id) in &state.seen {
            let Some(rest) = file.strip_prefix(&prefix) else { continue };
            let (name, is_dir) = rest.split_once('/').map_or((rest, false), |(dir, _)| (dir, true));
            let len = if is_dir { 0 } else { state.files[id].seen.len() as u64 };
            let entry = Entry { name: name.to_owned(), len, is_dir };
            entries.insert(name.to_owned(), entry);
        }
        Ok(entries.into_values().collect())
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        let mut state = self.0.state.lock();
        state.act(true)?;
        let state = &mut *state;
        state.fresh_dirs.retain(|fresh| dir_of(fresh) != path);
        let (now, later) =
            std::mem::take(&mut state.changes).into_iter().partition(|change| change.dir == path);
        state.changes = later;
        let now: Vec<Change> = now;
        now.iter().for_each(|change| change.apply(&mut state.kept));
        Ok(())
    }

    fn free(&self) -> Result<u64> {
        let state = self.0.state.lock();
        Ok(state.capacity.map_or(UNBOUNDED, |bytes| bytes.saturating_sub(state.used())))
    }

    fn total(&self) -> Result<u64> {
        Ok(self.0.state.lock().capacity.unwrap_or(UNBOUNDED))
    }
}

struct SimFile {
    disk: Arc<SimDisk>,
    id: u64,
    life: u64,
    direct: bool,
}

impl SimFile {
    fn with<T>(&self, run: impl FnOnce(&mut State, u64) -> Result<T>) -> Result<T> {
        let mut state = self.disk.state.lock();
        if state.life != self.life || !state.files.contains_key(&self.id) {
            return Err(Error::other("the disk is gone"));
        }
        run(&mut state, self.id)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        if self.direct {
            assert_eq!((at as usize % PAGE, into.len() % PAGE), (0, 0), "a direct read of pages");
        }
        self.with(|state, id| {
            let file = &state.files[&id];
            let device = (self.direct && file.forgot).then(|| file.on_device());
            let content = device.as_ref().unwrap_or(&file.seen);
            let at = usize::try_from(at).expect("in memory").min(content.len());
            let got = into.len().min(content.len() - at);
            into[..got].copy_from_slice(&content[at..at + got]);
            Ok(got)
        })
    }

    fn write_at(&self, from: &[u8], at: u64) -> Result<()> {
        if self.direct {
            assert_eq!((at as usize % PAGE, from.len() % PAGE), (0, 0), "a direct write of pages");
        }
        self.with(|state, id| {
            state.act(false)?;
            let end = usize::try_from(at).expect("in memory") + from.len();
            let grows = end.saturating_sub(state.files[&id].seen.len()) as u64;
            if state.capacity.is_some_and(|bytes| state.used() + grows > bytes) {
                return Err(ErrorKind::StorageFull.into());
            }
            let content = state.files.get_mut(&id).expect("checked");
            let write = Write::Bytes { at: end - from.len(), bytes: from.to_vec() };
            write.apply(&mut content.seen);
            content.writes.push(write);
            Ok(())
        })
    }

    /// A failed sync takes the pending writes for clean, as several file systems do.
    fn sync(&self) -> Result<()> {
        self.with(|state, id| {
            let failed = state.act(true);
            let content = state.files.get_mut(&id).expect("checked");
            let writes = std::mem::take(&mut content.writes);
            match failed.is_ok() {
                true => writes.iter().for_each(|write| write.apply(&mut content.kept)),
                false => content.forgot |= !writes.is_empty(),
            }
            failed
        })
    }

    fn len(&self) -> Result<u64> {
        self.with(|state, id| Ok(state.files[&id].seen.len() as u64))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.with(|state, id| {
            state.act(false)?;
            let content = state.files.get_mut(&id).expect("checked");
            let write = Write::Len(usize::try_from(len).expect("in memory"));
            write.apply(&mut content.seen);
            content.writes.push(write);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(disk: &Arc<SimDisk>) -> Arc<dyn DiskFile> {
        let handle = Handle(disk.clone());
        let file = handle.open("d/f", Mode::Write).expect("opens");
        file.write_at(&[1; 1000], 0).expect("writes");
        handle.sync_dir("d").expect("syncs");
        file.sync().expect("syncs");
        file.write_at(&[2; 2000], 0).expect("writes");
        file
    }

    fn content(disk: &Arc<SimDisk>) -> Vec<u8> {
        let file = Handle(disk.clone()).open("d/f", Mode::Read).expect("opens");
        let mut bytes = vec![0; usize::try_from(file.len().expect("known")).expect("small")];
        file.read_at(&mut bytes, 0).expect("reads");
        bytes
    }

    #[test]
    fn a_cut_keeps_what_was_synced_and_parts_of_the_rest() {
        let check = |cut, want: &dyn Fn(Vec<u8>) -> bool| {
            let disk = SimDisk::new();
            let file = written(&disk);
            let mut seed = 7u64;
            disk.cut(cut, || {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                seed >> 33
            });
            assert!(file.sync().is_err(), "the process is gone");
            assert!(want(content(&disk)), "{cut:?}");
        };
        check(Cut::Lost, &|bytes| bytes == [1; 1000]);
        check(Cut::Kept, &|bytes| bytes == [2; 2000]);
        check(Cut::Torn(128), &|bytes| bytes.contains(&2) && bytes != [2; 2000]);
    }

    #[test]
    fn what_outlives_the_process_is_still_lost_with_the_power() {
        let disk = SimDisk::new();
        written(&disk);
        disk.cut(Cut::Kept, || 0);
        assert_eq!(content(&disk), [2; 2000]);
        disk.cut(Cut::Lost, || 0);
        assert_eq!(content(&disk), [1; 1000]);
    }

    #[test]
    fn a_directory_that_was_not_synced_takes_its_files_with_it() {
        let disk = SimDisk::new();
        let handle = Handle(disk.clone());
        handle.create_dir("d").expect("makes");
        written(&disk);
        disk.cut(Cut::Lost, || 0);
        assert_eq!(disk.files(), vec![]);
        handle.create_dir("d").expect("makes");
        handle.sync_dir("").expect("syncs");
        written(&disk);
        disk.cut(Cut::Lost, || 0);
        assert_eq!(disk.files(), vec![("d/f".to_owned(), 1000)]);
    }

    #[test]
    fn after_a_failed_sync_only_the_page_cache_shows_the_writes() {
        let disk = SimDisk::new();
        let handle = Handle(disk.clone());
        let file = handle.open("f", Mode::WriteDirect).expect("opens");
        let page = [5; PAGE];
        file.write_at(&page, 0).expect("writes");
        disk.fail(Fault { after: 0, kind: ErrorKind::Other, syncs_only: true });
        assert!(file.sync().is_err());
        let read = |mode| {
            let mut into = [0; PAGE];
            handle.open("f", mode).expect("opens").read_at(&mut into, 0).expect("reads");
            into
        };
        assert_eq!((read(Mode::Read), read(Mode::ReadDirect)), (page, [0; PAGE]));
    }

    #[test]
    fn a_name_that_was_not_synced_is_gone_and_a_failed_sync_loses_the_writes() {
        let disk = SimDisk::new();
        let handle = Handle(disk.clone());
        let file = handle.open("d/new", Mode::Write).expect("opens");
        file.sync().expect("syncs");
        disk.cut(Cut::Lost, || 0);
        assert_eq!(disk.files(), vec![]);
        let file = written(&disk);
        disk.fail(Fault { after: 0, kind: ErrorKind::Other, syncs_only: true });
        assert!(file.sync().is_err());
        disk.mend();
        file.sync().expect("claims to have synced");
        disk.cut(Cut::Lost, || 0);
        assert_eq!(content(&disk), [1; 1000]);
    }
}
