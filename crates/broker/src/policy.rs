//! Who a client is and what it may do. Unknown means denied.

use std::sync::Arc;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Describe,
    Create,
    Alter,
    Delete,
    Publish,
    Consume,
    Admin,
}

/// To what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Namespace(&'a str),
    Cluster,
}

/// An authenticated identity.
#[derive(Clone, Debug)]
pub struct Identity {
    name: Arc<str>,
    anonymous: bool,
}

impl Identity {
    /// Who comes without credentials, where a listener lets such clients in.
    pub fn anonymous() -> Identity {
        Identity { name: "anonymous".into(), anonymous: true }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The anonymous identity may use the broker in every way; no other identity exists yet, so
    /// any other is denied.
    pub fn may(&self, _action: Action, _resource: Resource<'_>) -> bool {
        self.anonymous
    }
}
