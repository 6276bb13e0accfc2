//! The table and the final summary. On a terminal a new table replaces the last one; in a file it is appended.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use super::BACKENDS;
use super::tally::{Row, Tally, Verdict, Window, percent};

const HEAD: &str = "TIME  BACKEND       WEIGHT   LAST 1s  SINCE EDIT      ALL   RPS   SUCCESS      P50      P95      P99";

/// The state of the table on the terminal.
#[derive(Default)]
pub struct Screen {
    /// Lines to overwrite.
    drawn: usize,
}

impl Screen {
    /// Prints the edit, and starts a new table below the old one.
    pub fn edited(&mut self, file: &Path, weights: [u64; 2]) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let [v1, v2] = weights;
        println!("\n{name} now has the weights v1 {v1}, v2 {v2}\n{HEAD}");
        self.drawn = 0;
    }

    pub fn show(
        &mut self,
        time: Duration,
        weights: [u64; 2],
        tally: &Tally,
        second: Window,
        step: Window,
    ) {
        let text = rows(time, weights, tally, second, step);
        if std::io::stdout().is_terminal() && self.drawn > 0 {
            print!("\x1b[{}A\x1b[J", self.drawn);
        }
        print!("{text}");
        self.drawn = text.lines().count();
    }
}

fn rows(time: Duration, weights: [u64; 2], tally: &Tally, second: Window, step: Window) -> String {
    let last = tally.rows(Some(second));
    let since = tally.rows(Some(step));
    let all = tally.rows(None);
    let mut text = String::new();
    for (nth, backend) in BACKENDS.iter().enumerate() {
        let row = &last[nth];
        let _ = writeln!(
            text,
            "{:>3}s  {backend:<12}  {:>6}  {:>8}  {:>10}  {:>7}  {:>4}  {:>8}  {:>7}  {:>7}  {:>7}",
            time.as_secs(),
            weights[nth],
            share(&last, nth),
            share(&since, nth),
            share(&all, nth),
            row.requests,
            in_percent(row.good, row.requests),
            in_ms(row.percentile(50)),
            in_ms(row.percentile(95)),
            in_ms(row.percentile(99)),
        );
    }
    for (reason, number) in tally.failures() {
        let _ = writeln!(text, "      {number} failed: {reason}");
    }
    text
}

fn share(rows: &[Row; 2], nth: usize) -> String {
    in_percent(
        rows[nth].requests,
        rows.iter().map(|row| row.requests).sum(),
    )
}

fn in_percent(part: u64, whole: u64) -> String {
    percent(part, whole).map_or("-".to_owned(), |percent| format!("{percent:.1} %"))
}

fn in_ms(took: Option<Duration>) -> String {
    took.map_or("-".to_owned(), |took| {
        format!("{:.1}ms", took.as_secs_f64() * 1000.0)
    })
}

/// Returns the number of requests and failures, and the result of each edit.
pub fn summary(verdicts: &[Verdict], tally: &Tally) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let [v1, v2] = verdict.weights;
        let [to_v1, to_v2] = verdict.requests;
        let sent = to_v1 + to_v2;
        let _ = writeln!(
            text,
            "weights {v1:>3} / {v2:<3}  gave {to_v1:>5} / {to_v2:<5} requests, {:>7} / {:<7}  {}",
            in_percent(to_v1, sent),
            in_percent(to_v2, sent),
            if verdict.holds { "ok" } else { "OFF" },
        );
    }
    let lost = tally.rows(None).map(|row| row.requests - row.good);
    let unanswered = tally.failed() - lost.iter().sum::<u64>();
    let _ = write!(
        text,
        "{} requests sent, {} failed.",
        tally.answered() + unanswered,
        tally.failed()
    );
    for (reason, number) in tally.failures() {
        let _ = write!(text, "\n  {number} times: {reason}");
    }
    text
}
