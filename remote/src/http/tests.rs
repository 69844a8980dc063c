//! The storages over HTTP against servers in this process: what every storage must do, and lost answers.

use std::collections::VecDeque;
use std::sync::Mutex;

use engine::id::{PackId, SessionId};
use engine::storage::check_conformance;

use super::*;
use crate::Access;
use crate::serve::testing::{TestServer, serve_on};
use crate::throttle::Throttle;

#[test]
fn over_http_it_does_what_every_storage_must() {
    let scratch = tempfile::tempdir().expect("scratch");
    let server = TestServer::start(scratch.path());
    let url = format!("http://{}/team/repository", server.address).parse().expect("an address");
    assert_eq!(open_rest(&url, false, &Access::none()).map(drop).expect_err("none").kind(), ErrorKind::NoRepository);
    check_conformance(&*open_rest(&url, true, &Access::none()).expect("a storage"));
}

#[test]
fn over_a_pipe_it_does_what_every_storage_must() {
    let scratch = tempfile::tempdir().expect("scratch");
    let root = scratch.path().join("repository");
    let dial = Box::new(move || {
        let (mine, theirs) = tokio::net::UnixStream::pair().expect("a pair");
        let root = root.clone();
        tokio::spawn(async move { serve_on(&root, theirs).await });
        Ok((Box::new(mine) as Box<dyn pipe::Stream>, None))
    });
    let pipe = pipe::Pipe::new(dial, Throttle::new(None), Throttle::new(None)).expect("a pipe");
    let access = Access::none();
    let storage = HttpStorage::open(pipe, "ssh://test".into(), true, Patience::none(), &access).expect("a storage");
    check_conformance(&*storage);
}

/// Answers as it was told to, one after the other.
struct Scripted(Mutex<VecDeque<Result<Reply, Broken>>>);

impl Transport for Scripted {
    fn exchange(&self, _: &Ask) -> Result<Reply, Broken> {
        self.0.lock().expect("a lock").pop_front().expect("no more requests than answers")
    }
}

fn scripted(answers: Vec<Result<Reply, Broken>>) -> HttpStorage<Scripted> {
    let transport = Scripted(Mutex::new(answers.into()));
    HttpStorage::unknown(transport, "test".into(), Patience::hurried(), Patience::hurried())
}

fn reply(status: u16, body: &[u8]) -> Result<Reply, Broken> {
    Ok(Reply { status, is_ours: true, has_tidied: false, len: None, retry_after: None, body: body.to_vec() })
}

fn existed() -> Result<Reply, Broken> {
    reply(409, Refusal::new(Code::Existed, "it exists").body().as_bytes())
}

fn lost() -> Result<Reply, Broken> {
    Err(Broken::Lost(EngineError::new(ErrorKind::Io, "cut")))
}

fn unsent() -> Result<Reply, Broken> {
    Err(Broken::Unsent(EngineError::new(ErrorKind::Io, "refused")))
}

#[test]
fn an_answer_that_was_lost_is_looked_for() {
    let pack = ObjectName::Pack(PackId::new([2; 32]));
    let register = ObjectName::Register(SessionId::new([5; 16]));
    for (name, answers, outcome) in [
        (pack, vec![existed()], Outcome::Existed),
        (pack, vec![lost(), reply(201, b"")], Outcome::Written),
        (pack, vec![lost(), existed(), reply(200, b"mine")], Outcome::Written),
        (pack, vec![lost(), existed(), reply(200, b"else")], Outcome::Existed),
        (pack, vec![lost(), existed(), reply(200, b"longer")], Outcome::Existed),
        (pack, vec![unsent(), existed()], Outcome::Existed),
        // Whoever is second must never believe to be first.
        (register, vec![lost(), existed()], Outcome::Existed),
    ] {
        let storage = scripted(answers);
        assert_eq!(storage.write_new(name, &[b"mi", b"ne"]).expect("an outcome"), outcome);
        assert!(storage.transport.0.lock().expect("a lock").is_empty());
    }
}

#[test]
fn an_intent_goes_with_its_register_or_after_it() {
    let session = SessionId::new([5; 16]);
    let (register, intent) = (ObjectName::Register(session), ObjectName::Intent(session));
    let tidied = reply(201, b"").map(|reply| Reply { has_tidied: true, ..reply });
    for (answers, outcome) in [
        (vec![tidied], Outcome::Written),
        // A server that doesn't know that.
        (vec![reply(201, b""), reply(204, b"")], Outcome::Written),
        // It is another one's register.
        (vec![existed()], Outcome::Existed),
        (vec![lost(), existed()], Outcome::Existed),
    ] {
        let storage = scripted(answers);
        assert_eq!(storage.write_and_tidy(register, &[b"ended"], intent).expect("an outcome"), outcome);
        assert!(storage.transport.0.lock().expect("a lock").is_empty());
    }
}

#[test]
fn what_is_no_server_of_ours_is_told() {
    let strange = |status| {
        Ok(Reply { status, is_ours: false, has_tidied: false, len: None, retry_after: None, body: b"<html>".to_vec() })
    };
    let error = scripted(vec![strange(200)]).read(ObjectName::Config, None, 10).expect_err("strange");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = scripted(vec![strange(502), strange(404)]).read(ObjectName::Config, None, 10).expect_err("strange");
    assert_eq!(error.kind(), ErrorKind::Invalid, "a proxy's 404 is no missing object");
}

#[test]
fn a_list_that_was_cut_is_asked_for_again() {
    let storage = scripted(vec![reply(200, b"config 1"), reply(200, b"config 10\nend\n")]);
    let mut rows = Vec::new();
    storage.list(ObjectFamily::Config, &mut |name, len| rows.push((name, len))).expect("a list");
    assert_eq!(rows, [(ObjectName::Config, 10)]);
}

#[test]
fn plain_http_is_for_this_machine_only() {
    let url = "http://backup.example/r".parse().expect("an address");
    let error = open_rest(&url, false, &Access::none()).map(drop).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("in the clear"), "{error}");
}
