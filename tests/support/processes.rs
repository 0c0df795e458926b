//! Child processes that never outlive the test.

use std::{
    io::{self, BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
};

use crate::eventually::{poll, poll_blocking};

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL: it ends at once.
    Kill,
    /// SIGTERM: it is asked to end.
    Terminate,
    /// SIGHUP: by custom, it reads its configuration again.
    HangUp,
    /// SIGSTOP: it stands still, its sockets stay open.
    Stop,
    /// SIGCONT: it goes on.
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
            Self::HangUp => "HUP",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// A child process whose output is collected line by line; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `binary` with `arguments`.
    #[must_use]
    pub fn start(binary: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary.as_ref());
        command.args(arguments);
        Self::run(&command)
    }

    /// Starts `command`: program, arguments, environment and folder are taken over, and what it
    /// prints to both outputs is collected.
    #[must_use]
    pub fn run(command: &Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = spawn(command)
            .unwrap_or_else(|error| panic!("{name}: {error}; build it before this test"));
        let lines = Arc::default();
        collect(child.stdout.take(), &lines);
        collect(child.stderr.take(), &lines);
        Self {
            name,
            child: Mutex::new(child),
            lines,
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// What was printed so far, both outputs in the order they came.
    #[must_use]
    pub fn output(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for a line that contains `text` and gives it back, at most 10 s.
    pub async fn line_with(&self, text: &str) -> String {
        poll(|| async {
            // Whether it has ended is asked first, or its last line could be missed.
            let has_ended = self.has_ended();
            let found = self.find_line(text);
            if found.is_none() && !has_ended {
                return Err(());
            }
            Ok(found)
        })
        .await
        .ok()
        .flatten()
        .unwrap_or_else(|| {
            panic!(
                "{} did not print {text:?} (ended: {}); it printed:\n{}",
                self.name,
                self.has_ended(),
                self.output()
            )
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Kills it and waits for its end.
    pub fn kill(&self) {
        end(&mut self.child());
    }

    /// Waits for its end, at most 10 s.
    pub async fn wait(&self) -> ExitStatus {
        crate::eventually(
            || async { self.has_ended() },
            &format!("{} ends", self.name),
        )
        .await;
        self.child().wait().expect("an ended child has a status")
    }

    /// Whether it has ended and all it printed was read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // Each reader holds a clone of `lines` until its end of the pipe is closed.
        let is_read = Arc::strong_count(&self.lines) == 1;
        is_read && matches!(self.child().try_wait(), Ok(Some(_)))
    }

    fn find_line(&self, text: &str) -> Option<String> {
        let lines = self.lines();
        lines.iter().find(|line| line.contains(text)).cloned()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(output: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<Vec<String>>>) {
    let output = output.expect("both outputs are pipes");
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// Kills `child` and waits for its end.
pub(crate) fn end(child: &mut Child) {
    // An error means that it has ended before.
    child.kill().ok();
    child.wait().ok();
}

/// Sends `signal` to the process `id`, which must be a child that was not waited for.
pub(crate) fn send(id: u32, signal: Signal) {
    // The shell has `kill` built in; the program of that name is not on every machine.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{} {id}", signal.name()))
        .status()
        .expect("sh starts");
    assert!(
        status.success(),
        "process {id} is gone: {signal:?} not sent"
    );
    if matches!(signal, Signal::Stop | Signal::Continue) {
        wait_until_stopped(id, signal == Signal::Stop);
    }
}

fn wait_until_stopped(id: u32, wanted: bool) {
    poll_blocking(|| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The state follows the program's name, which stands in brackets.
        let state = stat.rsplit_once(") ").map_or("", |(_, state)| state);
        if state.starts_with('T') == wanted {
            Ok(())
        } else {
            Err(stat)
        }
    })
    .unwrap_or_else(|stat| panic!("process {id} stopped={wanted} not reached: {stat}"));
}

type Started = io::Result<Child>;
type Order = (Command, mpsc::Sender<Started>);

/// Starts a child with piped outputs that the kernel kills when this process ends, however it
/// ends.
///
/// The kernel ties the child to the *thread* that started it, so one thread that never ends
/// starts them all.
pub(crate) fn spawn(command: &Command) -> Started {
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                reply.send(command.spawn()).ok();
            }
        });
        orders
    });
    let (reply, started) = mpsc::channel();
    orders
        .send((tied_to_this_process(command)?, reply))
        .expect("the starting thread never ends");
    started.recv().expect("every order is answered")
}

fn tied_to_this_process(command: &Command) -> io::Result<Command> {
    let program = command.get_program();
    let is_path = Path::new(program).components().count() > 1;
    if is_path && !Path::new(program).exists() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no such program"));
    }
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]).arg(program);
    tied.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    tied.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(tied)
}

/// A loopback port that nothing listens on, from below the range of outgoing connections.
///
/// A port from that range could be taken by a client, or a client that knocks at its dead server
/// could connect to itself.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    // Processes that run side by side start at different places.
    let start = std::process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free loopback port between 20000 and 31999");
}
