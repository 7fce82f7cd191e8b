//! Finding a place in a partition by time.

use std::sync::Arc;

use parking_lot::Mutex;
use sabir_storage::blob::BlobError;
use sabir_storage::extent::Extent;
use sabir_storage::log::Offset;
use sabir_storage::log::times::{self, Found, Moment, Search, Wanted};
use sabir_storage::wake::Waker;

use crate::caller::Caller;
use crate::error::{Error, Kind};
use crate::topic::Partition;

/// A look-up by time on its way; kept by whoever asks until it is answered.
pub struct TimeSearch {
    wanted: Wanted,
    search: Search,
    cold: Option<(Extent, Arc<Mutex<Option<Read>>>)>,
}

type Read = Result<Option<Moment>, BlobError>;

impl TimeSearch {
    /// For the first record that may be read whose timestamp is not below this one, in
    /// milliseconds since 1970.
    pub fn from(timestamp: i64) -> TimeSearch {
        TimeSearch::new(Wanted::From(timestamp))
    }

    /// For the first of the records that may be read with the highest timestamp.
    pub fn highest() -> TimeSearch {
        TimeSearch::new(Wanted::Highest)
    }

    fn new(wanted: Wanted) -> TimeSearch {
        TimeSearch { wanted, search: Search::new(wanted), cold: None }
    }
}

impl Caller {
    /// Goes on with a search; None = it waits for a disk, and `me` will be woken. Inflates one
    /// batch at most on the caller's task, or two where the log starts within the first.
    pub fn find_time(
        &self,
        partition: &Partition,
        search: &mut TimeSearch,
        me: &Waker,
    ) -> Option<Result<Option<Moment>, Error>> {
        if let Some((extent, result)) = &search.cold {
            let read = result.lock().take()?;
            match read {
                Ok(found) => search.search.took(extent, found),
                Err(error) => {
                    tracing::error!(%error, log = partition.log, "cannot be read");
                    return Some(Err(Error::new(Kind::Broken, error.to_string())));
                }
            }
            search.cold = None;
        }
        match partition.view.search(&mut search.search) {
            Found::At(moment) => Some(Ok(Some(moment))),
            Found::None => Some(Ok(None)),
            Found::Cold(extent) => {
                let result = Arc::new(Mutex::new(None));
                let (give, start) = (result.clone(), partition.view.start());
                let (wanted, me) = (search.wanted, me.clone());
                let taken = self.broker.reader.run(move |store| {
                    let blobs = &*store.blobs;
                    let read = store
                        .indexes
                        .get(blobs, &extent)
                        .and_then(|index| times::read(blobs, &extent, &index, start, wanted));
                    *give.lock() = Some(read);
                    me.wake();
                });
                if !taken {
                    let what = "too many cold reads are waiting";
                    return Some(Err(Error::new(Kind::Unavailable, what)));
                }
                search.cold = Some((extent, result));
                None
            }
        }
    }

    /// Under which opening of the broker the record at this offset was appended; the current one
    /// where there is none.
    pub fn epoch_at(&self, partition: &Partition, offset: Offset) -> i32 {
        if offset >= partition.view.visible() {
            return self.broker.epoch;
        }
        let shard = self.broker.core.lock(partition.shard);
        let epochs = shard.logs.get(&partition.log).map(|log| log.epochs.as_slice());
        let epochs = epochs.unwrap_or_default();
        let after = epochs.partition_point(|(_, first)| *first <= offset);
        after.checked_sub(1).map_or(self.broker.epoch, |at| epochs[at].0)
    }
}
