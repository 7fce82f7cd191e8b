//! A member of a consumer group: joins, is given partitions, says that it lives, commits numbers
//! that rise over the whole run, leaves, or forgets who it was and comes back.

use std::time::Duration;

use sabir_broker::clock::{Instant, Now};
use sabir_broker::group::State;
use sabir_kafka::error_code::ErrorCode;
use sabir_kafka::generated::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use sabir_kafka::generated::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use sabir_kafka::generated::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use sabir_kafka::generated::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use sabir_kafka::generated::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse,
};
use sabir_kafka::generated::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};

use crate::life::Life;
use crate::model::{ClientId, Event};
use crate::net::Net;
use crate::workload::link::{Answer, Link};
use crate::workload::{Client, Ctx};

/// The one group of a run.
pub const GROUP: &str = "group";
/// How the names of static members begin; a number follows.
pub const STATIC: &str = "static-";
const PROTOCOL_TYPE: &str = "sim";
const PROTOCOL: &str = "shares";
/// How long it may be silent, and how often it speaks, in milliseconds.
pub const SESSION_MS: i32 = 400;
const BEAT: Duration = Duration::from_millis(80);
const REBALANCE_MS: i32 = 1000;

/// How a member behaves.
#[derive(Clone, Debug)]
pub struct MemberPlan {
    pub topic: String,
    pub partitions: i32,
    /// A static member keeps this name.
    pub instance: Option<String>,
    /// One turn in this many commits or looks at what is committed, and far fewer leave.
    pub pause: u64,
}

enum Ask {
    Join,
    Sync,
    Beat,
    Leave,
    Commit { partition: i32, number: i64 },
    Look { asked: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Out,
    Joined,
    In,
}

/// A member's state.
pub struct Member {
    id: ClientId,
    plan: MemberPlan,
    link: Link<Ask>,
    stage: Stage,
    name: String,
    generation: i32,
    held: Vec<i32>,
    /// What it has to hand out, if it leads.
    shares: Vec<(String, Vec<u8>)>,
    beat_at: Instant,
    now: Now,
    /// The epoch of the broker it saw last.
    epoch: i32,
}

impl Member {
    pub fn new(id: ClientId, plan: MemberPlan) -> Member {
        Member {
            id,
            plan,
            link: Link::default(),
            stage: Stage::Out,
            name: String::new(),
            generation: -1,
            held: Vec::new(),
            shares: Vec::new(),
            beat_at: Instant::default(),
            now: Now::default(),
            epoch: -1,
        }
    }

    fn join(&mut self, ctx: &mut Ctx<'_>) {
        let protocols = vec![JoinGroupRequestProtocol { name: PROTOCOL, metadata: b"all" }];
        let request = JoinGroupRequest {
            group_id: GROUP,
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: &self.name,
            group_instance_id: self.plan.instance.as_deref(),
            protocol_type: PROTOCOL_TYPE,
            protocols,
            ..JoinGroupRequest::default()
        };
        let version = version(ctx, 5, 9);
        self.link.send(ctx.net, version, &request, Some(Ask::Join));
    }

    fn sync(&mut self, ctx: &mut Ctx<'_>) {
        let share = |(member_id, assignment): &'_ (String, Vec<u8>)| {
            (member_id.clone(), assignment.clone())
        };
        let shares: Vec<(String, Vec<u8>)> = self.shares.iter().map(share).collect();
        let assignments = shares
            .iter()
            .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment });
        let request = SyncGroupRequest {
            group_id: GROUP,
            generation_id: self.generation,
            member_id: &self.name,
            group_instance_id: self.plan.instance.as_deref(),
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(PROTOCOL),
            assignments: assignments.collect(),
        };
        let version = version(ctx, 3, 5);
        self.link.send(ctx.net, version, &request, Some(Ask::Sync));
    }

    fn beat(&mut self, ctx: &mut Ctx<'_>) {
        self.beat_at = ctx.now.mono + BEAT;
        let request = HeartbeatRequest {
            group_id: GROUP,
            generation_id: self.generation,
            member_id: &self.name,
            group_instance_id: self.plan.instance.as_deref(),
        };
        let version = version(ctx, 3, 4);
        self.link.send(ctx.net, version, &request, Some(Ask::Beat));
    }

    fn leave(&mut self, ctx: &mut Ctx<'_>) {
        let me = MemberIdentity {
            member_id: &self.name,
            group_instance_id: self.plan.instance.as_deref(),
            reason: None,
        };
        let request =
            LeaveGroupRequest { group_id: GROUP, members: vec![me], ..Default::default() };
        let version = version(ctx, 3, 5);
        self.link.send(ctx.net, version, &request, Some(Ask::Leave));
    }

    fn commit(&mut self, ctx: &mut Ctx<'_>, partition: i32) {
        let number = i64::try_from(ctx.history.events.len()).expect("in memory");
        let generation = self.generation;
        ctx.history.add(Event::CommitTried { partition, number, generation });
        let committed = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: number,
            committed_metadata: Some(""),
            ..OffsetCommitRequestPartition::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: &self.plan.topic,
            partitions: vec![committed],
            ..OffsetCommitRequestTopic::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUP,
            generation_id_or_member_epoch: generation,
            member_id: &self.name,
            group_instance_id: self.plan.instance.as_deref(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        let asked = Ask::Commit { partition, number };
        let version = version(ctx, 7, 9);
        self.link.send(ctx.net, version, &request, Some(asked));
    }

    fn look(&mut self, ctx: &mut Ctx<'_>) {
        let topic = OffsetFetchRequestTopic {
            name: &self.plan.topic,
            partition_indexes: (0..self.plan.partitions).collect(),
        };
        let request = OffsetFetchRequest {
            group_id: GROUP,
            topics: Some(vec![topic]),
            ..OffsetFetchRequest::default()
        };
        let asked = ctx.history.events.len();
        let version = version(ctx, 1, 7);
        self.link.send(ctx.net, version, &request, Some(Ask::Look { asked }));
    }

    fn on_answer(&mut self, answer: &Answer<Ask>, ctx: &mut Ctx<'_>) -> Result<(), String> {
        match answer.tag {
            Ask::Join => self.on_joined(answer, ctx),
            Ask::Sync => {
                let response: SyncGroupResponse<'_> = answer.decode()?;
                if self.goes_on(response.error_code)? {
                    self.held = response.assignment.iter().map(|at| i32::from(*at)).collect();
                    self.stage = Stage::In;
                    self.beat_at = ctx.now.mono + BEAT;
                    let (generation, name) = (self.generation, whose(&self.name));
                    let (partitions, life) = (self.held.clone(), answer.life);
                    ctx.history.add(Event::Assigned { generation, name, partitions, life });
                }
                Ok(())
            }
            Ask::Beat => {
                let response: HeartbeatResponse = answer.decode()?;
                self.goes_on(response.error_code).map(drop)
            }
            Ask::Leave => {
                let response: LeaveGroupResponse<'_> = answer.decode()?;
                if response.error_code == 0 {
                    self.forget();
                }
                Ok(())
            }
            Ask::Commit { partition, number } => {
                let response: OffsetCommitResponse<'_> = answer.decode()?;
                let told = response.topics.first().and_then(|topic| topic.partitions.first());
                let code = told.ok_or("a commit without an answer")?.error_code;
                let unknown = ErrorCode::UnknownTopicOrPartition;
                if ErrorCode::from_number(code) != Some(unknown) && self.goes_on(code)? {
                    ctx.history.add(Event::CommitKept { partition, number });
                }
                Ok(())
            }
            Ask::Look { asked } => self.on_looked(answer, asked, ctx),
        }
    }

    fn on_joined(&mut self, answer: &Answer<Ask>, ctx: &mut Ctx<'_>) -> Result<(), String> {
        let response: JoinGroupResponse<'_> = answer.decode()?;
        if ErrorCode::from_number(response.error_code) == Some(ErrorCode::MemberIdRequired) {
            self.name = response.member_id.to_owned();
            return Ok(());
        }
        if !self.goes_on(response.error_code)? {
            return Ok(());
        }
        self.name = response.member_id.to_owned();
        self.generation = response.generation_id;
        self.stage = Stage::Joined;
        let (generation, life) = (self.generation, answer.life);
        let leader = whose(response.leader);
        ctx.history.add(Event::Joined { generation, leader, life });
        self.shares.clear();
        if response.leader == self.name && !response.skip_assignment {
            let count = i32::try_from(response.members.len().max(1)).expect("a few");
            for (at, member) in (0..).zip(&response.members) {
                let mine = (0..self.plan.partitions).filter(|partition| partition % count == at);
                let share = mine.map(|partition| u8::try_from(partition).expect("a few"));
                self.shares.push((member.member_id.to_owned(), share.collect()));
            }
        }
        Ok(())
    }

    fn on_looked(
        &mut self,
        answer: &Answer<Ask>,
        asked: usize,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        let response: OffsetFetchResponse<'_> = answer.decode()?;
        if !self.goes_on(response.error_code)? {
            return Ok(());
        }
        for told in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if told.error_code == 0 {
                let partition = told.partition_index;
                let number = (told.committed_offset >= 0).then_some(told.committed_offset);
                ctx.history.add(Event::CommitSeen { partition, number, asked });
            }
        }
        Ok(())
    }

    /// True if all is well; otherwise it joins again, as who it was or as somebody new.
    fn goes_on(&mut self, code: i16) -> Result<bool, String> {
        match ErrorCode::from_number(code) {
            Some(ErrorCode::None) => return Ok(true),
            Some(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) => self.forget(),
            Some(
                ErrorCode::RebalanceInProgress
                | ErrorCode::IllegalGeneration
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorLoadInProgress,
            ) => self.stage = Stage::Out,
            code => return Err(format!("the group refused: {code:?}")),
        }
        Ok(false)
    }

    fn forget(&mut self) {
        self.name.clear();
        self.stage = Stage::Out;
    }

    fn turn(&mut self, ctx: &mut Ctx<'_>) -> bool {
        match self.stage {
            Stage::Out => self.join(ctx),
            Stage::Joined => self.sync(ctx),
            Stage::In if ctx.now.mono >= self.beat_at => self.beat(ctx),
            Stage::In if ctx.finishing => return false,
            Stage::In if ctx.chance.one_in(self.plan.pause * 12) => self.leave(ctx),
            Stage::In if ctx.chance.one_in(self.plan.pause * 12) => {
                // It crashes, and the group has to find out.
                self.link.hang_up(ctx.net);
                self.forget();
            }
            Stage::In if ctx.chance.one_in(self.plan.pause) && !self.held.is_empty() => {
                let partition = *ctx.chance.pick(&self.held);
                self.commit(ctx, partition);
                if ctx.chance.one_in(6) {
                    // The commit may come when it has joined again.
                    self.link.hang_up(ctx.net);
                    self.stage = Stage::Out;
                }
            }
            Stage::In if ctx.chance.one_in(self.plan.pause) => self.look(ctx),
            Stage::In => return false,
        }
        true
    }
}

/// Whom the group means by an id. A static member that comes back gets a new one, which has its
/// instance in front, and takes over what the old one had (KIP-345).
fn whose(member_id: &str) -> String {
    match member_id.strip_prefix(STATIC).and_then(|rest| rest.split_once('-')) {
        Some((number, _)) => format!("{STATIC}{number}"),
        None => member_id.to_owned(),
    }
}

fn version(ctx: &mut Ctx<'_>, low: u64, high: u64) -> i16 {
    i16::try_from(ctx.chance.range(low, high)).expect("small")
}

impl Client for Member {
    fn act(&mut self, ctx: &mut Ctx<'_>) -> bool {
        self.now = ctx.now;
        if let Some(life) = ctx.life {
            self.epoch = life.caller.epoch();
        }
        match self.link.receive(ctx.net) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                if let Err(what) = self.on_answer(&answer, ctx) {
                    ctx.wrong(self.id, what);
                }
                return true;
            }
            Err(what) => {
                ctx.wrong(self.id, what);
                return false;
            }
        }
        if self.link.lost(ctx.net).is_some() {
            return true;
        }
        if self.link.waiting() > 0 {
            return false;
        }
        if !self.link.is_open() {
            return self.link.connect(ctx);
        }
        self.turn(ctx)
    }

    fn hang_up(&mut self, net: &mut Net) {
        self.link.hang_up(net);
    }

    fn is_done(&self, life: &Life) -> bool {
        if self.stage != Stage::In || self.epoch != life.caller.epoch() {
            return false;
        }
        let described = life.caller.describe_group(self.now, GROUP);
        let group = described.ok().flatten().map(|answer| answer.value);
        group.is_some_and(|group| {
            group.state == State::Stable && group.generation == self.generation
        })
    }

    fn describe(&self) -> String {
        let Member { id, stage, generation, .. } = self;
        format!("member {id}: {stage:?} in generation {generation}")
    }
}
