//! The two ways into a shard: its lock, taken by whoever has work, and a mailbox, emptied by a task
//! that works for all. The mailbox exists only here, to be measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sabir_broker::admission::LinePlace;
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Clock, Now};
use sabir_broker::fetch::Found;
use sabir_broker::publish::Outcomes;
use sabir_broker::shard::AppendOp;
use sabir_broker::topic::Partition;
use sabir_broker::wake::Waker;
use sabir_net::clock::SystemClock;
use tokio::sync::{Notify, mpsc};

/// What a mailbox holds before senders wait, and what its task takes out of it at once.
const MAILBOX: usize = 1024;
const TAKEN_AT_ONCE: usize = 64;

/// Bytes that a fetch asks for.
pub const FETCH_BYTES: usize = 64 << 10;

/// Something for one shard to do.
pub enum Work {
    Append(Vec<AppendOp>),
    Fetch(Arc<Partition>, i64),
}

/// Work in a mailbox, and where its outcome goes.
pub struct Mail {
    work: Work,
    reply: mpsc::Sender<()>,
}

/// How connections reach the shards.
#[derive(Clone)]
pub enum Doors {
    Locks(Arc<Core>),
    /// By number of the shard.
    Mailboxes(Vec<mpsc::Sender<Mail>>),
}

/// The core as one client uses it.
pub struct Core {
    pub caller: Caller,
    pub clock: SystemClock,
    /// How often somebody waited for room in the stage.
    pub waits: AtomicU64,
}

impl Doors {
    /// Mailboxes with a task for each shard.
    pub fn mailboxes(core: &Arc<Core>, shards: u16) -> Self {
        let open = |shard| {
            let (mailbox, mails) = mpsc::channel(MAILBOX);
            tokio::spawn(work(core.clone(), shard, mails));
            mailbox
        };
        Self::Mailboxes((0..shards).map(open).collect())
    }
}

/// One connection's end.
pub struct Entrance {
    doors: Doors,
    turnstile: Turnstile,
    reply: mpsc::Sender<()>,
    replies: mpsc::Receiver<()>,
    ops: Vec<(u16, AppendOp)>,
}

impl Entrance {
    /// For a connection that has at most `outstanding` works out.
    pub fn new(doors: Doors, outstanding: usize) -> Self {
        let (reply, replies) = mpsc::channel(outstanding);
        Self { doors, turnstile: Turnstile::default(), reply, replies, ops: Vec::new() }
    }

    /// Lets the shards do this; true if it is done already, else `outcome` says when it is.
    pub async fn submit(&mut self, shard: u16, work: Work) -> bool {
        match &self.doors {
            Doors::Locks(core) => {
                let now = core.clock.now();
                match work {
                    Work::Append(ops) => {
                        self.ops.extend(ops.into_iter().map(|op| (shard, op)));
                        self.turnstile.append(core, now, &self.ops).await;
                        self.ops.clear();
                    }
                    Work::Fetch(partition, from) => fetch(&core.caller, &partition, from),
                }
                true
            }
            Doors::Mailboxes(shards) => {
                let mail = Mail { work, reply: self.reply.clone() };
                let sent = shards[usize::from(shard)].send(mail).await;
                assert!(sent.is_ok(), "the task of a shard lives as long as its connections");
                false
            }
        }
    }

    /// Waits for the next outcome.
    pub async fn outcome(&mut self) {
        self.replies.recv().await.expect("a sender is kept here");
    }
}

/// The task behind the mailbox of a shard. It takes what is there and appends all of it at once.
async fn work(core: Arc<Core>, shard: u16, mut mails: mpsc::Receiver<Mail>) {
    let turnstile = Turnstile::default();
    let (mut taken, mut ops, mut senders) = (Vec::new(), Vec::new(), Vec::new());
    while mails.recv_many(&mut taken, TAKEN_AT_ONCE).await > 0 {
        let now = core.clock.now();
        for Mail { work, reply } in taken.drain(..) {
            match work {
                Work::Append(more) => ops.extend(more.into_iter().map(|op| (shard, op))),
                Work::Fetch(partition, from) => fetch(&core.caller, &partition, from),
            }
            senders.push(reply);
        }
        if !ops.is_empty() {
            turnstile.append(&core, now, &ops).await;
            ops.clear();
        }
        for reply in senders.drain(..) {
            // A connection that has ended at the end of a run asks for nothing any more.
            let _ended = reply.try_send(());
        }
    }
}

fn fetch(caller: &Caller, partition: &Partition, from: i64) {
    let me = Waker::none();
    match caller.fetch(partition, from, FETCH_BYTES, true, &me).found {
        Found::Batches(batches) => drop(std::hint::black_box(batches)),
        other => panic!("the tail holds what is asked for, but: {other:?}"),
    }
}

/// Appends, and waits where the stage is full.
struct Turnstile {
    /// Woken when its turn in the line has come, and by the WAL for every frame.
    me: Waker,
    woken: Arc<Notify>,
}

impl Default for Turnstile {
    fn default() -> Self {
        let woken = Arc::new(Notify::new());
        let notify = woken.clone();
        Self { me: Waker::new(move || notify.notify_one()), woken }
    }
}

impl Turnstile {
    async fn append(&self, core: &Core, now: Now, ops: &[(u16, AppendOp)]) {
        let (mut place, mut outcomes) = (LinePlace::default(), Outcomes::new());
        loop {
            self.me.take();
            let left = &ops[outcomes.len()..];
            let tried = core.caller.append(now, left, &self.me, &mut place, &mut outcomes);
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            let Err(error) = tried else { return };
            if let Some(until) = error.wait {
                core.caller.wait(until, &self.me);
            }
            core.waits.fetch_add(1, Relaxed);
            self.woken.notified().await;
        }
    }
}
