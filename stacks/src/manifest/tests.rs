//! The three forms, and what the schema and the types say of each other.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn read(text: &str) -> Manifest {
    parse(Path::new("x.yaml"), text, Path::new("/srv/beside")).unwrap_or_else(|error| panic!("{error}"))
}

fn mistakes(text: &str) -> Vec<String> {
    let error = parse(Path::new("x.yaml"), text, Path::new("/srv/beside")).err();
    error.unwrap_or_else(|| panic!("{text} is none")).mistakes.iter().map(ToString::to_string).collect()
}

const OWN: &str = r#"
stack: beside
persist: { app-data: { subpath: ./data }, profile: { subpath: ./data/chrome } }
services:
  postgres: { backup: { dump: pg_dump, restore: pg_restore } }
"#;

#[test]
fn three_forms_are_the_same_manifest() {
    let own = read(OWN);
    // As the proposal that the project grew from writes it, among much else.
    let seeds = r#"
version: 3
name: beside
x-anything: { a: [1, 2.5, ~, true] }
persist: { app-data: { subpath: ./data }, profile: { subpath: ./data/chrome } }
services:
  postgres:
    image: postgres
    environment: { POSTGRES_PASSWORD: x }
    backup: { dump: "pg_dump", restore: "pg_restore" }
  web: { image: nginx }
"#;
    assert_eq!(read(seeds), own);
    let compose = r#"
services:
  postgres: { image: postgres, x-repo: { backup: { dump: pg_dump, restore: pg_restore } } }
  web: { image: nginx }
x-repo:
  persist: { app-data: { subpath: ./data }, profile: { subpath: ./data/chrome } }
"#;
    assert_eq!(read(compose), own);
    assert_eq!(Manifest::from_recorded(&own.to_recorded()), Ok(own));
}

#[test]
fn anchors_and_merges_are_followed() {
    let text = r#"
stack: a
x: 1
"#;
    assert!(mistakes(text)[0].starts_with("x.yaml:3: `x` is not known here; known are compose, directory"));
    let merged = r#"
services:
  one: &one { image: x, x-repo: &hooks { backup: { dump: d, restore: r } } }
  two: { <<: *one, image: y }
x-repo: { stack: a }
"#;
    assert_eq!(read(merged).services.len(), 2);
}

#[test]
fn a_small_file_can_not_become_a_large_tree() {
    let mut text = String::from("stack: a\nx0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
    for level in 1..12 {
        let alias = format!("*x{}", level - 1);
        text.push_str(&format!("x{level}: &x{level} [{}]\n", vec![alias; 10].join(", ")));
    }
    assert_eq!(mistakes(&text).len(), 1);
    let deep = format!("stack: a\nx: {}{}\n", "[".repeat(100), "]".repeat(100));
    assert_eq!(mistakes(&deep).len(), 1);
}

/// Every property of the schema has words for editors, and nothing is allowed that the types don't know.
#[test]
fn the_schema_is_complete() {
    fn visit(schema: &Value, place: &str) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], json!(false), "{place}");
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{place}.{name}");
            }
        }
    }
    let schema = schema::schema();
    visit(&schema, "manifest");
    for (name, part) in schema["$defs"].as_object().expect("definitions") {
        visit(part, name);
    }
}

#[test]
fn what_one_says_the_other_says_too() {
    // Where the schema finds nothing, the types take it.
    for text in [
        OWN,
        "stack: a\npersist: {a: {subpath: b}}\nretention: {last: 3, within: 2d}\nmax_age: 26h\nsecrets: []\n",
        "stack: a\nservices: {a: {backup: {stop: true}}, b: {}}\n",
        "stack: a\nuser: null\nservices: {a: {backup: {exec: host, dump: d, restore: r, verify: v, timeout: 1h30m}}}\n",
    ] {
        read(text);
    }
    for (text, expected) in [
        ("stack: a\npersist: {a: {}}\n", "x.yaml:2: persist.a: `subpath` is missing"),
        ("stack: a\npersist: [a]\n", "x.yaml:2: persist: expected a mapping"),
        ("stack: a\npersist: {a: {subpath: 5}}\n", "x.yaml:2: persist.a.subpath: expected a text; put it into quotes"),
        ("stack: a\nsecrets: x\n", "x.yaml:2: secrets: expected a list"),
        (
            "stack: a\nservices: {a: {backup: {stop: 1}}}\n",
            "x.yaml:2: services.a.backup.stop: expected true or false; put it into quotes",
        ),
        ("stack: a\nretention: {last: x}\n", "x.yaml:2: retention.last: expected a whole number"),
    ] {
        assert!(mistakes(text).iter().any(|mistake| mistake == expected), "{expected}: {:?}", mistakes(text));
    }
}

#[test]
fn lengths_of_time() {
    for (text, seconds) in [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800), ("1d1s", 86_401)] {
        assert_eq!(text.parse(), Ok(Duration(std::time::Duration::from_secs(seconds))), "{text}");
    }
    for text in ["", "0s", "5", "m", "30m1h", "1h1h", "-1h", "1.5h", "99999999999999999999d", "3w", "1é"] {
        assert!(text.parse::<Duration>().is_err(), "{text}");
    }
}

#[test]
fn paths_within_others_are_found() {
    let manifest = read(
        "stack: a\npersist: {o: {subpath: ./data/}, i: {subpath: data/x/./y}, n: {subpath: data2}, j: {subpath: data/x}}\n",
    );
    let within = |name| manifest.within(name).collect::<Vec<_>>();
    assert_eq!(within("o"), [("i", "x/y".to_owned()), ("j", "x".to_owned())]);
    assert_eq!(within("j"), [("i", "y".to_owned())]);
    assert_eq!(within("n"), []);
}

#[test]
fn templates_are_manifests() {
    for template in crate::templates::TEMPLATES {
        let indented: String = template.text.lines().map(|line| format!("    {line}\n")).collect();
        let manifest = read(&format!("stack: a\nservices:\n  db:\n{indented}"));
        let backup = manifest.services["db"].backup.clone().expect("a backup");
        assert!(backup.dump.is_some() && backup.restore.is_some() && backup.verify.is_some(), "{}", template.name);
    }
}

#[test]
fn a_proposal_is_a_manifest() {
    let compose = r#"
name: shop
services:
  db: { image: "docker.io/library/postgres:17", volumes: ["./pg:/var/lib/postgresql/data"] }
  cache: { image: valkey/valkey, volumes: ["cache:/data"] }
  web:
    image: nginx
    volumes: ["./media:/m:ro", { type: bind, source: "./con fig", target: /c }, "/etc/localtime:/etc/localtime:ro", "site:/x"]
  exporter: { image: prometheuscommunity/postgres-exporter }
volumes: { cache: {}, site: {} }
"#;
    let text = crate::init::propose(Path::new("/srv/x/compose.yaml"), compose, "x").expect("a proposal");
    let manifest = read(&text);
    assert_eq!((manifest.stack.as_str(), manifest.compose.as_deref()), ("shop", Some("compose.yaml")));
    let paths: Vec<&str> = manifest.persist.values().map(|persist| persist.subpath.as_str()).collect();
    assert_eq!(paths, ["./media", "./con fig"]);
    assert_eq!(manifest.backups().map(|(name, _)| name).collect::<Vec<_>>(), ["cache", "db"]);
    assert!(text.contains("volume site of web is not saved"), "{text}");
    assert!(crate::init::propose(Path::new("c"), "a: b\n", "x").is_err());
}
