//! What `repo serve` lets whom do: every family of objects with every verb by curl, and what curl can do wrong.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use objects::{Family, every_object};
use repo_tests::Scratch;
use repo_tests::damage::wait_until;
use repo_tests::scratch::files_below;
use repo_tests::servers::{RepoServe, curl, make_token};
use repo_tests::tree::{noise, small, write};

/// One object of each kind: real ones where a name is a hash, made-up ones where the server can't know.
mod objects {
    use super::*;

    /// What is put where, and whether an append-only client may.
    pub(super) struct Family {
        pub(super) name: String,
        pub(super) file: PathBuf,
        pub(super) append_only_may_put: bool,
    }

    fn made_up(scratch: &Scratch, name: String, kind: u8, rest: &[u8], append_only_may_put: bool) -> Family {
        let file = scratch.file(format!("object-{kind}"));
        let mut bytes = b"repo".to_vec();
        bytes.extend([kind, 1, 0, 0]);
        bytes.extend(rest);
        write(&file, &bytes);
        Family { name, file, append_only_may_put }
    }

    /// A proof: made up, too, and its name is a hash all the same.
    fn proof(scratch: &Scratch) -> Family {
        let made = made_up(scratch, String::new(), 13, b"x", true);
        let hash = engine::crypto::hash(&std::fs::read(&made.file).expect("a file"));
        Family { name: format!("proofs/{}", engine::id::hex(&hash)), ..made }
    }

    /// Of a scratch repository with a snapshot.
    pub(super) fn every_object(scratch: &Scratch) -> Vec<Family> {
        let repository = scratch.repository();
        let first = |directory: &str| {
            let file = files_below(&repository.join(directory)).into_iter().next().expect(directory);
            let name = file.strip_prefix(&repository).expect("below").display().to_string();
            Family { name, file, append_only_may_put: true }
        };
        let mut all: Vec<_> = ["packs", "index", "snapshots"].into_iter().map(first).collect();
        let key = first("keys");
        all.push(Family { append_only_may_put: false, ..key });
        let (session, id) = ([0xab; 16], "ab".repeat(16));
        let register: Vec<u8> = [0xa2, 0x00, 0x50].into_iter().chain(session).collect();
        all.extend([
            made_up(scratch, format!("sessions/{id}/intent"), 6, &session, true),
            made_up(scratch, format!("sessions/{id}/register"), 7, &register, true),
            made_up(scratch, format!("forgotten/{}", "cd".repeat(32)), 11, b"x", false),
            proof(scratch),
            made_up(scratch, "prune/0000000000000001/plan".into(), 8, b"x", false),
            made_up(scratch, "prune/0000000000000001/state".into(), 9, b"x", false),
            made_up(scratch, "prune/0000000000000001/done".into(), 10, b"x", false),
            made_up(scratch, "prune/reserve".into(), 12, b"x", false),
        ]);
        all
    }
}

/// A server with a token, and what curl needs to use it.
struct Setup {
    scratch: Scratch,
    server: RepoServe,
    header: String,
}

impl Setup {
    fn new(verbs: &str, arguments: &str) -> Self {
        let scratch = Scratch::new();
        scratch.snapshot(&small(&scratch.tree("source"), 1));
        let header = format!("Authorization: Bearer {}", make_token(&scratch, "a", verbs));
        let server = RepoServe::with_tokens(&scratch, arguments);
        Self { scratch, server, header }
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, more: &[&str]) -> (u16, String) {
        let url = format!("{}/{path}", self.server.url());
        let mut arguments = vec!["-H", &self.header, "-X", method];
        if method == "HEAD" {
            arguments = vec!["-H", &self.header, "--head"];
        }
        arguments.push(&url);
        arguments.extend(more);
        curl(&arguments)
    }

    #[track_caller]
    fn put(&self, name: &str, file: &Path) -> (u16, String) {
        self.ask("PUT", &format!("a/{name}"), &["-H", "Expect:", "--data-binary", &format!("@{}", file.display())])
    }

    fn place(&self, name: &str) -> PathBuf {
        self.server.root().join("a").join(name)
    }

    /// Puts a file there past the server.
    fn plant(&self, name: &str, file: &Path) {
        let place = self.place(name);
        std::fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
        std::fs::copy(file, place).expect("a copy");
    }

    /// Everything that is there.
    fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = files_below(&self.server.root().join("a"));
        files.into_iter().map(|file| (file.clone(), std::fs::read(file).expect("an object"))).collect()
    }
}

#[test]
fn append_only_is_append_only_for_every_family() {
    // The file of tokens says all; the server's own switch is the stronger one. And the other way round.
    for (verbs, arguments) in [("all", "--append-only"), ("put,list,get", "")] {
        let setup = Setup::new(verbs, arguments);
        setup.plant("config", &setup.scratch.repository().join("config"));
        let families = every_object(&setup.scratch);
        for Family { name, file, append_only_may_put } in &families {
            let (status, body) = setup.put(name, file);
            assert_eq!(status, if *append_only_may_put { 201 } else { 403 }, "{verbs}: put {name}: {body}");
            assert_eq!(setup.place(name).exists(), *append_only_may_put, "{name}");
            if !append_only_may_put {
                setup.plant(name, file);
            }
        }
        let before = setup.bytes();
        for Family { name, file, append_only_may_put } in &families {
            let expected = if *append_only_may_put { 409 } else { 403 };
            assert_eq!(setup.put(name, file).0, expected, "put {name} again");
            assert_eq!(setup.ask("GET", &format!("a/{name}"), &["-o", "/dev/null"]).0, 200, "get {name}");
            if !name.ends_with("/intent") {
                assert_eq!(setup.ask("DELETE", &format!("a/{name}"), &[]).0, 403, "delete {name}");
            }
        }
        assert_eq!(setup.ask("DELETE", "a/config", &[]).0, 403);
        assert_eq!(setup.ask("POST", "a/?unfinished=99999999999", &[]).0, 403);
        for method in ["PATCH", "MOVE", "COPY", "OPTIONS", "PROPFIND"] {
            assert_eq!(setup.ask(method, "a/config", &[]).0, 405, "{method}");
        }
        assert_eq!(setup.bytes(), before, "nothing changed");
        // The one exception: an intent whose session has ended. A session without its end keeps it.
        let intent = |id: &str| format!("a/sessions/{id}/intent");
        assert_eq!(setup.ask("DELETE", &intent(&"ab".repeat(16)), &[]).0, 204);
        let mut open = b"repo\x06\x01\0\0".to_vec();
        open.extend([0xef; 16]);
        write(setup.scratch.file("open"), open);
        setup.put(&format!("sessions/{}/intent", "ef".repeat(16)), &setup.scratch.file("open"));
        assert_eq!(setup.ask("DELETE", &intent(&"ef".repeat(16)), &[]).0, 403);
    }
}

#[test]
fn who_may_do_everything_may_not_do_what_nobody_does() {
    let setup = Setup::new("all", "");
    setup.plant("config", &setup.scratch.repository().join("config"));
    for Family { name, file, .. } in every_object(&setup.scratch) {
        assert_eq!(setup.put(&name, &file).0, 201, "put {name}");
        assert_eq!(setup.put(&name, &file).0, 409, "put {name} again");
        assert_eq!(std::fs::read(setup.place(&name)).ok(), std::fs::read(&file).ok(), "{name}");
        let stays = name.starts_with("forgotten/") || name.ends_with("/register");
        assert_eq!(setup.ask("DELETE", &format!("a/{name}"), &[]).0, if stays { 403 } else { 204 }, "delete {name}");
        assert_eq!(setup.place(&name).exists(), stays, "{name}");
    }
    assert_eq!(setup.ask("DELETE", "a/config", &[]).0, 403);
}

#[test]
fn bytes_that_are_not_what_their_name_promises_are_refused() {
    let setup = Setup::new("all", "");
    let garbage = setup.scratch.file("garbage");
    write(&garbage, noise(3, 5000));
    let families = every_object(&setup.scratch);
    for Family { name, file, .. } in &families {
        let (status, body) = setup.put(name, &garbage);
        assert_eq!(status, 422, "{name}: {body}");
        assert!(body.contains("\"kind\":\"mismatch\""), "{body}");
        assert!(!setup.place(name).exists(), "{name}");
        // An object of the right kind with a byte turned, where the name is a hash.
        if ["packs", "index", "snapshots"].iter().any(|family| name.starts_with(family)) {
            let mut bytes = std::fs::read(file).expect("an object");
            *bytes.last_mut().expect("a byte") ^= 1;
            write(&garbage, bytes);
            assert_eq!(setup.put(name, &garbage).0, 422, "{name} with a byte turned");
            assert!(!setup.place(name).exists(), "{name}");
            write(&garbage, noise(3, 5000));
        }
    }
    let large = setup.scratch.file("large");
    write(&large, noise(4, (64 << 10) + 1));
    assert_eq!(setup.put("config", &large).0, 413);
    assert!(files_below(setup.server.root()).is_empty(), "nothing is left, no temporary file either");
}

#[test]
fn names_lead_nowhere_else() {
    let setup = Setup::new("all", "");
    let secret = setup.scratch.file("config");
    write(&secret, "secret");
    std::os::unix::fs::symlink(setup.scratch.path(), setup.server.root().join("a")).expect("a link");
    for path in [
        "../config",
        "a/../../config",
        "%2e%2e/config",
        "a/%2e%2e/config",
        "..%2fconfig",
        "/config",
        "a//config",
        "a/./config",
        "a\\..\\config",
        ".hidden/config",
        "a/packs/../config",
        "a/packs/..%2f..%2fconfig",
        "config",
        "a/b/c/d/e/config",
        "a/tokens",
        "a/config/",
        "a",
        "a/",
        "",
        "a/config?x=1",
        "a/?list=../x",
    ] {
        let (status, body) = setup.ask("GET", path, &[]);
        assert!((400..500).contains(&status), "{path}: {status} {body}");
        assert!(!body.contains("secret"), "{path}");
    }
    // A link that an administrator made is not followed either.
    assert_eq!(setup.ask("GET", "a/config", &[]).0, 403);
    let config = setup.scratch.repository().join("config");
    assert_eq!(setup.put("config", &config).0, 403);
    assert_eq!(std::fs::read(&secret).expect("it is there"), b"secret");
}

#[test]
fn a_quota_holds_and_is_told() {
    let setup = Setup::new("all", "--quota 600K");
    let place = setup.server.place("a");
    let token = setup.header.strip_prefix("Authorization: Bearer ").expect("a token");
    let run = |line: &str| {
        let mut command = setup.scratch.command();
        command.env("REPO_REPOSITORY", &place).env("REPO_TOKEN", token).args(line.split(' '));
        repo_tests::run_command(&mut command)
    };
    run("init").ok();
    let (few, many) = (setup.scratch.tree("few"), setup.scratch.tree("many"));
    write(few.join("file"), noise(1, 100_000));
    write(many.join("file"), noise(2, 1_000_000));
    run(&format!("snapshot {}", few.display())).ok();
    run(&format!("snapshot {}", many.display())).ends(1).says("the quota of the repository is 614400 bytes");
    let used: usize = setup.bytes().values().map(Vec::len).sum();
    assert!(used <= 614_400, "{used}");
    run(&format!("snapshot {}", few.display())).ok();
    run("check --read-data").ok();
}

#[test]
fn tokens_are_asked_for_and_read_again() {
    let setup = Setup::new("list", "");
    setup.plant("config", &setup.scratch.repository().join("config"));
    let url = format!("{}/a/config", setup.server.url());
    for header in ["X: y", "Authorization: Bearer repo_0", "Authorization: Basic eDp5", "Authorization: Bearer"] {
        let (status, body) = curl(&["-H", header, &url]);
        assert_eq!(status, 401, "{header}: {body}");
    }
    assert_eq!(setup.ask("GET", "a/config", &[]).0, 403, "a token without the verb");
    assert_eq!(setup.ask("GET", "a/?list=config", &[]), (200, format!("config {}\nend\n", length(&setup))));
    assert_eq!(setup.ask("GET", "b/?list=config", &[]).0, 403, "another repository");
    assert_eq!(setup.ask("GET", "a/config", &["-H", "Repo-Protocol: 2"]).0, 400);
    let tokens = setup.scratch.file("tokens");
    let more = std::fs::read_to_string(&tokens).expect("the file").replace(" list", " list,get");
    write(&tokens, more);
    assert_eq!(setup.ask("GET", "a/config", &["-o", "/dev/null"]).0, 200, "the file was read again");
    write(&tokens, "nonsense");
    assert_eq!(setup.ask("GET", "a/config", &["-o", "/dev/null"]).0, 200, "a broken file changes nothing");
    wait_until("it is told", || setup.server.log().contains("the file of tokens stays as it was"));
    write(&tokens, "");
    assert_eq!(setup.ask("GET", "a/config", &[]).0, 401, "nobody is known any more");
    assert_eq!(curl(&[&format!("{}/health", setup.server.url())]), (200, "ok\n".into()));
}

fn length(setup: &Setup) -> u64 {
    std::fs::metadata(setup.place("config")).expect("a config").len()
}

#[test]
fn ranges_are_what_dd_says() {
    let setup = Setup::new("all", "");
    let Family { name, file, .. } = every_object(&setup.scratch).remove(0);
    setup.plant(&name, &file);
    let bytes = std::fs::read(&file).expect("a pack");
    let out = setup.scratch.file("out");
    let range = |range: &str| {
        let path = format!("a/{name}");
        let status = setup.ask("GET", &path, &["-o", &out.display().to_string(), "-H", &format!("Range: {range}")]).0;
        (status, std::fs::read(&out).expect("an answer"))
    };
    assert_eq!(range("bytes=0-7"), (206, bytes[..8].to_vec()));
    assert_eq!(range("bytes=100-299"), (206, bytes[100..300].to_vec()));
    let end = bytes.len();
    assert_eq!(range(&format!("bytes={}-{}", end - 1, end - 1)), (206, bytes[end - 1..].to_vec()));
    assert_eq!(range(&format!("bytes=0-{end}")).0, 416);
    for bad in ["bytes=5-", "bytes=-5", "bytes=0-1,3-4", "lines=0-1", "bytes=9-3", "bytes=0-18446744073709551615"] {
        assert!(matches!(range(bad).0, 400 | 416), "{bad}");
    }
    let (status, head) = setup.ask("HEAD", &format!("a/{name}"), &[]);
    assert!(status == 200 && head.to_lowercase().contains(&format!("content-length: {end}")), "{head}");
}

#[test]
fn a_body_that_is_cut_never_becomes_an_object() {
    let setup = Setup::new("all", "");
    let Family { name, file, .. } = every_object(&setup.scratch).remove(0);
    let bytes = std::fs::read(&file).expect("a pack");
    let address = setup.server.url().strip_prefix("http://").expect("plain").to_owned();
    let send = |head: &str, body: &[u8], is_cut: bool| {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let head =
            format!("PUT /a/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n{head}\r\n\r\n", setup.header);
        stream.write_all(head.as_bytes()).expect("a head");
        stream.write_all(body).expect("a body");
        if is_cut {
            stream.shutdown(std::net::Shutdown::Write).expect("the end");
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let exact = format!("Content-Length: {}", bytes.len());
    let answer = send(&exact, &bytes[..bytes.len() - 1], true);
    assert!(!answer.contains(" 201 "), "{answer}");
    let answer = send("Transfer-Encoding: chunked", b"0\r\n\r\n", false);
    assert!(answer.starts_with("HTTP/1.1 411 "), "{answer}");
    let answer = send("Content-Length: 99999999999999", b"", true);
    assert!(!answer.contains(" 201 "), "{answer}");
    let answer = send("Content-Length: 10\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", true);
    assert!(!answer.contains(" 201 "), "{answer}");
    assert!(files_below(setup.server.root()).is_empty(), "nothing is left");
    assert_eq!(setup.put(&name, &file).0, 201);
    assert_eq!(std::fs::read(setup.place(&name)).expect("it is there"), bytes);
}

#[test]
fn many_put_the_same_and_one_is_first() {
    let setup = Setup::new("all", "");
    let register = every_object(&setup.scratch).into_iter().find(|it| it.name.ends_with("/register")).expect("one");
    let mut statuses: Vec<_> = std::thread::scope(|scope| {
        let put = || setup.put(&register.name, &register.file).0;
        let all: Vec<_> = (0..8).map(|_| scope.spawn(put)).collect();
        all.into_iter().map(|one| one.join().expect("a status")).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}
