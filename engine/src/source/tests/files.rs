//! Reading the files that a walk found.

use super::*;

#[test]
fn a_file_is_read_to_the_size_it_had() {
    let scratch = Scratch::new(&["f"]);
    scratch.write("f", &"x".repeat(3_000_000));
    let mut file = file_entry(&scratch, "f").open().expect("readable");
    assert_eq!((file.size(), file.extents()), (3_000_000, None));
    assert_eq!(read_all(&mut file).len(), 3_000_000);
    assert_eq!(file.bytes_read(), 3_000_000);
    assert!(!file.finish().expect("there"));

    let mut file = file_entry(&scratch, "f").open().expect("readable");
    let other = fs::OpenOptions::new().append(true).open(scratch.root.join("f")).expect("ours");
    other.write_all_at(b"more", 3_000_000).expect("writable");
    assert_eq!(read_all(&mut file).len(), 3_000_000, "what was appended is left to the next snapshot");
    assert!(file.finish().expect("there"));

    let mut file = file_entry(&scratch, "f").open().expect("readable");
    let mut buffer = [0; 100];
    assert_eq!(file.read(&mut buffer).expect("readable"), 100);
    other.set_len(1000).expect("writable");
    assert_eq!(read_all(&mut file).len(), 900);
    other.set_len(2000).expect("writable");
    assert_eq!(file.read(&mut buffer).expect("readable"), 0, "the end stays the end");
    assert_eq!(file.bytes_read(), 1000);
    assert!(file.finish().expect("there"));
}

#[test]
fn a_file_that_was_replaced_is_read_as_what_it_is() {
    let scratch = Scratch::new(&["f", "new"]);
    let entry = file_entry(&scratch, "f");
    fs::rename(scratch.root.join("new"), scratch.root.join("f")).expect("ours");
    let mut file = entry.open().expect("readable");
    let node = file.node();
    assert_eq!(node.metadata.inode, Some(fs::metadata(scratch.root.join("f")).expect("there").ino()));
    assert_eq!((node.name.as_slice(), node.size), (b"f".as_slice(), 3));
    assert_eq!(read_all(&mut file), b"new");
    assert!(!file.finish().expect("there"));
}

#[test]
fn a_sparse_file_is_its_extents() {
    let scratch = Scratch::new(&[]);
    let path = scratch.root.join("f");
    let other = fs::File::create(&path).expect("writable");
    other.set_len(8 << 20).expect("writable");
    other.write_all_at(&[1; 65536], 1 << 20).expect("writable");
    other.write_all_at(&[2; 65536], 4 << 20).expect("writable");
    let entry = file_entry(&scratch, "f");
    let mut file = entry.open().expect("readable");
    let expected = [Extent { offset: 1 << 20, len: 65536 }, Extent { offset: 4 << 20, len: 65536 }];
    assert_eq!(file.extents(), Some(expected.as_slice()));
    let stream = read_all(&mut file);
    assert_eq!(stream, [vec![1; 65536], vec![2; 65536]].concat());
    assert!(!file.finish().expect("there"));

    let mut file = entry.open().expect("readable");
    other.set_len((4 << 20) + 100).expect("writable");
    let mut buffer = vec![0; 1 << 20];
    let error = file.read(&mut buffer).expect_err("it no longer fits the extents");
    assert!(error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof));
    file.ignore_holes();
    assert_eq!(file.extents(), None);
    assert_eq!(read_all(&mut file).len(), (4 << 20) + 100);
    assert!(file.finish().expect("there"));

    other.set_len(0).expect("writable");
    other.set_len(1 << 30).expect("writable");
    let mut file = entry.open().expect("readable");
    assert_eq!(file.extents(), Some([].as_slice()), "nothing but a hole");
    assert_eq!(read_all(&mut file), b"");
    assert!(!file.finish().expect("there"));
}

#[test]
fn entries_can_go_to_other_threads() {
    fn is_send<T: Send>() {}
    is_send::<Entry>();
    is_send::<SourceFile>();
    is_send::<Walker<'_>>();
    let scratch = Scratch::new(&["f"]);
    let entry = file_entry(&scratch, "f");
    drop(scratch.directory);
    std::thread::spawn(move || entry.open().map(drop).expect_err("it is gone")).join().expect("no panic");
}
