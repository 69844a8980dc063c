//! Stacks: saved as one, brought back as one, known by their names.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use repo_tests::compare::assert_same;
use repo_tests::stack::Stack;
use repo_tests::tree::{prose, write};
use repo_tests::{python, words};

const MANIFEST: &str = r#"
stack: shop
persist:
  media: { subpath: ./data/media }
  thumbs: { subpath: data/media/thumbs }
  config: { subpath: config, exclude: ["*.log"] }
  compose: { subpath: compose.yaml }
services:
  db:
    backup:
      dump: "cat SCRATCH/db"
      restore: "cat > $STACK_DIRECTORY/$STACK_NAME.restored"
      verify: "wc -c < SCRATCH/db"
  web:
    backup: { stop: true }
"#;

#[test]
fn a_stack_comes_back_as_it_was() {
    let stack = Stack::new(MANIFEST);
    stack.run("stack check").ok();
    let run = stack.run("stack snapshot --json").ok();
    let saved = &run.of_type("stack")[0];
    assert_eq!((&saved["action"], &saved["stack"]), (&"saved".into(), &"shop".into()), "{run}");
    let parts: Vec<(&str, &str, u64)> = saved["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| {
            let text = |key: &str| part[key].as_str().expect("text");
            (text("path"), text("kind"), part["bytes"].as_u64().expect("bytes"))
        })
        .collect();
    let compose = fs::metadata(stack.root.join("compose.yaml")).expect("there").len();
    let expected = [
        ("/shop/dumps/db", "dump", 2_000_000),
        ("/shop/persist/compose", "files", compose),
        ("/shop/persist/config", "files", 10),
        ("/shop/persist/media", "files", 300_009),
        ("/shop/persist/thumbs", "files", 7),
    ];
    assert_eq!(parts, expected);
    let dump = format!("docker compose exec -T db sh -c cat {}", stack.database().display());
    let verify = format!("docker compose exec -T db sh -c wc -c < {}", stack.database().display());
    let inspect = "docker inspect --format {{.Config.Image}} {{.Image}} c0ffee";
    let expected = [
        dump.as_str(),
        "docker --version",
        "docker compose ps -q db",
        inspect,
        verify.as_str(),
        "docker compose stop web",
        "docker compose start web",
    ];
    assert_eq!(stack.calls(), expected);
    stack.scratch.check_clean();

    // Somebody else's reader finds the dump as a file.
    let target = stack.scratch.file("by-python");
    python::reader(&stack.scratch, words!["restore", "latest", &target]);
    assert_eq!(fs::read(target.join("shop/dumps/db")).expect("a file"), prose(2_000_000));

    let new = stack.scratch.file("elsewhere/shop");
    let run = stack.run("stack restore latest --stack shop --target SCRATCH/elsewhere/shop --verify").ok();
    run.says("verified: 2000000");
    assert_eq!(fs::read(new.join("shop.restored")).expect("restored"), prose(2_000_000));
    assert_same(&stack.root.join("data/media"), &new.join("data/media"));
    assert_eq!(fs::read(new.join("config/app.ini")).expect("restored"), b"colour=red");
    assert!(!new.join("config/app.log").exists());
    assert_same(&stack.root.join("compose.yaml"), &new.join("compose.yaml"));
}

#[test]
fn a_directory_keeps_its_own_mode_and_times() {
    let stack = Stack::new("stack: shop\npersist: { media: { subpath: data/media } }\n");
    let source = stack.root.join("data/media");
    fs::set_permissions(&source, PermissionsExt::from_mode(0o2710)).expect("its mode");
    stack.run("stack snapshot").ok();
    stack.run("restore latest --stack shop --target SCRATCH/new").ok();
    let (old, new) = (fs::metadata(&source), fs::metadata(stack.scratch.file("new/data/media")));
    let shown =
        |found: std::io::Result<fs::Metadata>| found.map(|f| (f.mode(), f.mtime(), f.mtime_nsec())).expect("there");
    assert_eq!(shown(old), shown(new));
}

#[test]
fn a_command_finds_no_password_of_ours() {
    let stack = Stack::new(
        r#"
stack: shop
services:
  db: { backup: { exec: host, dump: env, restore: "env > env.restored", environment: [PGHOST, PGPASSWORD] } }
"#,
    );
    let run = |line: &str| {
        let mut command = stack.command(stack.fill(line).split_whitespace());
        for name in ["REPO_PASSWORD", "REPO_OTHER", "AWS_SECRET_ACCESS_KEY", "CREDENTIALS_DIRECTORY"] {
            command.env(name, "canary");
        }
        repo_tests::binary::run_command(command.env("PGPASSWORD", "for-the-hook").env("LC_ALL", "C")).ok();
    };
    run("stack snapshot");
    run("stack restore latest --stack shop --target SCRATCH/new");
    let dumped = stack.run("dump latest:/shop/dumps/db").ok().out();
    let restored = fs::read_to_string(stack.scratch.file("new/env.restored")).expect("restored");
    for found in [dumped, restored] {
        assert!(!found.contains("canary") && !found.contains("REPO_"), "{found}");
        for wanted in ["PGPASSWORD=for-the-hook", "STACK_NAME=shop", "STACK_SERVICE=db", "LC_ALL=C", "PATH="] {
            assert!(found.contains(wanted), "{wanted}: {found}");
        }
        assert!(!found.contains("PGHOST"), "{found}");
    }
}

#[test]
fn commands_run_where_the_manifest_says() {
    let stack = Stack::new(
        r#"
stack: shop
project: shop-prod
compose: compose.yaml
services:
  a: { backup: { dump: "echo a", restore: "cat >&2", environment: [TOKEN] } }
  b: { backup: { exec: docker, container: shop-b-1, dump: "echo b", restore: "cat >&2", environment: [TOKEN] } }
  c: { backup: { exec: podman, dump: "echo c", restore: "cat >&2" } }
  d: { backup: { exec: host, dump: "echo d; pwd", restore: "cat > d.restored" } }
"#,
    );
    stack.run("stack snapshot").ok();
    assert_eq!(stack.run("dump latest:/shop/dumps/d").ok().out(), format!("d\n{}\n", stack.root.display()));
    let calls = stack.calls();
    let file = stack.root.join("compose.yaml");
    for expected in [
        format!("docker compose -f {} -p shop-prod exec -T -e TOKEN a sh -c echo a", file.display()),
        "docker exec -i -e TOKEN shop-b-1 sh -c echo b".into(),
        "podman exec -i c sh -c echo c".into(),
        "podman --version".into(),
    ] {
        assert!(calls.contains(&expected), "{expected}: {calls:#?}");
    }
    stack.run("restore latest --stack shop --target SCRATCH/new --as staging --only a,d").ok();
    let file = stack.scratch.file("new/compose.yaml");
    let expected = format!("docker compose -f {} -p staging exec -T -e TOKEN a sh -c cat >&2", file.display());
    assert_eq!(stack.calls()[calls.len()..], [expected], "only a and d, as another project");
    assert_eq!(fs::read_to_string(stack.scratch.file("new/d.restored")).expect("there").lines().next(), Some("d"));
}

#[test]
fn a_stack_is_known_by_its_name_on_every_host() {
    let stack = Stack::new(MANIFEST);
    stack.run("stack snapshot --host one").ok();
    stack.run("snapshot --host one config").ok();
    stack.run("stack snapshot --host two").ok();
    let listed = stack.run("snapshots --json --stack shop").ok().of_type("snapshot");
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[1]["parent"], &listed[1]["stack"]), (&listed[0]["id"], &"shop".into()));
    assert_eq!(stack.run("snapshots --json --stack other").ok().of_type("snapshot").len(), 0);
    let stacks = stack.run("stack list --json").ok().of_type("stack");
    assert_eq!((stacks.len(), &stacks[0]["snapshots"]), (1, &2.into()));
    // One group, though the hosts differ; the snapshot of files is another.
    let run = stack.run("forget --keep-last 1 --json").ok();
    assert_eq!(run.summary()["snapshots_forgotten"], 1, "{run}");
    run.says("stack shop");
    assert_eq!(stack.snapshots().len(), 2);
    assert_eq!(stack.run("forget --keep-last 1 --stack shop --json").ok().summary()["snapshots_kept"], 1);
}

#[test]
fn a_dump_that_is_as_before_adds_nothing() {
    let stack = Stack::new(MANIFEST);
    stack.run("stack snapshot").ok();
    let run = stack.run("stack snapshot --json").ok();
    let added = run.of_type("stack")[0]["data_added_packed"].as_u64().expect("a number");
    assert!(added < 20_000, "{added}");
    let run = stack.run("diff --json latest~1 latest").ok();
    assert_eq!(run.of_type("change").len(), 0, "{run}");
}

#[test]
fn a_part_of_a_stack_comes_back_alone() {
    let stack = Stack::new(MANIFEST);
    stack.run("stack snapshot").ok();
    let dry = stack.run("stack restore latest --stack shop --target SCRATCH/new --dry-run").ok();
    dry.says("would restore");
    assert!(!stack.scratch.file("new").exists());
    stack.run("stack restore latest --stack shop --target SCRATCH/new --only config").ok();
    assert!(stack.scratch.file("new/config/app.ini").is_file());
    assert!(!stack.scratch.file("new/data").exists() && !stack.scratch.file("new/shop.restored").exists());
    stack.run("stack restore latest --stack shop --target SCRATCH/new --only media,db --no-hooks").ok();
    assert!(stack.scratch.file("new/data/media/a.jpg").is_file());
    assert!(!stack.scratch.file("new/data/media/thumbs").exists() && !stack.scratch.file("new/shop.restored").exists());
    stack.run("stack restore latest --stack shop --target SCRATCH/new --only nothing").ends(1).says("compose, config");
    stack.run("stack restore latest --target SCRATCH/new").ends(2);
    stack.run("stack restore latest --stack other --target SCRATCH/new").ends(1);
    // A path in it is a path as any other.
    stack.run("restore latest:/shop/persist/config --stack shop --target SCRATCH/plain").ok();
    assert!(stack.scratch.file("plain/app.ini").is_file());
}

#[test]
fn in_place_only_what_differs_is_written() {
    let stack = Stack::new(MANIFEST);
    stack.run("stack snapshot").ok();
    let picture = stack.root.join("data/media/b.jpg");
    let before = fs::metadata(&picture).expect("there");
    write(stack.root.join("data/media/a.jpg"), "changed");
    write(stack.root.join("data/media/new.jpg"), "came later");
    write(stack.root.join("data/other"), "beside");
    let place = format!("--target {}", stack.root.display());
    stack.run(&format!("stack restore latest --stack shop {place}")).ends(1).says("holds something");
    assert_eq!(fs::read(stack.root.join("data/media/a.jpg")).expect("there"), b"changed");
    stack.run(&format!("stack restore latest --stack shop {place} --overwrite --delete --no-hooks")).ok();
    assert_eq!(fs::read(stack.root.join("data/media/a.jpg")).expect("there"), b"picture a");
    assert!(!stack.root.join("data/media/new.jpg").exists());
    assert!(stack.root.join("data/other").exists(), "what is beside a persist path is not touched");
    assert!(stack.root.join("data/media/thumbs/a.png").exists(), "a part of its own");
    let after = fs::metadata(&picture).expect("there");
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()), "left alone");
}

#[test]
fn owners_become_others() {
    let stack = Stack::new("stack: shop\nuser: root\npersist: { config: { subpath: config } }\n");
    for (name, id) in [("app.ini", 4321), ("app.log", 4322)] {
        let id = (Some(rustix::fs::Uid::from_raw(id)), Some(rustix::fs::Gid::from_raw(id)));
        rustix::fs::chown(stack.root.join("config").join(name), id.0, id.1).expect("root can");
    }
    stack.run("stack snapshot").ok();
    let owners = |place: &str| {
        let of = |name: &str| {
            let found = fs::metadata(stack.scratch.file(place).join("config").join(name)).expect("restored");
            (found.uid(), found.gid())
        };
        [of("app.ini"), of("app.log")]
    };
    stack.run("restore latest --stack shop --target SCRATCH/a --map-user 4321=nobody --map-group 4322=99").ok();
    assert_eq!(owners("a"), [(65534, 4321), (4322, 99)]);
    stack.run("restore latest:/shop/persist --target SCRATCH/b --owner ids --map-user 4322=7").ok();
    assert_eq!(owners("b"), [(4321, 4321), (7, 4322)]);
    stack.run("restore latest --target SCRATCH/c --map-user nobody-there=7").ends(1).says("nobody-there");
    stack.run("restore latest --target SCRATCH/c --map-user 4321=nobody-here").ends(1).says("nobody-here");
}

#[test]
fn commands_run_as_the_user_of_the_stack() {
    let stack = Stack::new(
        r#"
stack: shop
user: nobody
services:
  db: { backup: { exec: host, dump: "id -un; id -G; echo $HOME $USER", restore: "cat > /dev/null" } }
"#,
    );
    stack.run("stack snapshot").ok();
    let out = stack.run("dump latest:/shop/dumps/db").ok().out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], lines[1]), ("nobody", "65534"), "without the groups of root");
    assert!(lines[2].ends_with(" nobody"), "{out}");
    stack.declare("stack: shop\nuser: nobody-there\npersist: { config: { subpath: config } }\n");
    stack.run("stack snapshot").ends(1).says("nobody-there");
    stack.run("stack check").ends(1).says("nobody-there");
}
