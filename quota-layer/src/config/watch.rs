//! Noticing that the file changed.

use std::{
    ffi::OsStr,
    fmt, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};

/// How long it has to be quiet before a change counts as finished.
const QUIET: Duration = Duration::from_millis(200);

/// After so many events the change counts although it never got quiet.
const MOST_EVENTS: usize = 100;

/// Calls back when the file may have changed, until it is dropped.
pub(crate) struct ConfigWatcher {
    // Watches as long as it lives.
    _watcher: notify::RecommendedWatcher,
    signals: Sender<Signal>,
}

enum Signal {
    Changed,
    Stop,
}

impl ConfigWatcher {
    /// Watches the folder of the file: editors replace files, and Kubernetes swaps a link to the
    /// folder that they are in.
    ///
    /// `on_change` runs on a thread of its own, once for events that follow each other quickly.
    pub(crate) fn start(
        path: impl Into<PathBuf>,
        on_change: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let path: PathBuf = path.into();
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let (signals, received) = mpsc::channel();
        let of_watcher = signals.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| may_change(&event, &path)) {
                // Fails only after the drop, when nobody wants to know.
                of_watcher.send(Signal::Changed).ok();
            }
        })
        .map_err(io::Error::other)?;
        watcher
            .watch(&folder, RecursiveMode::NonRecursive)
            .map_err(io::Error::other)?;
        thread::Builder::new()
            .name("quota-config".to_owned())
            .spawn(move || call_back(&received, &on_change))?;
        Ok(Self {
            _watcher: watcher,
            signals,
        })
    }
}

impl Drop for ConfigWatcher {
    fn drop(&mut self) {
        // Fails only where the thread has ended already.
        self.signals.send(Signal::Stop).ok();
    }
}

impl fmt::Debug for ConfigWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigWatcher").finish_non_exhaustive()
    }
}

/// Whether the event is about the file, or about a link that leads to it.
fn may_change(event: &Event, path: &Path) -> bool {
    let writes = match event.kind {
        // Reading the file is an event as well, and must not lead to reading it again.
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    let is_link = |name: &OsStr| name.as_encoded_bytes().starts_with(b"..");
    writes
        && event
            .paths
            .iter()
            .filter_map(|changed| changed.file_name())
            .any(|name| path.file_name() == Some(name) || is_link(name))
}

fn call_back(received: &Receiver<Signal>, on_change: &impl Fn()) {
    while let Ok(Signal::Changed) = received.recv() {
        for _ in 0..MOST_EVENTS {
            match received.recv_timeout(QUIET) {
                Ok(Signal::Changed) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        on_change();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn watch(path: &Path) -> (ConfigWatcher, Receiver<()>) {
        let (changes, seen) = mpsc::channel();
        let watcher = ConfigWatcher::start(path, move || changes.send(()).unwrap()).unwrap();
        (watcher, seen)
    }

    #[test]
    fn a_write_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quota.toml");
        fs::write(&path, "one").unwrap();
        let (_watcher, seen) = watch(&path);
        fs::write(&path, "two").unwrap();
        seen.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn a_file_that_replaces_it_is_noticed_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quota.toml");
        fs::write(&path, "one").unwrap();
        let (_watcher, seen) = watch(&path);
        for _ in 0..2 {
            let other = folder.path().join("quota.toml.new");
            fs::write(&other, "two").unwrap();
            fs::rename(&other, &path).unwrap();
            seen.recv_timeout(LONG).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_kubernetes_swaps_is_noticed() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        for version in ["..1", "..2"] {
            fs::create_dir(folder.path().join(version)).unwrap();
            fs::write(folder.path().join(version).join("quota.toml"), version).unwrap();
        }
        symlink("..1", folder.path().join("..data")).unwrap();
        let path = folder.path().join("quota.toml");
        symlink("..data/quota.toml", &path).unwrap();
        let (_watcher, seen) = watch(&path);
        symlink("..2", folder.path().join("..data_tmp")).unwrap();
        fs::rename(
            folder.path().join("..data_tmp"),
            folder.path().join("..data"),
        )
        .unwrap();
        seen.recv_timeout(LONG).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "..2");
    }

    #[test]
    fn only_writes_to_the_file_count() {
        let path = Path::new("/etc/quota/quota.toml");
        let event = |kind, name: &str| Event::new(kind).add_path(path.with_file_name(name));
        let write = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        assert!(may_change(&event(write, "quota.toml"), path));
        assert!(may_change(&event(write, "..data"), path));
        assert!(!may_change(&event(read, "quota.toml"), path));
        assert!(!may_change(&event(write, "quota.db"), path));
    }

    #[test]
    fn nothing_is_called_after_the_drop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quota.toml");
        let (watcher, seen) = watch(&path);
        drop(watcher);
        // The callback is dropped with its thread.
        assert_eq!(seen.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }
}
