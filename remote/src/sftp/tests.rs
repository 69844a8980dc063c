//! Against OpenSSH's own server, without an ssh between.

use engine::os::durable::TEMPORARY_PREFIX;

use super::*;

/// Where Debian and others keep it.
const SERVERS: [&str; 2] = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server"];

fn storage(root: &std::path::Path, create: bool) -> Result<SftpStorage> {
    let server = SERVERS.iter().find(|path| std::path::Path::new(path).exists()).expect("OpenSSH's sftp-server");
    let root = root.to_str().expect("text").to_owned();
    let words = vec![(*server).to_owned()];
    let storage = SftpStorage::start(words, root, "test".into(), &Access::none(), Patience::hurried())?;
    storage.find(create)?;
    Ok(storage)
}

fn process_of(storage: &SftpStorage) -> u32 {
    let connection = storage.connection.lock().expect("lock");
    connection.as_ref().expect("connected").process_id().expect("it runs")
}

#[test]
fn it_does_what_every_storage_must() {
    let scratch = tempfile::tempdir().expect("scratch");
    let storage = storage(&scratch.path().join("deep/repository"), true).expect("open");
    assert!(storage.capabilities().put_if_absent);
    engine::storage::check_conformance(&storage);
}

#[test]
fn a_directory_that_is_not_there_is_no_repository() {
    let scratch = tempfile::tempdir().expect("scratch");
    let error = storage(&scratch.path().join("none"), false).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::NoRepository);
}

#[test]
fn it_is_the_directory_that_a_local_storage_has() {
    let scratch = tempfile::tempdir().expect("scratch");
    let there = storage(scratch.path(), true).expect("open");
    let here = engine::storage::LocalStorage::open(scratch.path(), false).expect("open");
    let name = ObjectName::Pack(engine::id::PackId::new([7; 32]));
    let bytes: Vec<u8> = (0..5_000_000u32).map(|at| (at % 251) as u8).collect();
    assert_eq!(there.write_new(name, &[&bytes[..100], &bytes[100..]]).expect("put"), Outcome::Written);
    assert!(here.read(name, None, 1 << 30).expect("read") == bytes);
    assert!(there.read(name, Some(70_000..4_000_000), 1 << 30).expect("range") == bytes[70_000..4_000_000]);
    assert_eq!(here.write_new(name, &[b"other"]).expect("put"), Outcome::Existed);
    assert_eq!(std::fs::read_dir(scratch.path().join("packs/07")).expect("listed").count(), 1, "nothing is left over");
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let scratch = tempfile::tempdir().expect("scratch");
    let storage = storage(scratch.path(), true).expect("open");
    let name = ObjectName::Index(engine::id::IndexId::new([7; 32]));
    storage.write_new(name, &[b"bytes"]).expect("put");
    let first = process_of(&storage);
    let killed = std::process::Command::new("kill").args(["-9", &first.to_string()]).status().expect("kill");
    assert!(killed.success());
    assert_eq!(storage.read(name, None, 10).expect("read"), b"bytes");
    assert_ne!(process_of(&storage), first);
}

#[test]
fn what_killed_writers_left_goes_when_it_is_old() {
    let scratch = tempfile::tempdir().expect("scratch");
    let storage = storage(scratch.path(), true).expect("open");
    let place = scratch.path().join("packs/07");
    std::fs::create_dir_all(&place).expect("made");
    let left = place.join(format!("{TEMPORARY_PREFIX}00"));
    std::fs::write(&left, b"half").expect("written");
    assert_eq!(storage.remove_unfinished(Timestamp::new(1000, 0)).expect("tidy"), 0);
    assert_eq!(storage.remove_unfinished(Timestamp::new(4_000_000_000, 0)).expect("tidy"), 1);
    assert!(!left.exists());
}
