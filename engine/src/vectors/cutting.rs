//! Where streams, directories and lists are cut.

use serde_json::{Value, json};

use super::objects::{pages, profile};
use super::repository::Fixture;
use super::{Case, Operation, Tried, bytes, hex, list, number, string};
use crate::chunker::{DataChunker, PageChunker, TreeCutter};
use crate::format::testing::encode_content;
use crate::format::{decode_references, encode_references};
use crate::id::ChunkId;
use crate::model::{ChunkKind, ChunkRef, Content};
use crate::repository::{ChunkReader, ContentReader, ContentWriter};

pub(super) const CHUNKER: [Operation; 2] = [("cut", cut), ("cut_pages", cut_pages)];
pub(super) const TREE_CUT: [Operation; 2] = [("cut_nodes", cut_nodes), ("cut_references", cut_references)];

fn extended(text: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(text.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn data(value: &Value) -> Vec<u8> {
    if let Some(parts) = value.get("join") {
        return list(parts).iter().flat_map(data).collect();
    }
    let len = number(&value["length"]) as usize;
    match value.get("xof") {
        Some(text) => extended(string(text), len),
        None => bytes(&value["repeat"]).into_iter().cycle().take(len).collect(),
    }
}

fn cut(case: &Case<'_>) -> Tried {
    let chunker = DataChunker::new(&case.domain(), profile(case.input("profile")));
    let data = data(case.input("data"));
    let expected = list(case.expected("lengths"));
    // All at once, and with no more in view than the chunker asks for.
    for window in [usize::MAX, chunker.max_len()] {
        let (mut rest, mut lengths) = (&data[..], Vec::new());
        while !rest.is_empty() {
            let len = chunker.cut(&rest[..rest.len().min(window)]);
            lengths.push(json!(len));
            rest = &rest[len..];
        }
        assert_eq!(lengths, expected);
    }
    Ok(())
}

fn cut_pages(case: &Case<'_>) -> Tried {
    let chunker = PageChunker::new(pages(case.input("profile")));
    let page = u32::try_from(case.number("page"))?;
    for window in [usize::MAX, chunker.max_len()] {
        let (mut rest, mut lengths) = (case.number("length") as usize, Vec::new());
        while rest > 0 {
            lengths.push(json!(chunker.cut(page, &vec![0; rest.min(window)])));
            rest -= number(&lengths[lengths.len() - 1]) as usize;
        }
        assert_eq!(lengths, list(case.expected("lengths")));
    }
    Ok(())
}

fn names_and_sizes(value: &Value) -> Vec<(String, usize)> {
    if let Some(nodes) = value.as_array() {
        return nodes.iter().map(|node| (string(&node[0]).to_owned(), number(&node[1]) as usize)).collect();
    }
    let field = |name| number(&value[name]);
    let (prefix, base) = (string(&value["prefix"]), field("base"));
    let size = |i| (base + i * field("factor") % field("modulus")) as usize;
    (0..field("count")).map(|i| (format!("{prefix}{i}"), size(i))).collect()
}

fn cut_nodes(case: &Case<'_>) -> Tried {
    let (keys, mut cutter) = (case.domain(), TreeCutter::default());
    let (mut counts, mut count) = (Vec::new(), 0);
    for (name, size) in names_and_sizes(case.input("nodes")) {
        if cutter.ends_before(size) {
            counts.push(std::mem::take(&mut count));
            cutter.reset();
        }
        count += 1;
        if cutter.add(size, || keys.tree_cut_hash(name.as_bytes())) {
            counts.push(std::mem::take(&mut count));
            cutter.reset();
        }
    }
    counts.extend((count > 0).then_some(count));
    assert_eq!(json!(counts), *case.expected("counts"));
    Ok(())
}

fn references(case: &Case<'_>) -> Vec<ChunkRef> {
    let (ids, count) = (case.input("ids"), case.number("count") as usize);
    let ids = match ids.get("xof") {
        Some(text) => extended(string(text), 32 * count),
        None => bytes(&ids["repeat"]).repeat(32 * count),
    };
    let reference = |(i, id): (usize, &[u8])| ChunkRef {
        id: ChunkId::from_slice(id).expect("32 bytes"),
        len: 4096 + u32::try_from(i % 1000).expect("small"),
    };
    ids.chunks(32).enumerate().map(reference).collect()
}

fn cut_references(case: &Case<'_>) -> Tried {
    let (fixture, references) = (Fixture::new(case), references(case));
    let content = fixture.store(|writer| {
        let (mut content, mut trees) = (ContentWriter::default(), writer.tree_builder());
        references.iter().try_for_each(|reference| content.push(*reference, &mut trees))?;
        let content = content.finish(&mut trees)?;
        trees.finish()?;
        Ok(content)
    });
    let index = fixture.index();
    let chunks = ChunkReader::new(&fixture.repository, &index);

    // Down the levels, all lists of one at a time.
    let (depth, mut level) = match &content {
        Content::Inline(_) => panic!("references are not inline"),
        Content::Chunks(references) => (0, references.clone()),
        Content::Lists { depth, lists } => (*depth, lists.clone()),
    };
    let mut levels = Vec::new();
    for _ in 0..depth {
        let lists: Vec<Vec<u8>> =
            level.iter().map(|list| chunks.read(ChunkKind::Tree, list)).collect::<Result<_, _>>()?;
        level = decode_references(&lists.concat())?;
        levels.push(lists);
    }
    levels.reverse();
    assert_eq!(level, references);
    let pieces: Vec<Vec<usize>> =
        levels.iter().map(|lists| lists.iter().map(|list| list.len() / 35).collect()).collect();
    assert_eq!(json!(pieces), *case.expected("pieces"));
    assert_eq!(hex(crate::crypto::hash(&levels.concat().concat())), *case.expected("chunks_hash"));
    let encoded = encode_content(&content);
    assert_eq!(hex(crate::crypto::hash(&encoded)), *case.expected("content_hash"));
    assert!(case.expected("content").is_null() || *case.expected("content") == hex(&encoded));

    let mut reader = ContentReader::new(&chunks, &content);
    let mut read = Vec::new();
    while let Some(reference) = reader.read_next()? {
        read.push(reference);
    }
    assert_eq!(encode_references(&read), encode_references(&references));
    Ok(())
}
