//! ApiVersions: what is served, for clients older and newer than we are.

use sabir_kafka::SERVED;
use sabir_kafka::api::ApiKey;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::api_versions::{ApiVersionsRequest, ApiVersionsResponse};

use crate::house::{House, expect, versions};

const REQUEST: ApiVersionsRequest<'_> =
    ApiVersionsRequest { client_software_name: "talk", client_software_version: "1.0" };

#[test]
fn every_version_lists_what_is_served_and_nothing_else() {
    let house = House::new();
    for version in versions(ApiKey::ApiVersions) {
        let heard = house.talk().ask(version, &REQUEST);
        let response: ApiVersionsResponse<'_> = heard.read();
        expect(response.error_code, ErrorCode::None);
        let told: Vec<_> = response
            .api_keys
            .iter()
            .map(|key| (key.api_key, key.min_version, key.max_version))
            .collect();
        let served = SERVED.iter().map(|key| key.info());
        let served: Vec<_> =
            served.map(|info| (info.number, info.version_min, info.version_max)).collect();
        assert_eq!(told, served);
    }
}

#[test]
fn a_newer_version_is_answered_in_version_0_with_our_range() {
    let house = House::new();
    let mut talk = house.talk();
    talk.say(4, &REQUEST);
    // The same request once more, as version 5: the client must be able to go on after it.
    let mut frame = Vec::new();
    let chunks = sabir_kafka::codec::frame_request(2, Some("talk"), 4, &REQUEST).expect("valid");
    chunks.iter().for_each(|chunk| frame.extend_from_slice(chunk));
    frame[6..8].copy_from_slice(&5i16.to_be_bytes());
    talk.hear();
    talk.raw(ApiKey::ApiVersions, 0, &frame);
    let heard = talk.hear();
    let response: ApiVersionsResponse<'_> = heard.read();
    expect(response.error_code, ErrorCode::UnsupportedVersion);
    let told = &response.api_keys;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].api_key, told[0].min_version, told[0].max_version), (18, 0, 4));
    let heard = talk.ask(4, &REQUEST);
    expect(heard.read::<ApiVersionsResponse<'_>>().error_code, ErrorCode::None);
}

#[test]
fn software_names_out_of_form_are_refused() {
    let house = House::new();
    let check = |name: &'static str, version: &'static str, code| {
        let request =
            ApiVersionsRequest { client_software_name: name, client_software_version: version };
        let heard = house.talk().ask(3, &request);
        expect(heard.read::<ApiVersionsResponse<'_>>().error_code, code);
    };
    check("apache-kafka-java", "4.2.0", ErrorCode::None);
    check("-bad", "1", ErrorCode::InvalidRequest);
    check("good", "1 0", ErrorCode::InvalidRequest);
    check("", "", ErrorCode::InvalidRequest);
}
