//! Room that all clients share, of which no one of them gets all: a client that does not go on keeps its own part only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::ClientId;
use crate::protocol::{Code, Refusal};

/// Some room for everybody, and a part of it that one client may have at most.
#[derive(Debug)]
pub(super) struct Shared {
    all: Arc<Semaphore>,
    all_units: u32,
    part_units: u32,
    parts: Mutex<HashMap<ClientId, Arc<Semaphore>>>,
}

/// Room that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    _part: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Shared {
    /// Room of `all` units, and `part` of them at most for one client.
    pub(super) fn new(all: u32, part: u32) -> Self {
        Self { all: Arc::new(Semaphore::new(all as usize)), all_units: all, part_units: part, parts: Mutex::default() }
    }

    /// Waits until there is room; whoever asks for more than there is waits to be alone.
    ///
    /// # Errors
    /// `Busy` when the server stops.
    pub(super) async fn take(&self, client: ClientId, units: u32) -> Result<Room, Refusal> {
        let stopping = |_| Refusal::new(Code::Busy, "the server is stopping");
        // The own part first: who waits for that holds nothing of what others wait for.
        let part = self.part(client).acquire_many_owned(units.min(self.part_units)).await.map_err(stopping)?;
        let all = Arc::clone(&self.all).acquire_many_owned(units.min(self.all_units)).await.map_err(stopping)?;
        Ok(Room { _part: part, _all: all })
    }

    fn part(&self, client: ClientId) -> Arc<Semaphore> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get(&client) {
            return Arc::clone(part);
        }
        // Clients that have nothing now are forgotten, so that those of this moment are all there is.
        parts.retain(|_, part| Arc::strong_count(part) > 1);
        let part = Arc::new(Semaphore::new(self.part_units as usize));
        parts.insert(client, Arc::clone(&part));
        part
    }
}

/// Bytes that keep something, such as their room, until the last of them was sent or given up.
pub(super) fn keeping<T: Send + 'static>(bytes: impl Into<Bytes>, kept: T) -> Bytes {
    struct Kept<T>(Bytes, T);
    impl<T> AsRef<[u8]> for Kept<T> {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    // The other field is there to be dropped.
    let kept = Kept(bytes.into(), kept);
    let _ = &kept.1;
    Bytes::from_owner(kept)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const ALICE: ClientId = ClientId([1; 32]);
    const BOB: ClientId = ClientId([2; 32]);

    /// Bug: one client took all room for uploads and lists, sent nothing, and everybody waited. Fix: a part for each.
    #[test]
    fn one_client_gets_its_part_only() {
        let shared = Shared::new(4, 2);
        let first = shared.take(ALICE, 1).now_or_never().expect("room").expect("room");
        let _second = shared.take(ALICE, 1).now_or_never().expect("room").expect("room");
        assert!(shared.take(ALICE, 1).now_or_never().is_none(), "its part is taken");
        let others = shared.take(BOB, 2).now_or_never().expect("room for others").expect("room");
        drop(first);
        assert!(shared.take(ALICE, 1).now_or_never().is_some());
        drop(others);
        let alone = shared.take(BOB, 9).now_or_never();
        assert!(alone.is_none(), "more than there is has to be alone");
    }

    /// Bug: pieces of downloads that nobody read took memory without bound. Fix: room goes where the bytes go.
    #[test]
    fn room_is_given_back_with_the_last_byte() {
        let shared = Shared::new(1, 1);
        let room = shared.take(ALICE, 1).now_or_never().expect("room").expect("room");
        let mut piece = keeping(b"piece".to_vec(), room);
        let half = piece.split_to(2);
        drop(piece);
        assert_eq!(&half[..], b"pi");
        assert!(shared.take(BOB, 1).now_or_never().is_none());
        drop(half);
        assert!(shared.take(BOB, 1).now_or_never().is_some());
    }
}
