//! Passwords, key files, recovery codes; caches; what the program says of itself.

use std::fs;
use std::process::Stdio;

use repo_tests::scratch::{PASSWORD, files_below};
use repo_tests::tree::{self, write};
use repo_tests::{Run, Scratch, run_command, words};

/// Runs a command that only these options open the repository for.
#[track_caller]
fn opened_by(scratch: &Scratch, options: &str, line: &str) -> Run {
    let mut command = scratch.command();
    command.env_remove("REPO_KEY_FILE");
    run_command(command.args(line.split(' ')).args(options.split(' ')))
}

#[track_caller]
fn keys(scratch: &Scratch) -> Vec<serde_json::Value> {
    scratch.run("key list --json").ok().of_type("key")
}

#[test]
fn every_kind_of_key_opens_it() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.snapshot(&source);
    write(scratch.file("password"), format!("{PASSWORD}\n"));
    scratch.run("key add --new-password-file password --label laptop").ok();
    scratch.run("key add --new-key-file other-key").ok();
    let code = scratch.run("key recovery --json").ok().of_type("recovery_code");
    let code = code[0]["words"].as_str().expect("words").to_owned();
    assert_eq!(code.split(' ').count(), 24);
    write(scratch.file("code"), format!("{code}\n"));
    let kinds: Vec<String> = keys(&scratch).iter().map(|key| key["kind"].to_string()).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    for options in [
        "--password-file password",
        "--password-command cat\u{a0}password",
        "--key-file other-key",
        "--key-file key-file",
        "--password-file code",
    ] {
        let mut command = scratch.command();
        command.env_remove("REPO_KEY_FILE");
        let options = options.split(' ').map(|word| word.replace('\u{a0}', " "));
        run_command(command.args(["ls", "latest"]).args(options)).ok();
    }
    let mut command = scratch.command();
    command.env_remove("REPO_KEY_FILE").env("REPO_PASSWORD", PASSWORD);
    run_command(command.arg("snapshots")).ok();
    // Neither on the command line nor anywhere in the repository in the clear.
    for object in files_below(&scratch.repository()) {
        let bytes = fs::read(&object).expect("an object");
        assert!(!bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()), "{}", object.display());
        assert!(!bytes.windows(6).any(|window| window == b"laptop"), "{}", object.display());
    }
}

#[test]
fn keys_go_and_change() {
    let scratch = Scratch::new();
    write(scratch.file("password"), "first");
    write(scratch.file("second"), "second");
    let first = keys(&scratch).remove(0)["id"].as_str().expect("an id").to_owned();
    scratch.run_words(["key", "remove", &first]).ends(1);
    scratch.run_words(["key", "remove", "--force", &first]).ends(1).says("last");
    assert_eq!(keys(&scratch).len(), 1, "the last key stays");

    scratch.run("key add --new-password-file password").ok();
    opened_by(&scratch, "--password-file password", "key passwd --new-password-file second").ok();
    opened_by(&scratch, "--password-file password", "snapshots").ends(12);
    opened_by(&scratch, "--password-file second", "snapshots").ok();
    assert_eq!(keys(&scratch).len(), 2);

    opened_by(&scratch, "--password-file second", &format!("key remove {}", &first[..8])).ok();
    scratch.run("snapshots").ends(12);
    opened_by(&scratch, "--password-file second", "snapshots").ok();
    opened_by(&scratch, "--password-file second", "key remove ffffffff").ends(1);
    // Nobody is there to be asked.
    opened_by(&scratch, "-q", "snapshots").civil();
    assert_ne!(opened_by(&scratch, "-q", "snapshots").code(), 0);
}

#[test]
fn a_key_file_is_never_overwritten_and_is_private() {
    let scratch = Scratch::new();
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(scratch.key_file()).expect("a key file"));
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    write(scratch.file("precious"), "something else");
    scratch.run("key add --new-key-file precious").ends(1);
    assert_eq!(fs::read(scratch.file("precious")).expect("read"), b"something else");
    assert_eq!(keys(&scratch).len(), 1);
}

#[test]
fn a_new_recovery_code_opens_after_all_else_is_gone() {
    let scratch = Scratch::new();
    let first = keys(&scratch).remove(0)["id"].as_str().expect("an id").to_owned();
    let code = scratch.run("key recovery --json").ok().of_type("recovery_code");
    write(scratch.file("code"), code[0]["words"].as_str().expect("words").to_uppercase());
    opened_by(&scratch, "--password-file code", &format!("key remove {first}")).ok();
    opened_by(&scratch, "--password-file code", "snapshots").ok();
}

#[test]
fn caches_are_listed_and_cleared() {
    let scratch = Scratch::new();
    let source = tree::small(&scratch.tree("source"), 1);
    scratch.snapshot(&source);
    let listed = scratch.run("cache list --json").ok().of_type("cache");
    assert_eq!(listed.len(), 1);
    let directory = listed[0]["directory"]["path"].as_str().expect("a path").to_owned();
    assert!(std::path::Path::new(&directory).is_dir());
    write(scratch.cache().join("not-ours/file"), "stays");
    let cleared = scratch.run("cache clear --json").ok().of_type("cache");
    assert_eq!(cleared[0]["removed"], true);
    let left: u64 = files_below(directory.as_ref()).iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
    assert_eq!(left, 0);
    scratch.check_clean();
    scratch.run("cache clear --all").ok();
    assert!(scratch.cache().join("not-ours/file").is_file(), "what is no cache stays");
    scratch.check_clean();
}

#[test]
fn completions_and_manual() {
    let scratch = Scratch::empty();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = scratch.run(&format!("completions {shell}")).ok();
        assert!(run.out().contains("restore") && run.out().contains("exclude-caches"), "{shell}");
    }
    write(scratch.file("complete.bash"), scratch.run("completions bash").ok().stdout);
    repo_tests::binary::tool("bash", [std::ffi::OsStr::new("-n"), scratch.file("complete.bash").as_os_str()]);
    scratch.run("completions cobol").ends(2);
    scratch.run("man").ok().says(".TH repo");
    scratch.run("man --out pages").ok();
    let pages: Vec<String> = files_below(&scratch.file("pages"))
        .iter()
        .map(|page| page.file_name().expect("a name").to_string_lossy().into())
        .collect();
    for page in ["repo.1", "repo-snapshot.1", "repo-key-add.1", "repo-restore.1"] {
        assert!(pages.iter().any(|found| found == page), "{page}: {pages:?}");
    }
}

#[test]
fn the_help_of_every_command_has_examples() {
    let scratch = Scratch::empty();
    for command in [
        "init",
        "snapshot",
        "snapshots",
        "ls",
        "find",
        "cat",
        "dump",
        "diff",
        "restore",
        "check",
        "stats",
        "tag",
        "key",
        "cache",
        "completions",
        "man",
    ] {
        scratch.run(&format!("help {command}")).ok().says("Examples:");
        scratch.run(&format!("{command} --help")).ok();
    }
    scratch.run("no-such-command").ends(2);
    scratch.run("").ends(2);
    scratch.run("ls --no-such-option").ends(2);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let scratch = Scratch::new();
    let source = scratch.tree("source");
    tree::crowd(&source, 3000);
    write(source.join("large"), tree::noise(1, 3_000_000));
    scratch.snapshot(&source);
    let large = source.join("large");
    let dump = format!("latest:{}", large.display());
    for words in
        [words!["ls", "-R", "--json"], words!["ls", "-lR"], words!["find", "*"], words!["dump", dump], words!["man"]]
    {
        let mut command = scratch.command();
        let mut child = command.args(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("its end");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!err.contains("panicked"), "{words:?}: {err}");
    }
}
