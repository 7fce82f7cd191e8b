//! Deleting a group that nobody is in, with its offsets.

use super::{Answer, Turn};
use crate::caller::Caller;
use crate::clock::Now;
use crate::error::Error;
use crate::group::GroupError;
use crate::name;
use crate::policy::{Action, Resource};

impl Caller {
    /// Deletes a group with its offsets; it is gone for good once the ticket is reached. The group
    /// refuses with `NonEmptyGroup` while it has members.
    ///
    /// # Errors
    /// `Invalid` for the name; `Denied`; `NotFound`; `Throttled`: nothing has happened yet, wait
    /// and repeat.
    pub fn delete_group(
        &self,
        now: Now,
        name: &str,
    ) -> Result<Answer<Result<(), GroupError>>, Error> {
        name::check(name)?;
        self.allowed(Action::Delete, Resource::Group(name))?;
        self.has_room(0)?;
        let unknown = || Error::not_found("there is no such group");
        let at = self.find_group(name).ok_or_else(unknown)?;
        let turn = self.broker.group_turn(now, at, |group| group.delete());
        turn.map(Turn::members).ok_or_else(unknown)
    }
}
