//! The cached disk under the smallest servers there are: one that writes directly and acknowledges
//! without a sync must lose records in power cuts, one that syncs must lose none. Needs root,
//! /dev/fuse and the programs that make a file system; without them it says so and runs nothing.

use std::path::Path;
use std::process::Command;

/// What `line-check` prints.
#[derive(Debug)]
struct Figures {
    acked: u64,
    lost: u64,
    held: u64,
}

/// Why this machine cannot run it.
fn missing(kind: &str) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root".to_owned());
    }
    if !Path::new("/dev/fuse").exists() {
        return Some("/dev/fuse".to_owned());
    }
    let make = format!("mkfs.{kind}");
    for program in [make.as_str(), "losetup", "mount", "umount"] {
        if Command::new(program).arg("--version").output().is_err()
            && Command::new(program).arg("-V").output().is_err()
        {
            return Some(program.to_owned());
        }
    }
    None
}

fn check(way: &str, cycles: &str, kind: &str, right: fn(&Figures) -> bool) {
    if let Some(missing) = missing(kind) {
        assert!(
            std::env::var("CI").as_deref() != Ok("true") || kind == "xfs",
            "the power disk's test on {kind} needs {missing}"
        );
        eprintln!("not run: power cuts under a line server on {kind}: needs {missing}");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["torture", "line-check", way, cycles, kind])
        .output()
        .expect("xtask is built");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{way} on {kind}: {said}{errors}");
    let numbers: Vec<u64> = said.split_whitespace().flat_map(str::parse).collect();
    let [acked, lost, held] = numbers[..] else { panic!("not figures: {said}") };
    let figures = Figures { acked, lost, held };
    eprintln!("{way} on {kind}: {figures:?}");
    assert!(right(&figures), "{way} on {kind}: {figures:?}");
}

#[test]
fn a_server_that_forgets_its_sync_loses() {
    for kind in ["ext4", "xfs"] {
        check("none", "2", kind, |found| found.lost > found.acked / 2 && found.held > 0);
    }
}

#[test]
fn a_server_that_syncs_loses_nothing() {
    for kind in ["ext4", "xfs"] {
        for way in ["fdatasync", "dsync"] {
            check(way, "4", kind, |found| found.acked > 0 && found.lost == 0);
        }
    }
}
