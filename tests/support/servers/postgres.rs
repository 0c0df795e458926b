//! Private Postgres servers.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::tls;
use crate::{
    eventually::poll_blocking,
    processes::{self, Signal, free_port},
};

/// The user that tests connect as, and its password. It may do everything.
const USER: &str = "quota";
const PASSWORD: &str = "a-secret-of-tests";

/// A Postgres of its own on a loopback port; killed when dropped.
///
/// All methods block, with a bound.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    folder: tempfile::TempDir,
    child: Mutex<Child>,
}

impl PostgresServer {
    /// Makes a server's data, starts it and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        tls::write_certificates(folder.path());
        // The server refuses a key that others may read.
        let key = tls::Files::in_folder(folder.path()).key;
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(key, owner_only).expect("the folder is ours");
        let password_file = folder.path().join("password");
        fs::write(&password_file, PASSWORD).expect("the folder can be written");
        give_to_postgres(folder.path());
        let made = as_postgres(&program("initdb"))
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .args(["--username", USER, "--auth", "scram-sha-256", "--no-sync"])
            .args(["--encoding", "UTF8", "--locale", "C", "--pwfile"])
            .arg(&password_file)
            .output()
            .expect("initdb starts");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let child = launch(folder.path(), port).into();
        let server = Self {
            port,
            folder,
            child,
        };
        server.wait();
        server
    }

    /// The address of a database, with user and password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// The same address but for the port, such as a proxy's.
    #[must_use]
    pub fn url_at(&self, port: u16, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// The loopback address and port, the same after every restart.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The certificate that signs the server's.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        tls::Files::in_folder(self.folder.path()).authority
    }

    /// Makes an empty database with a name of its own, and gives its name.
    #[must_use]
    pub fn create_database(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{number}");
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs SQL in a database, and gives what it answers, a line for each row.
    pub fn run(&self, database: &str, sql: &str) -> String {
        self.try_run(database, sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Sends a signal to the server's first process.
    pub fn signal(&self, signal: Signal) {
        processes::send(self.child().id(), signal);
    }

    /// Kills it as a crash would, and waits for its end.
    pub fn kill(&self) {
        processes::end(&mut self.child());
    }

    /// Kills it if it runs, and starts it again with its data.
    pub fn restart(&self) {
        self.kill();
        // Its other processes end when they see that the first has gone.
        *self.child() = launch(self.folder.path(), self.port);
        self.wait();
    }

    fn try_run(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(program("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["--set", "ON_ERROR_STOP=1", "--command", sql])
            .arg(self.url(database))
            .output()
            .expect("psql starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    fn wait(&self) {
        let answer = poll_blocking(|| {
            if let Ok(Some(status)) = self.child().try_wait() {
                return Ok(Err(format!("it ended with {status}")));
            }
            self.try_run("postgres", "SELECT 1").map(Ok)
        });
        if let Err(error) = answer.flatten() {
            let mut log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            self.kill();
            // A mistake in the configuration is told here, before there is a log.
            if let Some(mut stderr) = self.child().stderr.take() {
                stderr.read_to_string(&mut log).ok();
            }
            panic!("postgres does not answer: {error}\n{log}");
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One server for all tests of this process; each uses a database of its own.
///
/// It must not be killed, stopped or restarted.
#[must_use]
pub fn shared_postgres() -> &'static PostgresServer {
    static SHARED: OnceLock<PostgresServer> = OnceLock::new();
    SHARED.get_or_init(|| {
        let server = PostgresServer::start();
        remove_afterwards(server.folder.path());
        server
    })
}

/// Removes a folder when this process has ended, however it ends: a static is never dropped.
fn remove_afterwards(folder: &Path) {
    // Its input stays open as long as this process lives.
    static WAITING: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let script = "read -r end; sleep 1; rm -rf -- \"$1\"";
    let waiting = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    let mut all = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(waiting);
}

fn launch(folder: &Path, port: u16) -> Child {
    let files = tls::Files::in_folder(folder);
    let path = |path: &Path| path.to_str().expect("the path is text").to_owned();
    let mut command = as_postgres(&program("postgres"));
    command
        .args(["-D", &path(&folder.join("data")), "-p", &port.to_string()])
        .args(["-h", "127.0.0.1", "-k", &path(folder), "-c", "fsync=off"])
        .args(["-c", "ssl=on", "-c", "max_connections=200"])
        .args(["-c", &format!("ssl_cert_file={}", path(&files.certificate))])
        .args(["-c", &format!("ssl_key_file={}", path(&files.key))])
        .args(["-c", "logging_collector=on", "-c", "log_filename=log"])
        .args(["-c", &format!("log_directory={}", path(folder))]);
    processes::spawn(&command).unwrap_or_else(|error| panic!("postgres does not start: {error}"))
}

/// A command that runs as the user `postgres` where this process is root, which the server refuses.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "postgres", "--regid", "postgres"])
        .args(["--init-groups", "--pdeathsig", "KILL", "--"])
        .arg(program);
    command
}

fn give_to_postgres(folder: &Path) {
    if is_root() {
        let given = Command::new("chown")
            .args(["-R", "postgres:postgres"])
            .arg(folder)
            .status();
        assert!(given.is_ok_and(|status| status.success()), "chown fails");
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;

    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Finds a program of Postgres on the path, or where Debian puts it.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    let found = folders.iter().map(|folder| folder.join(name));
    let mut found = found.filter(|program| program.is_file());
    found
        .next()
        .unwrap_or_else(|| panic!("install {name}: apt-get install postgresql"))
}
