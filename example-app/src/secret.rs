//! The demo's secret.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::{ExposeSecret, SecretString};
use tempfile::PersistError;

use crate::failure::Failure;

/// 64 letters and digits: more than 380 bits.
const LENGTH: usize = 64;

/// Makes a secret that only its owner can read, unless there is one.
///
/// Safe when two processes start at once: the file appears whole, and the first one stays.
pub(crate) fn ensure(path: &Path) -> Result<(), Failure> {
    let made = match fs::metadata(path) {
        Ok(found) => return check(path, &found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    };
    made.map_err(|error| {
        Failure::start(format!(
            "the demo's secret can't be kept in {}: {error}; make the folder writable, or use a \
             configuration of your own with --config",
            path.display()
        ))
    })
}

fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Temporary files are made with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(".secret-")
        .tempfile_in(folder)?;
    let secret = SecretString::from(Alphanumeric.sample_string(&mut rand::rng(), LENGTH));
    writeln!(file, "{}", secret.expose_secret())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(PersistError { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(PersistError { error, .. }) => Err(error),
    }
}

#[cfg(unix)]
fn check(path: &Path, found: &fs::Metadata) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;

    const OTHERS: u32 = 0o077;
    if found.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    Err(Failure::start(format!(
        "others may read the demo's secret in {}, so it is none; delete the file, and the next \
         start makes a new one",
        path.display()
    )))
}

#[cfg(not(unix))]
fn check(_: &Path, _: &fs::Metadata) -> Result<(), Failure> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, thread};

    use super::*;

    #[test]
    fn only_the_owner_can_read_a_new_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".secret");
        ensure(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_to_string(&path).unwrap().trim_end().len(), LENGTH);
    }

    #[test]
    fn starts_at_once_agree_on_one_secret_and_leave_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".secret");
        let start = || {
            ensure(&path).unwrap();
            fs::read_to_string(&path).unwrap()
        };
        let seen: Vec<String> = thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        assert!(seen.iter().all(|secret| *secret == seen[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".secret");
        fs::write(&path, "x".repeat(LENGTH)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let failure = ensure(&path).unwrap_err().to_string();
        assert!(failure.contains("delete the file"), "{failure}");
    }
}
