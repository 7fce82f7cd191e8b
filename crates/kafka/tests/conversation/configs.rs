//! DescribeConfigs and IncrementalAlterConfigs: what is set, what is in force, and who may not.

use sabir_kafka::Settings;
use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse,
};
use sabir_kafka::generated::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use sabir_kafka::generated::produce::ProduceResponse;

use crate::batches::{batch, produce};
use crate::house::{Heard, House, expect, versions};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn describe(house: &House, version: i16, kind: i8, name: &str, keys: Option<&[&str]>) -> Heard {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name,
            configuration_keys: keys.map(<[&str]>::to_vec),
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    house.talk().ask(version, &request)
}

fn read<'a>(heard: &'a Heard) -> Vec<DescribeConfigsResourceResult<'a>> {
    let response: DescribeConfigsResponse<'a> = heard.read();
    let result = response.results.into_iter().next().expect("one was asked for");
    expect(result.error_code, ErrorCode::None);
    result.configs
}

/// Value and source of one config.
fn value(house: &House, kind: i8, resource: &str, name: &str) -> (String, i8) {
    let heard = describe(house, 4, kind, resource, Some(&[name]));
    let configs = read(&heard);
    assert_eq!(configs.len(), 1, "{name}");
    (configs[0].value.unwrap_or("null").to_owned(), configs[0].config_source)
}

fn alter(
    house: &House,
    kind: i8,
    resource: &str,
    changes: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> (ErrorCode, String) {
    let configs = changes
        .iter()
        .map(|(name, config_operation, value)| AlterableConfig {
            name,
            config_operation: *config_operation,
            value: *value,
        })
        .collect();
    let resource = AlterConfigsResource { resource_type: kind, resource_name: resource, configs };
    let mut codes = versions(ApiKey::IncrementalAlterConfigs).map(|version| {
        let resources = vec![resource.clone()];
        let request = IncrementalAlterConfigsRequest { resources, validate_only };
        let heard = house.talk().ask(version, &request);
        let response: IncrementalAlterConfigsResponse<'_> = heard.read();
        let told = &response.responses[0];
        let code = ErrorCode::from_number(told.error_code).expect("known");
        (code, told.error_message.unwrap_or("").to_owned())
    });
    let (first, second) = (codes.next().expect("two"), codes.next().expect("two"));
    assert_eq!(first, second, "both versions say the same");
    first
}

#[test]
fn every_version_describes_a_topic() {
    let house = House::new();
    house.topic("t", 1, &[("retention.ms", "5"), ("min.insync.replicas", "1")]);
    for version in versions(ApiKey::DescribeConfigs) {
        let heard = describe(&house, version, TOPIC, "t", None);
        let configs = read(&heard);
        assert!(configs.len() > 30, "{}", configs.len());
        assert!(configs.is_sorted_by_key(|config| config.name));
        let find = |name: &str| configs.iter().find(|config| config.name == name).expect("told");
        let (set, kept, plain) =
            (find("retention.ms"), find("min.insync.replicas"), find("segment.ms"));
        assert_eq!((set.value, kept.value, plain.value), (Some("5"), Some("1"), Some("604800000")));
        assert!(configs.iter().all(|config| !config.read_only && !config.is_sensitive));
        if version == 0 {
            assert!(plain.is_default && !set.is_default && !kept.is_default);
            continue;
        }
        assert_eq!((set.config_source, kept.config_source, plain.config_source), (1, 1, 5));
        let synonyms: Vec<_> = set.synonyms.iter().map(|one| (one.name, one.source)).collect();
        assert_eq!(synonyms, [("retention.ms", 1), ("log.retention.ms", 5)]);
        assert_eq!(plain.synonyms[0].name, "log.roll.ms");
        if version >= 3 {
            assert_eq!((set.config_type, find("cleanup.policy").config_type), (5, 7));
            assert!(configs.iter().all(|config| config.documentation.is_some()));
        }
    }
}

#[test]
fn only_what_is_asked_for_is_told() {
    let house = House::new();
    house.topic("t", 1, &[]);
    let names = |keys: &[&str]| {
        let heard = describe(&house, 4, TOPIC, "t", Some(keys));
        read(&heard).iter().map(|config| config.name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["segment.ms", "nothing"]), ["segment.ms"]);
    assert!(names(&[]).len() > 30);
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: "t",
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let heard = house.talk().ask(4, &request);
    for config in read(&heard) {
        assert!(config.synonyms.is_empty() && config.documentation.is_none());
    }
}

#[test]
fn each_resource_is_answered_for_itself() {
    let house = House::new();
    house.topic("t", 1, &[]);
    let resources = [(TOPIC, "u"), (TOPIC, "t"), (BROKER, "2"), (BROKER, "x"), (8, "1"), (32, "g")];
    let request = DescribeConfigsRequest {
        resources: resources
            .iter()
            .map(|(resource_type, resource_name)| DescribeConfigsResource {
                resource_type: *resource_type,
                resource_name,
                configuration_keys: None,
            })
            .collect(),
        ..DescribeConfigsRequest::default()
    };
    let heard = house.talk().ask(4, &request);
    let response: DescribeConfigsResponse<'_> = heard.read();
    let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [3, 0, 42, 42, 42, 42]);
    for (result, (kind, name)) in response.results.iter().zip(&resources) {
        assert_eq!((result.resource_type, result.resource_name), (*kind, *name));
        assert_eq!(result.error_message.is_some(), result.configs.is_empty());
    }
}

#[test]
fn the_broker_tells_what_is_true_and_can_not_be_changed() {
    let house = House::with(Settings { default_partitions: 3, ..Settings::default() });
    let check = |name: &str, want: &str, source: i8| {
        assert_eq!(value(&house, BROKER, "1", name), (want.to_owned(), source), "{name}");
    };
    check("advertised.listeners", "PLAINTEXT://127.0.0.1:9092", 5);
    check("auto.create.topics.enable", "true", 5);
    check("num.partitions", "3", 4);
    check("default.replication.factor", "1", 5);
    check("message.max.bytes", "1048588", 5);
    check("group.initial.rebalance.delay.ms", "3000", 5);
    check("offsets.retention.minutes", "10080", 5);
    check("log.retention.hours", "168", 5);
    check("log.retention.ms", "604800000", 5);
    check("log.retention.bytes", "-1", 5);
    check("log.cleanup.policy", "delete", 5);
    check("socket.request.max.bytes", "33554432", 5);
    let heard = describe(&house, 4, BROKER, "1", None);
    assert!(read(&heard).iter().all(|config| config.read_only));
    assert!(read(&describe(&house, 4, BROKER, "", None)).is_empty(), "nothing is set for all");

    let refuses = |resource: &str, name: &str, code, why: &str| {
        let found = alter(&house, BROKER, resource, &[(name, SET, Some("1"))], false);
        assert!(found.0 == code && found.1.contains(why), "{name}: {found:?}");
    };
    let invalid = ErrorCode::InvalidConfig;
    refuses("1", "num.partitions", invalid, "set kafka.default_partitions in sabir.toml");
    refuses("", "log.retention.ms", invalid, "set topic.retention_ms in sabir.toml");
    refuses("1", "log.cleanup.policy", invalid, "cannot be changed");
    refuses("1", "nothing", invalid, "Unknown broker config name: nothing");
    refuses("2", "num.partitions", ErrorCode::InvalidRequest, "expected 1");
}

#[test]
fn configs_are_set_kept_and_unset() {
    let mut house = House::new();
    house.topic("t", 1, &[]);
    let none = (ErrorCode::None, String::new());
    let set = [
        ("retention.ms", SET, Some("5")),
        ("cleanup.policy", APPEND, Some("delete")),
        ("sabir.durability", SET, Some("os")),
    ];
    assert_eq!(alter(&house, TOPIC, "t", &set, true), none);
    assert_eq!(value(&house, TOPIC, "t", "retention.ms").1, 5, "only checked");
    assert_eq!(alter(&house, TOPIC, "t", &set, false), none);
    for _ in 0..2 {
        assert_eq!(value(&house, TOPIC, "t", "retention.ms"), ("5".to_owned(), 1));
        assert_eq!(value(&house, TOPIC, "t", "cleanup.policy"), ("delete".to_owned(), 1));
        assert_eq!(value(&house, TOPIC, "t", "sabir.durability"), ("os".to_owned(), 1));
        house = house.again();
    }
    let unset = [
        ("retention.ms", DELETE, None),
        ("cleanup.policy", DELETE, None),
        ("segment.ms", DELETE, Some("ignored")),
        ("nothing", DELETE, None),
    ];
    assert_eq!(alter(&house, TOPIC, "t", &unset, false), none);
    assert_eq!(value(&house, TOPIC, "t", "retention.ms"), ("604800000".to_owned(), 5));
    assert_eq!(value(&house, TOPIC, "t", "cleanup.policy"), ("delete".to_owned(), 5));
}

#[test]
fn a_change_is_in_force_with_its_answer() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let check = |limit: &str, code| {
        alter(&house, TOPIC, "t", &[("max.message.bytes", SET, Some(limit))], false);
        let heard = house.talk().ask(9, &produce("t", id, 0, -1, &batch(&["v"])));
        let response: ProduceResponse<'_> = heard.read();
        expect(response.responses[0].partition_responses[0].error_code, code);
    };
    check("10", ErrorCode::MessageTooLarge);
    check("1000", ErrorCode::None);
}

#[test]
fn a_change_that_is_wrong_changes_nothing() {
    let house = House::new();
    house.topic("t", 1, &[]);
    let refuses = |resource: (i8, &str), changes: &[(&str, i8, Option<&str>)], code, why: &str| {
        for validate_only in [false, true] {
            let mut all = vec![("segment.ms", SET, Some("9"))];
            all.extend_from_slice(changes);
            let found = alter(&house, resource.0, resource.1, &all, validate_only);
            assert!(found.0 == code && found.1.contains(why), "{changes:?}: {found:?}");
        }
        assert_eq!(value(&house, TOPIC, "t", "segment.ms").1, 5, "{changes:?}");
    };
    let (config, request) = (ErrorCode::InvalidConfig, ErrorCode::InvalidRequest);
    let t = (TOPIC, "t");
    refuses(t, &[("nothing", SET, Some("1"))], config, "Unknown topic config name: nothing");
    refuses(t, &[("retention.ms", SET, Some("x"))], config, "retention.ms");
    refuses(t, &[("retention.ms", APPEND, Some("1"))], config, "not LIST");
    refuses(t, &[("retention.ms", SUBTRACT, Some("1"))], config, "SUBTRACT");
    refuses(t, &[("cleanup.policy", APPEND, Some("compact"))], config, "compaction");
    refuses(t, &[("cleanup.policy", SUBTRACT, Some("delete"))], config, "cleanup.policy");
    let weak = [("sabir.durability", SET, Some("os")), ("flush.ms", SET, Some("1"))];
    refuses(t, &weak, config, "flush.ms");
    refuses(t, &[("retention.ms", SET, None)], request, "Null value");
    refuses(t, &[("retention.ms", 4, Some("1"))], request, "operation type 4");
    refuses(t, &[("segment.ms", DELETE, None)], request, "duplicate config keys");
    refuses((TOPIC, "u"), &[], ErrorCode::UnknownTopicOrPartition, "'u' does not exist");
    refuses((TOPIC, ""), &[], request, "Default topic");
    refuses((16, "x"), &[], request, "resource type: 16");
}

#[test]
fn a_resource_named_twice_is_not_altered() {
    let house = House::new();
    house.topic("t", 1, &[]);
    let one = |value: &'static str| AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t",
        configs: vec![AlterableConfig {
            name: "retention.ms",
            config_operation: SET,
            value: Some(value),
        }],
    };
    let resources = vec![one("1"), one("2")];
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let heard = house.talk().ask(1, &request);
    let response: IncrementalAlterConfigsResponse<'_> = heard.read();
    for told in &response.responses {
        expect(told.error_code, ErrorCode::InvalidRequest);
    }
    assert_eq!(value(&house, TOPIC, "t", "retention.ms").1, 5);
}
