//! InitProducerId: ids that nobody else has, and no transactions.

use std::collections::BTreeSet;

use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use crate::house::{House, expect, versions};

fn init(house: &House, version: i16, request: &InitProducerIdRequest<'_>) -> (i16, i64, i16) {
    let heard = house.talk().ask(version, request);
    let response: InitProducerIdResponse = heard.read();
    (response.error_code, response.producer_id, response.producer_epoch)
}

#[test]
fn every_producer_gets_an_id_of_its_own_also_after_a_restart() {
    let mut house = House::new();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        for version in versions(ApiKey::InitProducerId) {
            // A client that names its former id (KIP-360) begins anew as well.
            for former in [-1, 0] {
                let request = InitProducerIdRequest {
                    producer_id: former,
                    producer_epoch: former as i16,
                    ..InitProducerIdRequest::default()
                };
                let (code, id, epoch) = init(&house, version, &request);
                expect(code, ErrorCode::None);
                assert_eq!(epoch, 0);
                assert!(seen.insert(id), "{id} was given out twice");
            }
        }
        house = house.again();
    }
}

#[test]
fn transactions_are_refused_for_good() {
    let house = House::new();
    for version in versions(ApiKey::InitProducerId) {
        let request = InitProducerIdRequest { transactional_id: Some("x"), ..Default::default() };
        let code = ErrorCode::TransactionalIdAuthorizationFailed.number();
        assert_eq!(init(&house, version, &request), (code, -1, -1));
    }
}
