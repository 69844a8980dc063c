//! Retention against answers of the real restic, which `tests/tools/retention_restic.py` asked.
//!
//! `REPO_RETENTION_FIXTURE` names another file that it wrote. Where snapshots are in the future, more is kept than
//! by restic (see the module's documentation), and the same otherwise.

use std::collections::{BTreeMap, BTreeSet};

use engine::clock::Timestamp;
use engine::id::SnapshotId;
use engine::retention::{Candidate, Count, GroupBy, KeepReason, Policy, Request, Span, Verdict, retain};
use serde_json::Value;

fn fixture() -> Value {
    let path = std::env::var("REPO_RETENTION_FIXTURE")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/retention-restic.json").to_owned());
    serde_json::from_str(&std::fs::read_to_string(path).expect("a readable fixture")).expect("JSON")
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("an array").iter().map(|text| text.as_str().expect("text").to_owned()).collect()
}

fn candidate(number: usize, snapshot: &Value) -> Candidate {
    let text = snapshot["time"].as_str().expect("a time");
    let time = jiff::fmt::temporal::DateTimeParser::new().parse_timestamp(text).expect("a time");
    let pieces = jiff::fmt::temporal::DateTimeParser::new().parse_pieces(text).expect("a time");
    let utc_offset_seconds = match pieces.offset().expect("an offset") {
        jiff::fmt::temporal::PiecesOffset::Numeric(offset) => offset.offset().seconds(),
        _ => 0,
    };
    Candidate {
        id: SnapshotId::new([number as u8; 32]),
        time: Timestamp::new(time.as_second().div_euclid(1), time.subsec_nanosecond() as u32),
        utc_offset_seconds,
        sequence: 0,
        host: snapshot["host"].as_str().expect("a host").to_owned(),
        paths: texts(&snapshot["paths"]).into_iter().map(String::into_bytes).collect(),
        label: None,
        tags: texts(&snapshot["tags"]),
        stack: None,
        domain: engine::id::DomainId::SHARED,
        signer: engine::model::Signer::Full,
    }
}

/// restic's arguments as a policy.
fn parse(arguments: &[String]) -> (Policy, GroupBy) {
    let mut policy = Policy::default();
    let mut group_by = "host,paths".parse().expect("known keys");
    for pair in arguments.chunks_exact(2) {
        let value = &pair[1];
        let count = || value.parse::<Count>().expect("a count");
        let span = || Some(value.parse::<Span>().expect("a duration"));
        match pair[0].as_str() {
            "--keep-last" => policy.last = count(),
            "--keep-hourly" => policy.hourly = count(),
            "--keep-daily" => policy.daily = count(),
            "--keep-weekly" => policy.weekly = count(),
            "--keep-monthly" => policy.monthly = count(),
            "--keep-yearly" => policy.yearly = count(),
            "--keep-within" => policy.within = span(),
            "--keep-within-hourly" => policy.within_hourly = span(),
            "--keep-within-daily" => policy.within_daily = span(),
            "--keep-within-weekly" => policy.within_weekly = span(),
            "--keep-within-monthly" => policy.within_monthly = span(),
            "--keep-within-yearly" => policy.within_yearly = span(),
            "--keep-tag" => policy.keep_tags.push(value.parse().expect("tags")),
            "--group-by" => group_by = value.parse().expect("known keys"),
            other => panic!("{other} is not translated"),
        }
    }
    (policy, group_by)
}

type Kept = BTreeMap<usize, Vec<String>>;

/// What restic keeps in all groups, and what it drops; `None` if it refuses.
fn expected(answer: &Value) -> Option<(Kept, BTreeSet<usize>)> {
    if answer["refused"].as_bool() == Some(true) {
        return None;
    }
    let (mut kept, mut dropped) = (Kept::new(), BTreeSet::new());
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    for group in answer["groups"].as_array().expect("groups") {
        for pair in group["keep"].as_array().expect("a list") {
            kept.insert(number(&pair[0]), texts(&pair[1]));
        }
        dropped.extend(group["remove"].as_array().expect("a list").iter().map(number));
    }
    Some((kept, dropped))
}

/// The same of ours.
fn decided(candidates: &[Candidate], arguments: &[String], now: Timestamp) -> Option<(Kept, BTreeSet<usize>)> {
    let (policy, group_by) = parse(arguments);
    let known_tags = candidates.iter().flat_map(|candidate| candidate.tags.clone()).collect();
    let request = Request { policy: &policy, group_by, now, known_tags: &known_tags, may_empty_groups: false };
    let (mut kept, mut dropped) = (Kept::new(), BTreeSet::new());
    for decision in retain(candidates, &request).ok()?.groups.into_iter().flat_map(|group| group.decisions) {
        let number = usize::from(decision.id.as_bytes()[0]);
        match decision.verdict {
            Verdict::Keep(reasons) => drop(kept.insert(number, reasons.iter().map(as_restic_says).collect())),
            Verdict::Drop(_) => drop(dropped.insert(number)),
        }
    }
    Some((kept, dropped))
}

fn as_restic_says(reason: &KeepReason) -> String {
    match reason {
        KeepReason::Tags(list) if list.tags.is_empty() => "has tags []".into(),
        other => other.to_string(),
    }
}

#[test]
fn restic_decides_the_same() {
    let fixture = fixture();
    let mut compared = 0;
    for scenario in fixture["scenarios"].as_array().expect("scenarios") {
        let snapshots = scenario["snapshots"].as_array().expect("snapshots");
        assert!(snapshots.len() < 256, "ids are one byte");
        let candidates: Vec<Candidate> = snapshots.iter().enumerate().map(|(n, s)| candidate(n, s)).collect();
        let now: jiff::Timestamp = scenario["now"].as_str().expect("a time").parse().expect("a time");
        let now = Timestamp::new(now.as_second(), 0);
        let future: BTreeSet<usize> = (0..candidates.len()).filter(|n| candidates[*n].time > now).collect();
        assert_eq!(future.is_empty(), scenario["name"] == "past");
        for answer in scenario["answers"].as_array().expect("answers") {
            let arguments = texts(&answer["arguments"]);
            let (theirs, ours) = (expected(answer), decided(&candidates, &arguments, now));
            if future.is_empty() {
                assert_eq!(ours, theirs, "{arguments:?}");
            } else {
                let ((theirs, _), (ours, _)) = (theirs.expect("not refused"), ours.expect("not refused"));
                assert!(theirs.keys().all(|number| ours.contains_key(number)), "{arguments:?}: {theirs:?}, {ours:?}");
                // Without the future it is the same as restic's answer for those that are there.
                let past = decided(&candidates[..candidates.len() - future.len()], &arguments, now);
                let mut all = past.expect("not refused").0;
                all.extend(future.iter().map(|number| (*number, vec!["in the future".to_owned()])));
                assert_eq!(ours, all, "{arguments:?}");
            }
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared} answers");
}
