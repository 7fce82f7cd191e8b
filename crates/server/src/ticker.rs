//! Keeps the time for the core: calls its tick when something is due, and not before.

use std::sync::Arc;
use std::time::Duration;

use sabir_broker::Broker;
use sabir_broker::clock::Clock;
use sabir_broker::wake::Waker;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Between two ticks at least: deadlines that lie close together are one tick.
const GAP: Duration = Duration::from_millis(5);
/// A sleep at most, so that a wall clock that was set forward is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Ticks until the task is aborted.
pub fn start(broker: Arc<Broker>, clock: Arc<dyn Clock>) -> JoinHandle<()> {
    let bell = Arc::new(Notify::new());
    let waker = Waker::new({
        let bell = bell.clone();
        move || bell.notify_one()
    });
    broker.wake_for_tick(&waker);
    tokio::spawn(async move {
        loop {
            waker.take();
            let now = clock.now();
            let sleep = broker.tick(now).map_or(SLEEP_MAX, |next| next.since(now.mono));
            tokio::time::sleep(GAP).await;
            let _early = tokio::time::timeout(sleep.min(SLEEP_MAX), bell.notified()).await;
        }
    })
}
