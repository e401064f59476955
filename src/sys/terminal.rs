//! The terminal of a container: runc makes it inside and sends its master over a Unix socket (runc, docs/terminals.md).

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// A socket that waits for a master.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    directory: File,
}

const NAME: &str = "console.sock";

impl ConsoleSocket {
    /// Makes the socket in `directory`.
    pub fn listen(directory: &Path) -> io::Result<Self> {
        let directory = File::open(directory)?;
        let listener = UnixListener::bind(address(&directory))?;
        // Nothing is waited for: by the time we look, runc has come to its end.
        listener.set_nonblocking(true)?;
        Ok(Self { listener, directory })
    }

    /// Its path, for a child of ours.
    pub fn address(&self) -> PathBuf {
        address(&self.directory)
    }

    /// Takes the terminal that was sent. A runc that has succeeded has sent one.
    pub fn receive(&self) -> io::Result<Terminal> {
        let (stream, _) = self.listener.accept()?;
        let mut text = [0_u8; 4096];
        let mut parts = [IoSliceMut::new(&mut text)];
        let mut space = nix::cmsg_space!(RawFd);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let mut received = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                received.extend(descriptors.into_iter().map(own));
            }
        }
        let master = received.into_iter().next().ok_or(io::ErrorKind::UnexpectedEof)?;
        let peer = open_peer(&master)?;
        Ok(Terminal { master, peer })
    }
}

/// By the descriptor's name in /proc: the path of a Unix socket is at most 107 bytes long, a run's directory may be longer.
fn address(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}/{NAME}", std::process::id(), directory.as_raw_fd()))
}

/// The two ends of a terminal.
#[derive(Debug)]
pub struct Terminal {
    /// Our end.
    pub master: OwnedFd,
    /// The container's, held open so that the terminal does not hang up while none of its processes has it open.
    pub peer: OwnedFd,
}

#[allow(unsafe_code)]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// ioctl_tty(2), TIOCGPTPEER: needs no path, which would be one of the container's.
#[allow(unsafe_code)]
fn open_peer(master: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes its argument by value and touches no memory of ours.
    let descriptor = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if descriptor < 0 { Err(io::Error::last_os_error()) } else { Ok(own(descriptor)) }
}
