//! Each rule of the table has its line here.

use super::*;

/// Sets one config on a topic without any; says what it is told to be then, or why not.
fn set(name: &str, value: &str) -> Result<String, String> {
    let mut kept = Kept::default();
    kept.set(name, value)?;
    kept.check(&Effective::default())?;
    let entries = kept.describe(&Effective::default());
    let entry = entries.into_iter().find(|entry| entry.name == name).expect("known");
    assert_eq!(entry.source, Source::Topic, "{name}");
    assert_eq!(entry.synonyms[0].source, Source::Topic, "{name}");
    Ok(entry.value.expect("no config is without a value"))
}

#[test]
fn every_config_takes_what_is_done_and_refuses_the_rest() {
    let takes = |name: &str, value: &str, told: &str| {
        assert_eq!(set(name, value), Ok(told.to_owned()), "{name}={value}");
    };
    let refuses = |name: &str, value: &str, why: &str| {
        let found = set(name, value).expect_err(name);
        assert!(found.contains(why), "{name}={value}: {found}");
        assert!(found.contains(name), "{name}={value}: {found}");
    };
    takes("cleanup.policy", "delete", "delete");
    refuses("cleanup.policy", "compact", "compaction is not supported");
    refuses("cleanup.policy", "compact,delete", "compaction is not supported");
    refuses("cleanup.policy", "", "only 'delete'");
    takes("compression.type", "producer", "producer");
    refuses("compression.type", "zstd", "as the producer has compressed");
    refuses("compression.type", "uncompressed", "only 'producer'");
    takes("compression.gzip.level", "-1", "-1");
    refuses("compression.gzip.level", "5", "only '-1'");
    refuses("compression.lz4.level", "1", "only '9'");
    refuses("compression.zstd.level", "1", "only '3'");
    takes("delete.retention.ms", "0", "0");
    refuses("delete.retention.ms", "-1", "at least 0");
    refuses("file.delete.delay.ms", "1", "no such file");
    takes("flush.messages", "1", "1");
    refuses("flush.messages", "0", "at least 1");
    takes("flush.ms", " 1000 ", "1000");
    takes("follower.replication.throttled.replicas", "", "");
    refuses("follower.replication.throttled.replicas", "*", "one copy");
    refuses("leader.replication.throttled.replicas", "*", "one copy");
    refuses("index.interval.bytes", "1", "only '4096'");
    takes("index.interval.bytes", "4096", "4096");
    refuses("local.retention.bytes", "1", "no remote storage");
    refuses("local.retention.ms", "1", "no remote storage");
    takes("max.compaction.lag.ms", "1", "1");
    takes("max.message.bytes", "1000", "1000");
    refuses("max.message.bytes", "-1", "at least 0");
    refuses("max.message.bytes", "2147483648", "type INT");
    takes("message.timestamp.after.max.ms", "0", "0");
    refuses("message.timestamp.after.max.ms", "-1", "at least 0");
    takes("message.timestamp.before.max.ms", "5", "5");
    refuses("message.timestamp.before.max.ms", "x", "type LONG");
    takes("message.timestamp.type", "LogAppendTime", "LogAppendTime");
    refuses("message.timestamp.type", "logappendtime", "one of: CreateTime, LogAppendTime");
    takes("min.cleanable.dirty.ratio", "0.1", "0.1");
    refuses("min.cleanable.dirty.ratio", "1.1", "no more than 1");
    takes("min.compaction.lag.ms", "7", "7");
    takes("min.insync.replicas", "1", "1");
    refuses("min.insync.replicas", "2", "one copy");
    takes("preallocate", "FALSE", "false");
    refuses("preallocate", "true", "lays out its files itself");
    refuses("preallocate", "1", "either true or false");
    refuses("remote.log.copy.disable", "true", "no remote storage");
    refuses("remote.log.delete.on.disable", "true", "no remote storage");
    takes("remote.storage.enable", "false", "false");
    refuses("remote.storage.enable", "true", "no remote storage");
    takes("retention.bytes", "-1", "-1");
    refuses("retention.bytes", "-2", "at least -1");
    takes("retention.ms", "1", "1");
    refuses("retention.ms", "-2", "at least -1");
    takes("sabir.durability", "os", "os");
    refuses("sabir.durability", "none", "one of: durable, os");
    takes("segment.bytes", "1048576", "1048576");
    refuses("segment.bytes", "1048575", "at least 1048576");
    refuses("segment.index.bytes", "1", "no such file");
    refuses("segment.jitter.ms", "1", "only '0'");
    takes("segment.ms", "1", "1");
    refuses("segment.ms", "0", "at least 1");
    takes("unclean.leader.election.enable", "true", "true");
    refuses("message.format.version", "2.0", "Unknown topic config name: message.format.version");
}

#[test]
fn every_default_is_accepted_and_every_config_has_a_line_above() {
    let lines = include_str!("tests.rs");
    for entry in Kept::default().describe(&Effective::default()) {
        let value = entry.value.expect("no config is without a value");
        assert_eq!(set(entry.name, &value), Ok(value), "{}", entry.name);
        assert_eq!(entry.source, Source::Default, "{}", entry.name);
        assert!(!entry.about.is_empty());
        assert!(lines.contains(&format!("(\"{}\", ", entry.name)), "{}", entry.name);
    }
    assert!(KEYS.is_sorted_by_key(|key| key.name));
}

#[test]
fn defaults_of_the_broker_show_where_they_come_from() {
    let defaults = Effective { retention_ms: 5, ..Effective::default() };
    let entries = Kept::default().describe(&defaults);
    let entry = entries.iter().find(|entry| entry.name == "retention.ms").expect("known");
    assert_eq!((entry.value.as_deref(), entry.source), (Some("5"), Source::Broker));
    assert_eq!(entry.synonyms.len(), 1);
    assert_eq!(entry.synonyms[0].name, "log.retention.ms");
}

#[test]
fn what_depends_on_the_disk_does_not_go_with_durability_os() {
    let mut kept = Kept::default();
    kept.set("flush.messages", "1").expect("accepted");
    kept.check(&Effective::default()).expect("durable");
    kept.set("sabir.durability", "os").expect("accepted");
    let why = kept.check(&Effective::default()).expect_err("os");
    assert!(why.contains("flush.messages") && why.contains("sabir.durability"), "{why}");
    kept.unset("flush.messages");
    kept.check(&Effective::default()).expect("mended");
    assert_eq!(kept.policy.durability, Some(Class::Os));
}

#[test]
fn lists_are_edited_and_nothing_else() {
    let mut kept = Kept::default();
    let why = kept.edit("cleanup.policy", "compact", true).expect_err("compaction");
    assert!(why.contains("delete,compact"), "{why}");
    assert_eq!(kept, Kept::default());
    kept.edit("cleanup.policy", "delete", true).expect("it is there already");
    assert_eq!(kept.labels["kafka.cleanup.policy"], "delete");
    kept.edit("cleanup.policy", "compact", false).expect("it is not there anyway");
    assert!(kept.edit("cleanup.policy", "delete", false).is_err());
    let why = kept.edit("retention.ms", "1", true).expect_err("a number");
    assert!(why.contains("APPEND") && why.contains("not LIST"), "{why}");
    assert!(kept.edit("nothing", "1", true).is_err());
}
