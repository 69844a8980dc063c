//! What commands say, kept in threads of their own.

use std::collections::VecDeque;
use std::io::Read;
use std::process::{ChildStderr, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::HookOutput;

/// How long output is waited for when the command itself has ended: something in the background may hold the pipe.
const AFTERGLOW: Duration = Duration::from_millis(500);
/// Bytes of standard error that are kept: the last ones.
const TAIL_BYTES: usize = 8 << 10;
/// Lines of these that are shown.
const TAIL_LINES: usize = 12;
/// Bytes of standard output that [`HookOutput::Keep`] keeps.
const KEPT_BYTES: usize = 64 << 10;

/// Reads standard error in a thread of its own and keeps the last of it.
pub(super) struct Tail {
    kept: Receiver<VecDeque<u8>>,
}

impl Tail {
    pub(super) fn start(mut stderr: ChildStderr) -> Self {
        let (send, kept) = channel();
        std::thread::spawn(move || {
            let (mut tail, mut buffer) = (VecDeque::new(), [0; 4096]);
            while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                tail.extend(&buffer[..count]);
                let surplus = tail.len().saturating_sub(TAIL_BYTES);
                tail.drain(..surplus);
                let _ = send.send(tail.clone());
            }
        });
        Self { kept }
    }

    /// The last lines. The command has ended; what it left in the background is not waited for.
    pub(super) fn take(self) -> String {
        let mut last = until_afterglow(&self.kept).last().unwrap_or_default();
        let text = String::from_utf8_lossy(last.make_contiguous()).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// Reads standard output in a thread of its own.
pub(super) struct Reader {
    kept: Receiver<Vec<u8>>,
}

impl Reader {
    pub(super) fn start(mut stdout: ChildStdout, output: HookOutput) -> Self {
        let (send, kept) = channel();
        std::thread::spawn(move || {
            let (mut len, mut buffer) = (0, [0; 4096]);
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let wanted = if output == HookOutput::Keep { count.min(KEPT_BYTES - len) } else { 0 };
                len += wanted;
                let _ = send.send(buffer[..wanted].to_vec());
            }
        });
        Self { kept }
    }

    pub(super) fn take(self) -> Vec<u8> {
        until_afterglow(&self.kept).flatten().collect()
    }
}

/// What comes until the pipe is closed or the time is over.
fn until_afterglow<T>(kept: &Receiver<T>) -> impl Iterator<Item = T> {
    let until = Instant::now() + AFTERGLOW;
    std::iter::from_fn(move || kept.recv_timeout(until.saturating_duration_since(Instant::now())).ok())
}
