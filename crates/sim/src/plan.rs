//! What a seed chooses before it begins: who takes part, and which faults are switched on.

use std::io::ErrorKind;
use std::time::Duration;

use sabir_broker::keeper::KeeperSettings;
use sabir_broker::ticket::Class;
use sabir_broker::topic::Policy;
use sabir_storage::wal::WalSettings;

use crate::chance::Chance;
use crate::model::Promise;
use crate::workload::admin::AdminPlan;
use crate::workload::consumer::ConsumerPlan;
use crate::workload::founder::FounderPlan;
use crate::workload::member::{MemberPlan, STATIC};
use crate::workload::producer::ProducerPlan;

/// Long enough that only a wake can end such a poll within a run.
const LONG_POLL_MS: i32 = 60_000;

/// How the steps of the WAL's threads are mixed with everything else. Each number is "one in".
#[derive(Clone, Debug)]
pub struct PumpPlan {
    pub write_in: u64,
    pub sync_in: u64,
    /// How long a sync that has reached the device goes untold.
    pub told_in: u64,
    /// A frame without content.
    pub witness_in: u64,
    /// A file made ready ahead of need.
    pub prepare_in: u64,
    /// A turn of the keeper: what is due of bundles, retention and checkpoints.
    pub keep_in: u64,
    /// A checkpoint that is not due.
    pub checkpoint_in: u64,
}

/// How often what goes wrong. Each number is "one step in", 0 for never.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    pub power_in: u64,
    pub kill_in: u64,
    pub stop_in: u64,
    /// A disk operation soon fails, and with it this life.
    pub disk_in: u64,
    pub disk_kind: Option<ErrorKind>,
    /// The disk gets full.
    pub full_in: u64,
    /// A client's connection breaks; sometimes the power goes soon after, when the client may have
    /// sent again what the broker has not synced yet.
    pub drop_in: u64,
    /// The wall clock is set.
    pub clock_in: u64,
    /// The broker dies again while it recovers, this often of 100.
    pub again_percent: u64,
}

impl FaultPlan {
    /// True if the power may go while something is produced.
    pub fn cuts_power(&self) -> bool {
        let breaks = [self.power_in, self.disk_in, self.full_in, self.again_percent];
        breaks.iter().any(|often| *often > 0)
    }
}

/// Everything that a seed decides in advance.
#[derive(Clone, Debug)]
pub struct Plan {
    pub steps: u64,
    pub partitions: u32,
    pub topics: Vec<String>,
    /// Topics that come and go.
    pub churned: Vec<String>,
    pub producers: Vec<ProducerPlan>,
    pub consumers: Vec<ConsumerPlan>,
    /// Members of one group over the first topic.
    pub members: Vec<MemberPlan>,
    /// How long the first round of the group waits for more of them, in milliseconds.
    pub join_delay_ms: u32,
    /// Makes the topics that are kept otherwise than usual.
    pub founder: Option<FounderPlan>,
    pub admin: Option<AdminPlan>,
    pub rogue: bool,
    pub wal: WalSettings,
    pub keeper: KeeperSettings,
    pub pump: PumpPlan,
    pub faults: FaultPlan,
}

impl Plan {
    /// A short run without faults in which much is written in little time.
    pub fn dense(chance: &mut Chance) -> Plan {
        let mut plan = Plan::draw(chance);
        plan.steps = 600;
        plan.faults = FaultPlan::default();
        plan.producers.truncate(2);
        plan.consumers.truncate(1);
        for producer in &mut plan.producers {
            producer.bytes_max = 500;
            producer.batches = 200;
        }
        plan.pump = PumpPlan {
            write_in: 1,
            sync_in: 1,
            told_in: 1,
            witness_in: 10,
            prepare_in: 10,
            keep_in: 20,
            checkpoint_in: 40,
        };
        plan.wal = WalSettings {
            file_bytes: 24 << 10,
            first_file_bytes: 12 << 10,
            spares: 1,
            ..WalSettings::default()
        };
        plan
    }

    pub fn draw(chance: &mut Chance) -> Plan {
        let names = |prefix: &str, count: u64| -> Vec<String> {
            (0..count).map(|at| format!("{prefix}-{at}")).collect()
        };
        let topics = names("topic", chance.range(1, 3));
        let churned =
            if chance.one_in(3) { names("churn", chance.range(1, 2)) } else { Vec::new() };
        let partitions = u32::try_from(chance.range(1, 4)).expect("small");
        let mut plan = Plan {
            steps: chance.range(300, 2500),
            partitions,
            producers: Vec::new(),
            consumers: Vec::new(),
            members: Vec::new(),
            join_delay_ms: *chance.pick(&[0, 0, 30]),
            founder: None,
            admin: None,
            rogue: chance.one_in(4),
            wal: wal(chance),
            keeper: keeper(chance),
            pump: pump(chance),
            faults: faults(chance),
            topics,
            churned,
        };
        for _ in 0..chance.range(1, 3) {
            plan.producers.push(producer(chance, &plan.topics, false));
        }
        for _ in 0..chance.range(1, 2) {
            plan.consumers.push(consumer(chance, &plan.topics, false));
        }
        if !plan.churned.is_empty() {
            plan.producers.push(producer(chance, &plan.churned, true));
            plan.consumers.push(consumer(chance, &plan.churned, true));
            let topics = plan.churned.clone();
            let pause = chance.range(5, 40);
            plan.admin = Some(AdminPlan { topics, partitions, pause });
        }
        if chance.one_in(2) {
            plan.found(chance);
        }
        if chance.one_in(2) {
            for at in 0..chance.range(1, 3) {
                plan.members.push(MemberPlan {
                    topic: plan.topics[0].clone(),
                    partitions: i32::try_from(partitions).expect("small"),
                    instance: chance.one_in(3).then(|| format!("{STATIC}{at}")),
                    pause: chance.range(2, 6),
                });
            }
        }
        plan
    }

    /// Adds topics that are kept otherwise than usual, each with a producer and a reader.
    fn found(&mut self, chance: &mut Chance) {
        let mut topics = Vec::new();
        for at in 0..chance.range(1, 3) {
            let (name, policy) = kept(chance);
            let name = format!("{name}-{at}");
            let mut producer = producer(chance, std::slice::from_ref(&name), false);
            producer.made = true;
            if policy.durability == Some(Class::Os) && self.faults.cuts_power() {
                // What a power cut takes back tears a hole into the numbers of its producer.
                producer.promise = Promise::AtLeastOnce;
            }
            let mut consumer = consumer(chance, std::slice::from_ref(&name), false);
            consumer.relaxed = policy.durability == Some(Class::Os);
            self.producers.push(producer);
            self.consumers.push(consumer);
            topics.push((name, policy));
        }
        self.founder = Some(FounderPlan { topics, partitions: self.partitions });
    }

    /// The topics that are kept otherwise than usual.
    pub fn kept(&self) -> impl Iterator<Item = &(String, Policy)> {
        self.founder.iter().flat_map(|founder| &founder.topics)
    }
}

fn wal(chance: &mut Chance) -> WalSettings {
    WalSettings {
        file_bytes: *chance.pick(&[32 << 10, 64 << 10, 256 << 10]),
        first_file_bytes: *chance.pick(&[12 << 10, 16 << 10, 64 << 10]),
        spares: chance.index(4),
        ..WalSettings::default()
    }
}

/// A way to keep records that is not the usual one, and what a topic of that kind is called.
fn kept(chance: &mut Chance) -> (&'static str, Policy) {
    let policy = Policy::default();
    match chance.below(4) {
        0..2 => ("os", Policy { durability: Some(Class::Os), ..policy }),
        2 => {
            let bytes = *chance.pick(&[0, 1 << 10, 8 << 10]);
            ("small", Policy { retention_bytes: Some(bytes), ..policy })
        }
        _ => {
            let ms = *chance.pick(&[0, 200, 800]);
            ("short", Policy { retention_ms: Some(ms), ..policy })
        }
    }
}

/// So small that everything that happens to large logs happens here.
fn keeper(chance: &mut Chance) -> KeeperSettings {
    KeeperSettings {
        bundle_bytes: *chance.pick(&[1 << 10, 8 << 10, 64 << 10]),
        tail_bytes: *chance.pick(&[0, 4 << 10, 64 << 10]),
        checkpoint_bytes: *chance.pick(&[32 << 10, 128 << 10, 1 << 20]),
        checkpoint_every: Duration::from_millis(*chance.pick(&[50, 300, 1000])),
        retention_every: Duration::from_millis(200),
        free_min: Some(0),
        blocks_bytes: *chance.pick(&[1 << 10, 1 << 20]),
    }
}

fn pump(chance: &mut Chance) -> PumpPlan {
    PumpPlan {
        write_in: *chance.pick(&[1, 1, 2, 5]),
        sync_in: *chance.pick(&[1, 1, 3, 10, 40]),
        told_in: *chance.pick(&[1, 1, 2, 10, 40]),
        witness_in: *chance.pick(&[5, 50]),
        prepare_in: *chance.pick(&[3, 30]),
        keep_in: *chance.pick(&[0, 20, 100]),
        checkpoint_in: *chance.pick(&[0, 50, 200]),
    }
}

/// A random subset of the faults.
fn faults(chance: &mut Chance) -> FaultPlan {
    let mut faults = FaultPlan { again_percent: *chance.pick(&[0, 0, 20]), ..Default::default() };
    let often = |chance: &mut Chance, of: &[u64]| {
        if chance.one_in(2) { *chance.pick(of) } else { 0 }
    };
    faults.power_in = often(chance, &[150, 400, 1000]);
    faults.kill_in = often(chance, &[200, 600]);
    faults.stop_in = if chance.one_in(4) { 800 } else { 0 };
    faults.disk_in = if chance.one_in(3) { 400 } else { 0 };
    faults.disk_kind = chance.one_in(2).then_some(ErrorKind::StorageFull);
    faults.full_in = if chance.one_in(6) { 500 } else { 0 };
    faults.drop_in = often(chance, &[40, 150]);
    faults.clock_in = if chance.one_in(4) { 100 } else { 0 };
    faults
}

fn producer(chance: &mut Chance, topics: &[String], churn: bool) -> ProducerPlan {
    let promise = if chance.one_in(3) { Promise::AtLeastOnce } else { Promise::Idempotent };
    let idempotent = promise == Promise::Idempotent;
    let large = chance.one_in(12);
    ProducerPlan {
        topics: topics.to_vec(),
        churn,
        made: false,
        promise,
        acks: if idempotent { -1 } else { *chance.pick(&[-1, -1, 1, 0]) },
        version: if churn { 13 } else { i16::try_from(chance.range(3, 13)).expect("small") },
        depth: usize::try_from(chance.range(1, 5)).expect("small"),
        batches: u32::try_from(chance.range(5, 150)).expect("small"),
        records_max: *chance.pick(&[1, 3, 10]),
        bytes_max: if large { 60_000 } else { *chance.pick(&[1, 50, 500]) },
    }
}

fn consumer(chance: &mut Chance, topics: &[String], churn: bool) -> ConsumerPlan {
    ConsumerPlan {
        topics: topics.to_vec(),
        churn,
        relaxed: false,
        version: i16::try_from(chance.range(if churn { 13 } else { 4 }, 18)).expect("small"),
        session: chance.one_in(2),
        max_wait_ms: *chance.pick(&[0, 100, LONG_POLL_MS]),
        max_bytes: *chance.pick(&[100, 1000, 1 << 20]),
        drain: false,
    }
}
