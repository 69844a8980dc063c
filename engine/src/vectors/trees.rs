//! Nodes, directories, contents, files.

use serde_json::{Map, Value, json};

use super::objects::{shown_content, shown_time};
use super::repository::Fixture;
use super::{Case, Operation, Tried, assert_bytes, bytes, hex, list, number};
use crate::format::testing::{content as decode_content, encode_content};
use crate::format::{decode_node, encode_node};
use crate::id::DomainId;
use crate::model::{ChunkKind, ChunkRef, Content, Extent, Metadata, Node, NodeKind, Signer, Snapshot};
use crate::ops::dump_file;
use crate::repository::{ChunkReader, ContentReader, DirectoryReader, SegmentBuilder};

pub(super) const TREE: [Operation; 5] =
    [("nodes", nodes), ("read_nodes", read_nodes), ("directory", directory), ("file", file), ("content", content)];

fn shown_node(node: &Node) -> Value {
    let m = &node.metadata;
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    put("name", hex(&node.name));
    let kind = match node.kind {
        NodeKind::File => 1,
        NodeKind::Directory => 2,
        NodeKind::Symlink => 3,
        NodeKind::BlockDevice => 4,
        NodeKind::CharDevice => 5,
        NodeKind::Fifo => 6,
        NodeKind::Socket => 7,
    };
    put("kind", json!(kind));
    put("mode", json!(m.mode));
    put("uid", json!(m.uid));
    put("gid", json!(m.gid));
    put("mtime", shown_time(m.mtime));
    if let Some(ctime) = m.ctime {
        put("ctime", shown_time(ctime));
    }
    for (name, value) in [("inode", m.inode), ("device", m.device), ("links", m.links)] {
        if let Some(value) = value {
            put(name, json!(value));
        }
    }
    match node.kind {
        NodeKind::File => put("size", json!(node.size)),
        NodeKind::Symlink => put("target", hex(&node.target)),
        NodeKind::BlockDevice | NodeKind::CharDevice => put("rdev", json!(node.rdev)),
        _ => {}
    }
    if let Some(content) = &node.content {
        put("content", shown_content(content));
    }
    if !m.xattrs.is_empty() {
        put("xattrs", m.xattrs.iter().map(|xattr| json!([hex(&xattr.name), hex(&xattr.value)])).collect());
    }
    if let Some(extents) = &node.extents {
        put("extents", extents.iter().map(|extent| json!([extent.offset, extent.len])).collect());
    }
    Value::Object(shown)
}

/// The nodes of a directory whose stream has this content.
fn read_directory(fixture: &Fixture, content: &Content) -> Result<Vec<Node>, Box<dyn std::error::Error>> {
    let index = fixture.index();
    let chunks = ChunkReader::new(&fixture.repository, &index);
    let mut reader = DirectoryReader::new(&chunks, content);
    let mut nodes = Vec::new();
    while let Some(node) = reader.read_next()? {
        nodes.push(node);
    }
    Ok(nodes)
}

fn read(case: &Case<'_>) -> Result<Vec<Node>, Box<dyn std::error::Error>> {
    let nodes = read_directory(&Fixture::new(case), &Content::Inline(case.bytes("stream")))?;
    let shown: Vec<Value> = nodes.iter().map(shown_node).collect();
    assert!(case.expected.is_none_or(|expected| expected["nodes"] == json!(shown)), "{}", json!(shown));
    Ok(nodes)
}

fn nodes(case: &Case<'_>) -> Tried {
    let mut encoded = Vec::new();
    read(case)?.iter().for_each(|node| encode_node(node, &mut encoded));
    if case.expected.is_some() {
        assert_bytes(&encoded, &case.bytes("stream"));
    }
    Ok(())
}

fn read_nodes(case: &Case<'_>) -> Tried {
    read(case).map(drop)
}

/// Stores chunks and gives their references.
fn store(fixture: &Fixture, kind: ChunkKind, chunks: &[Vec<u8>]) -> Vec<ChunkRef> {
    fixture.store(|writer| {
        let mut builder = SegmentBuilder::new(writer, kind);
        let references = chunks.iter().map(|chunk| builder.add(chunk)).collect();
        builder.finish()?;
        references
    })
}

fn directory(case: &Case<'_>) -> Tried {
    let fixture = Fixture::new(case);
    let chunks: Vec<Vec<u8>> = list(case.input("chunks")).iter().map(bytes).collect();
    let references = store(&fixture, ChunkKind::Tree, &chunks);
    let names: Vec<Value> =
        read_directory(&fixture, &Content::Chunks(references))?.iter().map(|node| hex(&node.name)).collect();
    assert!(case.expected.is_none_or(|expected| expected["names"] == json!(names)), "{}", json!(names));
    Ok(())
}

/// Dumps a file of the inputs, with its stream in `content`; what is refused when the node is read is refused.
fn dump(case: &Case<'_>, fixture: &Fixture, content: Content) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let extents = case.input("extents").as_array().map(|extents| {
        extents.iter().map(|extent| Extent { offset: number(&extent[0]), len: number(&extent[1]) }).collect()
    });
    let mut node = Node::new(b"file".to_vec(), NodeKind::File, Metadata::default());
    (node.size, node.content, node.extents) = (case.number("size"), Some(content), extents);
    let mut encoded = Vec::new();
    encode_node(&node, &mut encoded);
    assert_eq!(decode_node(&encoded)?, (node, encoded.len()));
    let snapshot = Snapshot {
        paths: vec![b"/".to_vec()],
        root: Content::Inline(encoded),
        sequence: 1,
        ..Snapshot::empty(DomainId::SHARED, Signer::Full)
    };
    let mut out = Vec::new();
    dump_file(&fixture.repository, &fixture.index(), &snapshot, b"/file", &mut out)?;
    Ok(out)
}

fn file(case: &Case<'_>) -> Tried {
    let (fixture, stream) = (Fixture::new(case), case.bytes("stream"));
    let pieces: Vec<Vec<u8>> = stream.chunks(2).map(<[u8]>::to_vec).collect();
    let references = store(&fixture, ChunkKind::Data, &pieces);
    let inline = dump(case, &fixture, Content::Inline(stream));
    let chunks = dump(case, &fixture, Content::Chunks(references));
    assert_eq!(inline.is_ok(), chunks.is_ok());
    let (inline, chunks) = (inline?, chunks?);
    if case.expected.is_some() {
        assert_bytes(&inline, &bytes(case.expected("file")));
        assert_bytes(&chunks, &inline);
    }
    Ok(())
}

fn content(case: &Case<'_>) -> Tried {
    let fixture = Fixture::new(case);
    for (code, kind) in [(1, ChunkKind::Data), (2, ChunkKind::Tree)] {
        let of_kind = list(case.input("chunks")).iter().filter(|chunk| chunk[0] == code);
        store(&fixture, kind, &of_kind.map(|chunk| bytes(&chunk[1])).collect::<Vec<_>>());
    }
    let content = decode_content(&case.bytes("content"))?;
    let again = encode_content(&content);
    assert_eq!(decode_content(&again)?, content);
    let kind = ChunkKind::from_code(case.number("kind") as u8).ok_or("kind")?;
    let index = fixture.index();
    let chunks = ChunkReader::new(&fixture.repository, &index);
    let mut stream = match &content {
        Content::Inline(bytes) => bytes.clone(),
        _ => Vec::new(),
    };
    let mut reader = ContentReader::new(&chunks, &content);
    while let Some(reference) = reader.read_next()? {
        stream.extend(chunks.read(kind, &reference)?);
    }
    if case.expected.is_some() {
        assert_bytes(&stream, &bytes(case.expected("stream")));
    }
    Ok(())
}
