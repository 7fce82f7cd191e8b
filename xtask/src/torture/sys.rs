//! The two system calls of the torture command that have no safe wrapper: a mount namespace of our
//! own, and the shutdown of a file system. Nothing else in xtask is unsafe.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// `EXT4_IOC_SHUTDOWN` and, with the same number, `XFS_IOC_GOINGDOWN`: `_IOR('X', 125, u32)`.
const SHUT_DOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
/// Stop at once and leave the journal unflushed; 0 and 1 flush first, which no power cut does.
const NO_LOG_FLUSH: u32 = 2;

/// Moves the calling thread, and every thread and process it starts later, into a mount namespace
/// of its own: no other namespace can then hold our mounts busy, and they end with us.
/// Needs root.
pub fn private_mounts() -> io::Result<()> {
    // SAFETY: unsharing only the mount namespace (and with it the working directory's entry) leaves
    // the descriptor table and the memory of the process as they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

/// Stops the mounted file system that holds `directory`; whatever it has not written is gone.
pub fn shut_down(directory: &File) -> io::Result<()> {
    // SAFETY: the kernel reads one u32 through the pointer that `Setter` passes, and it lives until
    // the call returns.
    unsafe { ioctl(directory, Setter::<SHUT_DOWN, u32>::new(NO_LOG_FLUSH))? };
    Ok(())
}
