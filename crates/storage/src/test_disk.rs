//! A disk in memory for this crate's tests: fails at a chosen operation, and forgets at a power cut
//! what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, Entry, Mode};

const BLOCK: usize = 4096;

#[derive(Default)]
struct Node {
    data: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Default)]
struct World {
    names: BTreeMap<String, Arc<Mutex<Node>>>,
    kept_names: BTreeMap<String, Arc<Mutex<Node>>>,
    dirs: BTreeSet<String>,
    kept_dirs: BTreeSet<String>,
    /// Operations that may still succeed; from then on all fail. None: all succeed.
    budget: Option<u64>,
    operations: u64,
}

impl World {
    fn step(&mut self) -> Result<()> {
        self.operations += 1;
        match &mut self.budget {
            None => Ok(()),
            Some(0) => Err(Error::other("the disk fails here")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

#[derive(Clone, Default)]
pub struct TestDisk(Arc<Mutex<World>>);

impl TestDisk {
    /// Operations that change something succeed so often, then fail for good.
    pub fn fail_after(&self, operations: u64) {
        self.0.lock().budget = Some(operations);
    }

    /// Changing operations so far, failed ones too.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// What a power cut leaves: all that was synced, and of the rest the blocks that `keep` picks.
    pub fn after_power_cut(&self, mut keep: impl FnMut() -> bool) -> TestDisk {
        let world = self.0.lock();
        let mut names = BTreeMap::new();
        let kept = |name: &str| {
            name.match_indices('/').all(|(end, _)| world.kept_dirs.contains(&name[..end]))
        };
        for (name, node) in world.kept_names.iter().filter(|(name, _)| kept(name)) {
            let node = node.lock();
            let mut data = node.synced.clone();
            for at in (0..node.data.len()).step_by(BLOCK) {
                let end = node.data.len().min(at + BLOCK);
                if keep() {
                    data.resize(data.len().max(end), 0);
                    data[at..end].copy_from_slice(&node.data[at..end]);
                }
            }
            let node = Node { synced: data.clone(), data };
            names.insert(name.clone(), Arc::new(Mutex::new(node)));
        }
        TestDisk::of(names)
    }

    /// A copy as a reader sees the files now.
    pub fn copy(&self) -> TestDisk {
        let mut names = BTreeMap::new();
        for (name, node) in &self.0.lock().names {
            let data = node.lock().data.clone();
            let node = Node { synced: data.clone(), data };
            names.insert(name.clone(), Arc::new(Mutex::new(node)));
        }
        TestDisk::of(names)
    }

    /// All of these are kept.
    fn of(names: BTreeMap<String, Arc<Mutex<Node>>>) -> TestDisk {
        let dirs = names.keys().flat_map(|name| with_parents(name)).collect::<BTreeSet<_>>();
        let (kept_names, kept_dirs) = (names.clone(), dirs.clone());
        let world = World { names, kept_names, dirs, kept_dirs, budget: None, operations: 0 };
        TestDisk(Arc::new(Mutex::new(world)))
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    pub fn len_of(&self, name: &str) -> usize {
        self.0.lock().names[name].lock().data.len()
    }

    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        edit(&mut self.0.lock().names[name].lock().data);
    }
}

/// The directories of a path: all of it that stands before a slash.
fn with_parents(path: &str) -> impl Iterator<Item = String> {
    path.match_indices('/').map(|(end, _)| path[..end].to_owned())
}

impl Disk for TestDisk {
    fn open(&self, path: &str, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        let mut world = self.0.lock();
        let node = match world.names.get(path) {
            Some(node) => node.clone(),
            None if matches!(mode, Mode::Read | Mode::ReadDirect) => {
                return Err(ErrorKind::NotFound.into());
            }
            None => {
                world.step()?;
                world.names.entry(path.to_owned()).or_default().clone()
            }
        };
        Ok(Arc::new(TestFile { disk: self.clone(), node }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut world = self.0.lock();
        world.step()?;
        let node = world.names.remove(from).ok_or(ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut world = self.0.lock();
        if !world.names.contains_key(path) {
            return Err(ErrorKind::NotFound.into());
        }
        world.step()?;
        world.names.remove(path);
        Ok(())
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        let mut world = self.0.lock();
        world.step()?;
        world.dirs.extend(with_parents(&format!("{path}/")));
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let world = self.0.lock();
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut entries = BTreeMap::new();
        for (name, node) in &world.names {
            let Some(rest) = name.strip_prefix(&prefix) else { continue };
            let (name, is_dir) = match rest.split_once('/') {
                Some((dir, _)) => (dir, true),
                None => (rest, false),
            };
            let len = if is_dir { 0 } else { node.lock().data.len() as u64 };
            entries.insert(name.to_owned(), Entry { name: name.to_owned(), len, is_dir });
        }
        Ok(entries.into_values().collect())
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        let mut world = self.0.lock();
        world.step()?;
        let inside = |name: &str| name.rsplit_once('/').map_or("", |(dir, _)| dir) == path;
        let World { names, kept_names, dirs, kept_dirs, .. } = &mut *world;
        kept_dirs.extend(dirs.iter().filter(|dir| inside(dir)).cloned());
        kept_names.retain(|name, _| !inside(name));
        let now = names.iter().filter(|(name, _)| inside(name));
        kept_names.extend(now.map(|(name, node)| (name.clone(), node.clone())));
        Ok(())
    }

    fn free(&self) -> Result<u64> {
        Ok(u64::MAX)
    }

    fn total(&self) -> Result<u64> {
        Ok(u64::MAX)
    }
}

struct TestFile {
    disk: TestDisk,
    node: Arc<Mutex<Node>>,
}

impl DiskFile for TestFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize> {
        let node = self.node.lock();
        let at = usize::try_from(at).expect("small").min(node.data.len());
        let got = into.len().min(node.data.len() - at);
        into[..got].copy_from_slice(&node.data[at..at + got]);
        Ok(got)
    }

    fn write_at(&self, from: &[u8], at: u64) -> Result<()> {
        let step = self.disk.0.lock().step();
        // The write that fails is torn: its first half is there.
        let done = if step.is_ok() { from.len() } else { from.len() / 2 };
        let at = usize::try_from(at).expect("small");
        let mut node = self.node.lock();
        let end = node.data.len().max(at + done);
        node.data.resize(end, 0);
        node.data[at..at + done].copy_from_slice(&from[..done]);
        step
    }

    fn sync(&self) -> Result<()> {
        self.disk.0.lock().step()?;
        let mut node = self.node.lock();
        node.synced = node.data.clone();
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.node.lock().data.len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.disk.0.lock().step()?;
        self.node.lock().data.resize(usize::try_from(len).expect("small"), 0);
        Ok(())
    }
}
