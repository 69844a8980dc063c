//! `repo serve` and its clients from end to end: over HTTP, over TLS, through ssh; killed and stopped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use repo_tests::binary::{Run, repo_binary, run_command, split, tool};
use repo_tests::compare::assert_diff_is_silent;
use repo_tests::damage::wait_until;
use repo_tests::scratch::files_below;
use repo_tests::servers::{Proxy, RepoServe, Sshd, curl, make_token};
use repo_tests::tree::{noise, small, write, write_program};
use repo_tests::{Scratch, is_root};

/// A client of a place, with options and a token.
struct Client<'a> {
    scratch: &'a Scratch,
    place: String,
    options: Vec<String>,
    token: Option<String>,
}

impl Client<'_> {
    fn command(&self, line: &str) -> Command {
        let mut command = self.scratch.command();
        command.env("REPO_REPOSITORY", &self.place);
        if let Some(token) = &self.token {
            command.env("REPO_TOKEN", token);
        }
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.args(split(line));
        command
    }

    #[track_caller]
    fn run(&self, line: &str) -> Run {
        run_command(&mut self.command(line))
    }

    /// All that one does with a repository; at the end everything is there and nothing is damaged.
    #[track_caller]
    fn live(&self) {
        let source = small(&self.scratch.tree("source"), 1);
        self.run("init").ok();
        self.run("init").ends(1);
        let first = self.run(&format!("snapshot --json {}", source.display())).ok().snapshot_id();
        write(source.join("new"), noise(99, 500_000));
        self.run(&format!("snapshot {}", source.display())).ok();
        self.run("check --read-data").ok();
        let target = self.scratch.file("target");
        self.run(&format!("restore latest:{} --target {}", source.display(), target.display())).ok();
        assert_diff_is_silent(&source, &target);
        self.run(&format!("forget {first}")).ok();
        self.run("prune --grace 0 --max-unused 0").ok();
        self.run("check --read-data").ok();
        assert_eq!(self.run("snapshots --json").ok().of_type("snapshot").len(), 1);
    }
}

#[test]
fn a_repository_over_http_does_all_that_one_in_a_directory_does() {
    let scratch = Scratch::empty();
    let token = make_token(&scratch, "team/*", "all");
    let server = RepoServe::with_tokens(&scratch, "--metrics 127.0.0.1:0");
    let place = server.place("team/laptop");
    let client = Client { scratch: &scratch, place, options: vec![], token: Some(token.clone()) };
    client.run("snapshots").ends(10);
    client.live();
    // The files in the directory are the repository: the same that a local one would have.
    let local = scratch.command().env("REPO_REPOSITORY", server.root().join("team/laptop")).arg("check").output();
    assert!(local.expect("it runs").status.success());
    let text = server.metrics();
    for secret in ["team", "laptop", token.as_str()] {
        assert!(!text.contains(secret) && !server.log().contains(&token), "{secret}\n{text}");
    }
}

#[test]
fn requests_are_as_many_as_there_are_objects() {
    let scratch = Scratch::empty();
    let token = make_token(&scratch, "a", "put,list,get");
    let server = RepoServe::with_tokens(&scratch, "--append-only --metrics 127.0.0.1:0");
    let client = Client { scratch: &scratch, place: server.place("a"), options: vec![], token: Some(token) };
    client.run("init").ok();
    let source = small(&scratch.tree("source"), 1);
    client.run(&format!("snapshot {}", source.display())).ok();
    let there = files_below(&server.root().join("a")).len() as u64;
    // One intent was put, and removed by the server when its register was there.
    assert_eq!((server.count("put", 201), server.count("delete", 204)), (there + 1, 0));
    assert_eq!((server.count("put", 409), server.count("get", 404)), (0, 0));
    client.run("check --read-data").ok();
}

/// How often each kind of request was made for each kind of object since a place in the log, and where that ends now.
fn counts_since(server: &RepoServe, start: &mut usize) -> BTreeMap<String, usize> {
    let log = server.settled_log();
    let mut counts = BTreeMap::new();
    for line in log[*start..].lines() {
        let words: Vec<_> = line.split(' ').collect();
        if let [_, _, method, path, _, _, "ms"] = words[..] {
            let family = path.strip_prefix("/a/").expect("the repository").split('/').next().unwrap_or_default();
            *counts.entry(format!("{method} {family}").trim().to_owned()).or_default() += 1;
        }
    }
    *start = log.len();
    counts
}

/// A request costs a round trip, unless others are under way with it: whoever adds one says so here. `GET` alone is for lists,
/// and what the server is.
#[test]
fn every_command_makes_as_many_requests_as_it_needs() {
    let scratch = Scratch::empty();
    let token = make_token(&scratch, "a", "all");
    let server = RepoServe::with_tokens(&scratch, "");
    let client = Client { scratch: &scratch, place: server.place("a"), options: vec![], token: Some(token) };
    let source = small(&scratch.tree("source"), 1);
    let snapshot = format!("snapshot --as /data {}", source.display());
    let mut start = server.settled_log().len();
    let mut made = |line: &str| {
        client.run(line).ok();
        counts_since(&server, &mut start)
    };
    let counted = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
        pairs.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    };
    assert_eq!(made("init"), counted(&[("GET", 12), ("PUT config", 1), ("PUT keys", 1)]));
    // What the server is, keys, sessions; plans before the intent and after it; index, snapshots, records.
    let open = [("GET config", 1), ("GET keys", 1)];
    let session = [("GET", 8), ("PUT sessions", 2), ("PUT snapshots", 1)];
    let stored = [("PUT packs", 2), ("PUT index", 1)];
    assert_eq!(made(&snapshot), counted(&[&open[..], &session, &stored].concat()));
    assert_eq!(made(&snapshot), counted(&[&open[..], &session].concat()), "nothing that was sent is fetched again");
    // What the server is, keys, sessions, snapshots, records; and the index.
    assert_eq!(made("snapshots"), counted(&[&open[..], &[("GET", 5)]].concat()));
    for line in ["ls latest", "ls -R latest", "find nothing", "diff latest~1 latest"] {
        assert_eq!(made(line), counted(&[&open[..], &[("GET", 6)]].concat()), "{line}");
    }
    let target = scratch.file("target");
    let restore = made(&format!("restore latest --target {}", target.display()));
    assert_eq!(restore, counted(&[&open[..], &[("GET", 6), ("GET packs", 1)]].concat()));
    let (check, prune) = (made("check"), made("prune"));
    assert!(check.values().sum::<usize>() <= 23, "{check:?}");
    assert!(prune.values().sum::<usize>() <= 50, "{prune:?}");
    // A client that has no cache yet fetches what it needs once.
    let elsewhere = scratch.file("elsewhere");
    let with_its_own = format!("--cache-dir {} ls -R latest", elsewhere.display());
    // The prune had a session, too.
    let new = [("GET index", 1), ("GET packs", 1), ("GET sessions", 3), ("GET snapshots", 2)];
    assert_eq!(made(&with_its_own), counted(&[&open[..], &[("GET", 6)], &new].concat()));
    assert_eq!(made(&with_its_own), counted(&[&open[..], &[("GET", 6)]].concat()));
}

/// Makes an authority, and certificates that it signs, with OpenSSL.
fn certificates(place: &Path) {
    let openssl = |line: String| tool("openssl", split(&line));
    let at = place.display();
    for authority in ["ca", "strangers"] {
        openssl(format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={authority} \
             -keyout {at}/{authority}.key -out {at}/{authority}.pem"
        ));
    }
    for (name, subject, extensions) in [
        (
            "server",
            "/CN=server",
            "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n",
        ),
        ("laptop", "/O=x/CN=laptop", "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n"),
        ("phone", "/CN=phone", "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n"),
        ("nobody", "/CN=nobody", "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n"),
    ] {
        write(place.join(format!("{name}.ext")), extensions);
        openssl(format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj {subject} -keyout {at}/{name}.key \
             -out {at}/{name}.csr"
        ));
        openssl(format!(
            "x509 -req -in {at}/{name}.csr -CA {at}/ca.pem -CAkey {at}/ca.key -CAcreateserial -days 2 \
             -extfile {at}/{name}.ext -out {at}/{name}.pem"
        ));
    }
}

#[test]
fn tls_and_client_certificates() {
    let scratch = Scratch::empty();
    let place = scratch.tree("tls");
    certificates(&place);
    let token = make_token(&scratch, "a", "all");
    let phone = place.join("phone.pem");
    let said = tool(
        "openssl",
        ["x509", "-noout", "-fingerprint", "-sha256", "-in"].map(OsString::from).into_iter().chain([phone.into()]),
    );
    let fingerprint = said.out().trim().split_once('=').expect("a fingerprint").1.to_owned();
    let mut lines = std::fs::read_to_string(scratch.file("tokens")).expect("the file");
    lines.push_str(&format!("cn:laptop a all\ncert:{fingerprint} a list,get\n"));
    write(scratch.file("tokens"), lines);
    let at = place.display();
    let server = RepoServe::with_tokens(
        &scratch,
        &format!("--tls-cert {at}/server.pem --tls-key {at}/server.key --client-ca {at}/ca.pem"),
    );
    assert!(server.url().starts_with("https://"), "{}", server.url());
    let client = |authority: &str, certificate: Option<&str>, token: Option<&String>| {
        let mut options = vec![format!("rest.ca-file={at}/{authority}.pem")];
        if let Some(name) = certificate {
            options.push(format!("rest.client-cert={at}/{name}.pem"));
            options.push(format!("rest.client-key={at}/{name}.key"));
        }
        Client { scratch: &scratch, place: server.place("a"), options, token: token.cloned() }
    };
    client("ca", Some("laptop"), None).live();
    client("ca", None, Some(&token)).run("snapshots").ok();
    client("ca", Some("phone"), None).run("snapshots").ok();
    client("ca", Some("phone"), None).run("snapshot /etc/hostname").ends(1).says("needs the verb put");
    client("ca", Some("nobody"), None).run("snapshots").ends(1).says("no token or certificate that is known");
    client("ca", None, None).run("snapshots").ends(1).says("no token or certificate that is known");
    // A server that nobody vouches for gets no token.
    client("strangers", None, Some(&token)).run("snapshots").ends(1).says("can't be reached");
}

/// A script that stands in for ssh: it runs the command as the shell of the other machine would.
fn stand_in(scratch: &Scratch) -> PathBuf {
    let script = scratch.file("ssh-stand-in");
    let text = "#!/bin/sh\nfor word; do last=$word; done\necho \"$@\" >> \"$0.log\"\nexec sh -c \"$last\"\n";
    write_program(&script, text);
    script
}

#[test]
fn through_ssh_one_process_does_it_all() {
    let scratch = Scratch::empty();
    let script = stand_in(&scratch);
    let options =
        vec![format!("ssh.command={}", script.display()), format!("ssh.remote-command={}", repo_binary().display())];
    let place = format!("ssh://me@host:2222{}/served/it's here", scratch.path().display());
    let client = Client { scratch: &scratch, place, options, token: None };
    client.run("snapshots").ends(10);
    client.live();
    let log = std::fs::read_to_string(scratch.file("ssh-stand-in.log")).expect("the log");
    assert!(log.starts_with("-o ServerAliveInterval=30 -p 2222 me@host -- "), "{log}");
    assert!(scratch.file("served/it's here/config").is_file());
    // Each command is one process, whatever it did.
    let before = log.lines().count();
    client.run("check --read-data").ok();
    let log = std::fs::read_to_string(scratch.file("ssh-stand-in.log")).expect("the log");
    assert_eq!(log.lines().count(), before + 1);
}

#[test]
fn an_ssh_that_fails_is_told_with_what_it_said() {
    let scratch = Scratch::empty();
    let script = scratch.file("ssh");
    write_program(&script, "#!/bin/sh\necho 'host key is not known' >&2\nexit 255\n");
    let options = vec![format!("ssh.command={}", script.display())];
    let client = Client { scratch: &scratch, place: "ssh://host/srv/x".into(), options, token: None };
    client.run("snapshots").ends(1).says("host key is not known").says("exit status: 255");
}

#[test]
fn a_real_ssh_with_a_forced_command_is_append_only() {
    // sshd lets root in only if root started it.
    if !is_root() {
        return;
    }
    let scratch = Scratch::empty();
    let keys = scratch.tree("keys");
    let repository = scratch.file("forced");
    let forced = format!("{} serve --stdio --append-only --path {}", repo_binary().display(), repository.display());
    let sshd = Sshd::start(&keys, Some(&forced));
    let options = vec![sshd.command()];
    // The path that the client says is not the one that it gets.
    let place = format!("ssh://root@127.0.0.1:{}/etc", sshd.address().port());
    let client = Client { scratch: &scratch, place, options, token: None };
    client.run("init").ok();
    let source = small(&scratch.tree("source"), 1);
    let id = client.run(&format!("snapshot --json {}", source.display())).ok().snapshot_id();
    let target = scratch.file("target");
    client.run(&format!("restore latest:{} --target {}", source.display(), target.display())).ok();
    assert_diff_is_silent(&source, &target);
    client.run(&format!("forget {id}")).ends(1).says("needs the verb forget");
    client.run("check --read-data").ok();
    assert!(repository.join("config").is_file());
}

#[test]
fn over_sftp_and_a_real_ssh_it_is_the_repository_of_a_local_directory() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::empty();
    let keys = scratch.tree("keys");
    let sshd = Sshd::start(&keys, Some("internal-sftp"));
    let repository = scratch.file("there/deep");
    let place = format!("sftp://root@127.0.0.1:{}/{}", sshd.address().port(), repository.display());
    let client = Client { scratch: &scratch, place, options: vec![sshd.command()], token: None };
    client.run("snapshots").ends(10);
    client.live();
    // On that machine it is a directory like any other.
    let local = Client { scratch: &scratch, place: repository.display().to_string(), options: vec![], token: None };
    local.run("check --read-data").ok();
    let source = scratch.file("source");
    local.run(&format!("snapshot {}", source.display())).ok();
    let target = scratch.file("again");
    client.run(&format!("restore latest:{} --target {}", source.display(), target.display())).ok();
    assert_diff_is_silent(&source, &target);
}

#[test]
fn a_server_that_was_killed_is_waited_for() {
    let scratch = Scratch::empty();
    let token = make_token(&scratch, "a", "all");
    let mut server = RepoServe::with_tokens(&scratch, "");
    let address = |server: &RepoServe| -> SocketAddr {
        server.url().strip_prefix("http://").and_then(|address| address.parse().ok()).expect("plain HTTP")
    };
    // The address stays, whoever takes the port of the one that was killed.
    let proxy = Proxy::to(address(&server));
    let place = format!("rest:http://{}/a", proxy.address());
    let client = Client { scratch: &scratch, place, options: vec![], token: Some(token) };
    client.run("init --pack-size 1M").ok();
    let source = scratch.tree("source");
    for number in 0..40 {
        write(source.join(format!("{number}")), noise(number, 500_000));
    }
    let snapshot = client.command(&format!("snapshot {}", source.display())).stderr(Stdio::piped()).spawn();
    let snapshot = snapshot.expect("a snapshot");
    wait_until("packs are written", || server.log().matches("/packs/").count() >= 3);
    server.kill();
    proxy.refuse();
    let again = RepoServe::with_tokens(&scratch, "");
    proxy.lead_to(address(&again));
    proxy.restore();
    let output = snapshot.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    client.run("check --read-data").ok();
    let target = scratch.file("target");
    client.run(&format!("restore latest:{} --target {}", source.display(), target.display())).ok();
    assert_diff_is_silent(&source, &target);
}

#[test]
fn what_both_left_when_they_were_killed_is_taken_over() {
    let scratch = Scratch::empty();
    let token = make_token(&scratch, "a", "put,list,get");
    let mut server = RepoServe::with_tokens(&scratch, "--append-only");
    let mut client = Client { scratch: &scratch, place: server.place("a"), options: vec![], token: Some(token) };
    client.run("init --pack-size 1M").ok();
    let source = scratch.tree("source");
    for number in 0..40 {
        write(source.join(format!("{number}")), noise(number, 500_000));
    }
    // What it reads has no end, so that it has none before it is killed; what is in the source is in that.
    let snapshot = client.command("snapshot --stdin endless").stdin(Stdio::piped()).spawn();
    let mut snapshot = snapshot.expect("a snapshot");
    let mut pipe = snapshot.stdin.take().expect("a pipe");
    std::thread::spawn(move || (0..).try_for_each(|number| pipe.write_all(&noise(number, 500_000))));
    wait_until("packs are written", || server.log().matches("/packs/").count() >= 3);
    server.kill();
    snapshot.kill().expect("killed");
    snapshot.wait().expect("its end");
    let again = RepoServe::with_tokens(&scratch, "--append-only");
    client.place = again.place("a");
    client.run("check --read-data").ok();
    let summary = client.run(&format!("snapshot --json {}", source.display())).ok().summary();
    assert_eq!(summary["resumed_sessions"], 1, "{summary}");
    client.run("check --read-data").ok();
    // The dead one's intent stays: an append-only client removes it only beside a register, and so it may.
    assert_eq!(files_below(&again.root().join("a/sessions")).iter().filter(|file| file.ends_with("intent")).count(), 0);
}

#[test]
fn a_server_that_is_asked_to_end_finishes_what_was_begun() {
    let scratch = Scratch::new();
    scratch.snapshot(&small(&scratch.tree("source"), 1));
    let mut server = RepoServe::start(&scratch, "--listen 127.0.0.1:0 --no-auth --metrics 127.0.0.1:0");
    let config = std::fs::read(scratch.repository().join("config")).expect("a config");
    let address = server.url().strip_prefix("http://").expect("plain").to_owned();
    let mut stream = TcpStream::connect(&address).expect("a connection");
    let (first, rest) = config.split_at(config.len() / 2);
    write!(stream, "PUT /a/config HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", config.len()).expect("a head");
    stream.write_all(first).expect("a part");
    wait_until("the request has begun", || server.metrics().contains("repo_serve_requests_in_flight 1"));
    server.ask_to_end();
    wait_until("it takes no more", || TcpStream::connect(&address).is_err());
    stream.write_all(rest).expect("the rest");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(server.wait().success());
    assert_eq!(std::fs::read(server.root().join("a/config")).expect("it is there"), config);
}

#[test]
fn it_is_not_open_to_strangers_by_mistake() {
    let scratch = Scratch::empty();
    let root = scratch.tree("served");
    make_token(&scratch, "a", "all");
    let refused = |arguments: &str, why: &str| {
        scratch.run(&format!("serve --path {} {arguments}", root.display())).ends(1).says(why);
    };
    refused("--listen 127.0.0.1:0", "everybody would be let in");
    refused("--listen 0.0.0.0:0 --no-auth", "loopback addresses and sockets only");
    refused("--listen 0.0.0.0:0 --tokens tokens", "in the clear");
    refused("--listen 127.0.0.1:0 --tokens tokens --metrics 0.0.0.0:0", "in the clear");
    refused("--tokens tokens", "nowhere to listen");
    write(scratch.file("bad"), "blake3:x a all\n");
    refused("--listen 127.0.0.1:0 --tokens bad", "line 1");
}

#[test]
fn a_socket_is_as_good_as_an_address() {
    let scratch = Scratch::empty();
    let socket = scratch.file("socket");
    let server = RepoServe::start(&scratch, &format!("--listen 127.0.0.1:0 --no-auth --unix {}", socket.display()));
    let mode = std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let path = socket.display().to_string();
    assert_eq!(curl(&["--unix-socket", &path, "http://x/health"]), (200, "ok\n".to_owned()));
    drop(server);
}
