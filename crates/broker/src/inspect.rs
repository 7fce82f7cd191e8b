//! Looking through a data directory: names the effects and rows that the storage finds there, and
//! checks that they can be read. Opens no broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Result;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sabir_storage::disk::{DirLock, Disk, OsDisk};
use sabir_storage::inspect::{self, Decoder};
use sabir_storage::log::LogId;
use sabir_storage::state::{Key, Kind};

pub use sabir_storage::inspect::{Damage, Fact, Facts, FileReport, Note, Report};

use crate::bytes::{Fields, Malformed};
use crate::effect::{self, Effect};
use crate::group::{Group, GroupEffect, OffsetPage};
use crate::image::{LogRow, NAMESPACES, REGISTRY_ID};
use crate::namespace::NamespaceRow;
use crate::producer::Producer;
use crate::shard::Registry;
use crate::topic::Row;

/// Looks through the directory at `root` and changes nothing; `paths` as in
/// [`sabir_storage::inspect::inspect`]. While it looks no broker can be started on the directory.
///
/// # Errors
/// `WouldBlock` if a broker has the directory, unless `force` is set: then what it reads may change
/// under it. Otherwise as `sabir_storage::inspect::inspect`.
pub fn inspect(root: &Path, paths: &[String], force: bool) -> Result<Report> {
    let _lock = if force { None } else { DirLock::look(root)? };
    on_disk(Arc::new(OsDisk::there(root)?), paths)
}

/// Refuses a directory that has no file of ours.
///
/// # Errors
/// `NotFound` if so; what the disk says.
pub fn refuse_strange(disk: &dyn Disk) -> Result<()> {
    inspect::refuse_strange(disk)
}

/// The same for a directory that lies on `disk`.
pub fn on_disk(disk: Arc<dyn Disk>, paths: &[String]) -> Result<Report> {
    inspect::inspect(disk, &mut Names::default(), paths)
}

/// Counts the effects of a section by kind; refuses those that replay would refuse.
pub fn describe_effects(
    section: &Bytes,
) -> std::result::Result<BTreeMap<&'static str, u64>, String> {
    let mut counts = BTreeMap::new();
    for effect in effect::decode(section) {
        let effect = effect.map_err(|Malformed| "it has an unknown effect".to_owned())?;
        *counts.entry(name(&effect)?).or_default() += 1;
    }
    Ok(counts)
}

fn name(effect: &Effect) -> std::result::Result<&'static str, String> {
    let unreadable = |what: &str| format!("it has {what} that cannot be read");
    Ok(match effect {
        Effect::Append { batch, .. } => {
            let batch = sabir_storage::batch::Header::parse(batch);
            batch.map_err(|error| format!("it has a batch that cannot be read: {error}"))?;
            "append"
        }
        Effect::Topic { row } => {
            Row::decode(&mut Fields(row)).map_err(|_| unreadable("a topic"))?;
            "topic"
        }
        Effect::TopicGone { .. } => "topic gone",
        Effect::LogStart { .. } => "log start",
        Effect::ProducerIds { .. } => "producer ids",
        Effect::GroupNamed { name, .. } => {
            std::str::from_utf8(name).map_err(|_| unreadable("a group"))?;
            "group named"
        }
        Effect::Group { change, .. } => {
            GroupEffect::decode(change).map_err(|_| unreadable("a group"))?;
            "group"
        }
        Effect::GroupGone { .. } => "group gone",
        Effect::Namespace { row } => {
            NamespaceRow::decode(row).map_err(|_| unreadable("a namespace"))?;
            "namespace"
        }
        Effect::NamespaceGone { .. } => "namespace gone",
    })
}

/// What is learned from the rows on the way.
#[derive(Default)]
pub(crate) struct Names {
    /// Topic and partition of each log.
    logs: BTreeMap<LogId, String>,
    /// Logs with a row.
    stored: BTreeSet<LogId>,
    /// Groups with a head.
    groups: BTreeSet<(u16, u64)>,
}

impl Names {
    fn read(&mut self, key: Key, row: &[u8]) -> std::result::Result<(), Malformed> {
        let mut fields = Fields(row);
        match key.kind {
            Kind::Log => {
                LogRow::decode(row)?;
                self.stored.insert(key.id);
            }
            Kind::Producer => {
                Producer::decode(&mut fields)?;
                fields.end()?;
            }
            Kind::Catalog if key.sub == NAMESPACES => drop(NamespaceRow::decode(row)?),
            Kind::Catalog if key.id == REGISTRY_ID => drop(Registry::decode(row)?),
            Kind::Catalog => {
                let row = Row::decode(&mut fields)?;
                for (number, (log, _)) in row.partitions.iter().enumerate() {
                    self.logs.insert(*log, format!("{}/{number}", row.name));
                }
            }
            Kind::Group | Kind::Offsets => self.group(key, fields)?,
            Kind::Checkpoint | Kind::Blob | Kind::Extents => return Err(Malformed),
        }
        Ok(())
    }

    fn group(&mut self, key: Key, mut fields: Fields<'_>) -> std::result::Result<(), Malformed> {
        let place = (key.shard, key.id);
        let mut group = Group::blank(key.id, Arc::default());
        match (key.kind, key.sub) {
            (Kind::Group, 0) => {
                fields.u32()?;
                group.load_head(fields.0).map_err(|_| Malformed)?;
                self.groups.insert(place);
                Ok(())
            }
            _ if !self.groups.contains(&place) => Err(Malformed),
            (Kind::Group, 1) => {
                fields.u64()?;
                fields.end()
            }
            (Kind::Offsets, sub) => {
                let page = OffsetPage { slot: (sub >> 32) as u32, page: sub as u32 };
                group.load_page(page, fields.0).map_err(|_| Malformed)
            }
            _ => Err(Malformed),
        }
    }
}

impl Decoder for Names {
    fn effects(&self, section: &Bytes) -> std::result::Result<BTreeMap<&'static str, u64>, String> {
        describe_effects(section)
    }

    fn row(&mut self, key: Key, row: &[u8]) -> std::result::Result<(), String> {
        self.read(key, row).map_err(|Malformed| "it cannot be read".to_owned())
    }

    fn contradictions(&self) -> Vec<String> {
        let homeless = self.stored.iter().filter(|log| !self.logs.contains_key(*log));
        homeless.map(|log| format!("log {log} belongs to no topic")).collect()
    }

    fn log_name(&self, log: LogId) -> Option<String> {
        self.logs.get(&log).cloned()
    }
}
