//! Which APIs and versions are served, and which header each request and response has.

pub use crate::generated::api_key::ApiKey;

/// Facts of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiInfo {
    /// The API key on the wire.
    pub number: i16,
    /// The name Kafka gives it.
    pub name: &'static str,
    /// Lowest version served.
    pub version_min: i16,
    /// Highest version served.
    pub version_max: i16,
    /// First version with compact lengths and tagged fields (KIP-482), if there is one.
    pub flexible_from: Option<i16>,
}

impl ApiInfo {
    pub(crate) const fn new(
        number: i16,
        name: &'static str,
        version_min: i16,
        version_max: i16,
        flexible_from: Option<i16>,
    ) -> Self {
        Self { number, name, version_min, version_max, flexible_from }
    }
}

impl ApiKey {
    /// The API key on the wire.
    pub const fn number(self) -> i16 {
        self.info().number
    }

    /// The name Kafka gives it.
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// Whether this version is served.
    pub const fn serves(self, version: i16) -> bool {
        let info = self.info();
        info.version_min <= version && version <= info.version_max
    }

    /// Whether this version has compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.info().flexible_from {
            Some(first) => version >= first,
            None => false,
        }
    }

    /// Version of the header before a request of `version`, also one newer than any served: a
    /// client that is newer than we are asks ApiVersions first, with a header we can read.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header before a response to a request of `version`.
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            // Always 0, so that a client can read the answer whatever the broker speaks (KIP-511).
            ApiKey::ApiVersions => 0,
            _ if self.is_flexible(version) => 1,
            _ => 0,
        }
    }
}
