//! Starting a program without a copy of this process: until the program begins, the child shares our memory and we stand still.
//! A fork would copy the daemon's page tables, and each page that the daemon writes to after it: a quarter of a millisecond for
//! some megabytes, for each container and each probe.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::Pid;

use super::{PATH, Stream, Streams, environment, name};
use crate::command::CommandLine;

/// Starts a program, in a session of its own, in the root directory, with no signal blocked and none ignored.
///
/// # Errors
///
/// The program was not executed at all.
pub fn start(line: &CommandLine, streams: &Streams) -> io::Result<Pid> {
    let program = found(&line.program);
    let mut arguments = vec![text(name(line))?];
    for argument in &line.args {
        arguments.push(text(argument)?);
    }
    let mut variables = Vec::new();
    for (key, value) in environment(line) {
        let mut pair = key.to_owned();
        pair.push("=");
        pair.push(value);
        variables.push(text(&pair)?);
    }
    let mut actions = Actions::new()?;
    actions.enter(c"/")?;
    for (number, stream) in (0..).zip(streams) {
        actions.stream(number, stream)?;
    }
    Attributes::new()?.spawn(&text(program.as_os_str())?, &actions, &arguments, &variables)
}

/// The program, looked for in the search path that it gets where it is a mere name.
fn found(program: &Path) -> PathBuf {
    let is_name = !program.as_os_str().as_bytes().contains(&b'/');
    let place = PATH.split(':').map(|dir| Path::new(dir).join(program)).find(|p| is_name && p.exists());
    place.unwrap_or_else(|| program.to_owned())
}

fn text(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

/// The functions of this family give their error as their result.
fn checked(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// What is done in the child before its program begins.
struct Actions(libc::posix_spawn_file_actions_t);

#[allow(unsafe_code)]
impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: it initializes what it is given.
        checked(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it was initialized.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn enter(&mut self, dir: &CStr) -> io::Result<()> {
        // SAFETY: the object is initialized, and the path is copied.
        checked(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, dir.as_ptr()) })
    }

    fn stream(&mut self, number: libc::c_int, stream: &Stream) -> io::Result<()> {
        match stream {
            Stream::Ours => Ok(()),
            Stream::Null => {
                let flags = if number == 0 { libc::O_RDONLY } else { libc::O_WRONLY };
                // SAFETY: the object is initialized, and the path is copied.
                checked(unsafe {
                    libc::posix_spawn_file_actions_addopen(
                        &raw mut self.0,
                        number,
                        c"/dev/null".as_ptr(),
                        flags,
                        0,
                    )
                })
            }
            Stream::To(fd) => {
                // SAFETY: the object is initialized, and the descriptor is open until the child was started.
                checked(unsafe {
                    libc::posix_spawn_file_actions_adddup2(&raw mut self.0, fd.as_raw_fd(), number)
                })
            }
        }
    }
}

#[allow(unsafe_code)]
impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: it was initialized, and is not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// What else is different for the child.
struct Attributes(libc::posix_spawnattr_t);

#[allow(unsafe_code)]
impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: it initializes what it is given.
        checked(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it was initialized.
        let mut this = Self(unsafe { attributes.assume_init() });
        // SAFETY: a set of signals is an array of integers; all bits clear is the empty set, all bits set is every signal, the C
        // library's own two among them, which its own functions leave out and which may be ignored all the same.
        let (none, all) = unsafe {
            let mut all = MaybeUninit::<libc::sigset_t>::uninit();
            all.as_mut_ptr().cast::<u8>().write_bytes(0xff, size_of::<libc::sigset_t>());
            (std::mem::zeroed::<libc::sigset_t>(), all.assume_init())
        };
        let flags = libc::c_int::from(libc::POSIX_SPAWN_SETSID)
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETSIGDEF;
        // SAFETY: the object is initialized, and the sets are copied.
        unsafe {
            checked(libc::posix_spawnattr_setsigmask(&raw mut this.0, &raw const none))?;
            checked(libc::posix_spawnattr_setsigdefault(&raw mut this.0, &raw const all))?;
            checked(libc::posix_spawnattr_setflags(&raw mut this.0, flags as libc::c_short))?;
        }
        Ok(this)
    }

    fn spawn(
        &self,
        program: &CStr,
        actions: &Actions,
        arguments: &[CString],
        variables: &[CString],
    ) -> io::Result<Pid> {
        let list = |texts: &[CString]| -> Vec<*mut libc::c_char> {
            texts.iter().map(|t| t.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
        };
        let (arguments, variables) = (list(arguments), list(variables));
        let mut pid = 0;
        // SAFETY: both objects are initialized; both lists end with a null and hold pointers to texts that live until this
        // returns, and that nobody writes to.
        checked(unsafe {
            libc::posix_spawn(
                &raw mut pid,
                program.as_ptr(),
                &raw const actions.0,
                &raw const self.0,
                arguments.as_ptr(),
                variables.as_ptr(),
            )
        })?;
        Ok(Pid::from_raw(pid))
    }
}

#[allow(unsafe_code)]
impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: it was initialized, and is not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
