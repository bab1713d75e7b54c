//! Tables: what `kubectl get` shows, column by column.

use crate::Tree;
use crate::kind::Text;
use jiff::Timestamp;
use kontiki_object::{Value, time};
use std::sync::Arc;

/// Makes a cell from an object.
pub type Cell = Arc<dyn Fn(&Tree, &CellContext) -> Value + Send + Sync>;

/// What a cell may know beside the object.
#[derive(Clone, Copy, Debug)]
pub struct CellContext {
    /// The time of the request, for ages.
    pub now: Timestamp,
}

/// A column of a kind's table.
#[derive(Clone)]
pub struct Column {
    /// The heading.
    pub name: Text,
    /// The OpenAPI type of the cells.
    pub r#type: Text,
    /// The OpenAPI format, `name` for the object's name.
    pub format: Text,
    /// For people.
    pub description: Text,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    /// Makes the cell.
    pub cell: Cell,
}

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const CREATION_TIMESTAMP: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

impl Column {
    /// A column that is always shown.
    #[must_use]
    pub fn new(
        name: &'static str,
        r#type: &'static str,
        description: &'static str,
        cell: fn(&Tree, &CellContext) -> Value,
    ) -> Self {
        Self {
            name: Text::Borrowed(name),
            r#type: Text::Borrowed(r#type),
            format: Text::Borrowed(""),
            description: Text::Borrowed(description),
            priority: 0,
            cell: Arc::new(cell),
        }
    }

    /// The object's name.
    #[must_use]
    pub fn name() -> Self {
        Self {
            format: Text::Borrowed("name"),
            ..Self::new("Name", "string", NAME, |object, _| {
                metadata(object, "name").unwrap_or_default().into()
            })
        }
    }

    /// The object's age, as a short duration.
    #[must_use]
    pub fn age() -> Self {
        Self::new("Age", "string", CREATION_TIMESTAMP, |object, context| {
            age(metadata(object, "creationTimestamp"), context).into()
        })
    }

    /// The time of creation, for kinds without columns of their own.
    #[must_use]
    pub fn created_at() -> Self {
        Self::new("Created At", "date", CREATION_TIMESTAMP, |object, _| {
            metadata(object, "creationTimestamp")
                .unwrap_or_default()
                .into()
        })
    }

    /// The same column, whose cells name objects.
    #[must_use]
    pub fn naming(mut self) -> Self {
        self.format = Text::Borrowed("name");
        self
    }

    /// The same column, shown with `-o wide` only.
    #[must_use]
    pub fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

/// The columns of kinds that have none of their own.
#[must_use]
pub fn default_columns() -> Vec<Column> {
    vec![Column::name(), Column::created_at()]
}

fn metadata<'a>(object: &'a Tree, field: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.as_str()
}

/// The time since `since` in short form, `<unknown>` if there is none.
#[must_use]
pub fn age(since: Option<&str>, context: &CellContext) -> String {
    match since.and_then(time::parse) {
        Some(since) => human_duration(context.now.as_second() - since.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// A number of seconds as people read it: two units at most, coarser the
/// longer it is, as upstream's `duration.HumanDuration`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    // Clocks differ a little between servers: what has just begun is no error.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    if seconds < 60 * 2 {
        return format!("{seconds}s");
    }
    let minutes = seconds / 60;
    if minutes < 10 {
        return two(minutes, "m", seconds % 60, "s");
    }
    if minutes < 60 * 3 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    if hours < 8 {
        return two(hours, "h", minutes % 60, "m");
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if hours < 24 * 8 {
        return two(days, "d", hours % 24, "h");
    }
    if hours < 24 * 365 * 2 {
        return format!("{days}d");
    }
    let years = days / 365;
    if hours < 24 * 365 * 8 {
        return two(years, "y", days % 365, "d");
    }
    format!("{years}y")
}

fn two(major: i64, major_unit: &str, minor: i64, minor_unit: &str) -> String {
    if minor == 0 {
        format!("{major}{major_unit}")
    } else {
        format!("{major}{major_unit}{minor}{minor_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_get_coarser_the_longer_they_are() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 60, "3h1m"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (2 * DAY - 1, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + HOUR, "2d1h"),
            (8 * DAY, "8d"),
            (2 * 365 * DAY - 1, "729d"),
            (2 * 365 * DAY, "2y"),
            (2 * 365 * DAY + DAY, "2y1d"),
            (8 * 365 * DAY, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds} seconds");
        }
    }
}
