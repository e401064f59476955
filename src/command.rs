//! What a child process is to be given: built by pure code (`runtime`), carried out by `sys::spawn`.

use std::ffi::OsString;
use std::path::PathBuf;

/// A program, its arguments, its whole environment and its standard input. No shell is ever involved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Arguments after the program's own name.
    pub args: Vec<OsString>,
    /// The environment beside the fixed `PATH`; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// What the child reads on standard input (empty: /dev/null). Secrets go here, never into `args`.
    pub stdin: Vec<u8>,
    /// How long the child may take, in milliseconds; the one who spawns it kills its session after that.
    pub deadline_ms: Option<u64>,
    /// The child is killed when we die, however that comes.
    pub tied: bool,
}

/// Our own program: the very inode that runs, even when its file has been replaced since. Shown as `podstrap`.
pub const SELF: &str = "/proc/self/exe";

impl CommandLine {
    /// A command with no arguments, no environment, no input and no deadline.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            deadline_ms: None,
            tied: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds one variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the deadline in milliseconds.
    #[must_use]
    pub fn deadline(mut self, milliseconds: u64) -> Self {
        self.deadline_ms = Some(milliseconds);
        self
    }

    /// The child is to die with us.
    #[must_use]
    pub fn tied(mut self) -> Self {
        self.tied = true;
        self
    }

    /// Sets what the child reads on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }
}
