//! Nodes, contents and lists of chunk references. Spec chapter 9.1 and 9.2.

use minicbor::Decoder;

use super::FormatError;
use super::cbor::{
    MapWriter, Writer, Written, array_len, read_array, read_map, read_time, read_tuple, required, value_len,
};
use crate::id::ChunkId;
use crate::limits;
use crate::model::{ChunkRef, Content, Extent, Metadata, Node, NodeKind, Xattr, is_valid_name};

/// Length in bytes of an encoded chunk reference.
pub const REFERENCE_BYTES: usize = ChunkId::LEN + 3;
const MAX_XATTRS: u64 = 1 << 16;
const MAX_EXTENTS: u64 = 1 << 16;

const fn kind_code(kind: NodeKind) -> u8 {
    match kind {
        NodeKind::File => 1,
        NodeKind::Directory => 2,
        NodeKind::Symlink => 3,
        NodeKind::BlockDevice => 4,
        NodeKind::CharDevice => 5,
        NodeKind::Fifo => 6,
        NodeKind::Socket => 7,
    }
}

fn kind_from(code: u8) -> Result<NodeKind, FormatError> {
    Ok(match code {
        1 => NodeKind::File,
        2 => NodeKind::Directory,
        3 => NodeKind::Symlink,
        4 => NodeKind::BlockDevice,
        5 => NodeKind::CharDevice,
        6 => NodeKind::Fifo,
        7 => NodeKind::Socket,
        other => return Err(FormatError::Unknown("kind of node", other.into())),
    })
}

/// Appends a node.
pub fn encode_node(node: &Node, out: &mut Vec<u8>) {
    let metadata = &node.metadata;
    let mut map = MapWriter::default();
    map.bytes(0, &node.name);
    map.unsigned(1, kind_code(node.kind).into());
    map.unsigned(2, metadata.mode.into());
    map.unsigned(3, metadata.uid.into());
    map.unsigned(4, metadata.gid.into());
    map.time(5, metadata.mtime);
    if let Some(ctime) = metadata.ctime {
        map.time(6, ctime);
    }
    for (key, value) in [(7, metadata.inode), (8, metadata.device), (9, metadata.links)] {
        if let Some(value) = value {
            map.unsigned(key, value);
        }
    }
    if node.kind == NodeKind::File {
        map.unsigned(10, node.size);
    }
    if let Some(content) = &node.content {
        map.entry(11, |w| write_content(w, content));
    }
    if node.kind == NodeKind::Symlink {
        map.bytes(12, &node.target);
    }
    if matches!(node.kind, NodeKind::BlockDevice | NodeKind::CharDevice) {
        map.unsigned(13, node.rdev);
    }
    if !metadata.xattrs.is_empty() {
        map.entry(14, |w| {
            w.array(metadata.xattrs.len() as u64)?;
            metadata.xattrs.iter().try_for_each(|x| w.array(2)?.bytes(&x.name)?.bytes(&x.value).map(drop))
        });
    }
    if let Some(extents) = &node.extents {
        map.entry(15, |w| {
            w.array(extents.len() as u64)?;
            extents.iter().try_for_each(|x| w.array(2)?.u64(x.offset)?.u64(x.len).map(drop))
        });
    }
    map.finish(out);
}

/// Decodes the node at the beginning of `bytes` and says how long it is.
///
/// # Errors
/// If it is malformed, contradicts itself, or its name could lead out of its directory.
pub fn decode_node(bytes: &[u8]) -> Result<(Node, usize), FormatError> {
    let len = value_len(bytes)?;
    if len > limits::NODE_BYTES {
        return Err(FormatError::OverLimit("node"));
    }
    let mut decoder = Decoder::new(&bytes[..len]);
    let (mut name, mut kind, mut mtime) = (None, None, None);
    let [mut mode, mut uid, mut gid] = [None; 3];
    let mut metadata = Metadata::default();
    let (mut size, mut content, mut target, mut rdev, mut extents) = (None, None, None, None, None);
    read_map(&mut decoder, |key, d| {
        match key {
            0 => name = Some(d.bytes()?.to_vec()),
            1 => kind = Some(kind_from(d.u8()?)?),
            2 => mode = Some(d.u32()?),
            3 => uid = Some(d.u32()?),
            4 => gid = Some(d.u32()?),
            5 => mtime = Some(read_time(d)?),
            6 => metadata.ctime = Some(read_time(d)?),
            7 => metadata.inode = Some(d.u64()?),
            8 => metadata.device = Some(d.u64()?),
            9 => metadata.links = Some(d.u64()?),
            10 => size = Some(d.u64()?),
            11 => content = Some(read_content(d)?),
            12 => target = Some(d.bytes()?.to_vec()),
            13 => rdev = Some(d.u64()?),
            14 => metadata.xattrs = read_xattrs(d)?,
            15 => extents = Some(read_extents(d)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    metadata.mode = required(mode)?;
    metadata.uid = required(uid)?;
    metadata.gid = required(gid)?;
    metadata.mtime = required(mtime)?;
    let kind = required(kind)?;
    let device = matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice);
    let fits = size.is_some() == (kind == NodeKind::File)
        && content.is_some() == matches!(kind, NodeKind::File | NodeKind::Directory)
        && target.is_some() == (kind == NodeKind::Symlink)
        && rdev.is_some() == device
        && (extents.is_none() || kind == NodeKind::File);
    if !fits {
        return Err(FormatError::Malformed("fields that do not fit the kind of node"));
    }
    let node = Node {
        name: required(name)?,
        kind,
        metadata,
        size: size.unwrap_or(0),
        content,
        target: target.unwrap_or_default(),
        rdev: rdev.unwrap_or(0),
        extents,
    };
    check_node(&node)?;
    Ok((node, len))
}

/// What must hold for a node whatever it says.
fn check_node(node: &Node) -> Result<(), FormatError> {
    if !is_valid_name(&node.name) {
        return Err(FormatError::Malformed("node name"));
    }
    if node.metadata.mode > 0o7777 {
        return Err(FormatError::Malformed("mode"));
    }
    let target = &node.target;
    let target_fits = !target.is_empty() && target.len() <= limits::TARGET_BYTES && !target.contains(&0);
    if node.kind == NodeKind::Symlink && !target_fits {
        return Err(FormatError::Malformed("symlink target"));
    }
    if node.size > limits::FILE_BYTES {
        return Err(FormatError::OverLimit("file"));
    }
    let mut end = 0u64;
    for extent in node.extents.iter().flatten() {
        let fits = extent.len > 0 && (end == 0 || extent.offset > end) && extent.offset >= end;
        end = extent.offset.checked_add(extent.len).ok_or(FormatError::OverLimit("extent"))?;
        if !fits || end > node.size {
            return Err(FormatError::Malformed("extents"));
        }
    }
    let stream = match &node.content {
        Some(Content::Inline(bytes)) => Some(bytes.len() as u64),
        Some(Content::Chunks(chunks)) => Some(chunks.iter().map(|chunk| u64::from(chunk.len)).sum()),
        _ => None,
    };
    if node.kind == NodeKind::File && stream.is_some_and(|len| len != node.stream_len()) {
        return Err(FormatError::Malformed("content and size differ"));
    }
    Ok(())
}

pub(super) fn write_content(w: &mut Writer<'_>, content: &Content) -> Written {
    match content {
        Content::Inline(bytes) => w.array(2)?.u8(0)?.bytes(bytes)?,
        Content::Chunks(chunks) => w.array(2)?.u8(1)?.bytes(&encode_references(chunks))?,
        Content::Lists { depth, lists } => w.array(3)?.u8(2)?.u8(*depth)?.bytes(&encode_references(lists))?,
    };
    Ok(())
}

pub(super) fn read_content(d: &mut Decoder<'_>) -> Result<Content, FormatError> {
    let fields = array_len(d)?;
    let (content, used) = match d.u8()? {
        0 => (Content::Inline(d.bytes()?.to_vec()), 2),
        1 => (Content::Chunks(decode_references(d.bytes()?)?), 2),
        2 => {
            let depth = d.u8()?;
            if depth == 0 || depth > limits::CONTENT_DEPTH {
                return Err(FormatError::OverLimit("content depth"));
            }
            (Content::Lists { depth, lists: decode_references(d.bytes()?)? }, 3)
        }
        other => return Err(FormatError::Unknown("content", other.into())),
    };
    if fields < used {
        return Err(FormatError::Malformed("content"));
    }
    (used..fields).try_for_each(|_| d.skip())?;
    Ok(content)
}

/// Encodes chunk references: what content holds, and what a list chunk is.
pub fn encode_references(references: &[ChunkRef]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(references.len() * REFERENCE_BYTES);
    for reference in references {
        bytes.extend_from_slice(reference.id.as_bytes());
        bytes.extend_from_slice(&reference.len.to_le_bytes()[..3]);
    }
    bytes
}

/// Decodes chunk references.
///
/// # Errors
/// If the length is not a multiple of theirs, or a chunk is empty or too long.
pub fn decode_references(bytes: &[u8]) -> Result<Vec<ChunkRef>, FormatError> {
    let (references, rest) = bytes.as_chunks::<REFERENCE_BYTES>();
    if !rest.is_empty() {
        return Err(FormatError::Malformed("chunk references"));
    }
    references
        .iter()
        .map(|reference| {
            let (id, len) = reference.split_at(ChunkId::LEN);
            let len = u32::from_le_bytes([len[0], len[1], len[2], 0]);
            if len == 0 || len > limits::CHUNK_BYTES {
                return Err(FormatError::OverLimit("chunk"));
            }
            Ok(ChunkRef { id: ChunkId::from_slice(id).expect("its length"), len })
        })
        .collect()
}

fn read_xattrs(decoder: &mut Decoder<'_>) -> Result<Vec<Xattr>, FormatError> {
    let mut xattrs: Vec<Xattr> = Vec::new();
    read_array(decoder, MAX_XATTRS, |d| {
        let xattr = read_tuple(d, 2, |d| Ok(Xattr { name: d.bytes()?.to_vec(), value: d.bytes()?.to_vec() }))?;
        let ascends = xattrs.last().is_none_or(|last| last.name < xattr.name);
        if xattr.name.is_empty() || xattr.name.contains(&0) || !ascends {
            return Err(FormatError::Malformed("extended attribute"));
        }
        xattrs.push(xattr);
        Ok(())
    })?;
    Ok(xattrs)
}

fn read_extents(decoder: &mut Decoder<'_>) -> Result<Vec<Extent>, FormatError> {
    let mut extents = Vec::new();
    read_array(decoder, MAX_EXTENTS, |d| {
        extents.push(read_tuple(d, 2, |d| Ok(Extent { offset: d.u64()?, len: d.u64()? }))?);
        Ok(())
    })?;
    Ok(extents)
}
