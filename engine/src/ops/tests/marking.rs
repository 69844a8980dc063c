//! What a walk over trees marks, whatever else names their chunks.

use super::*;
use crate::format::encode_node;
use crate::model::{Content, Node, NodeKind};
use crate::ops::mark::mark;
use crate::repository::Census;

/// A snapshot with a file that is said to hold what a directory does.
fn disguised(true_one: &Snapshot, content: Content) -> Snapshot {
    let metadata = crate::model::Metadata::default();
    let Content::Chunks(chunks) = &content else { panic!("a directory of one list of chunks") };
    let size = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
    let node = Node { size, content: Some(content), ..Node::new(b"file".to_vec(), NodeKind::File, metadata) };
    let mut nodes = Vec::new();
    encode_node(&node, &mut nodes);
    Snapshot { root: Content::Inline(nodes), ..true_one.clone() }
}

#[test]
fn a_file_that_names_the_chunks_of_a_directory_hides_nothing_below_it() {
    let bench = Bench::new();
    (0..200).for_each(|i| bench.write(&format!("f{i}"), i, 9_000));
    bench.snapshot();
    let (id, snapshot) = bench.latest();
    let index = bench.repository.load_index(&Silent).expect("index");
    let node = node_at(&bench.repository, &index, &snapshot, b"/data").expect("node");
    let content = node.expect("not the root").content.expect("content");
    assert!(!matches!(content, Content::Inline(_)));

    let needed = |snapshots: &[(SnapshotId, Snapshot)]| {
        let census = Census::new(&index).expect("census");
        mark(&bench.repository, &index, &census, snapshots.iter(), &Silent).expect("mark");
        census.packs().iter().map(|pack| pack.live).sum::<u64>()
    };
    let forged = disguised(&snapshot, content);
    let alone = needed(&[(id, snapshot.clone())]);
    assert!(alone > 200 * 9_000);
    assert!(needed(&[(id, forged.clone())]) < alone / 2);
    assert_eq!(needed(&[(id, forged), (id, snapshot)]), alone);
}
