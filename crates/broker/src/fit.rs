//! Fits the bounds of WAL and keeper to the size of the disk: what is set are the bounds on a large
//! one, and none of them may take most of a small one.

use crate::broker::Settings;

const MIB: u64 = 1 << 20;
/// Bytes of a full-size WAL file.
const WAL_FILE_MIN: u64 = 4 * MIB;
const WAL_FILE_MAX: u64 = 128 * MIB;
/// Kept free on a large disk at least, in bytes; on a small one a twentieth of it is enough.
const FREE_MIN: u64 = 64 * MIB;
/// Files of the WAL that what is kept free has room for: the one being written and its successor.
const FREE_WAL_FILES: u64 = 2;

impl Settings {
    /// These settings on a disk of `total` bytes.
    pub(crate) fn fitted(mut self, total: u64) -> Settings {
        let at_most = |set: usize, bound: u64| set.min(usize::try_from(bound).unwrap_or(set));
        let (wal, keeper) = (&mut self.wal, &mut self.keeper);
        let file = (total / 32 / MIB * MIB).clamp(WAL_FILE_MIN, WAL_FILE_MAX);
        wal.file_bytes = wal.file_bytes.min(file);
        wal.first_file_bytes = wal.first_file_bytes.min(wal.file_bytes);
        wal.backlog_max = wal.backlog_max.min((total / 4).max(4 * wal.file_bytes));
        wal.fresh_max = at_most(wal.fresh_max, (total / 16).max(4 * MIB));
        keeper.bundle_bytes = at_most(keeper.bundle_bytes, (total / 64).max(MIB));
        let checkpoint = (total / 8).max(2 * wal.file_bytes);
        keeper.checkpoint_bytes = keeper.checkpoint_bytes.min(checkpoint);
        let reserve = FREE_MIN.min(total / 20).max(FREE_WAL_FILES * wal.file_bytes);
        keeper.free_min.get_or_insert(reserve);
        assert!(keeper.checkpoint_bytes <= wal.backlog_max, "the WAL would wait for nothing");
        assert!(keeper.bundle_bytes <= wal.fresh_max, "the WAL would wait for nothing");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bound_takes_most_of_a_small_disk() {
        // Of the disk; then a WAL file, what is kept free, a checkpoint, a bundle; all MiB.
        let check = |total: u64, want: [u64; 4]| {
            let fitted = Settings::default().fitted(total * MIB);
            let (wal, keeper) = (fitted.wal, fitted.keeper);
            let free = keeper.free_min.expect("known");
            let got = [wal.file_bytes, free, keeper.checkpoint_bytes, keeper.bundle_bytes as u64];
            assert_eq!(got.map(|bytes| bytes / MIB), want, "{total} MiB");
        };
        check(1 << 20, [128, 256, 256, 32]);
        check(4096, [128, 256, 256, 32]);
        check(1024, [32, 64, 128, 16]);
        check(400, [12, 24, 50, 6]);
        check(96, [4, 8, 12, 1]);
        check(1, [4, 8, 8, 1]);
    }

    #[test]
    fn what_is_set_lower_stays() {
        let mut set = Settings::default();
        set.keeper.free_min = Some(5);
        set.wal.file_bytes = 32 << 10;
        let fitted = set.fitted(u64::MAX);
        assert_eq!((fitted.keeper.free_min, fitted.wal.file_bytes), (Some(5), 32 << 10));
        assert_eq!(fitted.wal.first_file_bytes, 32 << 10);
    }
}
