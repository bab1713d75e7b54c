//! Cron schedules: five fields, names, steps and ranges, macros, and time zones.
//!
//! Real time is what advances: an hour that the clocks skip has no ticks, an
//! hour that they repeat has them twice.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// Days looked ahead: a schedule like 29 February has a tick within this time.
const DAYS_MAX: usize = 366 * 9;

/// A parsed schedule.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    ticks: Ticks,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
enum Ticks {
    /// Sets of bits: minutes, hours, days, months, weekdays.
    Fields([u64; 5], DayRule),
    Every(SignedDuration),
}

/// With both days restricted either one suffices; a star restricts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DayRule {
    Both,
    Either,
}

const NAMES: [(&str, usize); 2] = [
    ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", 3),
    ("SUN MON TUE WED THU FRI SAT", 4),
];
const BOUNDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];

impl Schedule {
    /// Parses a schedule; without a zone it is in UTC.
    pub(super) fn parse(text: &str, zone: Option<&str>) -> Result<Self, String> {
        let mut text = text.trim();
        let mut zone = zone;
        for prefix in ["TZ=", "CRON_TZ="] {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (name, rest) = rest
                    .split_once(' ')
                    .ok_or("a time zone without a schedule")?;
                zone = zone.or(Some(name));
                text = rest.trim();
            }
        }
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))?,
        };
        Ok(Self {
            ticks: Ticks::parse(text)?,
            zone,
        })
    }

    /// The first tick after an instant.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.ticks {
            Ticks::Every(period) => after.checked_add(*period).ok(),
            Ticks::Fields(fields, rule) => self.next_field_tick(fields, *rule, after),
        }
    }

    fn next_field_tick(
        &self,
        fields: &[u64; 5],
        rule: DayRule,
        after: Timestamp,
    ) -> Option<Timestamp> {
        let seconds = after.as_second().div_euclid(60) * 60 + 60;
        let mut instant = Timestamp::from_second(seconds).ok()?;
        for _ in 0..DAYS_MAX {
            let zoned = instant.to_zoned(self.zone.clone());
            let next_day = zoned.tomorrow().ok()?.start_of_day().ok()?;
            if is_day(fields, rule, &zoned) {
                while instant < next_day.timestamp() {
                    let zoned = instant.to_zoned(self.zone.clone());
                    let hour = has(fields[1], zoned.hour());
                    if hour && has(fields[0], zoned.minute()) {
                        return Some(instant);
                    }
                    // Offsets are whole minutes, of which an hour need not have sixty left.
                    instant = instant.checked_add(1.minute()).ok()?;
                }
            }
            instant = next_day.timestamp();
        }
        None
    }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set >> value & 1 == 1)
}

fn is_day(fields: &[u64; 5], rule: DayRule, day: &Zoned) -> bool {
    let of_month = has(fields[2], day.day());
    let of_week = has(fields[4], day.weekday().to_sunday_zero_offset());
    let matches = match rule {
        DayRule::Both => of_month && of_week,
        DayRule::Either => of_month || of_week,
    };
    has(fields[3], day.month()) && matches
}

impl Ticks {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(period) = text.strip_prefix("@every ") {
            let period: SignedDuration = period
                .trim()
                .parse()
                .map_err(|_| format!("failed to parse duration {text}"))?;
            return Ok(Self::Every(SignedDuration::from_secs(
                period.as_secs().max(1),
            )));
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => {
                return Err(format!("unrecognized descriptor: {other}"));
            }
            other => other,
        };
        let parts: Vec<&str> = text.split_whitespace().collect();
        let Ok(parts) = <[&str; 5]>::try_from(parts) else {
            let count = text.split_whitespace().count();
            return Err(format!(
                "expected exactly 5 fields, found {count}: [{text}]"
            ));
        };
        let mut fields = [0; 5];
        for (place, part) in parts.iter().enumerate() {
            for term in part.split(',') {
                fields[place] |= parse_term(term, place)?;
            }
        }
        let free = |part: &str| part.starts_with('*') || part.starts_with('?');
        let rule = if free(parts[2]) || free(parts[4]) {
            DayRule::Both
        } else {
            DayRule::Either
        };
        Ok(Self::Fields(fields, rule))
    }
}

/// `*`, `n`, `n-m`, each with an optional `/step`.
fn parse_term(term: &str, place: usize) -> Result<u64, String> {
    let (low, high) = BOUNDS[place];
    let (range, step) = match term.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (term, None),
    };
    let (first, last) = match range {
        "*" | "?" => (low, high),
        range => match range.split_once('-') {
            Some((first, last)) => (value(first, place)?, value(last, place)?),
            None if step.is_some() => (value(range, place)?, high),
            None => (value(range, place)?, value(range, place)?),
        },
    };
    let step: u32 = match step {
        Some(step) => step
            .parse()
            .map_err(|_| format!("failed to parse int from {step}"))?,
        None => 1,
    };
    if step == 0 {
        return Err(format!("step of range should be a positive number: {term}"));
    }
    if first < low || last > high || first > last {
        return Err(format!("{term} is not within {low} to {high}"));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    Ok((first..=last)
        .step_by(step)
        .fold(0, |set, value| set | 1 << value))
}

fn value(text: &str, place: usize) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let names = NAMES
        .iter()
        .find(|(_, of)| *of == place)
        .map_or("", |(names, _)| names);
    let upper = text.to_ascii_uppercase();
    let found = names
        .split(' ')
        .position(|name| !name.is_empty() && name == upper);
    let offset = BOUNDS[place].0;
    let found = found.and_then(|found| u32::try_from(found).ok());
    found
        .map(|found| found + offset)
        .ok_or_else(|| format!("failed to parse int from {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(schedule: &str, zone: Option<&str>, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule, zone).expect("a schedule");
        let mut at: Timestamp = after.parse().expect("a time");
        let next = || {
            at = schedule.next(at)?;
            Some(at.strftime("%m-%d %H:%M").to_string())
        };
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn schedules_tick_as_written() {
        let table: &[(&str, &[&str])] = &[
            (
                "*/20 * * * *",
                &["01-02 03:20", "01-02 03:40", "01-02 04:00"],
            ),
            ("0 0 1 * *", &["02-01 00:00", "03-01 00:00"]),
            ("5 4 * * sun", &["01-04 04:05", "01-11 04:05"]),
            (
                "0 12 13 * FRI",
                &["01-02 12:00", "01-09 12:00", "01-13 12:00"],
            ),
            ("0 0 29 2 *", &["02-29 00:00"]),
            (
                "10-12,50 9 * JAN-MAR 1-5",
                &[
                    "01-02 09:10",
                    "01-02 09:11",
                    "01-02 09:12",
                    "01-02 09:50",
                    "01-05 09:10",
                ],
            ),
            ("@hourly", &["01-02 04:00", "01-02 05:00"]),
            ("@every 90m", &["01-02 04:34", "01-02 06:04"]),
        ];
        for (schedule, expected) in table {
            let got = ticks(schedule, None, "2026-01-02T03:04:00Z", expected.len());
            assert_eq!(&got, expected, "{schedule}");
        }
    }

    #[test]
    fn clocks_that_jump_skip_and_repeat_ticks() {
        // 29 March 2026: 02:00 → 03:00; 25 October 2026: 03:00 → 02:00 in Berlin.
        let berlin = Some("Europe/Berlin");
        let spring = ticks("30 2 * * *", berlin, "2026-03-28T00:00:00Z", 2);
        assert_eq!(spring, ["03-28 01:30", "03-30 00:30"]);
        let autumn = ticks("30 2 * * *", berlin, "2026-10-24T12:00:00Z", 3);
        assert_eq!(autumn, ["10-25 00:30", "10-25 01:30", "10-26 01:30"]);
    }

    #[test]
    fn a_wrong_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "x * * * *",
            "@often",
        ] {
            assert!(Schedule::parse(text, None).is_err(), "{text:?}");
        }
        assert!(Schedule::parse("* * * * *", Some("Nowhere/City")).is_err());
    }
}
