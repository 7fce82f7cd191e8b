//! The checker against a recorded history, and against mutations of it: each must be flagged with
//! the rule it breaks, else the checker itself lets such a fault pass.

use super::*;

/// Two idempotent and one plain producer, two logs, one reader, a topic and a commit. `0/p0/1` was
/// sent twice, as a plain producer may; `0/i1/1` got no reply and is there all the same.
const WORKLOAD: &str = "\
made torture-a 2
try 0/i0/0 h00
try 0/i0/1 h01
try 0/i1/0 h10
try 0/p0/0 p00
try 0/i0/2 h02
try 0/i1/1 h11
ack 0/i0/0 torture-a 0 0
ack 0/i0/1 torture-a 0 1
ack 0/i1/0 torture-a 1 0
read 0/i0/0 h00 torture-a 0 0
read 0/i0/1 h01 torture-a 0 1
read 0/i1/0 h10 torture-a 1 0
commit torture-a 0 2
try 0/p0/1 p01
ack 0/p0/0 torture-a 0 2
ack 0/p0/1 torture-a 1 -1
ack 0/i0/2 torture-a 0 3
read 0/p0/0 p00 torture-a 0 2
";

const READING: &str = "\
topic torture-a 2
end torture-a 0 0 4
end torture-a 1 0 4
group torture-a 0 2
have 0/i0/0 h00 torture-a 0 0
have 0/i0/1 h01 torture-a 0 1
have 0/p0/0 p00 torture-a 0 2
have 0/i0/2 h02 torture-a 0 3
have 0/i1/0 h10 torture-a 1 0
have 0/p0/1 p01 torture-a 1 1
have 0/p0/1 p01 torture-a 1 2
have 0/i1/1 h11 torture-a 1 3
done
";

fn rules(workload: &str, reading: &str) -> Vec<Rule> {
    let mut history = History::default();
    history.take(workload, Counted::Yes).expect("a workload's lines");
    let reading = Reading::parse(reading).expect("a verifier's lines");
    let mut rules: Vec<Rule> = history.check(&reading).into_iter().map(|each| each.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn a_good_history_passes() {
    assert_eq!(rules(WORKLOAD, READING), []);
}

/// What is changed in what was read back: its name, texts with what stands in their place, and the
/// rules that must be flagged.
type Mutation = (&'static str, &'static [(&'static str, &'static str)], &'static [Rule]);

#[test]
fn every_mutation_of_the_reading_is_flagged() {
    use Rule::*;
    let cases: &[Mutation] = &[
        (
            "drop the last record of a log, nobody read it",
            &[
                ("have 0/i0/2 h02 torture-a 0 3\n", ""),
                ("end torture-a 0 0 4", "end torture-a 0 0 3"),
            ],
            &[Lost],
        ),
        (
            "drop one from the middle, the rest moves up",
            &[
                ("have 0/i0/1 h01 torture-a 0 1\n", ""),
                ("p00 torture-a 0 2", "p00 torture-a 0 1"),
                ("h02 torture-a 0 3", "h02 torture-a 0 2"),
                ("end torture-a 0 0 4", "end torture-a 0 0 3"),
            ],
            &[Lost, Moved],
        ),
        (
            "drop one from the middle, its offset stays away",
            &[("have 0/i0/1 h01 torture-a 0 1\n", "")],
            &[Lost, Skipped, ReadLost],
        ),
        (
            "drop one without a reply that nobody read, at the end",
            &[
                ("have 0/i1/1 h11 torture-a 1 3\n", ""),
                ("end torture-a 1 0 4", "end torture-a 1 0 3"),
            ],
            &[],
        ),
        (
            "repeat a record of an idempotent producer",
            &[
                (
                    "have 0/i1/1 h11 torture-a 1 3\n",
                    "have 0/i1/1 h11 torture-a 1 3\nhave 0/i1/1 h11 torture-a 1 4\n",
                ),
                ("end torture-a 1 0 4", "end torture-a 1 0 5"),
            ],
            &[Duplicate],
        ),
        (
            "repeat an offset",
            &[(
                "have 0/i1/1 h11 torture-a 1 3\n",
                "have 0/i1/1 h11 torture-a 1 3\nhave 0/i1/1 h11 torture-a 1 3\n",
            )],
            &[Skipped, Duplicate],
        ),
        (
            "swap two records of one producer",
            &[
                ("have 0/i0/0 h00 torture-a 0 0", "have 0/i0/1 h01 torture-a 0 0"),
                ("have 0/i0/1 h01 torture-a 0 1", "have 0/i0/0 h00 torture-a 0 1"),
            ],
            &[Moved, Disordered],
        ),
        (
            "swap two lines, so that the reader goes back",
            &[(
                "have 0/i0/0 h00 torture-a 0 0\nhave 0/i0/1 h01 torture-a 0 1\n",
                "have 0/i0/1 h01 torture-a 0 1\nhave 0/i0/0 h00 torture-a 0 0\n",
            )],
            &[Skipped],
        ),
        (
            "change a byte",
            &[("have 0/p0/1 p01 torture-a 1 2", "have 0/p0/1 p02 torture-a 1 2")],
            &[Damaged],
        ),
        (
            "change a byte of the id",
            &[("have 0/i1/1 h11 torture-a 1 3", "have 0/i1/9 h11 torture-a 1 3")],
            &[Phantom],
        ),
        (
            "one record in another's place",
            &[("have 0/i0/2 h02 torture-a 0 3", "have 0/i1/1 h11 torture-a 0 3")],
            &[Lost, Duplicate],
        ),
        ("change an offset", &[("h02 torture-a 0 3", "h02 torture-a 0 4")], &[Moved, Skipped]),
        (
            "a record in another log",
            &[("h02 torture-a 0 3", "h02 torture-a 1 4")],
            &[Moved, Skipped],
        ),
        (
            "the beginning is gone",
            &[
                ("have 0/i0/0 h00 torture-a 0 0\n", ""),
                ("end torture-a 0 0 4", "end torture-a 0 1 4"),
            ],
            &[Lost, Skipped, ReadLost],
        ),
        ("forget a topic", &[("topic torture-a 2\n", "")], &[TopicLost]),
        ("forget a partition", &[("topic torture-a 2", "topic torture-a 1")], &[TopicLost]),
        ("forget a commit", &[("group torture-a 0 2\n", "")], &[CommitLost]),
        ("set a commit back", &[("group torture-a 0 2", "group torture-a 0 1")], &[CommitLost]),
        ("a commit further on", &[("group torture-a 0 2", "group torture-a 0 4")], &[]),
        (
            "a refused range",
            &[("have 0/i0/1 h01 torture-a 0 1\n", "refused torture-a 0 1 2 CORRUPT_MESSAGE\n")],
            &[],
        ),
    ];
    for (name, changes, expected) in cases {
        let mut reading = READING.to_owned();
        for (from, to) in *changes {
            assert!(reading.contains(from), "{name}: {from} is not in it");
            reading = reading.replacen(from, to, 1);
        }
        assert_eq!(rules(WORKLOAD, &reading), *expected, "{name}");
    }
}

/// Each appends lines to the workload.
#[test]
fn what_a_reader_was_given_is_checked_at_once() {
    use Rule::*;
    let cases: &[(&str, &str, &[Rule])] = &[
        ("the next one", "read 0/i0/2 h02 torture-a 0 3\n", &[]),
        ("one left out", "read 0/p0/1 p01 torture-a 1 2\n", &[Skipped]),
        ("one again", "read 0/p0/0 p00 torture-a 0 2\n", &[Skipped]),
        ("a wrong byte", "read 0/i0/2 h99 torture-a 0 3\n", &[Damaged]),
        ("an invented one", "read 0/i0/7 h07 torture-a 0 3\n", &[Phantom, Moved]),
        ("a record that is gone", "read 0/i0/2 h02 torture-a 1 5\n", &[Skipped, ReadLost]),
        ("a producer that cannot go on", "fatal i0 OUT_OF_ORDER_SEQUENCE_NUMBER\n", &[Stuck]),
        ("no replies", "stuck 7\n", &[Stuck]),
    ];
    for (name, lines, expected) in cases {
        assert_eq!(rules(&format!("{WORKLOAD}{lines}"), READING), *expected, "{name}");
    }
}

#[test]
fn a_later_reading_must_see_what_an_earlier_one_saw() {
    let mut history = History::default();
    history.take(WORKLOAD, Counted::Yes).expect("a workload's lines");
    let first = Reading::parse(READING).expect("a verifier's lines");
    assert_eq!(history.check(&first), []);
    let without = READING.replace("have 0/i1/1 h11 torture-a 1 3\n", "");
    let without = without.replace("end torture-a 1 0 4", "end torture-a 1 0 3");
    let second = Reading::parse(&without).expect("a verifier's lines");
    let found = history.check(&second);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].rule, Rule::ReadLost);
}

#[test]
fn what_a_dead_machine_said_does_not_count() {
    let mut history = History::default();
    history.take(WORKLOAD, Counted::Yes).expect("a workload's lines");
    let late = "try 0/i0/3 h03\nack 0/i0/3 torture-a 0 4\nread 0/i0/2 h02 torture-a 0 3\n";
    history.take(late, Counted::No).expect("a workload's lines");
    let reading = Reading::parse(READING).expect("a verifier's lines");
    assert_eq!(history.check(&reading), []);
    history.take("ack 0/i0/3 torture-a 0 4\n", Counted::Yes).expect("a workload's lines");
    assert_eq!(history.check(&reading)[0].rule, Rule::Lost);
}

#[test]
fn output_that_is_not_whole_is_refused() {
    assert!(Reading::parse(&READING.replace("done\n", "")).is_err());
    assert!(Reading::parse("have 0/i0/0 h00 torture-a\ndone\n").is_err());
    assert!(History::default().take("ack 0/i0/0\n", Counted::Yes).is_err());
}
