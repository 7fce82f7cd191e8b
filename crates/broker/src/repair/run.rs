//! From what is damaged to a plan, and from a plan to a repaired directory.
//!
//! Nothing that was there is changed before the one commit: blobs and the write-ahead log get new
//! files beside the old ones, rows that cannot be committed to get a new store. Damaged files are
//! moved after it. A repair that is cut short anywhere is repeated from the beginning.

use std::collections::BTreeSet;
use std::io::{Error, Result};
use std::sync::Arc;

use sabir_storage::blob::{BlobId, BlobMeta};
use sabir_storage::checkpoint::CheckpointRow;
use sabir_storage::disk::Disk;
use sabir_storage::ident::Ident;
use sabir_storage::inspect::Decoder;
use sabir_storage::recent::Recent;
use sabir_storage::repair::identity::{Mended, mend};
use sabir_storage::repair::quarantine::Quarantine;
use sabir_storage::repair::rows::{self, Found, NewStore, Origin};
use sabir_storage::repair::{self, RowList, stretches};
use sabir_storage::state::Kind;
use sabir_storage::store::{Store, decode_extents};
use sabir_storage::wal::replay::End;
use sabir_storage::wal::salvage::{self, Rest};
use sabir_storage::wal::{FileWal, Wal, WalLoss, WalParts};

use super::pass::{Goal, Pass};
use super::{Repair, report};
use crate::broker::Settings;
use crate::catalog::Catalog;
use crate::core::Core;
use crate::groups::{GroupNames, Restore};
use crate::inspect::{self, Damage, Names, Report};
use crate::keeper::Keeper;
use crate::recovery::Recovery;

/// What is the matter, and what would be done; changes nothing.
pub(super) fn plan(disk: &Arc<dyn Disk>) -> Result<Repair> {
    let report = inspect::on_disk(disk.clone(), &[])?;
    let damages = report.damages.clone();
    let ident = match Ident::read(&**disk) {
        Ok(Some(ident)) => ident,
        Ok(None) | Err(_) => {
            let damages = damages.into_iter().filter(|damage| damage.path == "IDENT").collect();
            return Ok(plan_identity(mend(&**disk)?, damages));
        }
    };
    let unfinished = Quarantine::unfinished(&**disk)?;
    if report.is_intact() {
        let Some(unfinished) = unfinished else { return Ok(Repair::default()) };
        let actions = vec![format!("finish the repair that {} is of", unfinished.dir)];
        return Ok(Repair { actions, moved: unfinished.paths, ..Repair::default() });
    }
    let mut plan = Repair { damages, ..Repair::default() };
    let disk = repair::unwritten(disk.clone());
    Work::begin(&disk, ident, &report, false)?.describe(&mut plan);
    mention(unfinished.as_ref(), &mut plan);
    Ok(plan)
}

/// What an earlier try has committed is named in its report, and nowhere else.
fn mention(unfinished: Option<&Quarantine>, plan: &mut Repair) {
    if let Some(Quarantine { dir, .. }) = unfinished {
        plan.doubts.push(format!(
            "an earlier repair did not come to its end; what it had found lost stands in \
             {dir}/REPORT.txt"
        ));
    }
}

fn plan_identity(mended: Option<Mended>, damages: Vec<Damage>) -> Repair {
    let mut plan = Repair { damages, ..Repair::default() };
    match mended {
        Some(Mended { how, .. }) => {
            plan.actions.push(format!("write IDENT anew: {how}"));
            plan.doubts.push(
                "what else is damaged can only be told once IDENT is there; it is repaired in the \
                 same run"
                    .to_owned(),
            );
        }
        None => {
            plan.refused = Some(
                "IDENT holds the secret without which no frame of the write-ahead log can be told \
                 from any other bytes; no export has a copy of it, and no single flipped bit \
                 explains it. It never changes: put back IDENT, 48 bytes, from any backup of this \
                 directory, however old, and repair again"
                    .to_owned(),
            );
        }
    }
    plan
}

/// Does what was planned.
pub(super) fn run(disk: &Arc<dyn Disk>, mut plan: Repair, time_ms: i64) -> Result<Repair> {
    let mut quarantine = Quarantine::new(&report::time(time_ms), plan.moved.clone());
    if !matches!(Ident::read(&**disk), Ok(Some(_))) {
        let mended = mend(&**disk)?.expect("it was planned");
        quarantine.write_identity(&**disk, &mended.ident)?;
        let rest = self::plan(disk)?;
        plan = Repair {
            damages: plan.damages.into_iter().chain(rest.damages).collect(),
            actions: plan.actions.into_iter().chain(rest.actions).collect(),
            ..rest
        };
        quarantine.paths = plan.moved.clone();
    }
    plan.quarantine = Some(quarantine.dir.clone());
    let ident = Ident::read(&**disk)?.ok_or_else(|| Error::other("IDENT is gone again"))?;
    let found = inspect::on_disk(disk.clone(), &[])?;
    if found.is_intact() {
        if let Some(mut unfinished) = Quarantine::unfinished(&**disk)? {
            let used = used(disk, &ident)?;
            unfinished.paths.retain(|path| !used.contains(path));
            unfinished.end(&**disk)?;
        }
    } else {
        Work::begin(disk, ident, &found, true)?.complete(&mut plan, &mut quarantine)?;
    }
    let left = inspect::on_disk(disk.clone(), &[])?;
    match left.damages.first() {
        None => Ok(plan),
        Some(Damage { path, what, .. }) => {
            Err(Error::other(format!("after the repair {path} is still damaged: {what}")))
        }
    }
}

/// Paths of the blobs that the rows name.
fn used(disk: &Arc<dyn Disk>, ident: &Ident) -> Result<BTreeSet<String>> {
    let found = rows::best(&**disk, ident.secret, &mut usable).map_err(Error::other)?;
    let extents = found.rows.iter().filter(|(key, _)| key.kind == Kind::Extents);
    let extents = extents.filter_map(|(_, row)| decode_extents(row)).flat_map(|(_, all)| all);
    Ok(extents.flat_map(|extent| paths_of(extent.blob)).collect())
}

/// The files of a blob and, for a segment, of its index.
fn paths_of(blob: BlobId) -> impl Iterator<Item = String> {
    [Some(blob), blob.index()].into_iter().flatten().map(|blob| blob.path())
}

/// Whether the contents of rows can be read; what does not fit together is put together anew.
fn usable(rows: &RowList) -> std::result::Result<(), String> {
    let mut names = Names::default();
    for (key, row) in rows {
        let wrong = match key.kind {
            Kind::Checkpoint => CheckpointRow::decode(row).is_none().then(|| "unreadable".into()),
            Kind::Extents => decode_extents(row).is_none().then(|| "unreadable".into()),
            _ => names.row(*key, row).err(),
        };
        if let Some(why) = wrong {
            return Err(format!(
                "the row of {:?} {} in shard {}: {why}",
                key.kind, key.id, key.shard
            ));
        }
    }
    Ok(())
}

/// A repair under way: what is left of the directory, as the state of shards.
struct Work {
    disk: Arc<dyn Disk>,
    ident: Ident,
    settings: Settings,
    damages: Vec<Damage>,
    rows: Found,
    listed: Vec<BlobMeta>,
    core: Arc<Core>,
    catalog: Arc<Catalog>,
    store: Arc<Store>,
    recent: Arc<Recent>,
    rest: Rest,
    /// The first frame of the write-ahead log that goes on.
    next: u64,
    generation: u32,
    lost: Vec<super::Lost>,
    doubts: Vec<String>,
    named: Vec<String>,
}

impl Work {
    fn begin(disk: &Arc<dyn Disk>, ident: Ident, report: &Report, write: bool) -> Result<Work> {
        let settings = Settings::default().fitted(disk.total()?);
        let rows = rows::best(&**disk, ident.secret, &mut usable).map_err(Error::other)?;
        let recent = Arc::new(Recent::default());
        let (store, listed) =
            repair::store_over(disk.clone(), recent.clone(), &rows.rows).map_err(Error::other)?;
        let core = Arc::new(Core::new(ident.shards, Arc::default(), |why: &WalLoss| {
            tracing::error!(%why, "stopping: nothing can be repaired any more");
        }));
        let (catalog, store) = (Arc::new(Catalog::default()), Arc::new(store));
        let mut work = Work {
            disk: disk.clone(),
            ident,
            settings,
            damages: report.damages.clone(),
            rows,
            listed,
            core,
            catalog,
            store,
            recent,
            rest: Rest::default(),
            next: 0,
            generation: 0,
            lost: Vec::new(),
            doubts: Vec::new(),
            named: Vec::new(),
        };
        work.salvage(write)?;
        Ok(work)
    }

    fn adopts(&self) -> bool {
        self.rows.origin != Origin::Current
    }

    fn checkpoint(&self) -> Option<CheckpointRow> {
        let row = self.rows.rows.iter().find(|(key, _)| *key == CheckpointRow::KEY);
        row.and_then(|(_, row)| CheckpointRow::decode(row))
    }

    /// Rows, stretches and frames, in this order.
    fn salvage(&mut self, write: bool) -> Result<()> {
        let groups = GroupNames::default();
        let group_settings = Arc::new(self.settings.groups.clone());
        let (core, catalog, store) = (self.core.clone(), self.catalog.clone(), self.store.clone());
        let recovery = Recovery {
            core: &core,
            catalog: &catalog,
            store: &store,
            defaults: self.settings.defaults,
            groups: Restore { core: &core, names: &groups, settings: &group_settings },
        };
        let adopt = self.adopts();
        let told = if adopt { stretches::tell(&*store.blobs, &self.listed) } else { Vec::new() };
        let damaged = self.damages.iter().map(|damage| damage.path.clone()).collect();
        let highest_log = told.iter().map(|extent| extent.log).max().unwrap_or(0);
        let goal = Goal { write, adopt, damaged, unused_above: highest_log };
        let mut pass = Pass::new(recovery, goal);
        pass.load(told).map_err(other)?;
        let row = self.checkpoint();
        let from = row.filter(|_| !adopt).map(|row| row.replay_from);
        let known = row.filter(|_| !adopt).map_or(0, |row| row.durable);
        let secret = self.ident.secret;
        let rest =
            salvage::salvage(&*self.disk, secret, from, known, &mut |frame| pass.frame(frame));
        let rest = rest.map_err(Error::other)?;
        let highest = rest.highest.max(row.map_or(0, |row| row.durable.max(row.replay_from.frame)));
        self.generation = rest.generation.max(pass.highest_epoch.unsigned_abs());
        pass.finish(highest + 1).map_err(other)?;
        self.next = highest + 2;
        assert!(rest.highest < self.next && rest.generation <= self.generation, "all is behind");
        self.rest = rest;
        self.lost = pass.lost();
        self.doubts = std::mem::take(&mut pass.doubts);
        self.named = std::mem::take(&mut pass.named);
        if write {
            pass.touch(adopt);
        }
        Ok(())
    }

    /// Files of the stretches that stay.
    fn kept(&self) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        for topic in self.catalog.all() {
            for partition in &topic.partitions {
                let extents = partition.view.extents();
                kept.extend(extents.into_iter().flat_map(|extent| paths_of(extent.blob)));
            }
        }
        kept
    }

    /// Files that have to go once the repair is committed, but for those of the rows.
    fn to_move(&self) -> Vec<String> {
        let kept = self.kept();
        let damaged: BTreeSet<&str> = self.damages.iter().map(|d| d.path.as_str()).collect();
        let is_damaged = |blob: &BlobMeta| {
            let both = match blob.id {
                BlobId::Segment { shard, log, rewrite, base, .. } => {
                    BlobId::segment(shard, log, rewrite, base)
                }
                bundle => bundle,
            };
            paths_of(both).any(|path| damaged.contains(path.as_str()))
        };
        let blobs = self
            .listed
            .iter()
            .filter(|blob| !kept.contains(&blob.id.path()) && (self.adopts() || is_damaged(blob)));
        let mut paths: Vec<String> = blobs.map(|blob| blob.id.path()).collect();
        let others =
            damaged.iter().filter(|path| path.starts_with("wal/") || path.starts_with("export/"));
        paths.extend(others.map(|path| (*path).to_owned()));
        paths
    }

    fn describe(&self, plan: &mut Repair) {
        plan.lost = self.lost.clone();
        report::rows(&self.rows, self.checkpoint(), &self.rest, plan);
        report::frames(&self.rest, plan);
        plan.doubts.extend(self.doubts.iter().cloned());
        report::named(&self.named, plan);
        plan.moved = self.to_move();
        if self.adopts() {
            plan.moved.extend(["state.redb", "state.mark"].map(str::to_owned));
        }
        if !plan.lost.is_empty() {
            plan.actions.push(
                "put empty batches in the place of the lost offsets: consumers pass over them, and \
                 no offset is given out twice"
                    .to_owned(),
            );
        }
        plan.actions.push(
            "write anew what is whole of damaged files, and begin a new file of the \
                           write-ahead log"
                .to_owned(),
        );
    }

    /// Commits what was salvaged, and moves what is damaged.
    fn complete(self, plan: &mut Repair, quarantine: &mut Quarantine) -> Result<()> {
        self.describe_again(plan);
        let unfinished = Quarantine::unfinished(&*self.disk)?;
        mention(unfinished.as_ref(), plan);
        quarantine.paths = self.to_move();
        let kept = self.kept();
        let earlier = unfinished.into_iter().flat_map(|unfinished| unfinished.paths);
        quarantine.paths.extend(earlier.filter(|path| !kept.contains(path)));
        quarantine.begin(&*self.disk, &plan.to_string())?;
        let new = if self.adopts() {
            let (disk, rows) = (self.disk.clone(), &self.rows);
            Some(NewStore::of(disk, &rows.rows, rows.highest).map_err(Error::other)?)
        } else {
            None
        };
        match &new {
            Some(new) => self.store.set_state(new.state()),
            None => self.store.drop_state(),
        }
        self.commit()?;
        self.store.drop_state();
        let disk = self.disk.clone();
        drop(self);
        if let Some(new) = new {
            for path in ["state.redb", "state.mark"] {
                quarantine.take(&*disk, path)?;
            }
            new.install().map_err(Error::other)?;
        }
        rows::renew_mark(&*disk).map_err(Error::other)?;
        quarantine.end(&*disk)
    }

    /// What became of the plan, which was made of the same bytes.
    fn describe_again(&self, plan: &mut Repair) {
        let (actions, damages) = (std::mem::take(&mut plan.actions), plan.damages.clone());
        let mut fresh = Repair { damages, ..Repair::default() };
        self.describe(&mut fresh);
        let identity = actions.into_iter().filter(|action| action.contains("IDENT"));
        fresh.actions = identity.chain(fresh.actions).collect();
        fresh.quarantine = plan.quarantine.take();
        *plan = fresh;
    }

    /// Begins a write-ahead log behind the old one, and makes a checkpoint in it.
    fn commit(&self) -> Result<()> {
        let end = End {
            next: self.next,
            generation: self.generation,
            live: Vec::new(),
            last_file: self.rest.last_file,
            torn: false,
        };
        let epoch = i32::try_from(end.generation + 1).unwrap_or(i32::MAX);
        for shard in 0..self.core.count() {
            let mut shard = self.core.lock(shard);
            (shard.open, shard.epoch) = (end.next, epoch);
        }
        let parts = WalParts {
            herald: Arc::default(),
            disk: repair::beside_old_wal(self.disk.clone()),
            secret: self.ident.secret,
            pool: Arc::default(),
            recent: self.recent.clone(),
        };
        let source = self.core.clone();
        let wal: Arc<dyn Wal> =
            Arc::new(FileWal::without_threads(parts, self.settings.wal, end, source)?);
        let (core, catalog, store) = (self.core.clone(), self.catalog.clone(), self.store.clone());
        let keeper = Keeper::new(core, catalog, store, wal.clone(), self.settings.keeper);
        let made = keeper.checkpoint_now().map_err(Error::other);
        wal.close();
        made
    }
}

fn other(error: crate::broker::OpenError) -> Error {
    Error::other(error.to_string())
}
