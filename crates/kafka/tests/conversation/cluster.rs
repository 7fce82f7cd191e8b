//! DescribeCluster: the one broker, and nobody's controllers.

use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use sabir_kafka::generated::metadata::{MetadataRequest, MetadataResponse};

use crate::house::{House, expect, versions};

#[test]
fn every_version_names_the_broker() {
    let house = House::new();
    let heard = house.talk().ask(13, &MetadataRequest::default());
    let metadata: MetadataResponse<'_> = heard.read();
    for version in versions(ApiKey::DescribeCluster) {
        for (asked, told) in [(false, i32::MIN), (true, 8096)] {
            let request = DescribeClusterRequest {
                include_cluster_authorized_operations: asked,
                ..DescribeClusterRequest::default()
            };
            let heard = house.talk_to(Some("b.example:1")).ask(version, &request);
            let response: DescribeClusterResponse<'_> = heard.read();
            expect(response.error_code, ErrorCode::None);
            assert_eq!(Some(response.cluster_id), metadata.cluster_id);
            assert_eq!(response.controller_id, 1);
            assert_eq!(response.cluster_authorized_operations, told);
            assert_eq!(response.brokers.len(), 1);
            let broker = &response.brokers[0];
            assert_eq!((broker.broker_id, broker.host, broker.port), (1, "b.example", 1));
            assert!(!broker.is_fenced);
        }
    }
}

#[test]
fn other_endpoints_are_refused() {
    let house = House::new();
    let check = |endpoint_type: i8, code| {
        for version in [1, 2] {
            let request =
                DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
            let heard = house.talk().ask(version, &request);
            let response: DescribeClusterResponse<'_> = heard.read();
            expect(response.error_code, code);
            assert_eq!(response.error_message.is_some(), code != ErrorCode::None);
        }
    };
    check(1, ErrorCode::None);
    check(2, ErrorCode::MismatchedEndpointType);
    check(0, ErrorCode::InvalidRequest);
    check(7, ErrorCode::UnsupportedEndpointType);
}
