//! Where corrupt data goes: beside the store's folder, whole, in one rename.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const STORE: &str = "store";
const PREFIX: &str = "store.corrupt-";
const STAMP: &str = "%Y%m%dT%H%M%SZ";
/// The newest ones that stay; older ones are removed.
const KEPT: usize = 2;
/// A disk that corrupts as many within this time is not worth rebuilding on.
const TOO_OFTEN: SignedDuration = SignedDuration::from_hours(1);
/// In the store's folder: what a running member found corrupt.
const FOUND: &str = "CORRUPT";

/// What was set aside in a data directory.
#[derive(Clone, Debug)]
pub struct SetAside {
    data_dir: PathBuf,
}

/// What to do with the folders that are there, oldest first.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Remove(Vec<String>),
    TooOften,
}

fn stamp(name: &str) -> Option<Timestamp> {
    let text = name.strip_prefix(PREFIX)?;
    let parsed = jiff::civil::DateTime::strptime(STAMP, text).ok()?;
    Some(parsed.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

fn plan(mut there: Vec<String>, now: Timestamp) -> Plan {
    there.sort_unstable();
    let recent = there.iter().filter_map(|name| stamp(name));
    if recent
        .filter(|at| now.duration_since(*at).abs() < TOO_OFTEN)
        .count()
        >= KEPT
    {
        return Plan::TooOften;
    }
    // With the one that comes there are as many as are kept.
    let surplus = (there.len() + 1).saturating_sub(KEPT);
    there.truncate(surplus);
    Plan::Remove(there)
}

impl SetAside {
    /// That of a data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
        }
    }

    /// The store's folder.
    pub fn store(&self) -> PathBuf {
        self.data_dir.join(STORE)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.data_dir).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| stamp(name).is_some()).collect();
        names.sort_unstable();
        names
    }

    /// Moves the store's folder aside.
    pub fn set_aside(&self, now: Timestamp) -> Result<PathBuf> {
        let surplus = match plan(self.names(), now) {
            Plan::Remove(surplus) => surplus,
            Plan::TooOften => anyhow::bail!(
                "this member's data is corrupt for the third time within an hour, and it is not rebuilt again: replace its disk"
            ),
        };
        let place = self
            .data_dir
            .join(format!("{PREFIX}{}", now.strftime(STAMP)));
        let moved =
            fs::rename(self.store(), &place).and_then(|()| File::open(&self.data_dir)?.sync_all());
        moved.with_context(|| format!("cannot move {} aside", self.store().display()))?;
        for name in surplus {
            if let Err(error) = fs::remove_dir_all(self.data_dir.join(&name)) {
                tracing::warn!(name, %error, "could not remove what was set aside before");
            }
        }
        Ok(place)
    }

    /// Bytes of everything that was set aside.
    pub fn bytes(&self) -> u64 {
        let names = self.names().into_iter();
        names
            .map(|name| bytes_below(&self.data_dir.join(name)))
            .sum()
    }

    /// What operators are told.
    pub fn remarks(&self) -> Vec<String> {
        let names = self.names().into_iter();
        let told = names.filter_map(|name| {
            let bytes = bytes_below(&self.data_dir.join(&name));
            let at = stamp(&name)?;
            Some(format!(
                "rebuilt from its peers at {at}; its corrupt data takes {bytes} bytes in {name}"
            ))
        });
        told.collect()
    }

    /// What an earlier life of this process found corrupt.
    pub fn found_before(&self) -> Option<String> {
        let found = fs::read_to_string(self.store().join(FOUND)).ok()?;
        Some(found.trim().to_owned())
    }

    /// Notes it for the next start.
    pub fn note_found(&self, reason: &str) -> io::Result<()> {
        let mut file = File::create(self.store().join(FOUND))?;
        writeln!(file, "{reason}")?;
        file.sync_all()?;
        File::open(self.store())?.sync_all()
    }
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

impl Collector for SetAside {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let newest = self.names().pop();
        #[expect(clippy::cast_precision_loss, reason = "seconds and sizes are shown")]
        let (at, bytes) = (
            newest
                .and_then(|name| stamp(&name))
                .map_or(0.0, |at| at.as_second() as f64),
            self.bytes() as f64,
        );
        for (name, help, value) in [
            (
                "kontiki_store_rebuilt_timestamp_seconds",
                "When this member last set corrupt data aside to be rebuilt from its peers, in seconds since 1970; 0: never, or what was set aside is gone",
                at,
            ),
            (
                "kontiki_store_set_aside_bytes",
                "Bytes of corrupt data that was set aside",
                bytes,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_newest_two_stay_and_a_third_within_an_hour_is_refused() {
        let names = |names: &[&str]| names.iter().map(|name| format!("{PREFIX}{name}")).collect();
        let now = at("2026-05-03T12:00:00Z");
        let removed = |there: &[&str]| match plan(names(there), now) {
            Plan::Remove(surplus) => surplus,
            Plan::TooOften => vec!["refused".to_owned()],
        };
        assert!(removed(&[]).is_empty());
        assert!(removed(&["20260503T115900Z"]).is_empty());
        let old: Vec<String> = names(&["20260501T000000Z"]);
        assert_eq!(removed(&["20260503T115900Z", "20260501T000000Z"]), old);
        assert_eq!(
            removed(&["20260503T111500Z", "20260503T113000Z"]),
            ["refused"]
        );
    }

    #[test]
    fn the_stores_folder_goes_aside_whole_and_is_told_of() {
        let dir = tempfile::tempdir().expect("a folder");
        let aside = SetAside::of(dir.path());
        assert!(aside.remarks().is_empty() && aside.found_before().is_none());
        fs::create_dir_all(aside.store().join("log/wal")).expect("a folder");
        fs::write(aside.store().join("log/wal/1"), "0123456789").expect("a file");
        aside.note_found("a block is bad").expect("a file");
        assert_eq!(aside.found_before().as_deref(), Some("a block is bad"));
        let place = aside.set_aside(at("2026-05-03T12:00:00Z")).expect("moved");
        assert!(place.ends_with("store.corrupt-20260503T120000Z"));
        assert!(!aside.store().exists() && aside.found_before().is_none());
        assert_eq!(aside.bytes(), 25);
        let told = aside.remarks().join("");
        assert!(
            told.contains("2026-05-03T12:00:00Z") && told.contains("25 bytes"),
            "{told}"
        );
    }
}
