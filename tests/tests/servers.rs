//! The servers that other tests are about: they start, do what is needed of them, and are gone afterwards.

use repo_tests::servers::{MariaDb, Postgres, Redis};

#[test]
fn postgres_starts_answers_and_goes() {
    let server = Postgres::start();
    let place = server.host().to_owned();
    server.sql("postgres", "create table t (a int, b text); insert into t values (1, 'x'), (2, null)");
    assert_eq!(server.sql("postgres", "select a, b from t order by a"), "1|x\n2|");
    assert!(!server.try_sql("postgres", "select nonsense").status.success());
    let dump = repo_tests::run_command(server.command("pg_dump").args(["-d", "postgres"]));
    assert!(dump.status.success() && dump.out().contains("CREATE TABLE public.t"), "{dump}");
    drop(server);
    assert!(!place.exists());
}

#[test]
fn another_postgres_knows_vectors() {
    let server = Postgres::start_with_vectors();
    server.sql("postgres", "create extension vector; create table v (e vector(3)); insert into v values ('[1,2,3]')");
    assert_eq!(server.sql("postgres", "select e <-> '[1,2,5]' from v"), "2");
}

#[test]
fn mariadb_starts_answers_and_goes() {
    let server = MariaDb::start();
    server.sql("", "create database app");
    server.sql("app", "create table t (a int primary key, b text); insert into t values (1, 'x'), (2, null)");
    assert_eq!(server.sql("app", "select a, b from t order by a"), "1\tx\n2\tNULL");
    let socket = server.socket();
    drop(server);
    assert!(!socket.exists());
}

#[test]
fn redis_starts_answers_and_goes() {
    let server = Redis::start();
    assert_eq!(server.run(&["set", "key", "value"]), "OK");
    assert_eq!(server.run(&["get", "key"]), "value");
    let socket = server.socket();
    drop(server);
    assert!(!socket.exists());
}

/// A test that fails leaves no server behind.
#[test]
fn they_are_gone_after_a_panic() {
    let (send, receive) = std::sync::mpsc::channel();
    let failing = std::thread::spawn(move || {
        let server = Redis::start();
        send.send(server.socket()).expect("somebody listens");
        panic!("on purpose");
    });
    let socket = receive.recv().expect("it started");
    assert!(failing.join().is_err());
    assert!(!socket.exists());
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_err());
}
