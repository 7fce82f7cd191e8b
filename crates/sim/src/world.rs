//! Everything that takes part in a run, and one step of it: a client acts, bytes move, a machine is
//! woken, the WAL writes or syncs, time passes, something breaks.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use sabir_broker::Settings;
use sabir_broker::clock::Now;
use sabir_broker::random::Seeded;
use sabir_storage::disk::sim::{Cut, Fault, SimDisk};
use sabir_storage::store::StoreError;
use sabir_storage::wal::WalLoss;

use crate::chance::Chance;
use crate::life::Life;
use crate::model::{Down, Event, History, Place};
use crate::net::{Lent, Net};
use crate::plan::Plan;
use crate::workload::admin::Admin;
use crate::workload::consumer::Consumer;
use crate::workload::producer::Producer;
use crate::workload::publisher::Publisher;
use crate::workload::rogue::Rogue;
use crate::workload::{Client, Ctx};

/// Where the wall clock begins: 2026-01-01, in milliseconds.
const WALL_BEGIN_MS: i64 = 1_767_225_600_000;
/// The wall clock is set at most this far from where it was at the beginning.
const WALL_JUMP_MS: u64 = 20 * 60 * 1000;
/// Openings in a row that may fail because something was broken.
const OPENINGS_MAX: u32 = 20;
/// What each may do in one sweep.
const ACTS: u32 = 3;

/// A run.
pub struct World {
    pub plan: Plan,
    pub chance: Chance,
    pub history: History,
    pub disk: Arc<SimDisk>,
    pub net: Net,
    pub life: Option<Life>,
    pub clients: Vec<Box<dyn Client>>,
    pub now: Now,
    /// The broker's own chance.
    random: Seeded,
    wall_shift: i64,
    /// Where this run breaks, instead of by chance.
    script: Option<Script>,
    /// The step of a power cut that is already decided.
    cut_at: Option<u64>,
    /// Steps until the broker is started again.
    down_for: u64,
    /// Nothing new is begun and nothing breaks.
    pub finishing: bool,
    /// Lives, steps and openings that failed, for the report.
    pub counts: Counts,
}

/// One place where a run breaks; nothing else does.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Armed before the first start.
    pub fault: Fault,
    /// What the failed operation ends in.
    pub end: Down,
    /// The next start fails at this operation.
    pub again: Option<u64>,
}

/// What happened in a run, for people.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub steps: u64,
    pub lives: u64,
    pub failed_openings: u64,
    pub frames: u64,
    pub checkpoints: u64,
    pub faults: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let plan = Plan::draw(&mut chance);
        World::with_plan(chance, plan, None)
    }

    /// A short run of the seed that breaks where the script says, or nowhere.
    pub fn scripted(seed: u64, script: Option<Script>) -> World {
        let mut chance = Chance::new(seed);
        let plan = Plan::dense(&mut chance);
        World::with_plan(chance, plan, script)
    }

    fn with_plan(mut chance: Chance, plan: Plan, script: Option<Script>) -> World {
        let random = chance.fork();
        let mut world = World {
            chance,
            history: History::default(),
            disk: SimDisk::new(),
            net: Net::default(),
            life: None,
            clients: Vec::new(),
            now: Now { wall: WALL_BEGIN_MS, ..Now::default() },
            random,
            wall_shift: 0,
            script,
            cut_at: None,
            down_for: 0,
            finishing: false,
            counts: Counts::default(),
            plan,
        };
        if let Some(script) = script {
            world.disk.fail(script.fault);
        }
        world.populate();
        world
    }

    fn populate(&mut self) {
        let plan = self.plan.clone();
        for producer in plan.producers {
            let id = self.next_client();
            self.clients.push(Box::new(Producer::new(id, producer)));
        }
        for consumer in plan.consumers {
            let id = self.next_client();
            self.clients.push(Box::new(Consumer::new(id, consumer)));
        }
        if let Some(admin) = plan.admin {
            let id = self.next_client();
            self.clients.push(Box::new(Admin::new(id, admin)));
        }
        if plan.rogue {
            let id = self.next_client();
            self.clients.push(Box::new(Rogue::new(id, plan.topics)));
            self.clients.push(Box::new(Publisher::new(self.next_client())));
        }
    }

    pub fn next_client(&self) -> u32 {
        u32::try_from(self.clients.len()).expect("a few")
    }

    /// One step.
    pub fn step(&mut self) {
        self.counts.steps += 1;
        self.pass_time();
        if self.life.is_none() {
            self.down_for = self.down_for.saturating_sub(1);
            if self.down_for == 0 {
                self.start();
            }
        }
        match self.chance.below(100) {
            0..40 => {
                let at = self.chance.index(self.clients.len());
                self.act(at);
            }
            40..56 => self.deliver_some(),
            56..70 => self.wake(),
            70..84 => self.flush(),
            84..98 => self.pump(),
            _ => self.look(),
        }
        if !self.finishing {
            self.break_something();
        }
    }

    /// Many steps at once, everybody in turn: to get to the end of a run in which nothing breaks.
    pub fn sweep(&mut self) {
        self.counts.steps += 1;
        self.pass_time();
        if self.life.is_none() {
            self.start();
        }
        for at in 0..self.clients.len() {
            for _ in 0..ACTS {
                self.act(at);
            }
        }
        for id in self.net.open() {
            self.deliver(id, usize::MAX);
        }
        while self.net.has_woken() {
            self.wake();
        }
        (0..ACTS).for_each(|_| self.pump());
        for id in self.net.open() {
            self.net.flush(id, usize::MAX);
        }
    }

    fn pass_time(&mut self) {
        let by = Duration::from_micros(self.chance.below(2000));
        self.now.mono = self.now.mono + by;
        let mono_ms = i64::try_from(self.now.mono.0 / 1_000_000).expect("minutes");
        self.now.wall = WALL_BEGIN_MS + mono_ms + self.wall_shift;
        if let Some((net, mut lent)) = self.lend() {
            net.wake_due(&mut lent);
        }
    }

    /// The network, and what its machines are lent; None while the broker is down.
    fn lend(&mut self) -> Option<(&mut Net, Lent<'_>)> {
        let life = self.life.as_ref()?;
        let lent = Lent { broker: &life.broker, now: self.now, random: &mut self.random };
        Some((&mut self.net, lent))
    }

    fn act(&mut self, at: usize) {
        let World { clients, net, life, history, chance, now, finishing, .. } = self;
        let life = life.as_ref();
        let mut ctx = Ctx { net, life, history, chance, now: *now, finishing: *finishing };
        clients[at].act(&mut ctx);
    }

    fn any_conn(&mut self) -> Option<u64> {
        let open = self.net.open();
        if open.is_empty() { None } else { Some(*self.chance.pick(&open)) }
    }

    fn deliver_some(&mut self) {
        if let Some(id) = self.any_conn() {
            let count = self.some_bytes();
            self.deliver(id, count);
        }
    }

    fn deliver(&mut self, id: u64, count: usize) {
        if let Some((net, mut lent)) = self.lend() {
            net.deliver(id, count, &mut lent);
        }
    }

    fn flush(&mut self) {
        let Some(id) = self.any_conn() else { return };
        let count = self.some_bytes();
        self.net.flush(id, count);
    }

    /// Mostly all there is, sometimes a few bytes.
    fn some_bytes(&mut self) -> usize {
        if self.chance.one_in(4) { self.chance.index(200) + 1 } else { usize::MAX }
    }

    fn wake(&mut self) {
        let at = self.chance.index(1 << 10);
        let Some(id) = self.net.next_woken(at) else { return };
        if let Some((net, mut lent)) = self.lend() {
            net.wake(id, &mut lent);
        }
    }

    /// One thing that a thread of the broker would do.
    fn pump(&mut self) {
        let Some(life) = &mut self.life else { return };
        let (plan, chance) = (&self.plan.pump, &mut self.chance);
        let in_time = self.finishing;
        let mut due = |one_in: u64| in_time || chance.one_in(one_in);
        if let Some(upto) = life.syncing.take_if(|_| due(plan.told_in)) {
            life.pump.end_sync(upto);
        }
        while life.pump.read_one() {}
        life.pump.tick(self.now);
        let done = if life.pump.staged() > 0 && due(plan.write_in) {
            // Also while the device syncs.
            self.counts.frames += 1;
            life.pump.write().map(drop)
        } else if life.wants_sync() && due(plan.sync_in) {
            life.pump.begin_sync().map(|upto| life.syncing = Some(upto))
        } else if chance.one_in(plan.witness_in) {
            life.pump.write().map(drop)
        } else if chance.one_in(plan.prepare_in) {
            // Without room there is no spare file, and nothing else is lost.
            let _no_room = life.pump.prepare();
            Ok(())
        } else {
            Ok(())
        };
        if done.is_err() {
            return self.die_of_disk();
        }
        if self.chance.one_in(self.plan.pump.keep_in) {
            self.keep(|life, now| life.pump.keep(now));
        } else if self.chance.one_in(self.plan.pump.checkpoint_in) {
            self.counts.checkpoints += 1;
            self.keep(|life, _| life.pump.checkpoint());
        }
    }

    /// What the keeper does in one go, syncs of the WAL included.
    fn keep(&mut self, turn: impl FnOnce(&Life, Now) -> Result<(), StoreError>) {
        let Some(life) = &mut self.life else { return };
        if let Some(upto) = life.syncing.take() {
            life.pump.end_sync(upto);
        }
        if life.pump.staged() > 0 && life.pump.write().is_err() {
            return self.die_of_disk();
        }
        // A sync that fails in the middle of it unwinds.
        let done = catch_unwind(AssertUnwindSafe(|| turn(life, self.now)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_full() => {}
            Ok(Err(_)) => self.die_of_disk(),
            Err(panic) if panic.is::<WalLoss>() => self.die_of_disk(),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Notes how far every log may be read: no crash may take that back.
    fn look(&mut self) {
        let Some(life) = &self.life else { return };
        for topic in life.caller.topics() {
            for (at, partition) in topic.partitions.iter().enumerate() {
                let partition_index = i32::try_from(at).expect("a few");
                let place = Place { topic: topic.uuid, partition: partition_index };
                let (start, end) = (partition.view.start(), partition.view.visible());
                self.history.add(Event::Bounds { place, start, end });
            }
        }
    }

    fn break_something(&mut self) {
        let faults = self.plan.faults.clone();
        if self.chance.one_in(faults.drop_in) {
            let at = self.chance.index(self.clients.len());
            self.clients[at].hang_up(&mut self.net);
            if faults.power_in > 0 && self.chance.one_in(4) {
                self.cut_at = Some(self.counts.steps + self.chance.below(250));
            }
        }
        if self.chance.one_in(faults.clock_in) {
            let span = self.chance.below(2 * WALL_JUMP_MS);
            self.wall_shift = i64::try_from(span).expect("minutes") - WALL_JUMP_MS as i64;
        }
        if self.life.is_none() {
            return;
        }
        if self.chance.one_in(faults.disk_in) {
            self.counts.faults += 1;
            let kind = faults.disk_kind.unwrap_or(std::io::ErrorKind::Other);
            let after = self.chance.below(12);
            self.disk.fail(Fault { after, kind, syncs_only: self.chance.one_in(2) });
        }
        if self.chance.one_in(faults.full_in) {
            self.counts.faults += 1;
            let used: u64 = self.disk.files().iter().map(|(_, len)| len).sum();
            self.disk.set_capacity(used + self.chance.below(100_000));
        }
        let decided = self.cut_at.take_if(|at| *at <= self.counts.steps).is_some();
        if decided || self.chance.one_in(faults.power_in) {
            self.power_cut();
        } else if self.chance.one_in(faults.kill_in) {
            self.die(Down::Killed);
        } else if self.chance.one_in(faults.stop_in) {
            self.stop();
        }
    }

    pub fn power_cut(&mut self) {
        let how = if self.chance.one_in(2) { Down::PowerLost } else { Down::PowerTorn };
        self.die(how);
    }

    /// A write or sync has failed: the process ends, and sometimes the machine with it.
    fn die_of_disk(&mut self) {
        match self.script {
            Some(script) => self.die(script.end),
            None if self.chance.one_in(3) => self.power_cut(),
            None => self.die(Down::Killed),
        }
    }

    /// An orderly end: everything is written and synced.
    fn stop(&mut self) {
        let Some(life) = &mut self.life else { return };
        if let Some(upto) = life.syncing.take() {
            life.pump.end_sync(upto);
        }
        let last = life.pump.write().and_then(|_| life.pump.begin_sync());
        match last.map(|upto| life.pump.end_sync(upto)).and_then(|()| life.pump.write()) {
            Ok(_) => self.die(Down::Stopped),
            Err(_) => self.die_of_disk(),
        }
    }

    /// Ends this life of the broker.
    pub fn die(&mut self, how: Down) {
        self.net.crash();
        self.life = None;
        let share = *self.chance.pick(&[20, 128, 240]);
        let cut = match how {
            Down::PowerLost => Cut::Lost,
            Down::PowerTorn => Cut::Torn(share),
            Down::Killed | Down::Stopped => Cut::Kept,
        };
        let chance = &mut self.chance;
        self.disk.cut(cut, || chance.next());
        self.history.add(Event::Down { how });
        self.down_for = self.chance.below(20) + 1;
    }

    /// Starts the broker; it may die again on its way.
    fn start(&mut self) {
        for attempt in 0..OPENINGS_MAX {
            let again = !self.finishing
                && attempt < OPENINGS_MAX / 2
                && self.chance.below(100) < self.plan.faults.again_percent;
            let scripted = self.script.as_mut().filter(|_| self.counts.lives > 0);
            if let Some(after) = scripted.and_then(|script| script.again.take()) {
                let kind = std::io::ErrorKind::Other;
                self.disk.fail(Fault { after, kind, syncs_only: false });
            } else if again {
                let (after, kind) = (self.chance.below(10), std::io::ErrorKind::Other);
                self.disk.fail(Fault { after, kind, syncs_only: self.chance.one_in(3) });
            }
            match self.open() {
                Ok(life) => {
                    // The script's fault may still lie ahead.
                    if self.script.is_none() || self.counts.lives > 0 {
                        self.disk.mend();
                    }
                    self.counts.lives += 1;
                    self.life = Some(life);
                    self.history.add(Event::Up);
                    return;
                }
                Err(error) => {
                    self.counts.failed_openings += 1;
                    // Somebody makes room: nobody did while it was only a fault.
                    let full = self.disk.is_bounded();
                    self.disk.unbound();
                    if !self.disk.is_failing() && !full {
                        self.stuck(&format!("the broker does not start: {error}"));
                        return;
                    }
                    self.die_of_disk();
                }
            }
        }
        self.stuck("the broker does not start, however often it tries");
    }

    fn open(&mut self) -> Result<Life, sabir_broker::OpenError> {
        let (wal, keeper) = (self.plan.wal, self.plan.keeper);
        let settings = Settings { wal, keeper, ..Settings::default() };
        let protocol = sabir_kafka::Settings {
            default_partitions: self.plan.partitions,
            ..sabir_kafka::Settings::default()
        };
        Life::begin(&self.disk, settings, &protocol, &mut self.random)
    }

    /// Nothing can go on: noted once, and the run is over.
    fn stuck(&mut self, what: &str) {
        self.history.add(Event::Wrong { client: u32::MAX, what: what.to_owned() });
        self.down_for = u64::MAX;
    }

    /// Those who are not done yet, in their words.
    pub fn unfinished(&self) -> Vec<String> {
        let Some(life) = &self.life else { return vec!["the broker is down".into()] };
        let waiting = self.clients.iter().filter(|client| !client.is_done(life));
        waiting.map(|client| client.describe()).collect()
    }

    /// From now on nothing breaks and nothing new is begun.
    pub fn heal(&mut self) {
        self.finishing = true;
        self.disk.mend();
        self.disk.unbound();
    }
}
