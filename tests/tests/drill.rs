//! `drill` and `status`: what comes back is proved, and what does not is found. Services are files here.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use repo_tests::binary::split;
use repo_tests::damage::{Harm, Kind, harm, objects_of};
use repo_tests::scratch::files_below;
use repo_tests::tree::{noise, write};
use repo_tests::{Run, Scratch, python, words};
use serde_json::Value;

struct Shop {
    scratch: Scratch,
    place: PathBuf,
}

const DUMP: &str = "cat data/db.txt";

impl Shop {
    fn new() -> Self {
        let scratch = Scratch::new();
        let place = scratch.tree("shop");
        for number in 0..20 {
            write(place.join(format!("files/file-{number}")), noise(number, 20_000));
        }
        write(place.join("data/db.txt"), (0..5000).map(|row| format!("row {row}\n")).collect::<String>());
        let shop = Self { scratch, place };
        shop.declare(DUMP, "");
        shop
    }

    /// A service whose scratch one is a file in the scratch place.
    fn declare(&self, dump: &str, more: &str) {
        let manifest = format!(
            "stack: shop\npersist:\n  files: {{ subpath: ./files }}\n{more}services:\n  db:\n    backup:\n      exec: host\n      \
             dump: \"{dump}\"\n      restore: 'cat > data/db.txt'\n      verify: 'wc -l < data/db.txt; head -1 data/db.txt'\n      \
             drill: {{ start: 'mkdir data', stop: 'touch \"{}\"' }}\n  cache:\n    backup:\n      exec: host\n      dump: 'echo cached'\n      \
             restore: 'exit 1'\n",
            self.scratch.file("stopped").display()
        );
        write(self.place.join("stack.yaml"), manifest);
    }

    fn file(&self) -> PathBuf {
        self.place.join("stack.yaml")
    }

    fn snapshot(&self) -> String {
        let run = self.scratch.run_words(words!["stack", "snapshot", "--json", "--file", self.file()]).ok();
        let found = run.of_type("stack").into_iter().find_map(|stack| stack["snapshot_id"].as_str().map(str::to_owned));
        found.unwrap_or_else(|| panic!("no snapshot\n{run}"))
    }

    fn drill(&self, options: &str) -> Run {
        let line = words!["drill", "--json", "--scratch", self.scratch.tree("trial")];
        self.scratch.run_words(line.into_iter().chain(split(options)))
    }

    fn status(&self, options: &str) -> Run {
        self.scratch.run_words(words!["status", "--json"].into_iter().chain(split(options)))
    }
}

#[track_caller]
fn one(run: &Run, message_type: &str) -> Value {
    let found = run.of_type(message_type);
    assert_eq!(found.len(), 1, "{run}");
    found.into_iter().next().expect("one")
}

#[test]
fn what_comes_back_is_proved_and_kept() {
    let shop = Shop::new();
    shop.status("").ok().says("");
    let proved = shop.snapshot();
    let run = shop.drill("--all").ok();
    let drill = one(&run, "drill");
    assert_eq!(drill["good"], true, "{run}");
    assert_eq!(drill["files"], 20, "{run}");
    assert_eq!(drill["services"][0], serde_json::json!({"service": "cache", "state": "read"}), "{run}");
    assert_eq!(drill["services"][1], serde_json::json!({"service": "db", "state": "verified"}), "{run}");
    assert!(files_below(&shop.scratch.file("trial")).is_empty(), "nothing stays in the scratch place");
    assert!(shop.scratch.file("stopped").exists(), "what was started was stopped");
    let status = one(&shop.status("--max-proof-age 1d").ok(), "stack_status");
    assert_eq!([&status["state"], &status["proved_snapshot_id"]], ["good", proved.as_str()]);

    // A policy and a name leave it; it goes when a newer one is proved.
    write(shop.place.join("files/file-1"), "changed");
    let newer = shop.snapshot();
    let run = shop.scratch.run("forget --keep-last 1 --json").ok();
    let kept = run.of_type("forget").into_iter().find(|fate| fate["snapshot_id"] == proved.as_str()).expect("it");
    assert_eq!(kept["action"], "keep", "{run}");
    assert!(kept["reasons"][0].as_str().is_some_and(|reason| reason.contains("proved")), "{run}");
    shop.scratch.run_words(words!["forget", proved]).ends(1).says("drill");
    shop.drill("--stack shop").ok();
    let run = shop.scratch.run("forget --keep-last 1 --json").ok();
    assert_eq!(run.summary()["snapshots_forgotten"], 1, "{run}");
    let status = one(&shop.status("").ok(), "stack_status");
    assert_eq!(status["proved_snapshot_id"], newer.as_str());
    // Another reader understands the proofs, and a check finds one that is damaged.
    let verified = python::reader(&shop.scratch, ["verify"]);
    assert!(verified.status.success(), "{verified}");
    shop.scratch.check_clean();
    let proof = files_below(&shop.scratch.repository().join("proofs")).remove(0);
    let good = harm(&proof, None, Harm::Flip(500)).expect("a bit is another");
    shop.scratch.run("check").ends(5).says("proves nothing");
    drop(good);
    shop.scratch.check_clean();
}

#[test]
fn a_dump_that_restores_and_is_wrong() {
    let shop = Shop::new();
    shop.declare("head -4999 data/db.txt", "");
    shop.snapshot();
    let run = shop.drill("--all").ends(3);
    assert_eq!(one(&run, "drill")["good"], false);
    let told = run.error_messages().iter().any(|error| {
        let message = error["message"].as_str().unwrap_or_default();
        error["item"]["path"] == "shop-drill/db" && message.contains("4999") && message.contains("5000")
    });
    assert!(told, "{run}");
    let status = one(&shop.status("").ends(2), "stack_status");
    assert!(status["reasons"][0].as_str().is_some_and(|reason| reason.contains("drill failed")), "{status}");
    assert!(status["proved"].is_null());
    // Right again, all is good; without a record nothing is known.
    shop.declare(DUMP, "");
    shop.snapshot();
    shop.drill("--all --no-record").ok();
    shop.status("--max-proof-age 1d").ends(2);
    shop.drill("--all").ok();
    shop.status("--max-proof-age 1d").ok();
}

#[test]
fn a_damaged_pack() {
    let shop = Shop::new();
    shop.snapshot();
    let packs = objects_of(&shop.scratch, Kind::DataPack);
    let pack = packs.into_iter().max_by_key(|pack| fs::metadata(pack).expect("there").len()).expect("a pack");
    let _harmed = harm(&pack, None, Harm::Flip(300)).expect("a bit is another");
    let run = shop.drill("--all").ends(3);
    let drill = one(&run, "drill");
    assert_eq!(drill["good"], false, "{run}");
    shop.status("").ends(2).says("drill failed");
}

#[test]
fn a_manifest_that_changed() {
    let shop = Shop::new();
    shop.snapshot();
    let file: OsString = format!("--file {}", shop.file().display()).into();
    let file = file.to_string_lossy().into_owned();
    shop.drill(&file).ok();
    write(shop.place.join("uploads/one"), "1");
    shop.declare(DUMP, "  uploads: { subpath: ./uploads }\n");
    shop.drill(&file).ends(3).says("persist path uploads is declared since, and not in the snapshot");
    shop.declare("cat data/db.txt data/db.txt", "");
    shop.drill(&file).ends(3).says("the manifest has changed since the snapshot");
    shop.declare(DUMP, "  uploads: { subpath: ./uploads }\n");
    shop.snapshot();
    shop.drill(&file).ok();
}

#[test]
fn status_says_what_is_missing_and_what_shrank() {
    let shop = Shop::new();
    let file = format!("--file {}", shop.file().display());
    let status = one(&shop.status(&file).ends(2), "stack_status");
    assert_eq!(status["reasons"][0], "no snapshot");
    write(shop.place.join("files/large"), noise(1, 3_000_000));
    shop.snapshot();
    shop.status(&file).ok().says("good");
    fs::remove_file(shop.place.join("files/large")).expect("removed");
    shop.snapshot();
    shop.status("").ends(1).says("shrank");
    let metrics = shop.scratch.file("metrics.prom");
    let line = words!["status", "--prometheus", metrics];
    shop.scratch.run_words(line).ends(1).says("WARNING");
    let text = fs::read_to_string(&metrics).expect("metrics");
    assert!(text.contains("\nrepo_stack_state{stack=\"shop\"} 1\n"), "{text}");
    assert!(text.contains("\nrepo_stack_snapshots{stack=\"shop\"} 2\n"), "{text}");
    assert!(!text.contains("repo_stack_last_proof_timestamp_seconds{"), "{text}");
    for line in text.lines() {
        let is_help = line.starts_with("# HELP repo_stack_") || line.starts_with("# TYPE repo_stack_");
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        assert!(is_help || (line.starts_with("repo_stack_") && value.is_some()), "{line}");
    }
}
