//! Who a data directory is: its id, its format level, its shard count and the secret of its WAL.
//! One page, written once; and the lock that keeps a second process out.

use std::io::{Error, ErrorKind, Result};

use crc_fast::{CrcAlgorithm::Crc32Iscsi, checksum};

use crate::disk::{Disk, Mode, read_exact};
use crate::frame::Secret;

/// The format of the directory as a whole.
pub const LEVEL: u32 = 1;
pub(crate) const PATH: &str = "IDENT";
pub(crate) const FRESH: &str = "IDENT.new";
const MAGIC: u64 = u64::from_le_bytes(*b"SABIR-ID");
pub(crate) const LEN: usize = 48;

/// The identity of a data directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ident {
    /// Random; what protocols show as the id of the cluster.
    pub cluster: [u8; 16],
    pub shards: u16,
    pub secret: Secret,
}

impl Ident {
    /// Reads the identity, or makes the one that `fresh` gives if the directory is new. A new one
    /// is durable when this returns.
    pub fn open(disk: &dyn Disk, fresh: impl FnOnce() -> Ident) -> Result<Ident> {
        if let Some(ident) = Ident::read(disk)? {
            return Ok(ident);
        }
        refuse_foreign(disk)?;
        let ident = fresh();
        ident.write(disk)?;
        Ok(ident)
    }

    /// Reads the identity; None if there is none.
    pub fn read(disk: &dyn Disk) -> Result<Option<Ident>> {
        let file = match disk.open(PATH, Mode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let page = read_exact(&*file, 0, LEN).map_err(|error| {
            Error::new(error.kind(), format!("{PATH}: cannot be read: {error}"))
        })?;
        Ident::parse(&page).map(Some)
    }

    pub(crate) fn parse(page: &[u8]) -> Result<Ident> {
        let refuse = |what: String| Err(Error::new(ErrorKind::InvalidData, what));
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| page[at + i]));
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| page[at + i]));
        if long(0) != MAGIC || word(44) != checksum(Crc32Iscsi, &page[..44]) as u32 {
            return refuse(format!(
                "{PATH}: the file is damaged, and without its secret the write-ahead log cannot \
                 be read; restore this one file from a backup of the directory"
            ));
        }
        if word(8) != LEVEL {
            let found = word(8);
            return refuse(format!(
                "{PATH}: the directory has format level {found}, this program reads {LEVEL}"
            ));
        }
        Ok(Ident {
            cluster: std::array::from_fn(|i| page[12 + i]),
            shards: u16::from_le_bytes([page[28], page[29]]),
            secret: Secret(long(32)),
        })
    }

    pub(crate) fn encode(&self) -> [u8; LEN] {
        let mut page = [0; LEN];
        page[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        page[8..12].copy_from_slice(&LEVEL.to_le_bytes());
        page[12..28].copy_from_slice(&self.cluster);
        page[28..30].copy_from_slice(&self.shards.to_le_bytes());
        page[32..40].copy_from_slice(&self.secret.0.to_le_bytes());
        let crc = checksum(Crc32Iscsi, &page[..44]) as u32;
        page[44..48].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Writes the identity under its name; durable when this returns.
    pub(crate) fn write(&self, disk: &dyn Disk) -> Result<()> {
        let file = disk.open(FRESH, Mode::Write)?;
        file.write_at(&self.encode(), 0)?;
        file.sync()?;
        disk.rename(FRESH, PATH)?;
        disk.sync_dir("")
    }
}

/// A directory that holds something but no identity is not ours, or has lost it.
fn refuse_foreign(disk: &dyn Disk) -> Result<()> {
    let known = |name: &str| name == FRESH || name == "LOCK";
    match disk.list("")?.into_iter().find(|entry| !known(&entry.name)) {
        None => Ok(()),
        Some(entry) => Err(Error::new(
            ErrorKind::InvalidData,
            format!(
                "the data directory has no {PATH} but holds `{}`: name an empty directory, or \
                 restore {PATH} from a backup",
                entry.name
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Cut, Fault, Handle, SimDisk};

    fn ident(n: u8) -> Ident {
        Ident { cluster: [n; 16], shards: 16, secret: Secret(u64::from(n)) }
    }

    #[test]
    fn the_first_identity_stays_also_over_power_cuts_at_every_operation() {
        for after in 0..8 {
            let disk = SimDisk::new();
            disk.fail(Fault { after, kind: ErrorKind::Other, syncs_only: false });
            let made = Ident::open(&Handle(disk.clone()), || ident(1)).is_ok();
            disk.cut(Cut::Lost, || 0);
            let found = Ident::open(&Handle(disk.clone()), || ident(2)).expect("opens");
            assert!(found == ident(if made { 1 } else { 2 }), "fault at {after}");
        }
    }

    #[test]
    fn damage_and_foreign_directories_are_refused() {
        let disk = SimDisk::new();
        Ident::open(&Handle(disk.clone()), || ident(1)).map(drop).expect("opens");
        disk.flip("IDENT", 33, 2);
        let error = Ident::open(&Handle(disk.clone()), || ident(2)).map(drop).expect_err("no");
        assert!(error.to_string().contains("damaged"), "{error}");
        let disk = SimDisk::new();
        Handle(disk.clone()).open("wal/x", Mode::Write).map(drop).expect("opens");
        let error = Ident::open(&Handle(disk), || ident(2)).map(drop).expect_err("no");
        assert!(error.to_string().contains("`wal`"), "{error}");
    }
}
