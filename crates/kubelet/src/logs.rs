//! Container logs, in the form that CRI runtimes write them.

mod line;
mod read;
mod rotate;

pub use line::parse;
pub use read::{LogOptions, LogSource, path, read};
pub use rotate::{Rotation, rotate_all};

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// The most of a termination message that is kept, in bytes.
const MESSAGE_BYTES_MAX: u64 = 4096;
/// The most of a log that stands in for one, in bytes and lines.
const LOG_BYTES_MAX: u64 = 2048;
const LOG_LINES_MAX: usize = 80;

/// The last words of a container: its file, or after a failure, if its policy
/// says so, the end of its log. `None` if it left none.
#[must_use]
pub fn termination_message(
    file: Option<&str>,
    policy: &str,
    log_path: &str,
    exit_code: i32,
) -> Option<String> {
    let mut text = String::new();
    if let Some(file) = file.and_then(|file| File::open(file).ok()) {
        let mut bytes = Vec::new();
        let _ = file.take(MESSAGE_BYTES_MAX).read_to_end(&mut bytes);
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    if text.is_empty() && policy == "FallbackToLogsOnError" && exit_code != 0 {
        text = log_end(log_path).unwrap_or_default();
    }
    (!text.is_empty()).then_some(text)
}

fn log_end(path: &str) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // Time stamps and tags are dropped, so more is read than is kept.
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX * 4)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX * 4).read_to_end(&mut bytes)?;
    let mut lines: Vec<String> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(parse)
        .map(|line| String::from_utf8_lossy(&line.content()).into_owned())
        .collect();
    let mut size = 0;
    let kept = lines.iter().rev().take(LOG_LINES_MAX).take_while(|line| {
        size += line.len() as u64;
        size <= LOG_BYTES_MAX
    });
    let kept = kept.count();
    Ok(lines.split_off(lines.len() - kept).concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_come_from_the_file_or_the_log() {
        let root = tempfile::tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name).display().to_string();
        std::fs::write(path("words"), "done").expect("written");
        std::fs::write(path("empty"), "").expect("written");
        let log = "2026-01-01T00:00:00.000000000Z stdout F one\n2026-01-01T00:00:01.000000000Z stderr F two\n";
        std::fs::write(path("log"), log).expect("written");
        for (file, policy, code, expected) in [
            ("words", "File", 1, Some("done")),
            ("empty", "File", 1, None),
            ("empty", "FallbackToLogsOnError", 0, None),
            ("empty", "FallbackToLogsOnError", 1, Some("one\ntwo\n")),
            ("none", "FallbackToLogsOnError", 1, Some("one\ntwo\n")),
        ] {
            let found = termination_message(Some(&path(file)), policy, &path("log"), code);
            assert_eq!(found.as_deref(), expected, "{file} {policy} {code}");
        }
    }
}
