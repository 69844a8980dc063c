//! What becomes of the work of writers that died: PROTOCOL.md, chapter 3, A1 to A4.

use super::*;
use crate::crypto::SessionKeys;
use crate::format::{Intent, Register, SessionState, encode_intent, encode_register};
use crate::id::SessionId;
use crate::os::host::ProcessIdentity;

impl Bench {
    fn indexes(&self) -> Vec<IndexId> {
        let names = self.objects(ObjectFamily::Indexes).into_iter();
        names.map(|name| if let ObjectName::Index(id) = name { id } else { panic!("{name}") }).collect()
    }

    /// The session that wrote the index object that is not among `before`.
    fn newest(&self, before: &[IndexId]) -> SessionId {
        let new = self.indexes().into_iter().find(|id| !before.contains(id)).expect("a new index object");
        self.repository.read_index(new).expect("whole").session
    }

    fn keys_of(&self, session: SessionId) -> Arc<SessionKeys> {
        let of_session = |id: IndexId| {
            let records = self.repository.read_index(id).expect("whole").sessions;
            records.into_iter().find(|record| record.session() == session)
        };
        let record = self.indexes().into_iter().find_map(of_session).expect("its key");
        self.repository.session_keys(&record).expect("it opens")
    }

    /// As if the writer of a committed session had been killed before it committed.
    fn kill(&self, session: SessionId, host: &str, process: u64) {
        self.kill_with(&self.keys_of(session), host, process);
    }

    fn kill_with(&self, keys: &SessionKeys, host: &str, process: u64) {
        let session = keys.session();
        self.storage.below.remove(ObjectName::Register(session)).expect("remove");
        let boot = ProcessIdentity::current().boot;
        let dead = Intent { started: clock().now(), host: host.into(), process, boot, program: PROGRAM.into() };
        let object = encode_intent(&dead, self.repository.keys(), keys);
        self.storage.below.write_new(ObjectName::Intent(session), &[&object]).expect("intent");
    }

    fn state_of(&self, session: SessionId) -> Option<SessionState> {
        let object = self.storage.below.read(ObjectName::Register(session), None, 1 << 16).ok()?;
        Some(crate::format::decode_register(&object, self.repository.keys()).expect("whole").0.state)
    }
}

/// A repository with one snapshot whose writer died before it committed.
pub(super) fn with_dead_writer() -> (Bench, SessionId) {
    let bench = Bench::new();
    bench.write("a", 1, 3 << 20);
    bench.snapshot();
    let session = bench.newest(&[]);
    bench.kill(session, "here", u64::MAX);
    (bench, session)
}

#[test]
fn what_a_dead_writer_stored_is_taken_over_in_the_name_of_the_next() {
    let (bench, dead) = with_dead_writer();
    let report = bench.snapshot();
    assert_eq!((report.resumed_sessions, report.statistics.chunks_new), (1, 0));
    assert_eq!(bench.state_of(dead), Some(SessionState::Revoked));
    for id in bench.indexes() {
        assert_ne!(bench.repository.read_index(id).expect("whole").session, dead, "its index objects are gone");
    }
    assert!(!bench.objects(ObjectFamily::Sessions).contains(&ObjectName::Intent(dead)));
    assert!(bench.restores(&bench.latest().1));
    let check = bench.check();
    assert!(!check.is_damaged(), "{:?}", check.findings);
    // For others as well, by now, and without anything being taken over again.
    assert_eq!((bench.stored_again(), bench.snapshot().resumed_sessions), (0, 0));
}

#[test]
fn packs_that_the_dead_one_did_not_get_to_list_are_taken_over_too() {
    let (bench, _) = with_dead_writer();
    for id in bench.indexes() {
        let session = bench.repository.read_index(id).expect("whole").session;
        // The intent holds the key as well; nothing else needs the index object.
        assert!(bench.state_of(session).is_none());
        bench.storage.below.remove(ObjectName::Index(id)).expect("remove");
    }
    let report = bench.snapshot();
    assert_eq!((report.resumed_sessions, report.statistics.chunks_new), (1, 0));
    assert!(bench.restores(&bench.latest().1));
}

/// The next one dies as well, and the one after it: what was adopted is adopted again.
#[test]
fn a_chain_of_dead_writers_costs_nothing() {
    let (bench, _) = with_dead_writer();
    for round in 0..3 {
        // Something of its own, so that its key can be found.
        bench.write(&format!("b{round}"), 10 + round, 100_000);
        let before = bench.indexes();
        let report = bench.snapshot();
        assert_eq!(report.resumed_sessions, 1, "round {round}");
        assert!(report.statistics.bytes_new < 200_000, "round {round}: {:?}", report.statistics);
        bench.kill(bench.newest(&before), "here", u64::MAX);
    }
    assert_eq!(bench.snapshot().statistics.chunks_new, 0);
    assert!(bench.restores(&bench.latest().1));
    assert!(!bench.check().is_damaged());
}

/// *adoption_of_what_prune_revoked*, and packs that a plan condemns.
#[test]
fn what_a_prune_may_sweep_is_not_taken_over() {
    let (bench, dead) = with_dead_writer();
    let register = Register { session: dead, state: SessionState::Revoked };
    let object = encode_register(&register, bench.repository.keys());
    bench.storage.below.write_new(ObjectName::Register(dead), &[&object]).expect("revoke");
    let report = bench.snapshot();
    assert_eq!(report.resumed_sessions, 0);
    assert!(report.statistics.bytes_new > 3 << 20);

    let (bench, _) = with_dead_writer();
    bench.plan(1, bench.packs(), vec![]);
    let report = bench.snapshot();
    assert_eq!(report.resumed_sessions, 1, "its register is taken all the same");
    assert!(report.statistics.bytes_new > 3 << 20);
    assert!(bench.restores(&bench.latest().1));
}

/// A prune that is faster than the put of A1 has the session.
#[test]
fn whoever_is_second_at_the_register_takes_nothing_over() {
    let (bench, dead) = with_dead_writer();
    let register = Register { session: dead, state: SessionState::Revoked };
    let object = encode_register(&register, bench.repository.keys());
    *bench.storage.before_register.lock().expect("lock") = Some((ObjectName::Register(dead), object));
    let report = bench.snapshot();
    assert_eq!(report.resumed_sessions, 0);
    assert!(report.statistics.bytes_new > 3 << 20);
    assert!(bench.restores(&bench.latest().1));
}

#[test]
fn writers_that_may_be_alive_are_left_alone() {
    for (host, process) in [("elsewhere", u64::MAX), ("here", u64::from(std::process::id()))] {
        let bench = Bench::new();
        bench.write("a", 1, 3 << 20);
        bench.snapshot();
        let session = bench.newest(&[]);
        bench.kill(session, host, process);
        let report = bench.snapshot();
        assert_eq!(report.resumed_sessions, 0, "{host} {process}");
        assert!(report.statistics.bytes_new > 3 << 20, "{host} {process}");
        assert_eq!(bench.state_of(session), None);
    }
}

/// An adopted dead one that was alive after all: it finds its register taken, and nothing of it counts.
#[test]
fn one_that_was_alive_after_all_fails_and_changes_nothing() {
    let bench = Bench::new();
    bench.write("a", 1, 100_000);
    let session = Session::begin(&bench.repository, "here", PROGRAM, &clock()).expect("begin");
    let id = session.id();
    bench.storage.below.remove(ObjectName::Intent(id)).expect("remove");
    bench.kill_with(session.keys(), "here", u64::MAX);
    assert_eq!(bench.snapshot().resumed_sessions, 1);
    let error = session.commit(&bench.repository, None).expect_err("revoked");
    assert_eq!(error.kind(), ErrorKind::SessionRevoked);
    assert!(error.to_string().starts_with("the session was revoked"), "{error}");
    assert!(bench.restores(&bench.latest().1));
}
