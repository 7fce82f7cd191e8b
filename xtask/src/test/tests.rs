//! The test command itself: what it chooses, how it ends a child, what it makes of the times.

use super::report::{Outcome, Report, not_run};
use super::steps::{STEPS, Step};
use super::{Options, parse, process};
use std::time::{Duration, Instant};

fn options(args: &[&str]) -> Result<Options, String> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    parse(&args).map_err(|error| error.to_string())
}

fn step(name: &str) -> &'static Step {
    STEPS.iter().find(|step| step.name == name).expect("the step is in the list")
}

#[test]
fn steps_are_chosen_by_name() {
    for (args, chosen) in [
        (&["--only", "tidy"][..], &["tidy"][..]),
        (&["--only=fmt,tidy", "--skip", "fmt"], &["tidy"]),
        (&["--only", "tidy", "--only", "fmt"], &["fmt", "tidy"]),
    ] {
        let options = options(args).expect("these options are valid");
        let names: Vec<&str> =
            STEPS.iter().filter(|step| options.chooses(step)).map(|step| step.name).collect();
        assert_eq!(names, chosen);
    }
    for wrong in [&["--only"][..], &["--only", "nothing"], &["--fast"]] {
        assert!(options(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn steps_wait_for_earlier_ones_only() {
    for (at, step) in STEPS.iter().enumerate() {
        let before = |name: &&str| STEPS[..at].iter().any(|step| step.name == *name);
        assert!(step.after.as_ref().is_none_or(before), "{}", step.name);
    }
}

/// A run of these steps: name, seconds, whether it passed, what was missing.
fn report(lines: &[(&str, f64, bool, &[&str])]) -> Report {
    let mut report = Report::default();
    for (name, seconds, passed, missing) in lines {
        let missing = missing.iter().map(|part| (*part).to_owned()).collect();
        let failed = || Outcome::Failed("exit status: 1".to_owned());
        let outcome = if *passed { Outcome::Passed(missing) } else { failed() };
        report.add(step(name), *seconds, outcome);
    }
    report
}

#[test]
fn a_run_fails_for_what_failed_and_never_for_its_time() {
    for (lines, in_ci, faults) in [
        (&[("tidy", 1.0, true, &[][..])][..], true, 0),
        (&[("tidy", 1.0, false, &[])], false, 1),
        (&[], false, 1),
        (&[("clippy", 900.0, true, &[]), ("build", 900.0, true, &[])], true, 0),
        // What is missing fails where nothing may be missing.
        (&[("clients", 1.0, true, &["java: install a JDK"])], false, 0),
        (&[("clients", 1.0, true, &["java: install a JDK"])], true, 1),
    ] {
        let report = report(lines);
        assert_eq!(report.faults(in_ci).len(), faults, "{}", report.table());
    }
}

#[test]
fn the_table_names_everything() {
    let table = report(&[
        ("clippy", 481.0, true, &[]),
        ("test", 2.0, false, &[]),
        ("clients", 3.0, true, &["java: install a JDK"]),
    ])
    .table();
    for part in [
        "clippy         481.0  ok\n",
        "test             2.0  FAILED: exit status: 1\n",
        "clients          3.0  ok, in part\n",
        "together       486.0\n",
        "builds         481.0   480  OVER BUDGET\n",
        "tests            2.0   300\n",
        "not run: java: install a JDK\n",
    ] {
        assert!(table.contains(part), "no `{part}` in\n{table}");
    }
}

#[test]
fn missing_parts_are_read_from_the_output() {
    let output = "a\n  Not run: kcat: install it\nNOT RUN: java: a JDK\nnot run: java: a JDK\né";
    assert_eq!(not_run(output), ["kcat: install it", "java: a JDK"]);
    assert!(not_run("it was not run: no\n").is_empty());
}

/// Runs a shell command as a step; how it failed, its log, its seconds.
fn shell(command: &'static str, limit: Duration) -> (Option<String>, String, f64) {
    let words: &'static [&'static str] = Box::leak(Box::new(["sh", "-c", command]));
    let folder = std::env::temp_dir();
    let log = folder.join(format!("sabir-test-{}-{}.log", std::process::id(), command.len()));
    let step = Step { command: words, env: &[("A", "b")], ..*step("tidy") };
    let began = Instant::now();
    let ended = process::run(&step, &folder, &log, limit).expect("sh can be started");
    let tail = process::tail(&log, 2);
    std::fs::remove_file(&log).expect("the log was written");
    (ended, tail, began.elapsed().as_secs_f64())
}

#[test]
fn a_child_is_logged_and_ended() {
    let long = Duration::from_secs(60);
    let (ended, tail, _) = shell("echo 1; echo $A; echo 3 >&2", long);
    assert_eq!((ended, tail.as_str()), (None, "b\n3"));
    let (ended, _, _) = shell("exit 3", long);
    assert_eq!(ended.as_deref(), Some("exit status: 3"));
    // The grandchild holds nothing up once its parent is ended, and is ended too.
    let began = Instant::now();
    let (ended, tail, seconds) =
        shell("sleep 57 & echo $!; sleep 57; echo late", Duration::from_millis(300));
    assert_eq!(ended.as_deref(), Some("ended after 0 s"));
    assert!(seconds < 30.0, "{seconds}");
    // The signal was sent; the kernel may take a moment to act on it.
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{tail}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z")
    };
    while lives() {
        assert!(began.elapsed() < Duration::from_secs(30), "{tail} lives");
        std::thread::sleep(Duration::from_millis(5));
    }
}
