//! The WAL over a disk that forgets: what the durable mark covered is there after every cut.

use super::*;
use crate::disk::sim::{Cut, Handle, SimDisk};
use crate::log::{Appended, LogView, Offset};
use crate::wal::replay::{End, ReplayError, replay};

const SECRET: Secret = Secret(0x5eed);

/// The content of each section, with the number of its frame.
type Found = Vec<(FrameNo, Vec<u8>)>;

/// A broker of one shard that stages numbered payloads.
#[derive(Default)]
struct Source {
    staged: Mutex<Vec<Section>>,
    expects_os: AtomicBool,
}

impl Source {
    fn stage(&self, payload: &[u8], class: Class) {
        let mut staged = self.staged.lock();
        if staged.is_empty() {
            staged.push(Section::default());
        }
        let section = &mut staged[0];
        section.buffer().extend_from_slice(payload);
        section.count += 1;
        section.classes.add(class);
    }
}

impl FrameSource for Source {
    fn staged(&self) -> Staged {
        let staged = self.staged.lock();
        Staged {
            bytes: staged.iter().map(Section::len).sum(),
            classes: staged.first().map_or(Classes::default(), |section| section.classes),
        }
    }

    fn expects_os(&self) -> bool {
        self.expects_os.load(Ordering::SeqCst)
    }

    fn cut(&self, _number: FrameNo) -> Vec<Section> {
        std::mem::take(&mut *self.staged.lock())
    }

    fn recycle(&self, _sections: Vec<Section>) {}

    fn reached(&self, _class: Class, _upto: FrameNo) {}

    fn lost(&self, why: WalLoss) -> ! {
        panic!("{why}")
    }
}

fn settings() -> WalSettings {
    WalSettings { file_bytes: 64 << 10, first_file_bytes: 16 << 10, ..WalSettings::default() }
}

fn parts(disk: &Arc<SimDisk>) -> WalParts {
    WalParts {
        herald: Arc::default(),
        disk: Arc::new(Handle(disk.clone())),
        secret: SECRET,
        pool: Arc::default(),
        recent: Arc::default(),
    }
}

/// Replays and opens: what was found, and the WAL.
fn open(disk: &Arc<SimDisk>) -> Result<(Found, FileWal, Arc<Source>), ReplayError> {
    let (found, end) = read(disk)?;
    let source = Arc::new(Source::default());
    let wal = FileWal::without_threads(parts(disk), settings(), end, source.clone());
    Ok((found, wal.expect("opens"), source))
}

fn read(disk: &Arc<SimDisk>) -> Result<(Found, End), ReplayError> {
    let mut found = Vec::new();
    let end = replay(&Handle(disk.clone()), SECRET, None, 0, &mut |frame| {
        for section in frame.sections {
            found.push((frame.number, section.effects.to_vec()));
        }
        Ok(())
    })?;
    Ok((found, end))
}

fn chance(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)) >> 11
}

#[test]
fn an_empty_directory_opens_and_goes_on_after_each_start() {
    let disk = SimDisk::new();
    let mut next = Vec::new();
    for round in 0u8..4 {
        let (found, wal, source) = open(&disk).expect("opens");
        assert_eq!(found.len(), usize::from(round));
        source.stage(&[round; 10], Class::Durable);
        next.push(wal.write().expect("writes"));
        wal.sync().expect("syncs");
        disk.cut(Cut::Lost, || 0);
    }
    assert_eq!(next, vec![2, 4, 6, 8], "opening frame, then content, each time");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn nothing_below_the_durable_mark_is_lost_in_any_cut(mut seed: u64) {
        let disk = SimDisk::new();
        let mut promised: Vec<(FrameNo, Vec<u8>)> = Vec::new();
        for _life in 0..6 {
            let (found, wal, source) = open(&disk).expect("a torn tail is no damage");
            let kept: Vec<_> = found.iter().filter(|f| promised.contains(f)).cloned().collect();
            assert_eq!(kept, promised, "what was promised, in order");
            let mut written = found;
            for _step in 0..chance(&mut seed) % 30 {
                let size = chance(&mut seed) % 20_000;
                let payload = vec![chance(&mut seed) as u8; size as usize + 1];
                source.stage(&payload, Class::Durable);
                let frame = wal.write().expect("writes");
                written.push((frame, payload));
                if chance(&mut seed).is_multiple_of(3) {
                    wal.sync().expect("syncs");
                }
            }
            let durable = wal.marks().get(Class::Durable);
            promised = written.into_iter().filter(|(frame, _)| *frame <= durable).collect();
            let share = chance(&mut seed) as u8;
            let cut = [Cut::Lost, Cut::Torn(share), Cut::Torn(250)][chance(&mut seed) as usize % 3];
            disk.cut(cut, || chance(&mut seed));
        }
    }

    #[test]
    fn one_flipped_bit_below_the_mark_is_damage_and_never_a_shorter_log(mut seed: u64) {
        let disk = SimDisk::new();
        let (_, wal, source) = open(&disk).expect("opens");
        let mut places = Vec::new();
        for _frame in 0..10 {
            let size = chance(&mut seed) % 9000 + 1;
            source.stage(&vec![7; size as usize], Class::Durable);
            let frame = wal.write().expect("writes");
            wal.sync().expect("syncs");
            places.push((wal.place_of(frame).expect("live"), size));
        }
        // The witness: without it damage to the last frame is taken for a torn tail.
        wal.write().expect("writes");
        drop(wal);
        let (place, size) = places[chance(&mut seed) as usize % places.len()];
        // Padding and the empty end of a page belong to nobody; the rest is checked.
        let byte = chance(&mut seed) % (32 + 16 + size);
        disk.cut(Cut::Kept, || 0);
        disk.flip(&format!("wal/{:016}.wal", place.file), place.offset + byte, seed as u8);
        match read(&disk) {
            Err(ReplayError::Damaged { frame, .. }) => assert_eq!(frame, place.frame),
            Err(other) => panic!("another error: {other}"),
            Ok((found, _)) => panic!("served {} frames as if nothing were wrong", found.len()),
        }
    }
}

/// Which rounds hold work of class `os`, and whether others ask for syncs meanwhile.
fn check_real_threads(is_os: fn(u64) -> bool, asked: bool) {
    let disk = SimDisk::new();
    let (_, end) = read(&disk).expect("empty");
    let source = Arc::new(Source::default());
    let wal = FileWal::open(parts(&disk), settings(), end, source.clone()).expect("opens");
    let done = AtomicBool::new(!asked);
    std::thread::scope(|scope| {
        source.expects_os.store((0..200).any(is_os), Ordering::SeqCst);
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                wal.sync_soon();
                std::thread::yield_now();
            }
        });
        for round in 0..200u64 {
            let (tell, heard) = std::sync::mpsc::sync_channel(4);
            let waker = Waker::new(move || {
                let _gone = tell.send(());
            });
            let class = if is_os(round) { Class::Os } else { Class::Durable };
            let ticket = Ticket::new(class, wal.marks().get(Class::Os) + 1);
            source.stage(&[1; 100], class);
            wal.notify();
            wal.wait(ticket, &waker);
            heard.recv_timeout(Duration::from_secs(5)).expect("woken");
        }
        done.store(true, Ordering::SeqCst);
    });
    wal.close();
    disk.cut(Cut::Lost, || 0);
    let (found, _) = read(&disk).expect("whole");
    assert_eq!(found.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), 200 * 100);
}

#[test]
fn real_threads_make_every_waiter_hear_of_its_ticket() {
    for asked in [false, true] {
        check_real_threads(|_| false, asked);
        check_real_threads(|round| round.is_multiple_of(3), asked);
        check_real_threads(|_| true, asked);
    }
}

#[test]
fn old_files_are_used_again_and_never_replayed() {
    let disk = SimDisk::new();
    let (_, wal, source) = open(&disk).expect("opens");
    for round in 0..200u8 {
        source.stage(&vec![round; 5000], Class::Durable);
        let frame = wal.write().expect("writes");
        wal.sync().expect("syncs");
        if round % 20 == 19 {
            wal.trim(frame).expect("trims");
        }
    }
    let files = disk.files();
    assert!(files.len() <= 4 + 6, "bounded: {files:?}");
    assert!(wal.backlog() < 1 << 20);
}

#[test]
fn a_batch_is_visible_when_the_mark_of_its_class_reaches_it() {
    let disk = SimDisk::new();
    let (_, wal, source) = open(&disk).expect("opens");
    let check = |class: Class, after_write: Offset, after_sync: Offset| {
        let view = Arc::new(LogView::new(1, 0, 0, 0));
        source.stage(b"xxxxbatch", class);
        source.staged.lock()[0].appends.push(Appended {
            view: view.clone(),
            at: 4,
            len: 5,
            base: 0,
            next: 3,
            max_timestamp: 0,
            class,
        });
        wal.write().expect("writes");
        assert_eq!(view.visible(), after_write, "{class:?} written");
        wal.sync().expect("syncs");
        assert_eq!(view.visible(), after_sync, "{class:?} synced");
        let read = view.read(1, 1, true);
        assert_eq!(read, crate::log::Read::Batches(vec![bytes::Bytes::from_static(b"batch")]));
    };
    check(Class::Os, 3, 3);
    check(Class::Durable, 0, 3);
}
