//! The line against a model: who is called, when, and that nothing is lost or kept for nobody.

use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;
use sabir_storage::wake::Waker;

use super::{Admission, LinePlace, Reserved};
use crate::limits::STAGED_MAX;

const PARTIES: usize = 6;

/// What happens to one of the parties, or to all.
#[derive(Clone, Debug)]
enum Act {
    /// It tries to publish so much, or looks again whether its turn has come.
    Try(usize, usize),
    /// It stages what it was admitted with, or as much as it can of it.
    Stage(usize, bool),
    /// It goes away.
    Leave(usize),
    Cut,
}

fn act() -> impl Strategy<Value = Act> {
    let party = || 0..PARTIES;
    prop_oneof![
        6 => (party(), 1..STAGED_MAX * 3 / 4).prop_map(|(party, bytes)| Act::Try(party, bytes)),
        4 => (party(), any::<bool>()).prop_map(|(party, all)| Act::Stage(party, all)),
        1 => party().prop_map(Act::Leave),
        2 => Just(Act::Cut),
    ]
}

#[derive(Default)]
struct Party<'a> {
    place: LinePlace,
    admitted: Option<Reserved<'a>>,
    bytes: usize,
}

/// The parties around one stage, and what should be true of them.
struct World<'a> {
    admission: &'a Arc<Admission>,
    parties: Vec<Party<'a>>,
    wakers: Vec<Waker>,
    /// Who was woken since the last look, in order.
    woken: Arc<Mutex<Vec<usize>>>,
    /// Who waits and was not called, in the order of arrival.
    line: Vec<usize>,
    /// Who was called and has not come.
    called: Vec<usize>,
}

impl<'a> World<'a> {
    fn new(admission: &'a Arc<Admission>) -> World<'a> {
        let woken: Arc<Mutex<Vec<usize>>> = Arc::default();
        let waker = |party| {
            let woken = woken.clone();
            Waker::new(move || woken.lock().push(party))
        };
        World {
            admission,
            parties: (0..PARTIES).map(|_| Party::default()).collect(),
            wakers: (0..PARTIES).map(waker).collect(),
            woken,
            line: Vec::new(),
            called: Vec::new(),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Try(party, bytes) => self.enter(party, bytes),
            Act::Stage(party, all) => {
                if let Some(reserved) = self.parties[party].admitted.take() {
                    let bytes = self.parties[party].bytes;
                    self.admission.add_staged(if all { bytes } else { bytes / 2 });
                    drop(reserved);
                }
            }
            Act::Leave(party) => {
                self.parties[party].place = LinePlace::default();
                self.line.retain(|waiting| *waiting != party);
                self.called.retain(|called| *called != party);
            }
            Act::Cut => self.admission.cut(self.admission.staged()),
        }
        self.hear();
    }

    fn enter(&mut self, party: usize, bytes: usize) {
        let one = &mut self.parties[party];
        if one.admitted.is_some() {
            return;
        }
        let (waits, called) = (self.line.contains(&party), self.called.contains(&party));
        if !waits && !called {
            one.bytes = bytes;
        }
        let room = self.admission.enter(one.bytes, &mut one.place, &self.wakers[party]);
        match (&room, waits, called) {
            (Some(_), false, false) => {
                assert!(self.line.is_empty(), "{party} overtook {:?}", self.line)
            }
            (Some(_), _, true) => self.called.retain(|known| *known != party),
            (None, false, false) => self.line.push(party),
            (None, true, _) => {}
            (Some(_), true, false) => panic!("{party} was admitted without being called"),
            (None, false, true) => panic!("{party} was called for nothing"),
        }
        one.admitted = room;
    }

    /// Those who were woken are the first of the line, in its order.
    fn hear(&mut self) {
        let woken = std::mem::take(&mut *self.woken.lock());
        for party in woken {
            self.wakers[party].take();
            assert_eq!(self.line.first(), Some(&party), "called out of turn: {:?}", self.line);
            self.line.remove(0);
            self.called.push(party);
        }
        let held = |party: &Party<'_>| party.admitted.as_ref().map_or(0, |_| party.bytes);
        let admitted: usize = self.parties.iter().map(held).sum();
        let kept: usize = self.called.iter().map(|party| self.parties[*party].bytes).sum();
        let reserved = self.admission.reserved.load(super::SeqCst);
        assert_eq!(reserved, admitted + kept, "room is kept for nobody");
        if !self.line.is_empty() {
            assert!(
                reserved + self.admission.staged() >= STAGED_MAX,
                "nobody calls {:?}",
                self.line
            );
        }
    }
}

proptest! {
    #[test]
    fn room_goes_to_the_first_in_line_and_is_never_lost(
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let admission = Arc::default();
        let mut world = World::new(&admission);
        for act in acts {
            world.act(act);
        }
        // In the end everybody who is still there gets its turn.
        for _ in 0..2 * PARTIES {
            for party in 0..PARTIES {
                if world.called.contains(&party) {
                    world.act(Act::Try(party, 0));
                }
                world.act(Act::Stage(party, true));
            }
            world.act(Act::Cut);
        }
        prop_assert_eq!((world.line.len(), world.called.len()), (0, 0));
        prop_assert_eq!(world.admission.reserved.load(super::SeqCst), 0);
        prop_assert_eq!(admission.line.lock().len(), 0);
    }
}

#[test]
fn who_comes_and_goes_leaves_nothing_in_the_line() {
    let admission: Arc<Admission> = Arc::default();
    admission.add_staged(STAGED_MAX);
    for _ in 0..1000 {
        let mut place = LinePlace::default();
        assert!(admission.enter(1, &mut place, &Waker::none()).is_none());
    }
    assert!(admission.line.lock().is_empty());
}

#[test]
fn single_records_find_room_beside_the_line() {
    let admission: Arc<Admission> = Arc::default();
    admission.add_staged(STAGED_MAX);
    let mut place = LinePlace::default();
    assert!(admission.enter(1, &mut place, &Waker::none()).is_none());
    drop(admission.enter_beside(1).expect("a little more"));
    admission.add_staged(crate::limits::BESIDE_STAGED_MAX - STAGED_MAX);
    assert!(admission.enter_beside(1).is_none());
}

#[test]
fn effects_do_not_wait_for_publishes() {
    let admission: Arc<Admission> = Arc::default();
    admission.add_staged(STAGED_MAX);
    let mut place = LinePlace::default();
    assert!(admission.enter(1, &mut place, &Waker::none()).is_none());
    assert!(admission.takes_effects(1 << 20));
    admission.add_staged(crate::limits::EFFECTS_STAGED_MAX - STAGED_MAX);
    assert!(!admission.takes_effects(1));
    admission.cut(admission.staged());
    assert!(admission.takes_effects(usize::MAX), "nothing is staged: no cut would help");
}

/// Many threads at once, each of which publishes until it has published enough: a wake that gets
/// lost leaves one of them asleep.
#[test]
fn nobody_sleeps_for_ever() {
    const ROUNDS: usize = 300;
    let admission: Arc<Admission> = Arc::default();
    let publishing = std::sync::atomic::AtomicUsize::new(8);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (admission, publishing) = (&admission, &publishing);
            scope.spawn(move || {
                let me = std::thread::current();
                let waker = Waker::new(move || me.unpark());
                let mut place = LinePlace::default();
                for round in 0..ROUNDS {
                    let bytes = STAGED_MAX / 3 + number;
                    let reserved = loop {
                        waker.take();
                        if let Some(reserved) = admission.enter(bytes, &mut place, &waker) {
                            break reserved;
                        }
                        let mut sleeps = 0..20;
                        while !waker.take() {
                            assert!(sleeps.next().is_some(), "nobody called {number}");
                            std::thread::park_timeout(std::time::Duration::from_secs(1));
                        }
                    };
                    if round % 3 > 0 {
                        admission.add_staged(bytes);
                    }
                    drop(reserved);
                }
                publishing.fetch_sub(1, super::SeqCst);
            });
        }
        while publishing.load(super::SeqCst) > 0 {
            admission.cut(admission.staged());
            std::thread::yield_now();
        }
    });
    assert_eq!(admission.reserved.load(super::SeqCst), 0);
}
