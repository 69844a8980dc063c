//! What the protocol asks for, one by one, and who takes part.

/// How a writer takes over what a dead writer of its machine stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// The dead session is revoked, and its packs are named in an index object of the new session.
    RevokeAndTakePacks,
    /// The same for sessions that somebody else has revoked already.
    TakePacksOfAnyRevoked,
    /// The same, with packs that the dead writer had only announced.
    TakePacksUnseen,
    /// The dead session is committed without a snapshot, after an index object of *its* names what was not listed.
    CommitTheDead,
}

/// What actors heed. The default is the protocol; a test breaks one rule at a time.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Writers announce themselves.
    pub intents: bool,
    /// The intent comes before the plans and the index are read.
    pub intent_first: bool,
    /// A writer that loads the index beside the plans makes sure that none of them began and ended meanwhile.
    pub looked_before: bool,
    /// Writers do not use condemned packs.
    pub plans_heeded: bool,
    /// Writers use only what committed sessions stored.
    pub only_committed: bool,
    /// A register is written if it is absent, by one operation.
    pub atomic_register: bool,
    /// A writer whose register says REVOKED fails.
    pub register_heeded: bool,
    /// A pack is durable before an index object names it.
    pub pack_before_index: bool,
    /// How dead sessions are taken over.
    pub adoption: Adoption,
    /// The sessions are listed after the plan is put.
    pub plan_before_sessions: bool,
    /// Open sessions are resolved before anything is swept.
    pub resolved: bool,
    /// What became reachable since the plan is left out of the sweep.
    pub rescue: bool,
    /// One plan at a time, numbered; another prune resumes it.
    pub one_plan: bool,
    /// A prune that finds an open plan goes on with it; otherwise it gives up.
    pub resumed: bool,
    /// With several plans: a copy that another plan condemns is no copy.
    pub other_plans_seen: bool,
    /// The final list is written once; whoever comes second takes it.
    pub state_once: bool,
    /// A forgotten snapshot is reachable until its grace is over.
    pub grace: bool,
    /// Index objects that name swept packs are replaced before the packs go.
    pub index_before_packs: bool,
    /// Index objects of a sweep belong to a session that is committed after them.
    pub sweep_session: bool,
    /// A plan is cancelled only if nobody decided to sweep.
    pub cancelled_once: bool,
    /// A new index object also names those that were replaced before and are still there.
    pub replaced_carried: bool,
    /// That a snapshot was forgotten stays on record when it goes.
    pub records_kept: bool,
    /// A prune makes sure that the number of its plan was not used before.
    pub number_checked: bool,
    /// A prune makes sure that its plan was not over when it put the state.
    pub state_checked: bool,
    /// Registers of revoked sessions stay.
    pub registers_kept: bool,
    /// Undelete does not bring back what an open plan drops.
    pub undelete_heeds_plans: bool,
    /// Undelete puts its intent before it lists the plans.
    pub undelete_intent_first: bool,
    /// Undelete is a session with a new snapshot; otherwise it takes the record away.
    pub undelete_session: bool,
    /// A reader that misses a pack reads the index again.
    pub reader_reloads: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            intents: true,
            intent_first: true,
            looked_before: true,
            plans_heeded: true,
            only_committed: true,
            atomic_register: true,
            register_heeded: true,
            pack_before_index: true,
            adoption: Adoption::RevokeAndTakePacks,
            plan_before_sessions: true,
            resolved: true,
            rescue: true,
            one_plan: true,
            resumed: true,
            other_plans_seen: true,
            state_once: true,
            grace: true,
            index_before_packs: true,
            sweep_session: true,
            cancelled_once: true,
            replaced_carried: true,
            records_kept: true,
            number_checked: true,
            state_checked: true,
            registers_kept: true,
            undelete_heeds_plans: true,
            undelete_intent_first: true,
            undelete_session: true,
            reader_reloads: true,
        }
    }
}

/// Who takes part. In the beginning there is a snapshot of the chunk `d`, one of `c` if somebody is to forget it, and
/// one index object, which names the first packs.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The chunks of the first packs; nothing: there is no such pack.
    pub packs: [u8; 3],
    /// The chunks that each writer wants to save. Nothing: there is no such writer.
    pub writers: [u8; 2],
    /// Writers load the index beside the plans, and keep it if no plan was open.
    pub early: bool,
    /// The second writer takes the first one for dead and adopts its session.
    pub adopts: bool,
    /// A delayed retry may put a writer's pack again.
    pub retries: bool,
    /// How many prunes, three at most.
    pub prunes: usize,
    /// Packs and index objects may be locked: a prune can't delete them and goes on.
    pub locked: bool,
    /// A writer may be interrupted: it commits what it stored, without a snapshot.
    pub interrupts: bool,
    /// A prune that finds another one's plan may cancel it.
    pub cancel: bool,
    /// Prunes revoke open sessions; otherwise they wait for them.
    pub revoke: bool,
    /// The snapshot of `c` is there in the beginning, and whether somebody forgets it.
    pub forgets: bool,
    /// Somebody undeletes it.
    pub undeletes: bool,
    /// Somebody restores the snapshot of `d`.
    pub reads: bool,
}

impl Setup {
    /// The chunk that only the forgettable snapshot has.
    pub const C: u8 = 1;
    /// The chunk of the snapshot that stays.
    pub const D: u8 = 2;
    /// A chunk that no snapshot has in the beginning.
    pub const E: u8 = 4;
    /// A chunk that no pack has in the beginning.
    pub const N: u8 = 8;

    /// Nobody, and one pack with what is needed and what is not.
    pub const NOBODY: Self = Self {
        packs: [Self::C | Self::D, 0, 0],
        writers: [0, 0],
        early: false,
        adopts: false,
        retries: false,
        prunes: 0,
        locked: false,
        interrupts: false,
        cancel: false,
        revoke: true,
        forgets: false,
        undeletes: false,
        reads: false,
    };
}
