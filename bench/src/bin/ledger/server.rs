//! A Postgres of its own, as Debian sets one up.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A server that ends with this value.
pub struct PostgresServer {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl PostgresServer {
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let is_root = std::os::unix::fs::MetadataExt::uid(&folder.path().metadata()?) == 0;
        if is_root {
            let given = Command::new("chown")
                .arg("postgres")
                .arg(folder.path())
                .status()?;
            anyhow::ensure!(given.success(), "chown fails");
        }
        let made = command("initdb", is_root)?
            .arg("--pgdata")
            .arg(&data)
            .args([
                "--username",
                "quota",
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
            ])
            .stdout(Stdio::null())
            .status()?;
        anyhow::ensure!(made.success(), "initdb fails");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = command("postgres", is_root)?
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self {
            child,
            port,
            _folder: folder,
        };
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("postgres does not answer")
    }

    pub fn url(&self) -> String {
        format!("postgres://quota@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A program of Postgres, as its user where this one is root, which it refuses.
fn command(name: &str, is_root: bool) -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    let program = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|file| Path::is_file(file));
    let program = program.with_context(|| format!("{name} is missing: install postgresql"))?;
    if !is_root {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--init-groups",
        ])
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program);
    Ok(command)
}
