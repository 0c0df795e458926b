//! The program as a child process that never outlives its test.

use std::{
    io::{BufRead as _, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A secret that is long enough.
pub(crate) const SECRET: &str = "a secret of these tests, 32 bytes or more";

/// The program with these arguments and none of the environment's secrets.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-app"));
    command
        .args(arguments)
        .env_remove("QUOTA_JWT_SECRET")
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program to its end: exit code, standard output, standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    (
        status.code().expect("it ends by itself"),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// The program while it serves.
pub(crate) struct App {
    child: Child,
    /// What it prints, both outputs line by line.
    lines: Receiver<String>,
    seen: Vec<String>,
    pub(crate) base: String,
    _ledger: Option<TempDir>,
}

impl App {
    /// Starts it on a port of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::run(command(&[&["--listen", "127.0.0.1:0"], arguments].concat()))
    }

    /// Starts the demo, with a ledger that nobody else has.
    pub(crate) fn demo() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = format!("sqlite:{}", folder.path().join("quota.db").display());
        let mut command = command(&["--listen", "127.0.0.1:0"]);
        command.env("QUOTA__LEDGER__URL", ledger);
        Self::run_with(command, Some(folder))
    }

    pub(crate) fn run(command: Command) -> Self {
        Self::run_with(command, None)
    }

    fn run_with(mut command: Command, ledger: Option<TempDir>) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let (sender, lines) = mpsc::channel();
        collect(child.stdout.take().unwrap(), sender.clone());
        collect(child.stderr.take().unwrap(), sender);
        let mut app = Self {
            child,
            lines,
            seen: Vec::new(),
            base: String::new(),
            _ledger: ledger,
        };
        let line = app.line_with("listening on ");
        line["listening on ".len()..].clone_into(&mut app.base);
        app
    }

    /// Waits for a line that contains this text.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("{text:?} was not printed ({error}):\n{}", self.output()),
            }
        }
    }

    pub(crate) fn output(&self) -> String {
        self.seen.join("\n")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert_eq!(shell(&kill).0, 0, "{kill}");
    }

    /// Waits for its end and gives the exit code.
    pub(crate) fn wait(mut self) -> (i32, String) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end:\n{}", self.output()),
            }
        }
        let status = self.child.wait().expect("it is a child");
        (status.code().expect("it ends by itself"), self.output())
    }

    /// The answer to a GET with this token; curl options may follow the path.
    pub(crate) fn get(&self, path: &str, token: &str) -> String {
        let Self { base, .. } = self;
        curl(&format!("{base}{path} -H 'Authorization: Bearer {token}'"))
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // An error means that it has ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn collect(output: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Fails only where the test has ended.
            lines.send(line).ok();
        }
    });
}

/// Exit code and output of a line in a shell.
pub(crate) fn shell(line: &str) -> (i32, String) {
    let output = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .output()
        .expect("sh starts");
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap_or(-1), text)
}

/// The answer to a request, head and body.
pub(crate) fn curl(arguments: &str) -> String {
    let (code, answer) = shell(&format!("curl -si --max-time 30 {arguments}"));
    assert_eq!(code, 0, "curl {arguments}");
    answer
}

/// A header's value in an answer that `curl -i` printed.
#[track_caller]
pub(crate) fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        (key == name).then_some(value)
    });
    line.unwrap_or_else(|| panic!("no {name} in:\n{answer}"))
}

/// The status of an answer that `curl -i` printed.
#[track_caller]
pub(crate) fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    status.unwrap_or_else(|| panic!("no status in:\n{answer}"))
}

/// A configuration in a folder of its own, with its secret beside it.
pub(crate) struct Config(TempDir);

impl Config {
    pub(crate) fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let config = Self(folder);
        config.write(text);
        config
    }

    /// Replaces what it says.
    pub(crate) fn write(&self, text: &str) {
        let text = format!("identity.jwt.secret = \"file:secret\"\n{text}");
        std::fs::write(self.path(), text).unwrap();
    }

    pub(crate) fn path(&self) -> String {
        self.0.path().join("quota.toml").display().to_string()
    }

    pub(crate) fn token(&self, user: &str) -> String {
        let path = self.path();
        let (code, token, errors) =
            run(&mut command(&["token", "--user", user, "--config", &path]));
        assert_eq!(code, 0, "{errors}");
        token.trim_end().to_owned()
    }
}

/// A Redis server of its own, gone with the value.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(port.to_string())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let (sender, lines) = mpsc::channel();
        collect(child.stdout.take().unwrap(), sender);
        let redis = Self {
            child,
            port,
            _folder: folder,
        };
        while !lines
            .recv_timeout(PATIENCE)
            .expect("redis-server gets ready")
            .contains("Ready to accept connections")
        {}
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn cli(&self, command: &str) -> String {
        let (code, output) = shell(&format!("redis-cli -p {} {command}", self.port));
        assert_eq!(code, 0, "{command}");
        output
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A loopback port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The demo's secret, where it lies in the checkout.
pub(crate) fn demo_secret() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".secret")
}
