//! A stack with real servers, saved while somebody writes, brought back into empty ones: the same rows, vectors, large
//! objects, grants and files.
//!
//! Commands find their servers below the stack's directory, by links to where the servers have their sockets: so the same
//! manifest works where it was written, where it is restored, and in a drill.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use repo_tests::compare::assert_same_with;
use repo_tests::servers::{MariaDb, Postgres, Redis};
use repo_tests::tree::{noise, write};
use repo_tests::{Run, Scratch, is_root, run_command, words};

/// What a stack runs on.
struct Servers {
    postgres: Postgres,
    mariadb: MariaDb,
    redis: Redis,
}

impl Servers {
    /// Empty ones, as a new machine has them, reached from a stack's directory.
    fn start(place: &Path) -> Self {
        let servers =
            Self { postgres: Postgres::start_with_vectors(), mariadb: MariaDb::start(), redis: Redis::start() };
        servers.postgres.sql("postgres", "create database app");
        servers.postgres.sql("postgres", "create role reader");
        fs::create_dir_all(place.join("run")).expect("a directory");
        symlink(servers.postgres.host(), place.join("run/postgres")).expect("a link");
        symlink(servers.mariadb.socket(), place.join("run/mariadb")).expect("a link");
        symlink(servers.redis.socket(), place.join("run/redis")).expect("a link");
        servers
    }

    /// What must be the same afterwards: all that the writer does not touch.
    fn state(&self, place: &Path) -> Vec<(&'static str, String)> {
        let postgres = |text: &str| self.postgres.sql("app", text);
        vec![
            ("rows", postgres("select * from items order by id")),
            ("vectors", postgres("select id, e, e <-> '[1,2,3]' from vectors order by id")),
            ("large objects", postgres("select md5(lo_get(oid)), length(lo_get(oid)) from pg_largeobject_metadata")),
            (
                "grants",
                postgres("select relname, relacl from pg_class where relname in ('items', 'vectors') order by 1"),
            ),
            ("sequence", postgres("select last_value from items_id_seq")),
            ("indexes", postgres("select indexdef from pg_indexes where schemaname = 'public' order by 1")),
            ("mariadb rows", self.mariadb.sql("app", "select id, name, hex(bytes) from items order by id")),
            ("mariadb tables", self.mariadb.sql("app", "show create table items")),
            ("mariadb grants", self.mariadb.sql("", "show grants for reader")),
            ("redis string", self.redis.run(&["get", "greeting"])),
            ("redis list", self.redis.run(&["lrange", "list", "0", "-1"])),
            ("redis hash", self.redis.run(&["hget", "hash", "field"])),
            ("sqlite", sqlite(place, "select id, name, hex(bytes) from items order by id")),
            ("sqlite schema", sqlite(place, "select sql from sqlite_master order by name")),
        ]
    }

    fn fill(&self, place: &Path) {
        let rows = "(id serial primary key, name text, n int)";
        self.postgres.sql("app", &format!("create table items {rows}; create table log (n int)"));
        self.postgres.sql("app", "insert into items (name, n) select md5(i::text), i from generate_series(1, 5000) i");
        self.postgres.sql("app", "create index by_name on items (name); grant select on items to reader");
        self.postgres.sql("app", "create extension vector; create table vectors (id int primary key, e vector(3))");
        self.postgres.sql(
            "app",
            "insert into vectors select i, array[i, i / 2.0, 1.0 / i]::vector(3) from generate_series(1, 200) i",
        );
        self.postgres
            .sql("app", "grant update on vectors to reader; create index on vectors using hnsw (e vector_l2_ops)");
        self.postgres.sql("app", "select lo_from_bytea(0, decode(repeat('c0ffee', 100000), 'hex'))");
        self.mariadb.sql("", "create database app");
        let rows = "(id int primary key, name varchar(100) character set utf8mb4, bytes blob)";
        self.mariadb.sql("app", &format!("create table items {rows}; create table log (n int)"));
        self.mariadb
            .sql("app", "insert into items select seq, concat('näme ', seq), unhex(md5(seq)) from seq_1_to_3000");
        self.mariadb.sql("", "create user reader identified by 'of the reader'; grant select on app.items to reader");
        self.redis.run(&["set", "greeting", "hello"]);
        self.redis.run(&["rpush", "list", "a", "b", "c"]);
        self.redis.run(&["hset", "hash", "field", "value"]);
        fs::create_dir_all(place.join("db")).expect("a directory");
        sqlite(
            place,
            "pragma journal_mode = wal; create table items (id integer primary key, name text, bytes blob); create table log (n int)",
        );
        sqlite(
            place,
            "insert into items with recursive c(i) as (select 1 union all select i + 1 from c where i < 2000) select i, 'name ' || i, randomblob(20) from c",
        );
    }
}

fn sqlite(place: &Path, text: &str) -> String {
    let mut command = Command::new("sqlite3");
    command.args(["-cmd", ".timeout 20000"]).arg(place.join("db/app.sqlite")).arg(text);
    let run = run_command(&mut command);
    assert!(run.status.success(), "{run}");
    run.out().trim_end().to_owned()
}

/// The manifest; `pg_items` are more flags of `pg_dump`.
fn manifest(programs: &Path, flags: &str, scratch: &Path) -> String {
    let bin = programs.display();
    let pg = "-h $STACK_DIRECTORY/run/postgres -U postgres";
    let maria = "--no-defaults -uroot --socket=$STACK_DIRECTORY/run/mariadb";
    let lite = "sqlite3 -cmd '.timeout 20000' $STACK_DIRECTORY/db/app.sqlite";
    let run = scratch.display();
    format!(
        r#"stack: shop
persist:
  files: {{ subpath: ./files }}
services:
  postgres:
    backup:
      exec: host
      dump: "{bin}/pg_dump {pg} -Fc -Z0 {flags} app"
      restore: "{bin}/pg_restore {pg} -d app --exit-on-error"
      verify: "{bin}/psql {pg} -XAt -d app -c 'select count(*), sum(n) from items'"
      drill:
        start: "mkdir -p run && ln -s {run}/run/postgres run/postgres && {bin}/createdb {pg} app"
        stop: "{bin}/dropdb {pg} --if-exists app"
  mariadb:
    backup:
      exec: host
      dump: "mariadb-dump {maria} --all-databases --single-transaction --quick --flush-privileges --skip-dump-date --skip-extended-insert"
      restore: "mariadb {maria}"
      verify: "mariadb {maria} -NB app -e 'select count(*), sum(crc32(name)) from items'"
      drill:
        start: "mkdir -p run && ln -s {run}/run/mariadb run/mariadb"
        stop: "mariadb {maria} -e 'drop database if exists app'"
  redis:
    backup:
      exec: host
      dump: "redis-cli -s $STACK_DIRECTORY/run/redis --rdb -"
      restore: "cat > $STACK_DIRECTORY/run/dump.rdb"
  sqlite:
    backup:
      exec: host
      dump: "{lite} .dump"
      restore: "mkdir -p $STACK_DIRECTORY/db && {lite}"
      verify: "{lite} 'select count(*), sum(id) from items'"
      drill: {{ start: "true" }}
"#
    )
}

/// Writes into all databases until it is told to stop; how many rows each had in the end.
fn write_rows(servers: &Servers, place: &Path, stop: &AtomicBool) -> u32 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let text = format!("insert into log values ({count})");
        servers.postgres.sql("app", &text);
        servers.mariadb.sql("app", &text);
        servers.redis.run(&["set", &format!("log:{count}"), "x"]);
        sqlite(place, &text);
    }
    count
}

/// The rows of the log are the first so many: what a moment of it looks like.
fn assert_prefix(rows: &str, before: u32, after: u32, what: &str) {
    let (count, most) = rows.split_once(['|', '\t']).unwrap_or_else(|| panic!("{what}: {rows}"));
    let (count, most): (u32, u32) = (count.parse().expect("a count"), most.parse().expect("a number"));
    assert_eq!(count, most, "{what}: rows are missing");
    assert!((before..=after).contains(&count), "{what}: {count}, before {before}, after {after}");
}

#[track_caller]
fn snapshot(scratch: &Scratch, place: &Path) -> Run {
    scratch.run_words(words!["stack", "snapshot", "--file", place.join("stack.yaml")])
}

fn several_owners(place: &Path) -> PathBuf {
    for (number, owner) in [1000, 1001, 65534].into_iter().enumerate() {
        let file = place.join(format!("files/of-{owner}"));
        write(&file, noise(number as u64, 50_000));
        if is_root() {
            let (uid, gid) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(owner));
            rustix::fs::chown(&file, Some(uid), Some(gid)).expect("root can give it away");
        }
    }
    place.join("files")
}

#[test]
fn a_stack_with_real_servers_comes_back() {
    let scratch = Scratch::new();
    let place = scratch.tree("shop");
    let servers = Servers::start(&place);
    servers.fill(&place);
    let files = several_owners(&place);
    let programs = servers.postgres.program("psql").parent().expect("a directory").to_owned();
    let trial = scratch.tree("trial");
    write(place.join("stack.yaml"), manifest(&programs, "", &trial));
    let state = servers.state(&place);

    let stop = AtomicBool::new(false);
    let (before, after) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_rows(&servers, &place, &stop));
        repo_tests::damage::wait_until("something was written", || servers.redis.run(&["exists", "log:5"]) == "1");
        let taken = snapshot(&scratch, &place);
        stop.store(true, Ordering::Relaxed);
        let count = writer.join().expect("the writer is fine");
        taken.ok();
        (5, count)
    });

    // Another machine: empty servers, an empty directory.
    let target = scratch.tree("elsewhere");
    let mut fresh = Servers::start(&target);
    scratch.run_words(words!["restore", "latest", "--stack", "shop", "--target", target]).ok();
    fresh.redis = Redis::start_with(&target.join("run/dump.rdb"));
    assert_eq!(fresh.state(&target), state);
    assert_same_with(&["--no-root"], &files, &target.join("files"));
    let log = "select count(*), max(n) from log";
    assert_prefix(&fresh.postgres.sql("app", log), before - 1, after, "postgres");
    assert_prefix(&fresh.mariadb.sql("app", log), before - 1, after, "mariadb");
    assert_prefix(&sqlite(&target, log), before - 1, after, "sqlite");

    // Proved on third servers, and a dump that lacks rows is not.
    let third = Servers::start(&trial);
    third.postgres.sql("postgres", "drop database app");
    let drill = words!["drill", "--json", "--all", "--scratch", scratch.tree("drills")];
    let run = scratch.run_words(&drill).ok();
    let proof = run.of_type("drill").remove(0);
    let states: Vec<&str> =
        proof["services"].as_array().expect("services").iter().filter_map(|s| s["state"].as_str()).collect();
    assert_eq!(states, ["verified", "verified", "read", "verified"], "{run}");
    scratch.run("status --max-proof-age 1d").ok();
    write(place.join("stack.yaml"), manifest(&programs, "--exclude-table-data=items", &trial));
    snapshot(&scratch, &place).ok();
    scratch.run_words(&drill).ends(3).says("verify says");
    scratch.run("status").ends(2);
    scratch.check_clean();
}

/// A database that is down: no snapshot, and the message names service, command and what it said.
#[test]
fn a_database_that_is_down_makes_no_snapshot() {
    let scratch = Scratch::new();
    let place = scratch.tree("shop");
    let mut servers = Servers::start(&place);
    servers.fill(&place);
    several_owners(&place);
    let programs = servers.postgres.program("psql").parent().expect("a directory").to_owned();
    write(place.join("stack.yaml"), manifest(&programs, "", &place));
    snapshot(&scratch, &place).ok();
    servers.mariadb.stop();
    let run = snapshot(&scratch, &place);
    assert_ne!(run.code(), 0, "{run}");
    for text in ["mariadb", "mariadb-dump", "connect"] {
        assert!(run.err().contains(text) || run.out().contains(text), "{text} is not said\n{run}");
    }
    assert_eq!(scratch.run("snapshots --json").ok().messages().len(), 1);
    scratch.check_clean();
}
