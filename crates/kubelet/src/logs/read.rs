//! Reading a log for a user: from where, how much, and whether to wait for more.

use super::line::{Line, parse};
use bytes::Bytes;
use jiff::Timestamp;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

/// How often a file that is followed is looked at.
const FOLLOW_PERIOD: Duration = Duration::from_millis(100);
/// The tail is looked for in blocks of this size.
const BLOCK_BYTES: u64 = 64 << 10;
/// Lines are handed on together, up to this size.
const CHUNK_BYTES: usize = 32 << 10;
/// A longer line is cut: runtimes split lines at 16 KiB.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Wait for more.
    pub follow: bool,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
    /// Only this stream: `stdout` or `stderr`.
    pub stream: Option<String>,
}

/// Where lines come from.
#[async_trait::async_trait]
pub trait LogSource: Send + Sync {
    /// Whether more can still be written to the file.
    async fn is_open(&self) -> bool;
}

/// Sends what was asked for to `out`, until the end of the file, or while
/// following until the container has ended, or until nobody listens.
///
/// # Errors
/// If the file cannot be read.
pub async fn read(
    path: &Path,
    options: &LogOptions,
    source: &dyn LogSource,
    out: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut file = File::open(path).await?;
    if let Some(lines) = options.tail_lines {
        let start = tail_start(&mut file, lines).await?;
        file.seek(SeekFrom::Start(start)).await?;
    }
    let mut reader = Reader {
        options,
        out,
        left: options.limit_bytes.unwrap_or(u64::MAX),
        chunk: Vec::new(),
        partial: Vec::new(),
    };
    let mut file = BufReader::new(file);
    loop {
        // Asked before reading: what was written until then is read below.
        let is_open = options.follow && source.is_open().await;
        if reader.drain(&mut file).await?.is_none() {
            return Ok(());
        }
        if let Some(next) = rotated(path, &mut file).await? {
            reader.drain(&mut file).await?;
            file = next;
            continue;
        }
        if !is_open {
            reader.last().await;
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW_PERIOD) => {}
            () = out.closed() => return Ok(()),
        }
    }
}

/// The file that has taken the place of the one being read, if there is one.
async fn rotated(
    path: &Path,
    current: &mut BufReader<File>,
) -> io::Result<Option<BufReader<File>>> {
    use std::os::unix::fs::MetadataExt;
    let Ok(named) = tokio::fs::metadata(path).await else {
        return Ok(None);
    };
    let open = current.get_ref().metadata().await?;
    if (named.dev(), named.ino()) == (open.dev(), open.ino()) {
        return Ok(None);
    }
    Ok(File::open(path).await.ok().map(BufReader::new))
}

/// Where the last `lines` lines begin.
async fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let length = file.metadata().await?.len();
    let (mut end, mut seen) = (length, 0);
    if lines == 0 {
        return Ok(length);
    }
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start)).await?;
        block.resize(usize::try_from(end - start).expect("a block is small"), 0);
        file.read_exact(&mut block).await?;
        for (index, byte) in block.iter().enumerate().rev() {
            let position = start + index as u64;
            // The end of the last line begins no further one.
            if *byte == b'\n' && position + 1 != length {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

struct Reader<'a> {
    options: &'a LogOptions,
    out: &'a mpsc::Sender<Bytes>,
    left: u64,
    chunk: Vec<u8>,
    /// The beginning of a line that is still being written.
    partial: Vec<u8>,
}

impl Reader<'_> {
    /// Reads to the end of the file; `None` when nothing more is wanted.
    async fn drain(&mut self, file: &mut BufReader<File>) -> io::Result<Option<()>> {
        loop {
            let room = LINE_BYTES_MAX
                .saturating_sub(self.partial.len() as u64)
                .max(1);
            let size = (&mut *file)
                .take(room)
                .read_until(b'\n', &mut self.partial)
                .await?;
            if size == 0 {
                return Ok(self.flush().await);
            }
            if self.partial.last() == Some(&b'\n') || self.partial.len() as u64 >= LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.partial);
                self.take(&line);
                if (self.chunk.len() >= CHUNK_BYTES || self.left == 0)
                    && self.flush().await.is_none()
                {
                    return Ok(None);
                }
            }
        }
    }

    /// What stands in the file without an end of line, when none will come.
    async fn last(&mut self) {
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.take(&line);
            self.flush().await;
        }
    }

    fn take(&mut self, line: &[u8]) {
        let Some(line) = parse(line).filter(|line| self.wants(line)) else {
            return;
        };
        let mut content = line.content();
        if self.options.timestamps {
            content.splice(0..0, format!("{} ", line.time_text).into_bytes());
        }
        let size = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(content.len());
        self.left -= size as u64;
        self.chunk.extend_from_slice(&content[..size]);
    }

    fn wants(&self, line: &Line) -> bool {
        self.options.since.is_none_or(|since| line.time >= since)
            && self
                .options
                .stream
                .as_deref()
                .is_none_or(|stream| stream == line.stream)
    }

    async fn flush(&mut self) -> Option<()> {
        if !self.chunk.is_empty() {
            let chunk = Bytes::from(std::mem::take(&mut self.chunk));
            self.out.send(chunk).await.ok()?;
        }
        (self.left > 0).then_some(())
    }
}

/// The log file of one run of a container.
#[must_use]
pub fn path(directory: &Path, container: &str, restart_count: u32) -> PathBuf {
    directory
        .join(container)
        .join(format!("{restart_count}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Open for the first few questions; each is a chance to write more.
    struct Scripted {
        questions: AtomicUsize,
        script: Vec<Box<dyn Fn() + Send + Sync>>,
    }

    #[async_trait::async_trait]
    impl LogSource for Scripted {
        async fn is_open(&self) -> bool {
            let question = self.questions.fetch_add(1, Ordering::Relaxed);
            match self.script.get(question) {
                Some(step) => {
                    step();
                    true
                }
                None => false,
            }
        }
    }

    fn line(second: u32, stream: &str, text: &str) -> String {
        format!("2026-01-01T00:00:{second:02}.000000000Z {stream} F {text}\n")
    }

    async fn run(
        path: &Path,
        options: LogOptions,
        script: Vec<Box<dyn Fn() + Send + Sync>>,
    ) -> String {
        let (out, mut chunks) = mpsc::channel::<Bytes>(1);
        let source = Scripted {
            questions: AtomicUsize::new(0),
            script,
        };
        let collect = async {
            let mut all = Vec::new();
            while let Some(chunk) = chunks.recv().await {
                all.extend_from_slice(&chunk);
            }
            String::from_utf8(all).expect("text")
        };
        let reading = async {
            read(path, &options, &source, &out).await.expect("readable");
            drop(out);
        };
        tokio::join!(reading, collect).1
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    #[tokio::test]
    async fn options_choose_the_lines() {
        let text = [
            line(1, "stdout", "one"),
            line(2, "stderr", "two"),
            line(3, "stdout", "three"),
        ]
        .concat();
        let file = file(&text);
        let since = |second: i64| {
            Some(
                "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("valid")
                    + jiff::SignedDuration::from_secs(second),
            )
        };
        let all = LogOptions::default;
        for (options, expected) in [
            (all(), "one\ntwo\nthree\n"),
            (
                LogOptions {
                    tail_lines: Some(2),
                    ..all()
                },
                "two\nthree\n",
            ),
            (
                LogOptions {
                    tail_lines: Some(0),
                    ..all()
                },
                "",
            ),
            (
                LogOptions {
                    tail_lines: Some(99),
                    ..all()
                },
                "one\ntwo\nthree\n",
            ),
            (
                LogOptions {
                    since: since(2),
                    ..all()
                },
                "two\nthree\n",
            ),
            (
                LogOptions {
                    limit_bytes: Some(6),
                    ..all()
                },
                "one\ntw",
            ),
            (
                LogOptions {
                    stream: Some("stderr".into()),
                    ..all()
                },
                "two\n",
            ),
            (
                LogOptions {
                    timestamps: true,
                    tail_lines: Some(1),
                    ..all()
                },
                "2026-01-01T00:00:03.000000000Z three\n",
            ),
        ] {
            assert_eq!(
                run(file.path(), options.clone(), Vec::new()).await,
                expected,
                "{options:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_tail_of_a_long_log_is_the_oracles() {
        let lines: Vec<String> = (0..5_000)
            .map(|i| line(1, "stdout", &format!("line {i} {}", "x".repeat(i % 90))))
            .collect();
        let file = file(&lines.concat());
        for count in [1, 700, 4_999, 5_000] {
            let found = run(
                file.path(),
                LogOptions {
                    tail_lines: Some(count),
                    ..LogOptions::default()
                },
                Vec::new(),
            )
            .await;
            let skipped = lines.len() - usize::try_from(count).expect("small");
            let expected: String = (skipped..lines.len())
                .map(|i| format!("line {i} {}\n", "x".repeat(i % 90)))
                .collect();
            assert_eq!(found, expected, "{count}");
        }
    }

    #[tokio::test]
    async fn following_sees_what_is_added_and_a_file_that_takes_its_place() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("0.log");
        std::fs::write(&path, line(1, "stdout", "one")).expect("written");
        let append = |path: PathBuf, text: String| -> Box<dyn Fn() + Send + Sync> {
            Box::new(move || {
                let mut file = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .expect("opens");
                std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
            })
        };
        let (from, to) = (path.clone(), root.path().join("0.log.old"));
        let rotate: Box<dyn Fn() + Send + Sync> =
            Box::new(move || std::fs::rename(&from, &to).expect("renamed"));
        let half = line(2, "stdout", "two");
        let (first, second) = half.split_at(20);
        let script = vec![
            append(path.clone(), first.to_owned()),
            append(path.clone(), second.to_owned()),
            rotate,
            append(path.clone(), line(3, "stdout", "three")),
            append(path.clone(), line(4, "stdout", "four")),
        ];
        let options = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        assert_eq!(run(&path, options, script).await, "one\ntwo\nthree\nfour\n");
    }
}
