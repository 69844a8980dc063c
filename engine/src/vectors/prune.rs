//! Plans, states and ends of prunes.

use serde_json::{Value, json};

use super::objects::{shown_time, time};
use super::{Case, Operation, Tried, assert_bytes, bytes, hex, list, string};
use crate::clock::Timestamp;
use crate::format::{
    PruneDone, PrunePlan, PruneState, PruneVerdict, decode_done, decode_plan, decode_state, encode_done, encode_plan,
    encode_state,
};
use crate::id::{PackId, PruneId, SessionId, SnapshotId};

pub(super) const PRUNE: [Operation; 6] = [
    ("plan", plan),
    ("read_plan", read_plan),
    ("state", state),
    ("read_state", read_state),
    ("done", done),
    ("read_done", read_done),
];

fn number(case: &Case<'_>) -> PruneId {
    PruneId::new(case.number("number")).expect("a number")
}

fn ids<const N: usize, T>(value: &Value, id: fn([u8; N]) -> T) -> Vec<T> {
    list(value).iter().map(|text| id(bytes(text).try_into().expect("its length"))).collect()
}

fn noticed<const N: usize, T>(value: &Value, id: fn([u8; N]) -> T) -> Vec<(T, Timestamp)> {
    let one = |entry: &Value| (id(bytes(&entry[0]).try_into().expect("its length")), time(&entry[1]));
    list(value).iter().map(one).collect()
}

fn check(case: &Case<'_>, found: Value) -> Tried {
    assert!(case.expected.is_none_or(|expected| *expected == found), "{found}");
    Ok(())
}

fn plan(case: &Case<'_>) -> Tried {
    let plan = PrunePlan {
        number: number(case),
        time: time(case.input("time")),
        program: string(case.input("program")).to_owned(),
        condemned: ids(case.input("condemned"), PackId::new),
        dropped: ids(case.input("dropped"), SnapshotId::new),
    };
    let object = encode_plan(&plan, &case.keys());
    assert_bytes(&object, &bytes(case.expected("object")));
    assert_eq!(decode_plan(&object, &case.keys())?, plan);
    Ok(())
}

fn read_plan(case: &Case<'_>) -> Tried {
    let plan = decode_plan(&case.bytes("object"), &case.keys())?;
    check(
        case,
        json!({
            "number": plan.number.number(), "time": shown_time(plan.time), "program": plan.program,
            "condemned": plan.condemned.iter().map(|id| hex(id.as_bytes())).collect::<Vec<_>>(),
            "dropped": plan.dropped.iter().map(|id| hex(id.as_bytes())).collect::<Vec<_>>(),
        }),
    )
}

fn state(case: &Case<'_>) -> Tried {
    let verdict = match case.number("state") {
        1 => PruneVerdict::Sweep { rescued: ids(case.input("rescued"), PackId::new) },
        _ => PruneVerdict::Cancelled,
    };
    let state = PruneState { number: number(case), verdict };
    let object = encode_state(&state, &case.keys());
    assert_bytes(&object, &bytes(case.expected("object")));
    assert_eq!(decode_state(&object, &case.keys())?, state);
    Ok(())
}

fn read_state(case: &Case<'_>) -> Tried {
    let state = decode_state(&case.bytes("object"), &case.keys())?;
    let (code, rescued) = match state.verdict {
        PruneVerdict::Sweep { rescued } => (1, Some(rescued.iter().map(|id| hex(id.as_bytes())).collect::<Vec<_>>())),
        PruneVerdict::Cancelled => (2, None),
    };
    check(case, json!({"number": state.number.number(), "state": code, "rescued": rescued}))
}

fn done(case: &Case<'_>) -> Tried {
    let done = PruneDone {
        number: number(case),
        time: time(case.input("time")),
        sessions: noticed(case.input("sessions"), SessionId::new),
        records: noticed(case.input("records"), SnapshotId::new),
        freed_bytes: case.number("freed_bytes"),
    };
    let object = encode_done(&done, &case.keys());
    assert_bytes(&object, &bytes(case.expected("object")));
    assert_eq!(decode_done(&object, &case.keys())?, done);
    Ok(())
}

fn read_done(case: &Case<'_>) -> Tried {
    let done = decode_done(&case.bytes("object"), &case.keys())?;
    let sessions = done.sessions.iter().map(|(id, time)| json!([hex(id.as_bytes()), shown_time(*time)]));
    let records = done.records.iter().map(|(id, time)| json!([hex(id.as_bytes()), shown_time(*time)]));
    check(
        case,
        json!({
            "number": done.number.number(), "time": shown_time(done.time), "sessions": sessions.collect::<Vec<_>>(),
            "records": records.collect::<Vec<_>>(), "freed_bytes": done.freed_bytes,
        }),
    )
}
