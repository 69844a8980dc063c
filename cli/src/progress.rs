//! Hears of progress and problems: a bar for people, lines of JSON for programs, nothing for the rest.
//!
//! The bar is drawn on standard error, and only if that is a terminal. Problems are printed as they come, always.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::monitor::{ItemAction, Monitor, Problem};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::exit;
use crate::messages::{JsonPath, Message, action_name};
use crate::output::Output;
use crate::signals::Cancel;
use crate::text;

/// How often a program hears of progress.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// How often the name of the current item changes on the bar: more can't be read.
const CURRENT_INTERVAL: Duration = Duration::from_millis(150);

/// A monitor that tells a person or a program.
pub(crate) struct Progress<'a> {
    output: &'a Output,
    cancel: Cancel,
    bar: Option<ProgressBar>,
    statuses: bool,
    started: Instant,
    problems: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
    /// Milliseconds since `started` at which the next status or name is due.
    next_status: AtomicU64,
    next_current: AtomicU64,
    /// Whether the bar counts items: there is no number of bytes.
    by_items: AtomicBool,
    stage: Mutex<Stage>,
}

#[derive(Default)]
struct Stage {
    name: &'static str,
    since: Option<Instant>,
    total_items: Option<u64>,
    total_bytes: Option<u64>,
    current: Vec<u8>,
}

impl<'a> Progress<'a> {
    /// A monitor for one run of one verb. `statuses`: whether a program gets `status` messages.
    pub(crate) fn new(output: &'a Output, cancel: &Cancel, statuses: bool) -> Self {
        let wanted = !output.is_quiet() && !output.is_json();
        let bar = wanted.then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8)));
        Self {
            output,
            cancel: cancel.clone(),
            bar: bar.filter(|bar| !bar.is_hidden()),
            statuses: statuses && output.is_json() && !output.is_quiet(),
            started: Instant::now(),
            problems: AtomicU64::new(0),
            items: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            next_status: AtomicU64::new(0),
            next_current: AtomicU64::new(0),
            by_items: AtomicBool::new(false),
            stage: Mutex::default(),
        }
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many problems there were.
    pub(crate) fn problem_count(&self) -> u64 {
        self.problems.load(Ordering::Relaxed)
    }

    fn stage_state(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something that happens once per `interval` is due; only one of several threads hears yes.
    fn is_due(&self, next: &AtomicU64, interval: Duration) -> bool {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = next.load(Ordering::Relaxed);
        let later = now.saturating_add(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        now >= due && next.compare_exchange(due, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Prints something between two drawings of the bar.
    fn beside_bar(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn send_status(&self) {
        let stage = self.stage_state();
        let (items, bytes) = (self.items.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let share = share_done((items, stage.total_items), (bytes, stage.total_bytes));
        let spent = stage.since.map(|since| since.elapsed()).unwrap_or_default();
        let message = Message::Status {
            stage: stage.name,
            seconds_elapsed: self.started.elapsed().as_secs(),
            seconds_remaining: share.and_then(|share| remaining(spent, share)),
            percent_done: share,
            items_done: items,
            total_items: stage.total_items,
            bytes_done: bytes,
            total_bytes: stage.total_bytes,
            error_count: self.problems.load(Ordering::Relaxed),
            current_files: if stage.current.is_empty() { Vec::new() } else { vec![JsonPath::new(&stage.current)] },
        };
        // A reader who left does not stop the work; the end of the command takes note of it.
        let _ = self.output.message(&message);
    }
}

/// The part that is done, 0 to 1, by bytes if their number is known.
fn share_done(items: (u64, Option<u64>), bytes: (u64, Option<u64>)) -> Option<f64> {
    let (done, total) = match (bytes, items) {
        ((done, Some(total)), _) if total > 0 => (done, total),
        (_, (done, Some(total))) if total > 0 => (done, total),
        _ => return None,
    };
    Some((done as f64 / total as f64).min(1.0))
}

/// Seconds left if it goes on as it went.
fn remaining(spent: Duration, share: f64) -> Option<u64> {
    let seconds = spent.as_secs_f64() * (1.0 - share) / share;
    (share > 0.0 && seconds.is_finite()).then_some(seconds as u64)
}

/// One line of at most 80 columns before the name of the current item, which takes what is left.
fn style(total_items: Option<u64>, total_bytes: Option<u64>) -> ProgressStyle {
    let template = match (total_items, total_bytes) {
        (_, Some(_)) => {
            "{prefix} {bar:16} {percent:>3}%  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left  {wide_msg}"
        }
        (Some(_), None) => {
            "{prefix} {bar:16} {percent:>3}%  {human_pos} of {human_len}  {per_sec}  {eta} left  {wide_msg}"
        }
        (None, None) => "{prefix} {spinner}  {binary_bytes}  {binary_bytes_per_sec}  {elapsed_precise}  {wide_msg}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style
        .progress_chars("━╸─")
        // Rates change too fast to be read digit by digit.
        .with_key("per_sec", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.0}/s", state.per_sec());
        })
}

impl Monitor for Progress<'_> {
    fn stage(&self, name: &'static str, total_items: Option<u64>, total_bytes: Option<u64>) {
        *self.stage_state() =
            Stage { name, since: Some(Instant::now()), total_items, total_bytes, current: Vec::new() };
        self.items.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.by_items.store(total_bytes.is_none() && total_items.is_some(), Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            // Before the reset, which draws.
            bar.set_style(style(total_items, total_bytes));
            bar.set_prefix(name);
            bar.set_message("");
            match total_bytes.or(total_items) {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.reset();
            bar.enable_steady_tick(Duration::from_millis(125));
        }
        if self.statuses {
            self.send_status();
        }
    }

    fn advance(&self, items: u64, bytes: u64) {
        self.items.fetch_add(items, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(if self.by_items.load(Ordering::Relaxed) { items } else { bytes });
        }
        if self.statuses && self.is_due(&self.next_status, STATUS_INTERVAL) {
            self.send_status();
        }
    }

    fn current(&self, path: &[u8]) {
        if (self.bar.is_none() && !self.statuses) || !self.is_due(&self.next_current, CURRENT_INTERVAL) {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(text::path(path));
        }
        self.stage_state().current = path.to_vec();
    }

    fn wants_item(&self, action: ItemAction) -> bool {
        self.output.verbosity() >= if action == ItemAction::Unchanged { 2 } else { 1 }
    }

    fn item(&self, action: ItemAction, path: &[u8], bytes: u64) {
        if !self.wants_item(action) {
            return;
        }
        let print = || {
            if self.output.is_json() {
                let message =
                    Message::VerboseStatus { action: action_name(action), item: JsonPath::new(path), size: bytes };
                let _ = self.output.message(&message);
            } else {
                let _ = self.output.line(&format!("{:<9}  {}", action_name(action), text::path(path)));
            }
        };
        self.beside_bar(print);
    }

    fn problem(&self, problem: &Problem) {
        self.problems.fetch_add(1, Ordering::Relaxed);
        self.beside_bar(|| {
            if self.output.is_json() {
                let item = JsonPath::new(&problem.path);
                self.output.json_to_stderr(&Message::Error { item, message: &problem.message });
            } else {
                exit::problem(&problem.path, &problem.message);
            }
        });
    }

    fn note(&self, message: &str) {
        self.beside_bar(|| self.output.note(&text::plain(message)));
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_requested()
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_by_bytes_then_by_items_and_never_above_one() {
        assert_eq!(share_done((1, Some(4)), (1, Some(2))), Some(0.5));
        assert_eq!(share_done((1, Some(4)), (9, None)), Some(0.25));
        assert_eq!(share_done((9, Some(4)), (0, Some(0))), Some(1.0));
        assert_eq!(share_done((9, None), (9, None)), None);
        assert_eq!(remaining(Duration::from_secs(10), 0.5), Some(10));
        assert_eq!(remaining(Duration::from_secs(10), 0.0), None);
    }

    #[test]
    fn one_thread_hears_that_something_is_due() {
        let output = Output::new(&crate::args::Global::default());
        let progress = Progress::new(&output, &Cancel::default(), true);
        assert!(progress.is_due(&progress.next_status, Duration::from_secs(3600)));
        assert!(!progress.is_due(&progress.next_status, Duration::from_secs(3600)));
    }
}
