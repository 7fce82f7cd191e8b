//! Files that are kept open for reading, the least recently used given up first.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::blob::BlobId;
use crate::disk::DiskFile;

struct Open {
    file: Arc<dyn DiskFile>,
    used: u64,
}

#[derive(Default)]
struct Inner {
    open: HashMap<BlobId, Open, foldhash::fast::FixedState>,
    clock: u64,
}

/// Invariant: at most `max` files, not counting those that somebody is still reading.
pub(super) struct Files {
    inner: Mutex<Inner>,
    max: usize,
}

impl Files {
    pub(super) fn new(max: usize) -> Files {
        Files { inner: Mutex::default(), max: max.max(1) }
    }

    pub(super) fn get(&self, id: BlobId) -> Option<Arc<dyn DiskFile>> {
        let inner = &mut *self.inner.lock();
        inner.clock += 1;
        let open = inner.open.get_mut(&id)?;
        open.used = inner.clock;
        Some(open.file.clone())
    }

    pub(super) fn put(&self, id: BlobId, file: Arc<dyn DiskFile>) {
        let given_up = {
            let inner = &mut *self.inner.lock();
            inner.clock += 1;
            let used = inner.clock;
            // A walk over all of them is short beside the opening that has led here.
            let oldest = (inner.open.len() >= self.max && !inner.open.contains_key(&id))
                .then(|| inner.open.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id))
                .flatten();
            let given_up = oldest.and_then(|oldest| inner.open.remove(&oldest));
            (given_up, inner.open.insert(id, Open { file, used }))
        };
        // Closed outside the lock.
        drop(given_up);
    }

    pub(super) fn forget(&self, id: BlobId) {
        let file = self.inner.lock().open.remove(&id);
        drop(file);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.inner.lock().open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Mode};
    use crate::test_disk::TestDisk;

    #[test]
    fn the_least_recently_used_file_is_given_up() {
        let disk = TestDisk::default();
        let files = Files::new(2);
        let id = |number| BlobId::Bundle { shard: 0, number };
        for number in 0..3 {
            files.put(id(number), disk.open("x", Mode::Write).expect("opens"));
            assert!(files.get(id(0)).is_some(), "0 is used again and again");
        }
        assert_eq!(files.count(), 2);
        assert!(files.get(id(1)).is_none() && files.get(id(2)).is_some());
        files.forget(id(2));
        assert!(files.get(id(2)).is_none());
    }
}
