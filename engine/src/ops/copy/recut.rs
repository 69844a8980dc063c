//! Files that are cut anew, as each target cuts: read once, and cut for each in a thread of its own.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Read;
use crate::error::{EngineError, ErrorKind, Result};
use crate::model::{ChunkKind, Content};
use crate::ops::snapshot::Cutter;
use crate::repository::{ChunkReader, ContentReader};

/// Chunks that wait for a target that is slower than the others.
const WAITING_PIECES: usize = 8;

/// A part of a stream; nothing if the rest of it can't be read.
type Piece = Option<Arc<[u8]>>;

/// Stores a file's stream as each target cuts it; what its content is there, or why that target failed.
///
/// # Errors
/// Whatever keeps a chunk from being read.
pub(super) fn recut<'c, 'w: 'c, 'a: 'w>(
    chunks: &ChunkReader<'_>,
    cutters: impl Iterator<Item = &'c mut Cutter<'w, 'a>>,
    content: &Content,
    read: &mut Read,
) -> Result<Vec<Result<Content>>> {
    let mut cutters: Vec<_> = cutters.collect();
    let mut pieces = Pieces { references: ContentReader::new(chunks, content), chunks, read };
    if let [only] = &mut *cutters {
        // Nobody to share with. What the source fails with is not the target's failure.
        let mut failure = None;
        let made = cut(only, || {
            pieces.read().unwrap_or_else(|error| {
                failure = Some(error);
                Some(None)
            })
        });
        return failure.map_or(Ok(vec![made]), Err);
    }
    std::thread::scope(|scope| {
        let start = |cutter: &'c mut Cutter<'w, 'a>| {
            let (sender, receiver): (Sender<Piece>, Receiver<Piece>) = bounded(WAITING_PIECES);
            (sender, scope.spawn(move || cut(cutter, || receiver.recv().ok())))
        };
        let (senders, threads): (Vec<_>, Vec<_>) = cutters.into_iter().map(start).unzip();
        // One that failed takes nothing any more.
        let send = |piece: &Piece| senders.iter().for_each(|sender| drop(sender.send(piece.clone())));
        let mut failure = None;
        loop {
            match pieces.read() {
                Ok(Some(piece)) => send(&piece),
                Ok(None) => break,
                Err(error) => {
                    send(&None);
                    failure = Some(error);
                    break;
                }
            }
        }
        drop(senders);
        let panicked = |_| Err(EngineError::new(ErrorKind::Io, "a thread that cuts panicked"));
        let made = threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect();
        failure.map_or(Ok(made), Err)
    })
}

/// Cuts what `next` gives until it gives nothing.
fn cut(cutter: &mut Cutter<'_, '_>, mut next: impl FnMut() -> Option<Piece>) -> Result<Content> {
    let mut rest: Arc<[u8]> = Arc::new([]);
    let mut at = 0;
    cutter.cut(&mut |buffer: &mut [u8]| {
        let mut filled = 0;
        while filled < buffer.len() {
            if at == rest.len() {
                match next() {
                    None => break,
                    Some(Some(piece)) => (rest, at) = (piece, 0),
                    Some(None) => return Err(EngineError::damaged("the rest of the file can't be read")),
                }
            }
            let count = (buffer.len() - filled).min(rest.len() - at);
            buffer[filled..filled + count].copy_from_slice(&rest[at..at + count]);
            filled += count;
            at += count;
        }
        Ok(filled)
    })
}

/// The chunks of a stream, one after the other.
struct Pieces<'p, 'c> {
    references: ContentReader<'p>,
    chunks: &'p ChunkReader<'c>,
    read: &'p mut Read,
}

impl Pieces<'_, '_> {
    fn read(&mut self) -> Result<Option<Piece>> {
        let Some(reference) = self.references.read_next()? else { return Ok(None) };
        let bytes = self.chunks.read(ChunkKind::Data, &reference)?;
        self.read.chunks += 1;
        self.read.bytes += bytes.len() as u64;
        Ok(Some(Some(bytes.into())))
    }
}
