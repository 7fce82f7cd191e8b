//! Finding a place in a partition by time.

use sabir_storage::log::Offset;
use sabir_storage::log::times::{Found, Moment, Search, Wanted};

use crate::caller::Caller;
use crate::error::{Error, Kind};
use crate::topic::Partition;

impl Caller {
    /// The first record that may be read whose timestamp is not below this one, in milliseconds
    /// since 1970. Inflates one batch at most, or two where the log starts within the first.
    pub fn offset_for_time(
        &self,
        partition: &Partition,
        timestamp: i64,
    ) -> Result<Option<Moment>, Error> {
        search(partition, Wanted::From(timestamp))
    }

    /// The first of the records that may be read with the highest timestamp; as costly.
    pub fn max_time(&self, partition: &Partition) -> Result<Option<Moment>, Error> {
        search(partition, Wanted::Highest)
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

fn search(partition: &Partition, wanted: Wanted) -> Result<Option<Moment>, Error> {
    match partition.view.search(&mut Search::new(wanted)) {
        Found::At(moment) => Ok(Some(moment)),
        Found::None => Ok(None),
        Found::Cold(_) => Err(Error::new(Kind::Unavailable, "the records are not in memory")),
    }
}
