//! Bugs planted on purpose, so that the crash tests and the simulator can be tested. Compiled in
//! only with the feature `planted-bugs`; without it every question is answered with a constant no.

/// A promise that can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The WAL's files are never synced.
    SkipFsync,
    /// What is written counts as durable.
    AckEarly,
    /// Readers see what is written before it is durable.
    ShowEarly,
    /// Who waits for a ticket is not woken.
    LoseWaiter,
    /// Who waits for records is not woken.
    LoseReader,
    /// A failed sync is tried again, and its success believed.
    RetrySync,
    /// The entry of a new WAL file in its directory is not synced.
    SkipDirSync,
    /// The entry of the WAL's directory in its own is not synced.
    SkipRootSync,
    /// Recovery does not sync what it read.
    SkipRecoverySync,
    /// Recovery cuts off frames whose durability no later frame witnesses.
    CutUnwitnessed,
    /// Recovery goes on with frames of an older generation.
    TrustOldGeneration,
    /// Recovery forgets what producers sent.
    ForgetProducers,
    /// A resend is acknowledged before what it repeats is durable.
    AckKnownEarly,
    /// Producer ids are given out before their reservation is durable.
    EarlyProducerIds,
    /// Answers tell of topics before they are durable.
    EarlyTopics,
    /// The deletion of a topic leaves no effect.
    ForgetDelete,
    /// Retention moves the beginning of a log without an effect.
    ForgetStart,
    /// Readers are shown the new beginning of a log before it is durable.
    ShowStartEarly,
    /// Retention by size leaves less than it has to.
    RetainTooLittle,
    /// A checkpoint does not wait until what it bundles and stores is durable.
    ImageEarly,
    /// The WAL is trimmed before the commit of the checkpoint that makes it needless.
    TrimEarly,
    /// A checkpoint leaves out some of the producers that have changed.
    ForgetProducerRows,
    /// A member's request is answered before what it rests on is durable.
    AnswerGroupEarly,
    /// Commits of members of an older generation are taken.
    CommitZombie,
    /// A checkpoint leaves out the offsets of groups.
    ForgetOffsetRows,
    /// A batch that was refused for want of room is appended all the same.
    AppendRefused,
    /// A checkpoint does not write into blobs what replay will leave out.
    SkipBundle,
}

/// All of them.
pub const BUGS: &[Bug] = &[
    Bug::SkipFsync,
    Bug::AckEarly,
    Bug::ShowEarly,
    Bug::LoseWaiter,
    Bug::LoseReader,
    Bug::RetrySync,
    Bug::SkipDirSync,
    Bug::SkipRootSync,
    Bug::SkipRecoverySync,
    Bug::CutUnwitnessed,
    Bug::TrustOldGeneration,
    Bug::ForgetProducers,
    Bug::AckKnownEarly,
    Bug::EarlyProducerIds,
    Bug::EarlyTopics,
    Bug::ForgetDelete,
    Bug::ForgetStart,
    Bug::ShowStartEarly,
    Bug::RetainTooLittle,
    Bug::ImageEarly,
    Bug::TrimEarly,
    Bug::ForgetProducerRows,
    Bug::AnswerGroupEarly,
    Bug::CommitZombie,
    Bug::ForgetOffsetRows,
    Bug::AppendRefused,
    Bug::SkipBundle,
];

/// True if this bug is planted.
#[cfg(not(feature = "planted-bugs"))]
pub const fn active(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub use on::{active, plant};

#[cfg(feature = "planted-bugs")]
mod on {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::{BUGS, Bug};

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug for everything that runs on this thread.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// True if this bug is planted on this thread, or in the process by the environment:
    /// `SABIR_BUG_SKIP_FSYNC` for [`Bug::SkipFsync`], and so on.
    pub fn active(bug: Bug) -> bool {
        static OF_PROCESS: OnceLock<Option<Bug>> = OnceLock::new();
        let set = |bug: &Bug| std::env::var_os(variable(*bug)).is_some();
        let of_process = OF_PROCESS.get_or_init(|| BUGS.iter().copied().find(set));
        PLANTED.get() == Some(bug) || *of_process == Some(bug)
    }

    fn variable(bug: Bug) -> String {
        let mut name = "SABIR_BUG".to_owned();
        for c in format!("{bug:?}").chars() {
            if c.is_uppercase() {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
        }
        name
    }

    #[test]
    fn variables_are_named_after_their_bugs() {
        assert_eq!(variable(Bug::SkipFsync), "SABIR_BUG_SKIP_FSYNC");
    }
}
