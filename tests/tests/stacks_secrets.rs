//! Secrets stay out of snapshots, or are sealed to somebody who is not the repository.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use repo_tests::scratch::files_below;
use repo_tests::stack::Stack;
use repo_tests::tree::{write, write_program};

const MANIFEST: &str = r#"
stack: shop
persist:
  data: { subpath: data, exclude: ["!.env"] }
services:
  db: { backup: { dump: "cat /proc/*/cmdline > SCRATCH/seen 2>&-; cat SCRATCH/db", restore: "cat > restored" } }
secrets: [".env", "*.pem", "/secrets"]
"#;

const CANARY: &str = "canary-4f1c9e-of-a-secret";

fn stack() -> Stack {
    let stack = Stack::new(MANIFEST);
    for name in [".env", "data/.env", "data/media/deep/.env", "data/tls/key.pem", "secrets/api/token", "data/secrets"] {
        write(stack.root.join(name), format!("TOKEN={CANARY} {name}\n"));
    }
    // It is what the patterns don't name.
    write(stack.root.join("data/secrets"), "public");
    fs::create_dir_all(stack.root.join("secrets/certs")).expect("made");
    std::os::unix::fs::symlink("../api/token", stack.root.join("secrets/certs/link")).expect("made");
    stack
}

fn contains(file: &Path, needle: &str) -> bool {
    let bytes = fs::read(file).unwrap_or_default();
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn no_secret_is_in_a_default_snapshot() {
    let stack = stack();
    let run = stack.run("stack snapshot -vv --json").ok();
    assert!(!run.out().contains(CANARY) && !run.err().contains(CANARY), "{run}");
    // What the hook saw of all processes while it ran.
    assert!(contains(&stack.scratch.file("seen"), "stack\0snapshot"), "it looked");
    assert!(!contains(&stack.scratch.file("seen"), CANARY), "in an argument of a process");
    // Everything that the repository holds, decrypted.
    let whole = stack.scratch.file("whole");
    stack.run("restore latest --target SCRATCH/whole").ok();
    let names: Vec<String> = files_below(&whole)
        .iter()
        .map(|path| path.strip_prefix(&whole).expect("below").display().to_string())
        .collect();
    assert!(names.contains(&"shop/persist/data/media/a.jpg".to_owned()), "{names:?}");
    assert!(names.contains(&"shop/persist/data/secrets".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains(".env") || name.contains(".pem")), "{names:?}");
    for place in [&whole, &stack.scratch.repository(), &stack.scratch.cache()] {
        for file in files_below(place) {
            assert!(!contains(&file, CANARY), "{}", file.display());
        }
    }
    let run = stack.run("cat snapshot latest").ok();
    assert!(!run.out().contains(CANARY));
    let run = stack.run("stack restore latest --stack shop --target SCRATCH/new").ok();
    run.says("secrets are not restored").says("*.pem");
    stack.run("stack check").ok().says("left out as secrets").says("data/tls/key.pem");
}

/// Stands in for the programs of all templates: writes down its arguments and the password it is given another way.
const CLIENT: &str = r#"#!/bin/sh
printf '%s\n' "$(basename "$0") $*" >> SCRATCH/arguments
for word in "$@"; do case "$word" in --config=*) cat "${word#--config=}" >> SCRATCH/given ;; esac; done
case "$(basename "$0") $*" in
*restore* | *sql\ * | mariadb\ *) case "$*" in *select*) echo 7 ;; *) cat > "SCRATCH/fed-$(basename "$0")" ;; esac ;;
*) echo "dump of $(basename "$0")" ;;
esac
"#;

/// Ready commands, as they are printed, with a password that must be in no argument of a process.
#[test]
fn no_template_puts_a_password_into_arguments() {
    let variables =
        ["POSTGRES_USER", "MARIADB_ROOT_PASSWORD", "MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD"];
    let stack = Stack::new("stack: shop\npersist: { data: { subpath: data } }\n");
    let mut manifest = "stack: shop\npersist: { data: { subpath: data } }\nservices:\n".to_owned();
    for name in ["postgres", "mariadb", "mongodb"] {
        let template = stack.run(&format!("stack templates {name}")).ok().out().to_owned();
        let indented: String = template.lines().map(|line| format!("    {line}\n")).collect();
        let host = format!("    backup:\n      exec: host\n      environment: [{}]", variables.join(", "));
        manifest += &format!("  {name}:\n{}", indented.replacen("    backup:", &host, 1));
    }
    stack.declare(&manifest);
    let clients =
        "pg_dump pg_restore pg_isready psql mariadb-dump mariadb-admin mariadb mongodump mongorestore mongosh";
    for name in clients.split(' ') {
        write_program(&stack.scratch.file("bin").join(name), &stack.fill(CLIENT));
    }
    let run = |line: &str| {
        let mut command = stack.command(stack.fill(line).split_whitespace());
        command.envs(variables.map(|name| (name, CANARY)));
        // A name is no secret.
        command.env("POSTGRES_USER", "shop").env("MONGO_INITDB_ROOT_USERNAME", "shop");
        repo_tests::run_command(&mut command).ok()
    };
    run("stack snapshot");
    run("stack restore latest --stack shop --target SCRATCH/new");
    let arguments = fs::read_to_string(stack.scratch.file("arguments")).expect("all were called");
    for name in clients.split(' ') {
        assert!(arguments.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}\n{arguments}");
    }
    assert!(!arguments.contains(CANARY), "{arguments}");
    let given = fs::read_to_string(stack.scratch.file("given")).expect("by a file");
    assert_eq!(given, format!("password: \"{CANARY}\"\n").repeat(2));
    for (program, dump) in [("pg_restore", "pg_dump"), ("mariadb", "mariadb-dump"), ("mongorestore", "mongodump")] {
        let fed = fs::read_to_string(stack.scratch.file(format!("fed-{program}"))).expect("a dump");
        assert_eq!(fed, format!("dump of {dump}\n"));
    }
}

/// An identity of age and its recipient, made for this test.
const IDENTITY: &str = "AGE-SECRET-KEY-165ZNY3K4YZJ7ANV2CMKMSG22TFG82SX449XWTVN0ZUFJ9DJC6Z3S2MHCUH";
const RECIPIENT: &str = "age1ad97nm2pzcz8dwsq8y5a2fw04v2zftw5dhwyg2pk4g3pa7ew7ypq5x3wpd";
const OTHER_IDENTITY: &str = "AGE-SECRET-KEY-1YRH9LQJQLNENRDQDY40Z8YEDXKZ0FUXJM050ZM8RH0YMZ32Z2SAQ3U6EW0";

#[test]
fn sealed_secrets_come_back_with_their_identity_only() {
    let stack = stack();
    write(stack.scratch.file("identity"), format!("# made for a test\n{IDENTITY}\n"));
    write(stack.scratch.file("other"), format!("{OTHER_IDENTITY}\n"));
    stack.run(&format!("stack snapshot --seal-secrets --recipient {RECIPIENT}")).ok().says("/shop/secrets.age");
    stack.run("stack snapshot --seal-secrets --recipient age1nonsense").ends(1).says("age1nonsense");
    // Whoever can open the repository finds an archive that is closed.
    stack.run("restore latest --target SCRATCH/whole").ok();
    for file in files_below(&stack.scratch.file("whole")) {
        assert!(!contains(&file, CANARY), "{}", file.display());
    }
    assert!(contains(&stack.scratch.file("whole/shop/secrets.age"), "age-encryption.org/v1"));

    let restore = "stack restore latest --stack shop --target";
    let run = stack.run(&format!("{restore} SCRATCH/without")).ends(3);
    run.says("--identity").says("*.pem");
    assert!(
        stack.scratch.file("without/data/media/a.jpg").is_file() && stack.scratch.file("without/restored").is_file()
    );
    assert!(!stack.scratch.file("without/.env").exists());
    stack
        .run(&format!("{restore} SCRATCH/wrong --identity SCRATCH/other"))
        .ends(3)
        .says("cannot open the sealed secrets");
    assert!(stack.scratch.file("wrong/restored").is_file());

    stack.run(&format!("{restore} SCRATCH/with --identity SCRATCH/identity")).ok().says("6 files");
    for name in [".env", "data/.env", "data/media/deep/.env", "data/tls/key.pem", "secrets/api/token"] {
        let (old, new) = (stack.root.join(name), stack.scratch.file("with").join(name));
        assert_eq!(fs::read(&old).ok(), fs::read(&new).ok(), "{name}");
        let shown = |path: &Path| fs::metadata(path).map(|found| (found.mode(), found.uid(), found.gid())).ok();
        assert_eq!(shown(&old), shown(&new), "{name}");
    }
    let link = fs::read_link(stack.scratch.file("with/secrets/certs/link")).expect("a link");
    assert_eq!(link, Path::new("../api/token"));
    // A clone has secrets of its own.
    stack.run(&format!("{restore} SCRATCH/clone --as staging --identity SCRATCH/identity")).ok();
    assert!(!stack.scratch.file("clone/.env").exists());
}
