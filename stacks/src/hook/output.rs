//! What commands say, kept in threads of their own.

use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, channel};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::HookOutput;

/// Bytes of standard error that are kept: the last ones.
const TAIL_BYTES: usize = 8 << 10;
/// Lines of these that are shown.
const TAIL_LINES: usize = 12;
/// Bytes of standard output that [`HookOutput::Keep`] keeps.
const KEPT_BYTES: usize = 64 << 10;
/// The most bytes that a pipe holds, unless somebody with rights said otherwise.
const PIPE_BYTES: usize = 1 << 20;

/// Reads what a command says in a thread of its own, and keeps some of it.
pub(super) struct Heard {
    kept: Receiver<Vec<u8>>,
    /// Closed when the command has ended; nothing goes through it.
    command: PipeWriter,
}

impl Heard {
    /// Of standard output.
    ///
    /// # Errors
    /// That of the system, if it has no pipe left.
    pub(super) fn output(stdout: impl Read + AsFd + Send + 'static, output: HookOutput) -> std::io::Result<Self> {
        let most = if output == HookOutput::Keep { KEPT_BYTES } else { 0 };
        Self::start(stdout, move |kept, new| kept.extend(&new[..new.len().min(most - kept.len())]))
    }

    /// Of standard error: the last of it.
    ///
    /// # Errors
    /// As [`Self::output`].
    pub(super) fn errors(stderr: impl Read + AsFd + Send + 'static) -> std::io::Result<Self> {
        Self::start(stderr, |kept, new| {
            kept.extend(new);
            kept.drain(..kept.len().saturating_sub(TAIL_BYTES));
        })
    }

    fn start(
        mut said: impl Read + AsFd + Send + 'static,
        keep: impl Fn(&mut Vec<u8>, &[u8]) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (end, command) = pipe()?;
        let (send, kept) = channel();
        std::thread::spawn(move || {
            let (mut some, mut buffer, mut late) = (Vec::new(), [0; 4096], 0);
            loop {
                let (is_there, has_ended) = wait(&said, &end);
                // Something in the background may hold the pipe, and say more and more.
                if has_ended && (!is_there || late >= PIPE_BYTES) {
                    break;
                }
                let Ok(count @ 1..) = said.read(&mut buffer) else { break };
                keep(&mut some, &buffer[..count]);
                late += if has_ended { count } else { 0 };
            }
            let _ = send.send(some);
            // That may go on: it would be killed if nobody could hear it.
            let _ = std::io::copy(&mut said, &mut std::io::sink());
        });
        Ok(Self { kept, command })
    }

    /// What was kept of all that a command said, which has ended; what it left in the background is not waited for.
    pub(super) fn take(self) -> Vec<u8> {
        drop(self.command);
        self.kept.recv().unwrap_or_default()
    }

    /// The last lines of that.
    pub(super) fn last_lines(self) -> String {
        let text = String::from_utf8_lossy(&self.take()).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// Waits until there is something to read, or its end, or the command has ended: whether the one and the other.
fn wait(said: &impl AsFd, end: &PipeReader) -> (bool, bool) {
    let mut both = [PollFd::new(said, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
    while poll(&mut both, None) == Err(Errno::INTR) {}
    (!both[0].revents().is_empty(), !both[1].revents().is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn all_that_was_said_is_heard_and_who_goes_on_talking_is_not_waited_for() {
        let (said, mut command) = pipe().expect("a pipe");
        let heard = Heard::output(said, HookOutput::Keep).expect("a pipe");
        let mut background = command.try_clone().expect("another one who holds it");
        command.write_all(b"the last word").expect("said");
        drop(command);
        assert_eq!(heard.take(), b"the last word");
        // Far more than a pipe holds: somebody reads it.
        background.write_all(&[0; 3 * PIPE_BYTES]).expect("nobody is killed for talking");

        let (said, mut command) = pipe().expect("a pipe");
        let heard = Heard::errors(said).expect("a pipe");
        let is_enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_enough.load(Ordering::Relaxed) {
                    command.write_all(&[b'x'; 4096]).expect("said");
                }
            });
            heard.take();
            is_enough.store(true, Ordering::Relaxed);
        });
        drop(command);

        let (said, mut command) = pipe().expect("a pipe");
        let heard = Heard::errors(said).expect("a pipe");
        (0..20_000).for_each(|line| writeln!(command, "line {line}\n").expect("said"));
        let lines: Vec<String> = heard.last_lines().lines().map(str::to_owned).collect();
        assert_eq!((lines.len(), lines[TAIL_LINES - 1].as_str()), (TAIL_LINES, "line 19999"));
    }

    #[test]
    fn no_more_is_kept_than_is_wanted() {
        for (output, most) in [(HookOutput::Keep, KEPT_BYTES), (HookOutput::Discard, 0)] {
            let (said, mut command) = pipe().expect("a pipe");
            let heard = Heard::output(said, output).expect("a pipe");
            command.write_all(&[7; KEPT_BYTES + 5000]).expect("said");
            assert_eq!(heard.take().len(), most);
        }
    }
}
