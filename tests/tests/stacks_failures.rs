//! What goes wrong with a stack leaves no snapshot of it, no paused service, and the earlier snapshot whole.

use std::fs;
use std::process::Stdio;

use repo_tests::damage::wait_until;
use repo_tests::real::disk::SmallDisk;
use repo_tests::scratch::files_below;
use repo_tests::stack::Stack;
use repo_tests::tree::{noise, prose, write};
use repo_tests::{Run, Scratch};

/// A stack with a database whose dump is this, and two services that pause.
fn manifest(dump: &str, quiesce: &str) -> String {
    limited(dump, quiesce, "1m")
}

/// The same, if dump and restore of the database may take so long.
fn limited(dump: &str, quiesce: &str, limit: &str) -> String {
    format!(
        r#"
stack: shop
persist: {{ media: {{ subpath: data/media }} }}
services:
  db:
    backup:
      dump: {dump:?}
      restore: "cat > restored"
      timeout: {limit}
  queue:
    backup: {{ exec: host, quiesce: "echo pause >> SCRATCH/queue", resume: "echo go >> SCRATCH/queue", timeout: 5s }}
  web:
    backup: {{ exec: host, quiesce: {quiesce:?}, resume: "echo go >> SCRATCH/web" }}
"#
    )
}

const GOOD: &str = "cat SCRATCH/db";
const PAUSE: &str = "echo pause >> SCRATCH/web";

/// The earlier snapshot is the latest, and restores.
fn earlier_one_restores(stack: &Stack, id: &[String]) {
    assert_eq!(stack.snapshots(), id);
    let target = stack.scratch.file("after");
    let _ = fs::remove_dir_all(&target);
    stack.run("stack restore latest --stack shop --target SCRATCH/after").ok();
    assert_eq!(fs::read(target.join("restored")).expect("restored"), prose(2_000_000));
    stack.scratch.check_clean();
}

fn log(stack: &Stack, service: &str) -> String {
    fs::read_to_string(stack.scratch.file(service)).unwrap_or_default().replace('\n', " ")
}

#[test]
fn a_dump_that_fails_leaves_no_snapshot() {
    let stack = Stack::new(&manifest(GOOD, PAUSE));
    stack.run("stack snapshot").ok();
    let before = stack.snapshots();
    assert_eq!(log(&stack, "web"), "pause go ");
    for (dump, why, said) in [
        ("head -c 900000 SCRATCH/db; echo out of luck >&2; exit 1", "exit code 1", "out of luck"),
        ("head -c 900000 SCRATCH/db; echo last words >&2; kill -9 $$", "signal 9", "last words"),
        ("head -c 900000 SCRATCH/db; echo stuck >&2; sleep 600", "longer than 2 s", "stuck"),
        ("echo waiting >&2; sleep 600", "longer than 2 s", "waiting"),
        ("echo nothing here >&2", "printed nothing", "nothing here"),
        ("no-such-program-here", "exit code 127", "not found"),
    ] {
        let limit = if why.starts_with("longer") { "2s" } else { "1m" };
        stack.declare(&limited(dump, PAUSE, limit));
        let run = stack.run("stack snapshot").ends(1);
        let run = run.says(why).says(said).says("dump of service db").says("stack shop");
        assert!(run.err().contains(&stack.fill(dump)), "the command is named\n{run}");
        earlier_one_restores(&stack, &before);
    }
    assert_eq!(log(&stack, "queue"), "pause go ", "no service was paused for nothing");
}

#[test]
fn a_disk_that_fills_up_during_a_dump_leaves_no_snapshot() {
    let scratch = Scratch::empty();
    let Some(_disk) = SmallDisk::mount(scratch.repository()) else { return };
    scratch.run("init --pack-size 1M").ok();
    let stack = Stack::in_scratch(scratch, &manifest(GOOD, PAUSE));
    stack.run("stack snapshot").ok();
    let before = stack.snapshots();
    // More than there is room for, and the command waits for nobody to read it.
    stack.declare(&manifest("echo large >&2; cat SCRATCH/large", PAUSE));
    write(stack.scratch.file("large"), noise(1, 30_000_000));
    let run = stack.run("stack snapshot").ends(1).says("No space left on device").says("stack shop");
    let run = run.says("dump of service db was broken off").says("it said: large");
    assert!(run.err().contains(&stack.fill("cat SCRATCH/large")), "the command is named\n{run}");
    assert_eq!(stack.snapshots(), before);
    assert_eq!(log(&stack, "queue"), "pause go ", "no service was paused for nothing");
    // What it left behind is given back without more room, and the next snapshot has some.
    stack.run("prune --grace 0s --revoke-after 0s").ok();
    earlier_one_restores(&stack, &before);
    stack.declare(&manifest(GOOD, PAUSE));
    stack.run("stack snapshot").ok();
    assert_eq!(stack.snapshots().len(), 2);
}

#[test]
fn a_hanging_dump_ends_with_all_that_it_started() {
    let dump = "echo $$ > SCRATCH/pid; sh -c 'echo $$ >> SCRATCH/pid; sleep 600'; true";
    let stack = Stack::new(&limited(dump, PAUSE, "2s"));
    stack.run("stack snapshot").ends(1).says("longer than");
    let pids = fs::read_to_string(stack.scratch.file("pid")).expect("they ran");
    assert_eq!(pids.lines().count(), 2);
    wait_until("they have ended", || {
        let alive = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(") ") && !stat.contains(") Z ")
        };
        !pids.lines().any(alive)
    });
}

#[test]
fn what_was_paused_is_resumed() {
    let stack = Stack::new(&manifest(GOOD, PAUSE));
    stack.run("stack snapshot").ok();
    let before = stack.snapshots();
    stack.declare(&manifest(GOOD, "echo pause >> SCRATCH/web; echo cannot >&2; exit 5"));
    stack.run("stack snapshot").ends(1).says("quiesce of service web").says("exit code 5").says("cannot");
    assert_eq!(
        (log(&stack, "queue").as_str(), log(&stack, "web").as_str()),
        ("pause go pause go ", "pause go pause go ")
    );
    earlier_one_restores(&stack, &before);
    // A service that can't be resumed is told, and the snapshot is a good one.
    let manifest = manifest(GOOD, PAUSE).replace("echo go >> SCRATCH/web", "echo broken >&2; exit 6");
    stack.declare(&manifest);
    stack.run("stack snapshot").ends(3).says("may still be paused").says("broken");
    assert_eq!(stack.snapshots().len(), 2);
}

#[test]
fn a_signal_resumes_what_is_paused() {
    for signals in [1, 2] {
        let stack = Stack::new(&manifest(GOOD, PAUSE));
        stack.run("stack snapshot").ok();
        let before = stack.snapshots();
        // It hangs while both are paused; the resume of one takes its time, in which the second signal comes.
        let slow = manifest(GOOD, "echo pause >> SCRATCH/web; sleep 600")
            .replace("echo go >> SCRATCH/web", "touch SCRATCH/resuming; sleep 1; echo go >> SCRATCH/web");
        stack.declare(&slow);
        let mut command = stack.command(["stack", "snapshot"]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        wait_until("the pause", || log(&stack, "web") == "pause go pause ");
        let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("an id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
        if signals == 2 {
            wait_until("the resume", || stack.scratch.file("resuming").exists());
            rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("sent");
        }
        Run::new("stack snapshot".into(), child.wait_with_output().expect("its end")).ends(130);
        assert_eq!(
            (log(&stack, "queue").as_str(), log(&stack, "web").as_str()),
            ("pause go pause go ", "pause go pause go ")
        );
        earlier_one_restores(&stack, &before);
    }
}

#[test]
fn a_signal_in_the_middle_of_a_dump_ends_it() {
    let stack = Stack::new(&manifest(GOOD, PAUSE));
    stack.run("stack snapshot").ok();
    let before = stack.snapshots();
    let dump = "head -c 900000 SCRATCH/db; touch SCRATCH/half; sleep 600";
    stack.declare(&limited(dump, PAUSE, "1h"));
    let mut command = stack.command(["stack", "snapshot"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    wait_until("half of it", || stack.scratch.file("half").exists());
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    Run::new("stack snapshot".into(), child.wait_with_output().expect("its end")).ends(130);
    earlier_one_restores(&stack, &before);
}

#[test]
fn one_stack_does_not_stop_the_others() {
    let stack = Stack::new("stack: shop\npersist: { media: { subpath: data/media } }\n");
    let other = |name: &str, text: &str| write(stack.scratch.file(name).join("stack.yaml"), text);
    other("bad", "stack: bad\npersist: { data: { subpath: not-there } }\n");
    other("wrong", "stack: wrong\npersits: {}\n");
    let files = "--file stack.yaml --file SCRATCH/bad/stack.yaml --file SCRATCH/wrong/stack.yaml";
    stack.run(&format!("stack snapshot {files}")).ends(2).says("--all");
    let run = stack.run(&format!("stack snapshot --all {files}")).ends(3);
    run.says("not-there").says("stack.yaml:2: `persits` is not known here; perhaps `persist` is meant").says("shop");
    assert_eq!(stack.snapshots().len(), 1);
    stack.run(&format!("stack snapshot shop {files}")).ok();
    stack.run(&format!("stack snapshot bad {files}")).ends(1).says("persist data");
    stack.run("stack snapshot --all --file SCRATCH/bad/stack.yaml --file SCRATCH/wrong/stack.yaml").ends(1);
    stack.run(&format!("stack snapshot nobody {files}")).ends(1).says("nobody").says("shop");
    assert_eq!(stack.snapshots().len(), 2);
    stack.run(&format!("stack snapshot --all {files} --file stack.yaml")).ends(1).says("two manifests");
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let stack = Stack::new("");
    stack.declare(
        "stack: shop prod
user: 7
persist:
  media: { subpath: ../media }
  config: { subpath: config, exlude: [x] }
services:
  db:
    backup:
      dump: pg_dump
      exec: kubernetes
      timeout: 3 weeks
retention: { last: -1 }
secret: [x]
",
    );
    let run = stack.run("stack check").ends(1);
    for expected in [
        "stack.yaml:2: user: expected a text; put it into quotes",
        "stack.yaml:5: `exlude` is not known here; perhaps `exclude` is meant",
        "stack.yaml:10: services.db.backup.exec: expected one of compose, docker, podman, host",
        "stack.yaml:12: retention.last: must not be negative",
        "stack.yaml:13: `secret` is not known here; perhaps `secrets` is meant",
    ] {
        assert!(run.err().contains(expected), "{expected}\n{run}");
    }
    stack.declare("stack: shop prod\npersist:\n  media: { subpath: ../media }\nservices:\n  db:\n    backup: { dump: x, timeout: 3w }\n");
    let run = stack.run("stack check").ends(1);
    for expected in
        ["yaml:1: stack:", "yaml:3: persist.media.subpath", "yaml:6: services.db.backup.timeout", "backup.restore"]
    {
        assert!(run.err().contains(expected), "{expected}\n{run}");
    }
    stack.declare("stack: shop\npersist: {a: {subpath: x}}\n  b: c\n");
    stack.run("stack check").ends(1).says("not YAML");
    for text in ["", "[]", "stack: a\nstack: b\n", "a: &a [*a]\n", "services: {}\n"] {
        stack.declare(text);
        stack.run("stack snapshot").ends(1);
    }
}

#[test]
fn no_dump_touches_the_disk_before_the_repository() {
    let stack = Stack::new(&manifest(GOOD, PAUSE));
    let temporary = stack.scratch.tree("tmp");
    let mut command = stack.command(["stack", "snapshot"]);
    command.env("TMPDIR", &temporary);
    // The calls that nobody looks at are not slowed down.
    let options = "-qq --seccomp-bpf -e trace=openat,creat -o trace";
    let Some(mut watched) = repo_tests::binary::under_strace(&command, options) else { return };
    repo_tests::binary::run_command(&mut watched).ok();
    let trace = fs::read_to_string(stack.root.join("trace")).expect("a trace");
    let (repository, cache) = (stack.scratch.repository(), stack.scratch.cache());
    let elsewhere: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("O_CREAT") && !line.contains(" = -1 "))
        .filter(|line| ["/dev/null", "/bin/calls", "/queue", "/web"].iter().all(|own| !line.contains(own)))
        .filter(|line| ![&repository, &cache].iter().any(|place| line.contains(&*place.to_string_lossy())))
        // Names of objects below an open directory of the repository.
        .filter(|line| line.contains("AT_FDCWD"))
        .collect();
    assert_eq!(elsewhere, Vec::<&str>::new());
    assert!(files_below(&temporary).is_empty());
}
