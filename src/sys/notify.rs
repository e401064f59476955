//! What systemd is told: datagrams to the socket that `NOTIFY_SOCKET` names, as sd_notify(3) has them, without its library.
//!
//! Nothing in here waits, and nothing in here can fail the caller: without systemd there is nobody to tell.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the one who started us.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It lies in the other's queue.
    Done,
    /// The queue is full: it may be sent again later.
    Full,
    /// Nobody is there to read it.
    Lost,
}

impl Notifier {
    /// The notifier that the environment asks for, and `None` if it asks for none.
    ///
    /// # Errors
    /// The address is of another kind than sd_notify(3) has for local sockets, or no socket can be made.
    pub fn from_environment() -> io::Result<Option<Self>> {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(address) if !address.is_empty() => Self::to(&address).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// The notifier for `address`: an absolute path, or `@` and an abstract name. Whether anybody listens is not asked.
    ///
    /// # Errors
    /// The address is neither, or is too long, or no socket can be made.
    pub fn to(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes().split_first() {
            Some((b'@', name)) if !name.is_empty() => SocketAddr::from_abstract_name(name)?,
            Some((b'/', _)) => SocketAddr::from_pathname(address)?,
            Some(_) | None => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is neither an absolute path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// Sends one message: lines of `NAME=VALUE`.
    pub fn send(&self, message: &str) -> Sent {
        match self.socket.send_to_addr(message.as_bytes(), &self.address) {
            Ok(_) => Sent::Done,
            Err(e) if is_full(&e) => Sent::Full,
            Err(_) => Sent::Lost,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        || error.raw_os_error() == Some(nix::libc::ENOBUFS)
}

/// The watchdog's interval in milliseconds, if the environment asks this process for signs of life.
pub fn watchdog_ms() -> Option<u64> {
    let text = |name| std::env::var(name).ok();
    interval(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id())
}

/// An interval of no time is none, and one that is meant for another process is not for us.
fn interval(microseconds: Option<&str>, meant_for: Option<&str>, me: u32) -> Option<u64> {
    if meant_for.is_some_and(|pid| pid.parse() != Ok(me)) {
        return None;
    }
    microseconds?.parse::<u64>().ok().filter(|us| *us > 0).map(|us| us / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let n = listener.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    #[test]
    fn both_kinds_of_addresses_are_reached() {
        let path = std::env::temp_dir().join(format!("podstrap-notify-{}", std::process::id()));
        let listener = UnixDatagram::bind(&path).unwrap();
        assert_eq!(Notifier::to(path.as_os_str()).unwrap().send("READY=1"), Sent::Done);
        assert_eq!(received(&listener), "READY=1");
        std::fs::remove_file(&path).unwrap();

        let name = format!("podstrap-notify-{}", std::process::id());
        let listener =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        let notifier = Notifier::to(OsStr::new(&format!("@{name}"))).unwrap();
        assert_eq!(notifier.send("STATUS=well"), Sent::Done);
        assert_eq!(received(&listener), "STATUS=well");
        drop(listener);
        assert_eq!(notifier.send("STATUS=alone"), Sent::Lost);
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up() {
        let name = format!("podstrap-notify-full-{}", std::process::id());
        let listener =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        let notifier = Notifier::to(OsStr::new(&format!("@{name}"))).unwrap();
        let full = (0..100_000).any(|_| notifier.send("WATCHDOG=1") == Sent::Full);
        assert!(full, "the queue has no end");
        assert_eq!(received(&listener), "WATCHDOG=1");
        assert_eq!(notifier.send("WATCHDOG=1"), Sent::Done);
    }

    #[test]
    fn addresses_of_other_kinds_are_told_apart() {
        for address in ["vsock:2:1234", "relative", "@", &format!("/{}", "x".repeat(200))] {
            assert!(Notifier::to(OsStr::new(address)).is_err(), "{address}");
        }
        assert_eq!(Notifier::to(OsStr::new("/nowhere/notify")).unwrap().send("READY=1"), Sent::Lost);
    }

    #[test]
    fn a_watchdog_that_is_meant_for_another_is_not_ours() {
        assert_eq!(interval(Some("3000000"), None, 7), Some(3000));
        assert_eq!(interval(Some("3000000"), Some("7"), 7), Some(3000));
        assert_eq!(interval(Some("3000000"), Some("8"), 7), None);
        assert_eq!(interval(Some("0"), Some("7"), 7), None);
        assert_eq!(interval(Some("soon"), None, 7), None);
        assert_eq!(interval(None, None, 7), None);
    }
}
