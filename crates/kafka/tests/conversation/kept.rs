//! Nobody is told of anything before it is kept: neither who did it, nor who comes to see it.

use std::time::Duration;

use sabir_kafka::generated::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use sabir_kafka::generated::create_topics::CreateTopicsRequest;
use sabir_kafka::generated::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use sabir_kafka::generated::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use sabir_kafka::generated::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use sabir_kafka::generated::init_producer_id::InitProducerIdRequest;
use sabir_kafka::generated::metadata::{MetadataRequest, MetadataRequestTopic};

use crate::batches::{batch, fetch, part, produce};
use crate::create_topics::plain;
use crate::house::{House, Talk};

/// What every client sends in these tests, about topic `t`.
#[derive(Clone, Copy, Debug)]
enum Say {
    Metadata,
    Create,
    Delete,
    Grow,
    Alter,
    Describe,
    Produce,
    Init,
}

fn say(talk: &mut Talk, what: Say) {
    let topics = |name| Some(vec![MetadataRequestTopic { name, topic_id: [0; 16] }]);
    match what {
        Say::Metadata => {
            talk.say(9, &MetadataRequest { topics: topics(Some("t")), ..Default::default() })
        }
        Say::Create => {
            talk.say(5, &CreateTopicsRequest { topics: vec![plain("t")], ..Default::default() })
        }
        Say::Delete => {
            let topics = vec![DeleteTopicState { name: Some("t"), topic_id: [0; 16] }];
            talk.say(6, &DeleteTopicsRequest { topics, ..Default::default() })
        }
        Say::Grow => {
            let topics = vec![CreatePartitionsTopic { name: "t", count: 2, assignments: None }];
            talk.say(3, &CreatePartitionsRequest { topics, ..Default::default() })
        }
        Say::Alter => {
            let (name, config_operation, value) = ("retention.ms", 0, Some("1"));
            let configs = vec![AlterableConfig { name, config_operation, value }];
            let (resource_type, resource_name) = (2, "t");
            let resources = vec![AlterConfigsResource { resource_type, resource_name, configs }];
            talk.say(1, &IncrementalAlterConfigsRequest { resources, validate_only: false })
        }
        Say::Describe => {
            let resources = vec![DescribeConfigsResource {
                resource_type: 2,
                resource_name: "t",
                configuration_keys: None,
            }];
            talk.say(4, &DescribeConfigsRequest { resources, ..Default::default() })
        }
        Say::Produce => talk.say(9, &produce("t", [0; 16], 0, 1, &batch(&["v"]))),
        Say::Init => talk.say(4, &InitProducerIdRequest::default()),
    };
}

/// Long enough for an answer that waits for nothing.
fn a_moment() {
    let (_sender, receiver) = std::sync::mpsc::sync_channel::<()>(0);
    let _ = receiver.recv_timeout(Duration::from_millis(20));
}

#[test]
fn answers_wait_for_what_they_tell_of_whoever_did_it() {
    let check = |there: bool, first: Say, then: &[Say]| {
        let house = House::new();
        if there {
            house.topic("t", 1, &[]);
        }
        house.hold(true);
        let mut doer = house.talk();
        say(&mut doer, first);
        let mut others: Vec<_> = then
            .iter()
            .map(|what| {
                let mut talk = house.talk();
                say(&mut talk, *what);
                (talk, what)
            })
            .collect();
        a_moment();
        assert!(!doer.has_answer(), "{first:?}");
        for (talk, what) in &mut others {
            assert!(!talk.has_answer(), "{what:?} after {first:?}");
        }
        house.hold(false);
        doer.hear();
        others.iter_mut().for_each(|(talk, _)| drop(talk.hear()));
    };
    use Say::{Alter, Create, Delete, Describe, Grow, Init, Metadata, Produce};
    check(false, Create, &[Metadata, Create, Describe, Alter, Grow, Produce]);
    check(false, Metadata, &[Metadata, Create, Describe]);
    check(true, Alter, &[Describe, Alter, Metadata]);
    check(true, Grow, &[Metadata, Grow, Describe]);
    check(true, Delete, &[Metadata, Delete, Describe, Alter, Grow]);
    check(true, Produce, &[Produce]);
    check(true, Init, &[Init]);
}

#[test]
fn records_are_not_read_before_they_are_kept() {
    let house = House::new();
    let id = house.topic("t", 1, &[]);
    let os = house.topic("os", 1, &[("sabir.durability", "os")]);
    house.hold(true);
    let mut producer = house.talk();
    producer.say(9, &produce("t", id, 0, 1, &batch(&["v"])));
    house.talk().ask(9, &produce("os", os, 0, 1, &batch(&["v"])));
    a_moment();
    assert_eq!((house.end("t"), house.end("os")), (0, 1));
    let mut reader = house.talk();
    let mut poll = fetch("t", id, vec![part(0, 0)]);
    poll.max_wait_ms = 1000;
    reader.say(12, &poll);
    assert!(!reader.has_answer() && !producer.has_answer());
    house.hold(false);
    producer.hear();
    reader.hear();
    assert_eq!(house.end("t"), 1);
}
