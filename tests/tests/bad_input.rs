//! What is not as it should be gets an error that says so, and nothing is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use repo_tests::binary::{copy_binary, line_of};
use repo_tests::compare::assert_same_with;
use repo_tests::damage::{Kind, objects_of, write_object};
use repo_tests::python::{interpreter, specification};
use repo_tests::scratch::{PASSWORD, as_user, files_below};
use repo_tests::tree::{self, noise, write};
use repo_tests::{NOBODY, Run, Scratch, is_root, run_command, words};

/// A command that may not have more memory than this.
#[track_caller]
fn run_bounded(scratch: &Scratch, mebibytes: u64, line: &str) -> Run {
    let mut command = with_limit(&scratch.command(), &format!("--as={}", mebibytes << 20));
    command.env("REPO_PASSWORD", PASSWORD).env_remove("REPO_KEY_FILE").args(line.split(' '));
    run_command(&mut command)
}

/// Deep directories with siblings on every level, and fewer handles than levels: who is sent ahead may not use them up.
#[test]
fn few_file_handles_are_enough_for_deep_directories() {
    let scratch = Scratch::new();
    let source = scratch.file("deep");
    let mut level = source.clone();
    for number in 0..250 {
        for name in ["a/file", "b", "y", "z/file"] {
            write(level.join(name), format!("{name} {number}"));
        }
        level.push("m");
    }
    let mut command = with_limit(&scratch.command(), "--nofile=150");
    run_command(command.arg("snapshot").arg(&source)).ok();
    let target = scratch.file("target");
    scratch.restore("latest", &source, &target).ok();
    assert_same_with(&["--no-root"], &source, &target);
    scratch.check_clean();
}

/// The same command below `prlimit`.
fn with_limit(inner: &Command, limit: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(limit).arg("--").arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = inner.get_current_dir() {
        command.current_dir(directory);
    }
    command
}

#[test]
fn no_repository() {
    let scratch = Scratch::new();
    fs::remove_dir_all(scratch.repository()).expect("removed");
    let source = tree::small(&scratch.tree("source"), 1);
    let snapshot = format!("snapshot {}", source.display());
    for line in
        ["snapshots", "ls latest", "check", "stats", "restore latest -t x", "key list", "tag --add x latest", &snapshot]
    {
        scratch.run(line).ends(10).says("repository");
    }
    assert!(!scratch.repository().exists() && !scratch.file("x").exists(), "nothing was made");
    write(scratch.repository().join("readme"), "something else");
    scratch.run("snapshots").ends(10);
    assert_eq!(files_below(&scratch.repository()), [scratch.repository().join("readme")]);
    let mut command = scratch.command();
    run_command(command.env_remove("REPO_REPOSITORY").arg("snapshots")).ends(2);
}

#[test]
fn wrong_password_and_wrong_key_file() {
    let scratch = Scratch::new();
    write(scratch.file("password"), PASSWORD);
    scratch.run("key add --new-password-file password").ok();
    for wrong in ["correct horsf", " correct horse", "Correct horse"] {
        let mut command = scratch.command();
        let run = run_command(command.env_remove("REPO_KEY_FILE").env("REPO_PASSWORD", wrong).arg("snapshots"));
        assert_eq!(run.code(), 12, "`{wrong}`\n{run}");
        assert!(!run.err().contains(wrong), "the password is not printed\n{run}");
    }
    let other = Scratch::new();
    fs::copy(other.key_file(), scratch.file("other-key")).expect("copied");
    scratch.run("snapshots --key-file other-key").ends(12);
    scratch.run("snapshots --key-file missing").ends(1).says("missing");
    write(scratch.file("garbage"), noise(1, 100));
    assert_ne!(scratch.run("snapshots --key-file garbage").civil().code(), 0);
}

#[test]
fn a_newer_format_says_so() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.snapshot(&source);
    repo_tests::damage::leave_session_open(&scratch, 1);
    for kind in [Kind::Config, Kind::Key, Kind::Index, Kind::Snapshot, Kind::Register, Kind::DataPack, Kind::Intent] {
        let object = objects_of(&scratch, kind).remove(0);
        let good = fs::read(&object).expect("an object");
        let mut newer = good.clone();
        newer[5] = 2;
        let place = if object.file_name().is_some_and(|name| name.len() == 64) {
            named_by_content(&scratch, &object, &newer)
        } else {
            object.clone()
        };
        fs::remove_file(&object).expect("removed");
        write(&place, &newer);
        let _ = fs::remove_dir_all(scratch.cache());
        let run = scratch.run("check --read-data");
        assert_ne!(run.civil().code(), 0, "{kind:?}\n{run}");
        let told = (run.out() + &run.err()).to_lowercase();
        assert!(told.contains("newer") || told.contains("version 2"), "{kind:?}\n{run}");
        fs::remove_file(&place).expect("removed");
        write(&object, &good);
    }
    let _ = fs::remove_dir_all(scratch.cache());
    scratch.check_clean();
}

/// Where an object with this content belongs.
#[track_caller]
fn named_by_content(scratch: &Scratch, object: &Path, content: &[u8]) -> PathBuf {
    let file = scratch.file("content");
    fs::write(&file, content).expect("written");
    let code = "import blake3, sys; print(blake3.blake3(open(sys.argv[1], 'rb').read()).hexdigest())";
    let run = run_command(Command::new(interpreter()).args(["-c", code]).arg(&file));
    let name = run.out().trim().to_owned();
    assert_eq!(name.len(), 64, "{run}");
    let directory = object.parent().expect("a directory");
    if object.starts_with(scratch.repository().join("packs")) {
        return directory.with_file_name(&name[..2]).join(name);
    }
    directory.join(name)
}

#[test]
fn a_repository_that_only_others_may_write() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.snapshot(&source);
    let program = scratch.file("repo-binary");
    copy_binary(&program);
    fs::set_permissions(scratch.key_file(), PermissionsExt::from_mode(0o755)).expect("a mode");
    let readable = ["-R", "go+rX"].map(std::ffi::OsString::from).into_iter().chain(words![scratch.repository()]);
    repo_tests::binary::tool("chmod", readable);
    let own = scratch.tree("own");
    rustix::fs::chown(&own, Some(rustix::fs::Uid::from_raw(NOBODY)), None).expect("given away");
    let run = |line: &str| {
        let mut command = as_user(NOBODY, &program);
        command.env("REPO_REPOSITORY", scratch.repository()).env("REPO_CACHE_DIR", own.join("cache"));
        command.env("REPO_KEY_FILE", scratch.key_file()).env("HOME", &own).current_dir(&own);
        run_command(command.args(line.split(' ')))
    };
    let before = scratch.objects();
    run(&format!("snapshot {}", source.display())).ends(1).says("ermission denied");
    run("tag --add x latest").ends(1).says("ermission denied");
    run("key add --new-key-file k").ends(1).says("ermission denied");
    assert_eq!(scratch.objects(), before);
    // Reading needs no writing.
    run("check --read-data").ok();
    run("snapshots").ok();
    run(&format!("restore latest:{} --target {}", source.display(), own.join("target").display())).ok();
    assert_same_with(&["--no-root", "--no-owner"], &source, &own.join("target"));
    scratch.check_clean();
}

/// Mounts a small file system at a place and unmounts it at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&place).expect("a directory");
        let options = format!("size={size},mode=755");
        let run = run_command(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&place));
        run.status.success().then_some(Self(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk() {
    let scratch = Scratch::empty();
    let disk = is_root().then(|| SmallDisk::mount(scratch.repository(), "12M")).flatten();
    scratch.run("init --pack-size 1M").ok();
    let small = tree::small(&scratch.tree("small"), 1);
    let saved = scratch.snapshot(&small);
    let large = scratch.tree("large");
    for number in 0..30 {
        write(large.join(format!("file-{number}")), noise(number + 100, 1_000_000));
    }
    let line = words!["snapshot", "--json", large];
    let failed = match &disk {
        Some(_) => scratch.run_words(&line),
        // Files of 300 KB fit, packs don't.
        None => run_command(with_limit(&scratch.command(), "--fsize=300000").args(&line)),
    };
    let failed = failed.ends(1);
    let err = failed.err();
    assert!(err.contains("No space left") || err.contains("too large"), "{failed}");
    assert!(failed.of_type("summary").is_empty(), "{failed}");
    // What was there is there.
    let ids = scratch.run("snapshots --json").ok().of_type("snapshot");
    assert_eq!(ids.len(), 1);
    let target = scratch.file("target");
    scratch.restore(&saved, &small, &target).ok();
    assert_same_with(&["--no-root"], &small, &target);
    scratch.check_clean();
    // With room again it goes on.
    if let Some(disk) = &disk {
        let options = ["-o", "remount,size=100M"].map(std::ffi::OsString::from);
        repo_tests::binary::tool("mount", options.into_iter().chain(words![disk.0]));
    }
    scratch.run_words(&line).ok();
    scratch.check_clean();
    let target = scratch.file("target-large");
    scratch.restore("latest", &large, &target).ok();
    assert_same_with(&["--no-root"], &large, &target);
}

#[test]
fn a_full_disk_below_the_target_and_the_cache() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    write(source.join("large"), noise(1, 6_000_000));
    scratch.snapshot(&source);
    let Some(disk) = SmallDisk::mount(scratch.file("disk"), "2M") else { return };
    let run = scratch.restore("latest", &source, &disk.0.join("target"));
    assert!([1, 3].contains(&run.civil().code()), "{run}");
    assert!(run.err().contains("No space left"), "{run}");
    fs::remove_dir_all(disk.0.join("target")).expect("removed");
    // Without room for a cache: it may fail with the cause, but damage nothing.
    fs::write(disk.0.join("filler"), vec![0; (2 << 20) - 8192]).expect("filled");
    let run = scratch.run_words(words!["--cache-dir", disk.0.join("cache"), "check"]);
    assert!([0, 1].contains(&run.civil().code()), "{run}");
    scratch.check_clean();
}

#[test]
fn kdf_parameters_out_of_bounds_are_refused() {
    let scratch = Scratch::new();
    write(scratch.file("password"), PASSWORD);
    let first = objects_of(&scratch, Kind::Key).remove(0);
    scratch.run("key add --new-password-file password").ok();
    fs::remove_file(first).expect("only the password is left");
    let slot = objects_of(&scratch, Kind::Key).remove(0);
    run_bounded(&scratch, 600, "snapshots").ok();
    let good = fs::read(&slot).expect("a slot");
    let huge = u32::MAX;
    for (memory, passes, lanes) in [
        (huge, 1, 1),
        (8 << 20, 1, 1),
        (65_536, huge, 1),
        (65_536, 17, 1),
        (65_536, 1, huge),
        (65_536, 1, 17),
        (0, 0, 0),
        (1, 1, 1),
        (65_535, 1, 1),
        (65_536, 0, 1),
        (65_536, 1, 0),
        (4 << 20, 16, 1),
    ] {
        let mut bad = good.clone();
        for (at, value) in [(32, memory), (36, passes), (40, lanes)] {
            bad[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        write_object(&slot, &bad);
        let run = run_bounded(&scratch, 600, "snapshots");
        run.civil();
        assert!([1, 5, 12].contains(&run.code()), "{memory} {passes} {lanes}\n{run}");
        let name = slot.file_name().expect("a name").to_string_lossy();
        assert!(run.err().contains(&name[..8]), "the key is named: {memory} {passes} {lanes}\n{run}");
    }
    write_object(&slot, &good);
    run_bounded(&scratch, 600, "snapshots").ok();
}

fn evil(scratch: &Scratch, variant: &str) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("evil_repository.py");
    assert!(specification("vectors/encode.py").is_file());
    let mut command = Command::new(interpreter());
    command.arg("-B").arg(script).arg(variant).arg(scratch.repository());
    let run = run_command(&mut command);
    assert!(run.status.success(), "{}\n{run}", line_of(&command));
    run
}

/// Everything outside the target: what a crafted repository must not change.
fn outside(scratch: &Scratch) -> Vec<PathBuf> {
    let is_ours = |path: &PathBuf| !path.starts_with(scratch.file("room/target")) && !path.starts_with(scratch.cache());
    files_below(scratch.path()).into_iter().filter(is_ours).collect()
}

/// Restores a crafted repository; `code` is what `check` ends with.
fn crafted(variant: &str, code: i32) {
    let scratch = Scratch::empty();
    evil(&scratch, variant);
    fs::create_dir_all(scratch.file("room/outside")).expect("a directory");
    fs::create_dir_all(scratch.file("outside")).expect("a directory");
    let before = outside(&scratch);
    let check = run_bounded(&scratch, 700, "check --read-data --json");
    assert_eq!(check.civil().code(), code, "{variant}\n{check}");
    for line in
        ["ls -R latest", "find escaped", "stats", "dump latest:/data --output dumped.tar", "dump latest:/data/bomb"]
    {
        run_bounded(&scratch, 700, line).civil();
    }
    let _ = fs::remove_file(scratch.file("dumped.tar"));
    let target = scratch.file("room/target");
    for extra in ["", " --overwrite --delete --verify"] {
        let line = format!("restore latest --target {}{extra}", target.display());
        let run = run_bounded(&scratch, 700, &line);
        run.civil();
        assert_eq!(run.code() == 0, code == 0, "{variant}\n{run}");
        assert_eq!(outside(&scratch), before, "{variant}: written outside the target\n{run}");
    }
    assert!(!Path::new("/tmp/outside").exists() && !Path::new("/outside").exists(), "{variant}");
    let bytes: u64 = files_below(&target).iter().map(|path| blocks(path)).sum();
    assert!(bytes < 1 << 20, "{variant}: {bytes} bytes on disk");
}

fn blocks(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&fs::symlink_metadata(path).expect("there")) * 512
}

#[test]
fn the_writer_of_crafted_repositories_writes_good_ones() {
    crafted("good", 0);
}

#[test]
fn names_that_lead_out_of_the_target() {
    for variant in ["dot-dot", "dot", "slash", "absolute", "empty", "nul", "file-dot-dot", "file-absolute", "duplicate"]
    {
        crafted(variant, 5);
    }
}

#[test]
fn links_that_lead_out_of_the_target() {
    crafted("symlink", 5);
    // Odd, but nothing is wrong with it: a symlink and a file that say they are one.
    crafted("hard-link", 0);
}

#[test]
fn bombs() {
    for variant in ["zip-bomb", "small-bomb", "tree-bomb", "huge-size", "deep"] {
        crafted(variant, 5);
    }
}

#[test]
fn an_ambiguous_prefix_is_refused() {
    let scratch = Scratch::empty();
    let prefix = evil(&scratch, "ambiguous").out().trim().to_owned();
    let ids = run_bounded(&scratch, 700, "snapshots --json").ok().of_type("snapshot");
    assert!(ids.len() == 2 || ids.len() == 1, "one of them is in no register: {ids:?}");
    let names: Vec<String> = objects_of(&scratch, Kind::Snapshot)
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().all(|name| name.starts_with(&prefix)) && names.len() == 2, "{names:?}");
    let run = run_bounded(&scratch, 700, &format!("ls {prefix}"));
    if ids.len() == 2 {
        assert_eq!(run.civil().code(), 1, "{run}");
        run.says("ambiguous");
    } else {
        run.ok();
    }
}
