//! The project's own commands: `cargo xtask <command>`. Each command is one module; this file only
//! dispatches.

mod bench;
mod clients;
mod codegen;
mod fuzz;
mod test;
mod tidy;
mod torture;

use std::process::ExitCode;

/// A command: its name, what it does, and the function that runs it with the remaining arguments.
type Command = (&'static str, &'static str, fn(&[String]) -> anyhow::Result<()>);

const COMMANDS: &[Command] = &[
    ("test", "run every test of the project, within its time budget", test::run),
    ("tidy", "check the rules of the house over every file", tidy::run),
    (
        "codegen",
        "generate the wire codecs from their schemas (--check: only compare)",
        codegen::run,
    ),
    ("clients", "test the broker with unmodified third-party clients", clients::run),
    ("torture", "kill the broker and cut its power, and count what was lost", torture::run),
    ("fuzz", "fuzz every decoder for a given time", fuzz::run),
    ("bench", "measure the broker, alone or beside its peers", bench::run),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let named = args.first().and_then(|name| COMMANDS.iter().find(|command| command.0 == name));
    let Some((name, _, run)) = named else {
        eprintln!("usage: cargo xtask <command> [options]\n");
        for (name, what, _) in COMMANDS {
            eprintln!("  {name:<10} {what}");
        }
        return ExitCode::from(2);
    };
    match run(&args[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
