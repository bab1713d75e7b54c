//! Files that change together.
//!
//! The files lie in a directory named after the time of the change; `..data` is
//! a link to it that is replaced by a rename, and every visible name is a link
//! through `..data`. A reader therefore sees all of a change or nothing of it.

use super::content::{File, Files};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Puts `files`, and nothing else, into `directory`; whether anything changed.
/// `group` owns them if it is given.
///
/// # Errors
/// If the disk refuses.
pub fn write(directory: &Path, files: &Files, group: Option<u32>) -> io::Result<bool> {
    let current = fs::read_link(directory.join(DATA))
        .ok()
        .map(|link| directory.join(link));
    if let Some(current) = &current
        && is_current(current, files)?
    {
        return Ok(false);
    }
    let fresh = fresh_directory(directory)?;
    let made = fill(&fresh, files, group).and_then(|()| switch(directory, &fresh, files));
    if let Err(error) = made {
        let _ = fs::remove_dir_all(&fresh);
        return Err(error);
    }
    remove_stale(directory, &fresh, files)?;
    Ok(true)
}

/// Whether the files on disk are these.
fn is_current(current: &Path, files: &Files) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    list(current, Path::new(""), &mut found)?;
    if found.len() != files.len() {
        return Ok(false);
    }
    for (path, file) in files {
        let full = current.join(path);
        if !found.contains(path)
            || fs::metadata(&full)?.permissions().mode() & 0o7777 != file.mode
            || fs::read(&full)? != file.data
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(root: &Path, below: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(below)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, found)?;
        } else {
            found.insert(path.display().to_string());
        }
    }
    Ok(())
}

fn fresh_directory(directory: &Path) -> io::Result<PathBuf> {
    let now = jiff::Timestamp::now();
    let stem = format!("..{}", now.strftime("%Y_%m_%d_%H_%M_%S"));
    for attempt in now.subsec_nanosecond().. {
        let path = directory.join(format!("{stem}.{attempt:09}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                made?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                return Ok(path);
            }
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

fn fill(fresh: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    for (path, file) in files {
        let full = fresh.join(path);
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent)?;
        }
        put(&full, file, group)?;
    }
    Ok(())
}

fn put(path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    // Closed to others until its content and owner are right.
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    out.write_all(&file.data)?;
    if group.is_some() {
        std::os::unix::fs::fchown(&out, None, group)?;
    }
    out.set_permissions(fs::Permissions::from_mode(file.mode))
}

fn switch(directory: &Path, fresh: &Path, files: &Files) -> io::Result<()> {
    let name = fresh.file_name().expect("it was made with a name");
    let link = directory.join(DATA_NEW);
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(name, &link)?;
    fs::rename(&link, directory.join(DATA))?;
    for top in tops(files) {
        let target = Path::new(DATA).join(top);
        let visible = directory.join(top);
        if fs::read_link(&visible).ok().as_deref() != Some(&target) {
            let _ = fs::remove_file(&visible);
            symlink(&target, &visible)?;
        }
    }
    Ok(())
}

/// The first parts of the paths: what is visible in the volume itself.
fn tops(files: &Files) -> BTreeSet<&str> {
    files
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect()
}

fn remove_stale(directory: &Path, fresh: &Path, files: &Files) -> io::Result<()> {
    let tops = tops(files);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == DATA
            || fresh.file_name() == Some(&entry.file_name())
            || tops.contains(name.as_ref())
        {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str, u32)]) -> Files {
        let file = |(path, data, mode): &(&str, &str, u32)| {
            (
                (*path).to_owned(),
                File {
                    data: data.as_bytes().to_vec(),
                    mode: *mode,
                },
            )
        };
        list.iter().map(file).collect()
    }

    fn visible(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .expect("is there")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| !name.starts_with(".."))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_change_replaces_everything_at_once_and_nothing_is_left_over() {
        let root = tempfile::tempdir().expect("a directory");
        let read = |path: &str| fs::read_to_string(root.path().join(path)).ok();
        assert!(
            write(
                root.path(),
                &files(&[("a", "1", 0o644), ("d/b", "2", 0o400)]),
                None
            )
            .expect("written")
        );
        assert_eq!(
            (read("a").as_deref(), read("d/b").as_deref()),
            (Some("1"), Some("2"))
        );
        assert_eq!(
            fs::metadata(root.path().join("d/b"))
                .expect("is there")
                .permissions()
                .mode()
                & 0o777,
            0o400
        );
        assert!(
            !write(
                root.path(),
                &files(&[("a", "1", 0o644), ("d/b", "2", 0o400)]),
                None
            )
            .expect("written")
        );
        assert!(
            write(
                root.path(),
                &files(&[("a", "3", 0o644), ("c", "4", 0o644)]),
                None
            )
            .expect("written")
        );
        assert_eq!(
            (read("a").as_deref(), read("d/b"), read("c").as_deref()),
            (Some("3"), None, Some("4"))
        );
        assert_eq!(visible(root.path()), ["a", "c"]);
        let hidden = fs::read_dir(root.path()).expect("is there").count();
        assert_eq!(hidden, 4, "two links, ..data and one directory");
        assert!(
            write(
                root.path(),
                &files(&[("a", "3", 0o600), ("c", "4", 0o644)]),
                None
            )
            .expect("written"),
            "a mode counts"
        );
    }

    #[test]
    fn what_an_interrupted_change_left_behind_is_cleared() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("..2020_01_01_00_00_00.1")).expect("made");
        symlink("..2020_01_01_00_00_00.1", root.path().join(DATA_NEW)).expect("made");
        assert!(write(root.path(), &files(&[("a", "1", 0o644)]), None).expect("written"));
        assert_eq!(fs::read_dir(root.path()).expect("is there").count(), 3);
    }
}
