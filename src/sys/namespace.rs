//! Namespaces that outlive every process in them: made by a process that enters new ones, binds their files of /proc to
//! names of its own choice, and goes back (namespaces(7): a bind mount keeps a namespace alive).

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::statfs::{NSFS_MAGIC, statfs};
use nix::unistd::{ForkResult, Pid, pipe2};

use crate::command::SELF;

use super::doom;

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Interfaces, addresses, ports.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Processes.
    Pid,
}

impl Kind {
    /// The name of its file in /proc/PID/ns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Pid => "pid",
        }
    }

    fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Pid => CloneFlags::CLONE_NEWPID,
        }
    }
}

/// Makes a namespace that `file` (made here, must not exist) keeps alive, after `prepare` has run in it. The calling
/// thread is back where it was when this returns; only the failure to go back leaves it in the new one. Not for
/// [`Kind::Pid`], which lives only as long as its first process: see [`Init`].
pub fn make(kind: Kind, file: &Path, prepare: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let own = format!("/proc/thread-self/ns/{}", kind.name());
    let home = File::open(&own)?;
    unshare(kind.flag())?;
    let made = prepare().and_then(|()| keep(Path::new(&own), file));
    setns(&home, kind.flag())?;
    made
}

/// Binds a namespace's file of /proc to `file`, which must not exist.
fn keep(namespace: &Path, file: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    doom::done("a namespace's file");
    mount(Some(namespace), file, None::<&Path>, MsFlags::MS_BIND, None::<&Path>)?;
    doom::done("a namespace kept");
    Ok(())
}

/// Makes `file` (which must not exist) keep a namespace of another process alive.
pub fn keep_of(pid: i32, kind: Kind, file: &Path) -> io::Result<()> {
    keep(Path::new(&format!("/proc/{pid}/ns/{}", kind.name())), file)
}

/// Whether a namespace is mounted on `file`.
pub fn is_kept(file: &Path) -> bool {
    statfs(file).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC)
}

/// Brings up the loopback interface of the network namespace in which the calling thread is.
#[allow(unsafe_code)]
pub fn raise_loopback() -> io::Result<()> {
    let flags = OFlag::O_CLOEXEC.bits();
    // SAFETY: socket takes three integers and touches no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | flags, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor and nobody else owns it.
    let socket = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(socket) };
    // SAFETY: ifreq is plain bytes and pointers, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo\0") {
        *to = from.cast_signed();
    }
    // SAFETY: both calls get an open socket and a valid ifreq whose name ends in NUL (netdevice(7)).
    let got = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFFLAGS has filled in this member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: as above.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The first process of a new pid namespace, which waits for a word before it becomes our own program. Dropped without
/// that word, also by the death of this process, it ends.
#[derive(Debug)]
pub struct Init {
    /// Its pid in our own namespace. A child of ours.
    pub pid: Pid,
    go: File,
    ready: File,
}

impl Init {
    /// Makes a pid namespace, its first process, and `file` (must not exist), by which it can be entered. The process
    /// has a session of its own, /dev/null for its three descriptors, and is in the namespaces `join` (kind and file).
    /// The verb's program must call [`be_init`]. To be called in a process with one thread.
    #[allow(unsafe_code)]
    pub fn make(verb: &str, file: &Path, join: &[(Kind, &Path)]) -> io::Result<Self> {
        let arguments = [c"podstrap".to_owned(), CString::new(verb)?];
        let join: Vec<(CloneFlags, File)> = join
            .iter()
            .map(|(kind, path)| Ok((kind.flag(), File::open(path)?)))
            .collect::<io::Result<_>>()?;
        let (ready, tell) = pipe2(OFlag::O_CLOEXEC)?;
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        let (hear, go) = pipe2(OFlag::O_CLOEXEC)?;
        let home = File::open("/proc/self/ns/pid_for_children")?;
        unshare(CloneFlags::CLONE_NEWPID)?;
        // SAFETY: this process has one thread, so the child may do whatever this process may.
        let forked = unsafe { nix::unistd::fork() };
        if matches!(forked, Ok(ForkResult::Child)) {
            drop(go);
            become_program(&mut File::from(hear), &File::from(tell), &null, &join, &arguments)
        }
        // Children to come are concerned, not this process itself: it has never left its own.
        setns(&home, CloneFlags::CLONE_NEWPID)?;
        match forked? {
            // The child is gone its own way above.
            ForkResult::Child => Err(io::ErrorKind::Unsupported.into()),
            ForkResult::Parent { child } => {
                let init = Self { pid: child, go: File::from(go), ready: File::from(ready) };
                keep(Path::new(&format!("/proc/{child}/ns/pid")), file)?;
                Ok(init)
            }
        }
    }

    /// Gives the word, and waits until it is what it is to be: from now on it lives until it is killed.
    pub fn go(mut self) -> io::Result<()> {
        self.go.write_all(b"g")?;
        self.ready.read_exact(&mut [0])
    }
}

/// The child's side of [`Init::make`].
#[allow(unsafe_code)]
fn become_program(
    hear: &mut File,
    tell: &File,
    null: &File,
    join: &[(CloneFlags, File)],
    arguments: &[CString],
) -> ! {
    let told = hear.read_exact(&mut [0]).is_ok()
        && nix::unistd::setsid().is_ok()
        && nix::unistd::chdir("/").is_ok()
        && join.iter().all(|(kind, file)| setns(file, *kind).is_ok())
        && nix::unistd::dup2_stdin(null).is_ok()
        && nix::unistd::dup2_stdout(tell).is_ok()
        && nix::unistd::dup2_stderr(null).is_ok();
    if told && let Ok(program) = own_program() {
        // Its number in the new namespace is 1, but /proc is still the old one's, where `self` is right all the same.
        let _ = nix::unistd::execve(&program, arguments, &[] as &[CString]);
    }
    // SAFETY: _exit touches no memory, and runs nothing that the parent registered.
    unsafe { libc::_exit(127) }
}

/// Makes all that this process sees read-only, in a mount namespace of its own, and gives the way to its own program in
/// there. Containers that share the pid namespace and may trace (CAP_SYS_PTRACE) can reach the program's file by
/// /proc/1/exe; they must not be able to write to it.
fn own_program() -> io::Result<CString> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&Path>, "/", None::<&Path>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&Path>)?;
    let path = fs::read_link(SELF)?;
    let identity = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    if identity(&path).ok() != Some(identity(Path::new(SELF))?) {
        // Replaced since: nobody starts this file any more.
        return Ok(CString::new(SELF)?);
    }
    mount(Some(&path), &path, None::<&Path>, MsFlags::MS_BIND, None::<&Path>)?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    mount(None::<&Path>, &path, None::<&Path>, read_only, None::<&Path>)?;
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Leaves everything that a process of root has: an empty read-only root, an unprivileged user (the number that the pause
/// image of Kubernetes has), no capabilities. A container that shares the pid namespace may be able to trace this process,
/// and must not gain by it.
fn give_up_everything() -> io::Result<()> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // /proc is a directory that every host has; what is mounted on it is hidden in this mount namespace alone.
    mount(Some("none"), "/proc", Some("tmpfs"), flags, Some("size=4k,mode=555"))?;
    nix::unistd::chdir("/proc")?;
    // Both the new and the old root at one point (pivot_root(2), NOTES); then the old one, which is on top, goes.
    nix::unistd::pivot_root(".", ".")?;
    nix::mount::umount2(".", nix::mount::MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    let (user, group) = (nix::unistd::Uid::from_raw(NOBODY), nix::unistd::Gid::from_raw(NOBODY));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(group, group, group)?;
    // From root to another user: all capabilities are gone with it (capabilities(7)).
    nix::unistd::setresuid(user, user, user)?;
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}

const NOBODY: u32 = 65_535;

/// The life of a pid namespace's first process: orphans that end are taken by the kernel at once, and no signal but KILL
/// and STOP from outside reaches it (pid_namespaces(7)).
#[allow(unsafe_code)]
pub fn be_init() -> ! {
    // SAFETY: SIG_IGN installs no handler. It makes the kernel reap our children itself (wait(2), NOTES).
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    super::process::give_back_memory();
    if let Err(error) = become_harmless() {
        // Whoever waits for the word of success sees the end instead; /dev/null hears why.
        eprintln!("podstrap pause: {error}");
        std::process::exit(1);
    }
    loop {
        nix::unistd::pause();
    }
}

/// The life of a container that only holds namespaces: the kernel takes the orphans that end, TERM and INT end it.
#[allow(unsafe_code)]
pub fn hold() -> ! {
    // SAFETY: as in `be_init`.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    super::process::give_back_memory();
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGTERM);
    wanted.add(Signal::SIGINT);
    // The first process of a pid namespace gets no signal that it does not ask for.
    if wanted.thread_block().is_ok() {
        let _ = wanted.wait();
    }
    std::process::exit(0);
}

/// Gives up everything and says so on standard output, which then is /dev/null.
fn become_harmless() -> io::Result<()> {
    give_up_everything()?;
    io::stdout().write_all(b"r\n")?;
    io::stdout().flush()?;
    // Standard input is /dev/null, open for both ways.
    nix::unistd::dup2_stdout(io::stdin()).map_err(Into::into)
}

/// Sets the host name of the UTS namespace in which the calling thread is.
pub fn set_host_name(name: &str) -> io::Result<()> {
    nix::unistd::sethostname(name).map_err(Into::into)
}

/// Ends what [`make`] and [`Init::make`] keep by `file`: unmounts it however often it was mounted, and removes it.
/// Nothing there is success.
pub fn release(file: &Path) -> io::Result<()> {
    while is_kept(file) {
        super::mount::unmount(file)?;
    }
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Mounts a tmpfs of `bytes` for everybody (1777) on the directory `path`: the /dev/shm of several containers.
pub fn shared_memory(path: &Path, bytes: u64) -> io::Result<()> {
    let options = format!("mode=1777,size={bytes}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), path, Some("tmpfs"), flags, Some(options.as_str())).map_err(|e: Errno| e.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(path: impl AsRef<Path>) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn a_namespace_outlives_its_maker_and_leaves_the_maker_alone() {
        let dir = std::env::temp_dir().join(format!("podstrap-namespace-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for kind in [Kind::Net, Kind::Ipc, Kind::Uts] {
            let own = format!("/proc/thread-self/ns/{}", kind.name());
            let before = inode(&own);
            let file = dir.join(kind.name());
            let mut inside = 0;
            make(kind, &file, || {
                inside = inode(&own);
                match kind {
                    Kind::Net => raise_loopback(),
                    Kind::Uts => set_host_name("elsewhere"),
                    Kind::Ipc | Kind::Pid => Ok(()),
                }
            })
            .unwrap();
            assert_eq!(inode(&own), before, "{kind:?}");
            assert_ne!(inside, before, "{kind:?}");
            assert!(is_kept(&file), "{kind:?}");
            assert_eq!(inode(&file), inside, "{kind:?}");
            release(&file).unwrap();
            assert!(!file.exists(), "{kind:?}");
            release(&file).unwrap();
        }
        let failed = make(Kind::Ipc, &dir.join("x"), || Err(io::ErrorKind::Interrupted.into()));
        assert!(failed.is_err() && !dir.join("x").exists());
        fs::remove_dir(&dir).unwrap();
    }
}
