//! Where a broker under test keeps its data: a plain folder, a file system on a loop device, or one
//! on a disk whose power can be cut. Everything here lies in shared memory.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cache::{Cut, Moment, Survival};
use super::process::{PATIENCE, call, own_program};
use super::sys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Xfs,
}

impl FromStr for FileSystem {
    type Err = String;

    fn from_str(name: &str) -> Result<FileSystem, String> {
        match name {
            "ext4" => Ok(FileSystem::Ext4),
            "xfs" => Ok(FileSystem::Xfs),
            _ => Err(format!("{name} is neither ext4 nor xfs")),
        }
    }
}

impl FileSystem {
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    /// Not lazy: else the kernel goes on to write, and flushes the disk under the broker.
    fn make(self) -> &'static [&'static str] {
        match self {
            FileSystem::Ext4 => {
                &["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
            }
            FileSystem::Xfs => &["mkfs.xfs", "-q"],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A folder in shared memory: enough for `kill -9`, and needs no root.
    Folder,
    /// A file system on an image in shared memory.
    Plain(FileSystem),
    /// The same behind a volatile write cache.
    Cached(FileSystem),
}

pub struct Disk {
    backing: Backing,
    bytes: u64,
    image: PathBuf,
    device: PathBuf,
    point: PathBuf,
    server: Option<Server>,
}

/// The process that serves the disk; it ends, and the cache with it, when its input does.
struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Disk {
    /// A disk of `megabytes` whose files lie in `scratch`; it has nothing on it before `fresh`.
    pub fn new(backing: Backing, megabytes: u64, scratch: &Path) -> Result<Disk> {
        let disk = Disk {
            backing,
            bytes: megabytes << 20,
            image: scratch.join("disk.img"),
            device: scratch.join("disk"),
            point: scratch.join("mount"),
            server: None,
        };
        fs::create_dir_all(&disk.point)?;
        File::create(&disk.image)?;
        File::create(&disk.device)?;
        Ok(disk)
    }

    /// The broker's data directory.
    pub fn data(&self) -> PathBuf {
        self.point.join("data")
    }

    pub fn point(&self) -> &Path {
        &self.point
    }

    /// Whether an unsynced direct write outlives a cut.
    pub fn keeps_direct_writes(&self) -> bool {
        !matches!(self.backing, Backing::Cached(_))
    }

    /// Makes a new file system with an empty data directory on it, all synced.
    pub fn fresh(&mut self) -> Result<()> {
        self.unmount()?;
        match self.backing {
            Backing::Folder => {
                fs::remove_dir_all(&self.point)?;
                fs::create_dir(&self.point)?;
            }
            Backing::Plain(kind) | Backing::Cached(kind) => {
                let image = File::options().write(true).open(&self.image)?;
                image.set_len(0)?;
                image.set_len(self.bytes)?;
                let words = kind.make().iter().map(|word| (*word).into());
                call(words.chain([self.image.clone().into_os_string()]))?;
            }
        }
        self.mount()?;
        fs::create_dir(self.data())?;
        self.sync()
    }

    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(File::open(&self.point)?).context("syncfs")
    }

    pub fn mount(&mut self) -> Result<()> {
        match self.backing {
            Backing::Folder => Ok(()),
            Backing::Plain(kind) => mount_file(&self.image, kind, &self.point, false),
            Backing::Cached(kind) => {
                self.server = Some(Server::start(&self.image, &self.device)?);
                mount_file(&self.device, kind, &self.point, true)
            }
        }
    }

    fn is_busy(&self) -> Result<bool> {
        Ok(match self.backing {
            Backing::Folder => false,
            // On a dead xfs even a stat of its root fails: ask who still uses the file below it.
            Backing::Plain(_) => {
                !call(["losetup".as_ref(), "-j".as_ref(), self.image.as_os_str()])?.is_empty()
            }
            Backing::Cached(_) => {
                let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
                mounts.contains(&format!(" {} ", self.device.display()))
            }
        })
    }

    /// Unmounts, and waits until the loop device has let go of the file below it.
    pub fn unmount(&mut self) -> Result<()> {
        let began = Instant::now();
        while self.is_busy()? {
            ensure!(
                began.elapsed() < PATIENCE,
                "{} stays busy: a process outside holds it",
                self.point.display()
            );
            let _ = call(["umount".as_ref(), self.point.as_os_str()]);
            if let Backing::Cached(_) = self.backing {
                // Succeeds when the loop device has let go.
                let _ = call(["umount".as_ref(), self.device.as_os_str()]);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(mut server) = self.server.take() {
            server.child.wait()?; // it ends when its file is unmounted
        }
        Ok(())
    }

    /// The disk itself must not be what failed.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(server) = &mut self.server
            && server.child.try_wait()?.is_some()
        {
            bail!("the disk has died");
        }
        Ok(())
    }

    /// Cuts the power: from now on all writing fails, and what the cache held is lost but for what
    /// `survival` lets through. Without a cache the file system just stops, now.
    pub fn cut(&mut self, survival: Survival, moment: Moment) -> Result<Cut> {
        let mut cut = Cut::default();
        let root = File::open(&self.point);
        if let Backing::Cached(_) = self.backing {
            cut = self.server.take().context("no disk to cut")?.cut(survival, moment)?;
        }
        // On the cached disk the kernel may have given up on the file system by itself.
        let stopped = root.and_then(|root| sys::shut_down(&root));
        if let Backing::Plain(_) = self.backing {
            stopped.context("the file system cannot be shut down")?;
        }
        Ok(cut)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(problem) = self.unmount() {
            eprintln!("torture: {problem:#}");
        }
    }
}

/// Mounts a file through a loop device that goes with the mount.
fn mount_file(file: &Path, kind: FileSystem, point: &Path, direct: bool) -> Result<()> {
    let direct = if direct { "--direct-io=on" } else { "--direct-io=off" };
    let words = ["losetup", "--find", "--show", direct].map(AsRef::as_ref);
    let device = call(words.into_iter().chain([file.as_os_str()]))?;
    let words = ["mount", "-t", kind.name(), &device].map(AsRef::as_ref);
    let mounted = call(words.into_iter().chain([point.as_os_str()]));
    call(["losetup", "--detach", &device])?; // as soon as it is unmounted
    mounted.map(|_| ())
}

impl Server {
    fn start(image: &Path, device: &Path) -> Result<Server> {
        let mut child = Command::new(own_program()?)
            .args(["torture", "powerdisk"])
            .args([image, device])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the disk does not start")?;
        let mut output = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut said = String::new();
        output.read_line(&mut said)?;
        ensure!(said == "ready\n", "the disk does not start");
        Ok(Server { child, output })
    }

    fn cut(mut self, survival: Survival, moment: Moment) -> Result<Cut> {
        let Survival { granule, chance, seed } = survival;
        let moment = match moment {
            Moment::Now => "now",
            Moment::Flush => "flush",
        };
        let mut input = self.child.stdin.take().expect("it was piped");
        input.write_all(format!("cut {granule} {chance} {seed} {moment}\n").as_bytes())?;
        drop(input);
        let mut said = String::new();
        self.output.read_to_string(&mut said)?;
        self.child.wait()?;
        let numbers: Vec<u64> = said.split_whitespace().flat_map(str::parse).collect();
        let [held, kept] = numbers[..] else { bail!("the disk has died: {said}") };
        Ok(Cut { held, kept })
    }
}

/// A folder of our own in shared memory, removed at the end. What a killed run left is removed by
/// the next one.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Result<Scratch> {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        for entry in fs::read_dir(&root)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(pid) = name.strip_prefix("sabir-torture-")
                && !Path::new("/proc").join(pid).exists()
            {
                let _ = fs::remove_dir_all(entry.path()); // it may be another user's
            }
        }
        let path = root.join(format!("sabir-torture-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch(path))
    }

    /// A new folder in it.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_folder_is_empty_and_scratch_goes_with_its_owner() {
        let scratch = Scratch::new().expect("shared memory, or a temporary folder");
        let folder = scratch.folder("lane").expect("a folder in it");
        let mut disk = Disk::new(Backing::Folder, 1, &folder).expect("a folder needs no root");
        for _ in 0..2 {
            disk.fresh().expect("no file system is made");
            assert_eq!(fs::read_dir(disk.data()).expect("it was made").count(), 0);
            fs::write(disk.data().join("record"), "1").expect("room for a byte");
        }
        drop(disk);
        drop(scratch);
        assert!(!folder.exists());
    }
}
