//! The steps of the test command in their order, and their budgets. A step is a command that can be
//! typed.

/// Time that some steps may take together.
#[derive(Debug, PartialEq, Eq)]
pub struct Budget {
    pub name: &'static str,
    pub seconds: u64,
}

/// A program without which a step cannot run.
pub struct Need {
    /// Succeeds where the program is there.
    pub probe: &'static [&'static str],
    /// What to do where it is not.
    pub install: &'static str,
}

pub struct Step {
    pub name: &'static str,
    pub what: &'static str,
    pub budget: &'static Budget,
    pub command: &'static [&'static str],
    /// Set for the command beside what is inherited.
    pub env: &'static [(&'static str, &'static str)],
    pub needs: &'static [Need],
    /// Without this step's success it makes no sense to begin.
    pub after: Option<&'static str>,
}

const CHECKS: Budget = Budget { name: "checks", seconds: 60 };
const BUILDS: Budget = Budget { name: "builds", seconds: 480 };
const TESTS: Budget = Budget { name: "tests", seconds: 300 };
const DOCS: Budget = Budget { name: "docs", seconds: 120 };
const CLIENTS: Budget = Budget { name: "clients", seconds: 480 };
const TORTURE: Budget = Budget { name: "crash loops", seconds: 300 };
const FUZZING: Budget = Budget { name: "fuzzing", seconds: 240 };

const fn step(
    name: &'static str,
    what: &'static str,
    budget: &'static Budget,
    command: &'static [&'static str],
) -> Step {
    Step { name, what, budget, command, env: &[], needs: &[], after: None }
}

/// Every step. What fails fastest comes first.
pub const STEPS: &[Step] = &[
    Step {
        needs: &[Need {
            probe: &["cargo", "fmt", "--version"],
            install: "install rustfmt: rustup component add rustfmt",
        }],
        ..step("fmt", "the form of the code", &CHECKS, &["cargo", "fmt", "--all", "--check"])
    },
    step("tidy", "the rules of the house", &CHECKS, &["cargo", "xtask", "tidy"]),
    step(
        "codegen",
        "generated code is what its schemas say",
        &CHECKS,
        &["cargo", "xtask", "codegen", "--check"],
    ),
    Step {
        needs: &[Need {
            probe: &["cargo", "clippy", "--version"],
            install: "install clippy: rustup component add clippy",
        }],
        ..step(
            "clippy",
            "lints of the whole workspace",
            &BUILDS,
            &["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        )
    },
    step("build-tests", "build the tests", &BUILDS, &["cargo", "test", "--workspace", "--no-run"]),
    step("build", "build the broker as it is shipped", &BUILDS, &["cargo", "build", "--release"]),
    Step {
        after: Some("build-tests"),
        ..step(
            "test",
            "unit tests, conversations, the simulator under its fixed seeds",
            &TESTS,
            &["cargo", "test", "--workspace"],
        )
    },
    Step {
        env: &[("RUSTDOCFLAGS", "-D warnings")],
        ..step(
            "docs",
            "the documentation builds and its links lead somewhere",
            &DOCS,
            &["cargo", "doc", "--workspace", "--no-deps", "--document-private-items"],
        )
    },
    Step {
        after: Some("build"),
        ..step(
            "clients",
            "unmodified third-party clients against the broker",
            &CLIENTS,
            &["cargo", "xtask", "clients"],
        )
    },
    Step {
        after: Some("build"),
        ..step(
            "torture",
            "kill -9, power cuts, flipped bits, a full disk",
            &TORTURE,
            &["cargo", "xtask", "torture", "--quick"],
        )
    },
    step("fuzz", "every decoder, for its share of the time", &FUZZING, &["cargo", "xtask", "fuzz"]),
];
