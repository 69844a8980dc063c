//! Stretching a password takes longer than a round trip: whoever knows how a slot wants that can begin before its bytes are
//! here.

use std::thread::{Builder, JoinHandle};

use crate::crypto::{Secret, SlotView, Stretch, Stretched};

/// A stretching that has begun, on a thread of its own.
pub struct EarlyStretch {
    stretch: Stretch,
    thread: JoinHandle<Option<Stretched>>,
}

impl EarlyStretch {
    /// Begins; `None` if that can't be.
    pub fn begin(secret: &Secret, stretch: Stretch) -> Option<Self> {
        let secret = secret.clone();
        let thread = Builder::new().spawn(move || stretch.run(&secret).ok()).ok()?;
        Some(Self { stretch, thread })
    }

    /// Whether it is what a slot wants.
    pub(super) fn is_for(&self, view: &SlotView<'_>) -> bool {
        Stretch::of(view) == Some(self.stretch)
    }

    /// What came of it; `None` if nothing did.
    pub(super) fn finish(self) -> Option<Stretched> {
        self.thread.join().ok().flatten()
    }
}
