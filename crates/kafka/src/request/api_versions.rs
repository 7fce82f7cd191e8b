//! ApiVersions (key 18): what is served.

use bytes::Bytes;
use sabir_broker::ticket::Ticket;
use sabir_net::connection::Close;

use super::{Outcome, SERVED, decode};
use crate::api::ApiKey;
use crate::connection::{Context, Head};
use crate::error_code::ErrorCode;
use crate::generated::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};

pub fn handle(context: &mut Context<'_>, head: Head, body: &Bytes) -> Result<Outcome, Close> {
    let request: ApiVersionsRequest<'_> = decode(&head, body)?;
    let named = head.version < 3
        || (is_name(request.client_software_name) && is_name(request.client_software_version));
    let response = if named {
        ApiVersionsResponse {
            api_keys: SERVED.iter().map(|key| range(*key)).collect(),
            finalized_features_epoch: -1,
            ..ApiVersionsResponse::default()
        }
    } else {
        let error_code = ErrorCode::InvalidRequest.number();
        ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() }
    };
    Ok(Outcome::Reply(context.reply(&head, &response, Ticket::DONE)?))
}

/// A version newer than ours is answered in version 0 with the range of this very request, so that
/// the client can ask again (KIP-511).
pub fn too_new(context: &mut Context<'_>, head: Head) -> Result<Outcome, Close> {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.number(),
        api_keys: vec![range(ApiKey::ApiVersions)],
        ..ApiVersionsResponse::default()
    };
    let head = Head { version: 0, ..head };
    Ok(Outcome::Reply(context.reply(&head, &response, Ticket::DONE)?))
}

fn range(key: ApiKey) -> ApiVersion {
    let info = key.info();
    ApiVersion {
        api_key: info.number,
        min_version: info.version_min,
        max_version: info.version_max,
    }
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let bytes = name.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().copied().all(inner)
}

#[cfg(test)]
mod tests {
    #[test]
    fn software_names_follow_the_pattern() {
        let check = |name, ok| assert_eq!(super::is_name(name), ok, "{name:?}");
        check("apache-kafka-java", true);
        check("4.2.0", true);
        check("a", true);
        check("", false);
        check("-a", false);
        check("a.", false);
        check("a b", false);
    }
}
