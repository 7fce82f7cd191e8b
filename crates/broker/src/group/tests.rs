//! Dialogues with one group, as text: `who does what => what is heard`.

mod talk;

use std::sync::Arc;

use super::*;
use talk::{Talk, topic};

fn play(talk: &mut Talk, dialogue: &str) {
    for (number, line) in dialogue.lines().enumerate() {
        let line = line.split("//").next().unwrap().trim();
        if line.is_empty() {
            continue;
        }
        let (said, expected) = line.split_once("=>").unwrap_or((line, ""));
        assert_eq!(talk.line(said.trim()), expected.trim(), "line {}: {line}", number + 1);
    }
}

fn check_with(settings: GroupSettings, dialogue: &str) {
    play(&mut Talk::new(settings), dialogue);
}

fn at_once() -> GroupSettings {
    GroupSettings { initial_delay_ms: 0, ..GroupSettings::default() }
}

/// Without the delay of the first round, unless the dialogue is about it.
fn check(dialogue: &str) {
    check_with(at_once(), dialogue);
}

/// Two members, a leading, stable at generation 2.
const PAIR: &str = "
    a join => g1 range led by a a=r
    a sync give=a:A => has <A>
    b join => wait
    a beat => Err(RebalanceInProgress)
    a join => g2 range led by a a=r b=r; b: g2 range led by a
    b sync => wait
    a sync give=a:A,b:B => has <A>; b: has <B>
    state => Stable g2
";

/// Two members with instance ids, x leading.
const STATICS: &str = "
    x join inst=X as=x1 => g1 range led by x1 x1!X=r
    x sync give=x1:1 => has <1>
    y join inst=Y as=y1 => wait
    x join => g2 range led by x1 x1!X=r y1!Y=r; y: g2 range led by x1
    y sync => wait
    x sync give=x1:1,y1:2 => has <1>; y: has <2>
";

fn check_pair(dialogue: &str) {
    check(&format!("{PAIR}{dialogue}"));
}

fn check_statics(dialogue: &str) {
    check(&format!("{STATICS}{dialogue}"));
}

#[test]
fn a_member_without_id_is_given_one_to_come_back_with() {
    check(
        "a join known as=a-1 => MemberIdRequired
         state => Empty g0
         a join => g1 range led by a-1 a-1=r
         b join id=b-9 => UnknownMember",
    );
}

#[test]
fn an_id_given_out_holds_up_the_round_until_its_session_ends() {
    check_pair(
        "c join known => MemberIdRequired
         b join p=range:new => wait
         a join => wait
         +9999
         +1 => a: g3 range led by a a=r b=new; b: g3 range led by a
         c join => UnknownMember",
    );
    check_pair(
        "c join known => MemberIdRequired
         b join p=range:new => wait
         a join => wait
         c leave => Ok(()); a: g3 range led by a a=r b=new; b: g3 range led by a",
    );
}

#[test]
fn session_timeouts_are_bounded() {
    check(
        "a join session=5999 => InvalidSessionTimeout
         a join session=1800001 => InvalidSessionTimeout
         a join session=6000 => g1 range led by a a=r",
    );
}

#[test]
fn the_first_round_waits_for_more_members() {
    let settings = GroupSettings::default;
    check_with(
        settings(),
        "a join => wait
         +2999
         +1 => a: g1 range led by a a=r",
    );
    // Somebody came: another delay, until the rebalance timeout is used up.
    check_with(
        settings(),
        "a join rebalance=7000 => wait
         +1000
         b join rebalance=7000 => wait
         +2500
         c join rebalance=7000 => wait
         +2499
         d join rebalance=7000 => wait
         +1000
         +1 => a: g1 range led by a a=r b=r c=r d=r; b: g1 range led by a; \
               c: g1 range led by a; d: g1 range led by a",
    );
    // Everybody leaves meanwhile.
    check_with(
        settings(),
        "a join => wait
         a leave id=a => Ok(()); a: UnknownMember
         +3000
         state => Empty g1",
    );
}

#[test]
fn protocols_must_have_one_in_common() {
    check(
        "a join type= => InconsistentProtocol
         a join p=, => InconsistentProtocol
         a join p=range:1,rr:2 => g1 range led by a a=1
         b join p=sticky:1 => InconsistentProtocol
         b join type=connect => InconsistentProtocol
         b join p=rr:7,range:8 => wait
         c join p=rr:5 => wait // now range is out
         d join p=range:1 => InconsistentProtocol
         a join p=range:1,rr:2 => g2 rr led by a a=2 b=7 c=5; b: g2 rr led by a; c: g2 rr led by a",
    );
}

#[test]
fn most_votes_choose_the_protocol() {
    check(
        "a join p=x:1,y:2 => g1 x led by a a=1
         b join p=y:1,x:2 => wait
         a join p=x:1,y:2 => g2 x led by a a=1 b=2; b: g2 x led by a // a tie: the leader's
         c join p=y:3,x:4 => wait
         b join p=y:1,x:2 => wait
         a join p=x:1,y:2 => g3 y led by a a=2 b=1 c=3; b: g3 y led by a; c: g3 y led by a",
    );
}

#[test]
fn a_name_listed_twice_counts_once() {
    check(
        "a join p=x:1,x:2 => g1 x led by a a=1
         b join p=x:9,y:1 => wait
         a join p=x:1,x:2 => g2 x led by a a=1 b=9; b: g2 x led by a",
    );
}

#[test]
fn a_follower_that_joins_again_unchanged_hears_the_same() {
    check_pair(
        "b join => g2 range led by a
         state => Stable g2
         b sync => has <B>",
    );
}

#[test]
fn a_leader_or_new_metadata_begins_a_round() {
    check_pair(
        "a join => wait
         b beat => Err(RebalanceInProgress)
         b sync => RebalanceInProgress
         b join => g3 range led by a; a: g3 range led by a a=r b=r",
    );
    check_pair(
        "b join p=range:new => wait
         a join => g3 range led by a a=r b=new; b: g3 range led by a",
    );
}

#[test]
fn a_lost_answer_to_a_join_is_given_again() {
    check_pair(
        "a join => wait
         b join => g3 range led by a; a: g3 range led by a a=r b=r
         a join => g3 range led by a a=r b=r
         state => Completing g3
         b join p=range:new => wait
         a join => g4 range led by a a=r b=new; b: g4 range led by a",
    );
}

#[test]
fn who_comes_too_late_is_out() {
    check_pair(
        "a join rebalance=20000 => wait
         +9000
         b beat => Err(RebalanceInProgress)
         +9000
         b beat => Err(RebalanceInProgress)
         +9000
         b beat => Err(RebalanceInProgress)
         +9000
         b beat => Err(RebalanceInProgress)
         +9000
         b beat => Err(RebalanceInProgress)
         +9000
         b beat => Err(RebalanceInProgress)
         +5999
         +1 => a: g3 range led by a a=r
         b beat => Err(UnknownMember)",
    );
}

#[test]
fn an_absent_leader_is_replaced() {
    check_pair(
        "b join p=range:new => wait
         +9999
         +1 => b: g3 range led by b b=new
         a beat => Err(UnknownMember)
         a commit at=t:1 => all UnknownMember",
    );
}

#[test]
fn a_session_that_ends_begins_a_round() {
    check_pair(
        "+5000
         a beat => Ok(())
         +5000
         a beat => Err(RebalanceInProgress)
         a join => g3 range led by a a=r
         a sync give=a:all => has <all>
         +10000
         state => Empty g4",
    );
}

#[test]
fn commits_keep_a_session_alive() {
    check_pair(
        "+9000
         a commit at=t:1 => Ok(())
         b beat => Ok(())
         +9000
         state => Stable g2
         a commit at=t:2 => Ok(())
         +1000
         a beat => Err(RebalanceInProgress)",
    );
}

#[test]
fn waiting_counts_as_living_but_not_for_ever_for_new_members() {
    check_pair(
        "c join => wait
         a join => wait
         +9999
         b beat => Err(RebalanceInProgress)
         +9999
         b join => g3 range led by a; a: g3 range led by a a=r b=r c=r; c: g3 range led by a",
    );
    check(
        "x join inst=X rebalance=3600000 session=1800000 => g1 range led by x x!X=r
         x sync => has <>
         c join => wait
         +299999
         x beat => Err(RebalanceInProgress)
         +1 => c: UnknownMember
         state => Preparing g1",
    );
}

#[test]
fn heartbeats_tell_what_is_wrong() {
    check(
        "a beat => Err(UnknownMember)
         a join => g1 range led by a a=r
         a beat => Ok(())
         a beat g=0 => Err(IllegalGeneration)
         a beat id=z => Err(UnknownMember)
         a beat inst=Z => Err(UnknownMember)",
    );
}

#[test]
fn syncs_tell_what_is_wrong() {
    check_pair(
        "a sync g=1 => IllegalGeneration
         a sync id=z => UnknownMember
         a sync protocol=rr => InconsistentProtocol
         a sync type=connect => InconsistentProtocol
         a sync protocol=range type=consumer => has <A>",
    );
}

#[test]
fn who_is_left_out_has_nothing_and_strangers_are_passed_over() {
    check_pair(
        "a join => wait
         b join => g3 range led by a; a: g3 range led by a a=r b=r
         b sync => wait
         a sync give=b:B,z:Z => has <>; b: has <B>",
    );
}

#[test]
fn a_round_during_sync_sends_everybody_back() {
    check_pair(
        "a join => wait
         b join => g3 range led by a; a: g3 range led by a a=r b=r
         b sync => wait
         c join => wait; b: RebalanceInProgress
         a sync give=a:A => RebalanceInProgress
         b join => wait
         a join => g4 range led by a a=r b=r c=r; b: g4 range led by a; c: g4 range led by a",
    );
}

#[test]
fn who_never_asks_for_its_assignment_is_out() {
    check_pair(
        "a join rebalance=20000 => wait
         b join rebalance=20000 => g3 range led by a; a: g3 range led by a a=r b=r
         a sync give=a:A => has <A>
         +9000
         a beat => Ok(())
         b beat => Ok(())
         +9000
         a beat => Ok(())
         b beat => Ok(())
         +2000
         a beat => Err(RebalanceInProgress)
         b beat => Err(UnknownMember)",
    );
}

#[test]
fn a_join_on_another_connection_takes_the_place_of_the_first() {
    check_pair(
        "a join => wait
         other join id=a => wait; a: RebalanceInProgress
         b join => g3 range led by a; other: g3 range led by a a=r b=r",
    );
    check_pair(
        "a join => wait
         a gone
         b join => g3 range led by a
         a join => g3 range led by a a=r b=r // the answer it missed",
    );
}

#[test]
fn members_leave_one_by_one() {
    check_pair(
        "a leave => Ok(())
         a leave => Err(UnknownMember)
         b beat => Err(RebalanceInProgress)
         b join => g3 range led by b b=r
         b leave => Ok(())
         state => Empty g4
         c join => g5 range led by c c=r",
    );
}

#[test]
fn who_leaves_hears_what_it_waited_for_come_to_nothing() {
    check_pair(
        "a join => wait
         b join => g3 range led by a; a: g3 range led by a a=r b=r
         b sync => wait
         b leave => Ok(()); b: UnknownMember",
    );
    check_pair(
        "a join => wait
         a leave => Ok(()); a: UnknownMember",
    );
}

#[test]
fn the_last_member_leaves_while_an_id_is_given_out() {
    check_pair(
        "c join known => MemberIdRequired
         a leave => Ok(())
         b leave => Ok(())
         state => Preparing g2 // the round waits for the id given out
         c join => g3 range led by c c=r",
    );
    check(
        "a join => g1 range led by a a=r
         c join known => MemberIdRequired
         a leave => Ok(())
         state => Empty g2
         c join => g3 range led by c c=r",
    );
}

#[test]
fn members_leave_in_a_batch_by_either_name() {
    let mut talk = Talk::new(at_once());
    play(&mut talk, STATICS);
    let leave = |member_id, instance_id| LeaveMember { member_id, instance_id };
    let leaving = [
        leave("", Some("X")),
        leave("", Some("Z")),
        leave("", None),
        leave("x1", Some("Y")),
        leave("y1", Some("Y")),
        leave("y1", None),
    ];
    let unknown = Err(GroupError::UnknownMember);
    let fenced = Err(GroupError::FencedInstance);
    let results = talk.group.leave(talk.now, &leaving);
    assert_eq!(results, [Ok(()), unknown, unknown, fenced, Ok(()), unknown]);
    assert_eq!(talk.group.state(), State::Empty);
}

#[test]
fn a_static_member_keeps_its_place_when_it_restarts() {
    check_statics(
        "y join anew as=y2 => g2 range led by x1
         state => Stable g2
         y sync => has <2>
         y beat id=y1 => Err(FencedInstance)
         y commit id=y1 at=t:1 => all FencedInstance
         y sync id=y1 => FencedInstance
         y join id=y1 => FencedInstance
         y leave id=y1 => Err(FencedInstance)
         x beat => Ok(())",
    );
}

#[test]
fn a_static_member_that_restarts_still_has_to_ask_for_its_assignment() {
    check_statics(
        "x join session=200000 => wait
         y join session=200000 => g3 range led by x1; x: g3 range led by x1 x1!X=r y1!Y=r
         x sync give=x1:1,y1:2 => has <1>
         y join anew as=y2 session=200000 => g3 range led by x1
         +59999
         y beat => Ok(())
         +1
         y beat => Err(UnknownMember)
         x beat => Err(RebalanceInProgress)",
    );
}

#[test]
fn a_static_leader_that_restarts_is_told_so_only_if_it_need_not_assign() {
    check_statics(
        "x join anew as=x2 skip => g2 range led by x2 x2!X=r y1!Y=r skip
         x sync => has <1>
         y join anew as=y2 skip => g2 range led by x2",
    );
    check_statics(
        "x join anew as=x2 => g2 range led by x1 // the old name: it shall not assign
         x sync => has <1>
         x join => wait // by its id, the leader forces a round
         y join => g3 range led by x2; x: g3 range led by x2 x2!X=r y1!Y=r",
    );
}

#[test]
fn a_static_member_begins_a_round_if_it_changes_the_protocol() {
    check_statics(
        "y join anew as=y2 p=rr:new => wait
         x join => g3 rr led by x1 x1!X=o y2!Y=new; y: g3 rr led by x1",
    );
}

#[test]
fn a_static_member_replaced_while_it_waits_is_fenced() {
    check_statics(
        "x join => wait
         x2 join inst=X as=x2 => wait; x: FencedInstance
         y join => g3 range led by x2; x2: g3 range led by x2 x2!X=r y1!Y=r
         y sync => wait
         y2 join inst=Y as=y2 => wait; y: FencedInstance
         x2 join => g4 range led by x2 x2!X=r y2!Y=r; y2: g4 range led by x2",
    );
}

#[test]
fn an_absent_static_member_keeps_its_place_until_its_session_ends() {
    check(
        "x join inst=X as=x1 session=200000 => g1 range led by x1 x1!X=r
         x sync give=x1:1 => has <1>
         b join session=200000 => wait
         +59999
         +1 => b: g2 range led by b b=r x1!X=r
         x beat => Err(IllegalGeneration)
         +60000 // it never asked for its assignment
         x beat => Err(UnknownMember)",
    );
}

#[test]
fn nobody_comes_but_static_members_stay_to_be_waited_for() {
    check(
        "x join inst=X as=x1 session=200000 => g1 range led by x1 x1!X=r
         x sync => has <>
         b join => wait
         b leave id=b => Ok(()); b: UnknownMember
         +60000
         state => Preparing g1
         x join => g2 range led by x1 x1!X=r",
    );
}

#[test]
fn a_group_has_a_largest_size() {
    let settings = GroupSettings { members_max: 2, ..at_once() };
    check_with(
        settings.clone(),
        &format!(
            "{PAIR}
             c join => GroupFull
             a join => wait
             c join => wait // in a round, the first to come
             b join => GroupFull; a: g3 range led by a a=r c=r; c: g3 range led by a
             b beat => Err(UnknownMember)"
        ),
    );
    check_with(
        settings,
        "a join known => MemberIdRequired
         b join known => MemberIdRequired
         c join known => GroupFull",
    );
}

#[test]
fn a_member_has_a_largest_size() {
    let settings = || GroupSettings { member_bytes_max: 40, ..at_once() };
    let long = "m".repeat(40);
    check_with(settings(), &format!("a join p=range:{long} => TooLarge"));
    check_with(
        settings(),
        &format!(
            "a join => g1 range led by a a=r
             a sync give=a:{long}m => TooLarge
             a sync give=a:{long} => has <{long}>"
        ),
    );
    let settings = GroupSettings { group_bytes_max: 40, ..settings() };
    check_with(
        settings,
        "a join p=range:0123456789 => g1 range led by a a=0123456789
         b join p=range:0123456789 => GroupFull
         a join p=range:9876543210 => g2 range led by a a=9876543210",
    );
}

#[test]
fn offsets_are_taken_from_members_of_this_generation_only() {
    check_pair(
        "a commit at=t:5 => Ok(())
         a commit at=t:6 g=1 => all IllegalGeneration
         z commit at=t:6 => all UnknownMember
         z commit outside at=t:6 => all UnknownMember
         a join => wait
         b commit at=u:7 => Ok(()) // of the generation that ends
         b join => g3 range led by a; a: g3 range led by a a=r b=r
         a commit at=t:8 => all RebalanceInProgress
         offsets => t0:5 u0:7",
    );
}

#[test]
fn anybody_may_commit_to_an_empty_group() {
    check(
        "z commit outside at=t:5 => Ok(())
         z commit at=t:6 => all UnknownMember
         offsets => t0:5",
    );
}

#[test]
fn offset_metadata_is_bounded_per_partition() {
    check(
        "z commit outside at=t:5 bytes=4097 => Err(OffsetMetadataTooLarge)
         z commit outside at=t:5 bytes=4096 => Ok(())
         z commit outside at=u:5 partition=-1 => Err(Invalid)
         offsets => t0:5",
    );
}

#[test]
fn offsets_go_seven_days_after_the_last_member() {
    check_pair(
        "a commit at=t:5 => Ok(())
         a leave => Ok(())
         b join => g3 range led by b b=r
         b leave => Ok(())
         state => Empty g4
         +604799999
         offsets => t0:5
         +1
         offsets =>
         state => Dead g4",
    );
    check_pair(
        "a commit at=t:5 keep=1000 => Ok(())
         +5000
         offsets => t0:5 // not while there are members
         a leave => Ok(())
         b leave => Ok(())
         +1
         offsets =>",
    );
}

#[test]
fn offsets_without_members_go_one_by_one() {
    check(
        "z commit outside at=t:5 => Ok(())
         +86400000
         z commit outside at=u:6 => Ok(())
         z commit outside at=v:6 keep=5000 => Ok(())
         +5000
         offsets => t0:5 u0:6
         +518395000
         offsets => u0:6
         +86400000
         state => Dead g0",
    );
}

#[test]
fn an_unused_group_ends() {
    check(
        "a join known session=1800000 => MemberIdRequired
         +700000
         state => Empty g0
         +1100000
         state => Dead g0
         a join => Dead
         a beat => Err(Dead)
         a leave => Err(Dead)
         a commit outside at=t:1 => all Dead",
    );
}

#[test]
fn only_an_empty_group_is_deleted() {
    check_pair(
        "a commit at=t:5 => Ok(())
         delete => Err(NonEmptyGroup)
         a leave => Ok(())
         b leave => Ok(())
         delete => Ok(())
         offsets =>
         delete => Err(Dead)",
    );
}

#[test]
fn offsets_of_topics_being_read_stay() {
    check(
        "a join p=range:st => g1 range led by a a=st
         a sync => has <>
         a commit at=t:5,u:6 => Ok(())
         z remove t => Err(SubscribedToTopic)
         z remove u => Ok(())
         z remove u => Ok(())
         offsets => t0:5
         forget t
         offsets =>",
    );
    check(
        "a join type=connect => g1 range led by a a=r
         z remove t => all NonEmptyGroup",
    );
}

#[test]
fn a_restart_keeps_members_assignments_and_offsets() {
    check_pair(
        "a commit at=t:5 => Ok(())
         +9000
         restart
         state => Stable g2
         offsets => t0:5
         +9000
         a beat => Ok(())
         b beat => Ok(())
         b sync => has <B>
         b join => g2 range led by a
         +10000
         state => Empty g3",
    );
}

#[test]
fn a_round_cut_off_by_a_restart_did_not_happen_but_its_number_is_used() {
    check_pair(
        "c join => wait
         restart
         state => Stable g2
         a beat => Ok(())
         c beat id=c => Err(UnknownMember)",
    );
    check_pair(
        "a join => wait
         b join => g3 range led by a; a: g3 range led by a a=r b=r
         restart
         a sync give=a:A => IllegalGeneration
         a beat => Err(IllegalGeneration)
         b join => g2 range led by a
         b sync => has <B>
         a join => wait
         b join => g4 range led by a; a: g4 range led by a a=r b=r",
    );
}

#[test]
fn a_group_too_large_for_new_settings_is_made_to_join_again() {
    let mut talk = Talk::new(at_once());
    play(&mut talk, PAIR);
    talk.group.settings = Arc::new(GroupSettings { members_max: 1, ..at_once() });
    talk.line("restart");
    assert_eq!(talk.line("state"), "Preparing g2");
    assert_eq!(talk.line("a join"), "wait");
    assert_eq!(talk.line("b join"), "GroupFull; a: g3 range led by a a=r");
}

#[test]
fn answers_rest_on_the_youngest_effect_of_their_kind() {
    use crate::ticket::Class;
    let mut talk = Talk::new(at_once());
    let mut frame = 0;
    let mut stage = |group: &mut Group| {
        frame += 1;
        if !group.take_effects().is_empty() {
            group.staged(Ticket::new(Class::Durable, frame));
        }
        (group.members_ticket().frame(), group.offsets_ticket().frame())
    };
    assert_eq!(stage(&mut talk.group), (1, 1));
    let offsets = [OffsetCommit {
        topic: topic("t"),
        partition: 0,
        offset: 1,
        leader_epoch: -1,
        metadata: "",
        expire_ms: None,
    }];
    let outside = Commit { member_id: "", instance_id: None, generation: -1, offsets: &offsets };
    talk.group.commit(talk.now, outside).unwrap().remove(0).unwrap();
    assert_eq!(stage(&mut talk.group), (1, 2));
    talk.group.delete().unwrap();
    assert_eq!(stage(&mut talk.group), (3, 3));
}
