//! What happened in a run, as the clients saw it. Recorded in the order of simulated time; judged
//! by `checkers`, which knows nothing else.

use std::fmt;
use std::hash::{Hash, Hasher};

/// Number of a client in its run.
pub type ClientId = u32;

/// One partition of one life of a topic: a topic made again under the same name is another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub topic: [u8; 16],
    pub partition: i32,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = u32::from_be_bytes([self.topic[0], self.topic[1], self.topic[2], 0]) >> 8;
        write!(f, "{short:06x}/{}", self.partition)
    }
}

/// One record as its producer numbered it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    pub client: ClientId,
    pub number: u64,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.client, self.number)
    }
}

/// How a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// May be there any number of times that it was sent.
    AtLeastOnce,
    /// At most once, and in the order of the numbers within its place.
    Idempotent,
}

/// What may be done to a topic or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    Made,
    Gone,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A record leaves its producer, for the first time or again: with this timestamp, and this
    /// share of the bytes of its batch, rounded up.
    Attempt { place: Place, value: Value, promise: Promise, time_ms: i64, bytes: u32 },
    /// The broker says, in this life, that it is kept, and where.
    Ack { place: Place, value: Value, offset: i64, life: u64 },
    /// The broker says that it was not taken and will not be.
    Refused { place: Place, value: Value },
    /// A reader begins, or goes on, at this offset, whatever it read before.
    Seek { reader: ClientId, place: Place, offset: i64 },
    /// A reader got a record; None = its bytes are not those of any producer.
    Deliver { reader: ClientId, place: Place, offset: i64, value: Option<Value>, life: u64 },
    /// A client was told where the log begins and ends.
    Bounds { place: Place, start: i64, end: i64 },
    /// Somebody looked from inside at where the log begins and ends; `synced` if all of it was
    /// durable at that moment.
    Looked { place: Place, start: i64, end: i64, synced: bool },
    /// The keeper worked when the broker's wall clock stood higher than ever before.
    Clock { wall_ms: i64 },
    /// How the records of a topic are kept, where it is not as usual.
    Kept { topic: [u8; 16], how: Keeping },
    /// A reader was told that what it asks for is not there.
    OutOfRange { reader: ClientId, place: Place, offset: i64 },
    /// The reader has read everything there is, up to this offset.
    Drained { reader: ClientId, place: Place, end: i64 },
    /// Somebody tries to change a topic.
    TopicTried { name: String, change: Change },
    /// The broker says that the change is kept.
    TopicDone { name: String, topic: [u8; 16], change: Change },
    /// A client asked for a topic, when the history had `asked` events, and got its id, or was
    /// told that there is none.
    TopicSeen { name: String, topic: Option<[u8; 16]>, asked: usize },
    /// This reader has read every partition of every topic.
    Read { reader: ClientId },
    /// An id for idempotent producing was given out.
    ProducerId { id: i64 },
    /// A member of the group was told that it is in, and who leads.
    Joined { generation: i32, leader: String, life: u64 },
    /// The member that the group calls so was given these partitions.
    Assigned { generation: i32, name: String, partitions: Vec<i32>, life: u64 },
    /// A member of that generation commits a number, which nobody ever did before.
    CommitTried { partition: i32, number: i64, generation: i32 },
    /// The broker says that the number is kept.
    CommitKept { partition: i32, number: i64 },
    /// What is committed, asked when the history had `asked` events.
    CommitSeen { partition: i32, number: Option<i64>, asked: usize },
    /// The broker ended, by the power, a kill, an error or orderly.
    Down { how: Down },
    /// It serves again.
    Up,
    /// The client saw what no answer may say; its words.
    Wrong { client: ClientId, what: String },
}

/// How the records of a topic are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keeping {
    /// Acknowledged and shown before it is durable: a power cut may take back what is not synced.
    pub relaxed: bool,
    /// What retention may give up, as in the topic's policy.
    pub retention_ms: Option<i64>,
    pub retention_bytes: Option<i64>,
}

/// How a life of the broker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Down {
    PowerLost,
    PowerTorn,
    Killed,
    /// As killed, after the device has lost writes that it could not sync.
    Failed,
    Stopped,
}

/// The events of one run, and a number that two equal runs have in common.
#[derive(Debug)]
pub struct History {
    pub events: Vec<Event>,
    hash: Fnv,
}

impl Default for History {
    fn default() -> History {
        History { events: Vec::new(), hash: Fnv(0xcbf2_9ce4_8422_2325) }
    }
}

impl History {
    pub fn add(&mut self, event: Event) {
        event.hash(&mut self.hash);
        self.events.push(event);
    }

    /// Equal for equal histories.
    pub fn fingerprint(&self) -> u64 {
        self.hash.finish()
    }
}

/// FNV-1a: the same in every process, which the standard hasher is not.
#[derive(Debug)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
