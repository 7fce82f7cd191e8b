//! What an operator may set about groups, with defaults. No component, no clock.

/// Limits and times of all groups of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Shortest session timeout a member may ask for, milliseconds.
    pub session_timeout_ms_min: u32,
    /// Longest session timeout a member may ask for, milliseconds.
    pub session_timeout_ms_max: u32,
    /// How long the first round of an empty group waits for more members, milliseconds; starts
    /// anew while members arrive, up to their rebalance timeout. 0 = no wait.
    pub initial_delay_ms: u32,
    /// How long a member that joined for the first time may wait for its round, milliseconds.
    pub new_member_timeout_ms: u32,
    /// Members of one group, those included that were only given an id.
    pub members_max: usize,
    /// Bytes of one member: ids and the metadata of all its protocols; also of one assignment.
    pub member_bytes_max: usize,
    /// Bytes of all members of a group, and again of all their assignments.
    pub group_bytes_max: usize,
    /// Protocols that one member may list.
    pub protocols_max: usize,
    /// Bytes of the text kept with a committed offset.
    pub offset_metadata_bytes_max: usize,
    /// How long offsets outlive the last member (or, in a group that never had members, their own
    /// commit), milliseconds.
    pub offset_retention_ms: u64,
    /// How long a group with neither members nor offsets is kept, milliseconds.
    pub unused_ms: u64,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 30 * 60 * 1000,
            initial_delay_ms: 3_000,
            new_member_timeout_ms: 5 * 60 * 1000,
            members_max: 10_000,
            member_bytes_max: 1 << 20,
            group_bytes_max: 16 << 20,
            protocols_max: 64,
            offset_metadata_bytes_max: 4096,
            offset_retention_ms: 7 * 24 * 60 * 60 * 1000,
            unused_ms: 10 * 60 * 1000,
        }
    }
}
