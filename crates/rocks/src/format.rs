//! Which program may open a directory.
//!
//! A file names the version of the directory's layout. It is written before
//! the database is made, so a directory with data always has it.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

const FILE: &str = "FORMAT";
const NAME: &str = "kontiki-state";
/// Raised when an older program must not open the directory.
const VERSION: u32 = 1;

/// Why a directory is not opened.
#[derive(Debug, Error)]
pub enum FormatError {
    /// A newer program wrote it.
    #[error(
        "{path} was written in format {found}, this program knows up to {VERSION}: \
         run the version that wrote it, or a newer one",
        path = .path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not one of ours.
    #[error(
        "{path} holds files but no readable {FILE} file: it was not made by this program, or is damaged",
        path = .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be used.
    #[error("{operation} {path}", path = .path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Makes the directory if needed, for its owner alone, and checks its format.
pub(crate) fn prepare(dir: &Path) -> Result<(), FormatError> {
    make_private(dir)?;
    let path = dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => check(dir, &text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !is_empty(dir)? {
                return Err(FormatError::Foreign {
                    path: dir.to_owned(),
                });
            }
            write(dir, &path)
        }
        Err(source) => Err(FormatError::Io {
            operation: "reading",
            path,
            source,
        }),
    }
}

/// Gives a copy of the database its format file.
pub(crate) fn prepare_copy(dir: &Path) -> Result<(), FormatError> {
    make_private(dir)?;
    write(dir, &dir.join(FILE))
}

fn make_private(dir: &Path) -> Result<(), FormatError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let failed = |operation| {
        move |source| FormatError::Io {
            operation,
            path: dir.to_owned(),
            source,
        }
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed("creating"))?;
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir, private).map_err(failed("setting the permissions of"))
}

fn is_empty(dir: &Path) -> Result<bool, FormatError> {
    let mut entries = std::fs::read_dir(dir).map_err(|source| FormatError::Io {
        operation: "listing",
        path: dir.to_owned(),
        source,
    })?;
    // What an interrupted first start left behind.
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == *temporary())))
}

fn temporary() -> String {
    format!("{FILE}.tmp")
}

fn check(dir: &Path, text: &str) -> Result<(), FormatError> {
    let version = text
        .trim_end()
        .strip_prefix(NAME)
        .and_then(|rest| rest.trim_start().parse::<u32>().ok());
    match version {
        Some(found) if found > VERSION => Err(FormatError::Newer {
            path: dir.to_owned(),
            found,
        }),
        Some(_) => Ok(()),
        None => Err(FormatError::Foreign {
            path: dir.to_owned(),
        }),
    }
}

/// Written aside, synced and renamed: it is there whole or not at all.
fn write(dir: &Path, path: &Path) -> Result<(), FormatError> {
    let aside = dir.join(temporary());
    let result = std::fs::File::create(&aside).and_then(|mut file| {
        writeln!(file, "{NAME} {VERSION}")?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        std::fs::File::open(dir)?.sync_all()
    });
    result.map_err(|source| FormatError::Io {
        operation: "writing",
        path: path.to_owned(),
        source,
    })
}
