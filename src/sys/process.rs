//! Processes by descriptor: a pidfd names one process for ever, a bare pid may be reused.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

/// Opens a pidfd: readable once the process has ended.
#[allow(unsafe_code)]
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor (close-on-exec) and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Sends a signal to exactly the process that the pidfd names.
#[allow(unsafe_code)]
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed and so open; a null siginfo is allowed and means "as kill(2) would fill it".
    let r = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes orphaned descendants become our children, so that we can wait for them.
pub fn become_subreaper() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(Into::into)
}

/// Gives this process the program's name where ps(1), systemd and the kernel's own messages look for it: our children are
/// started from /proc/self/exe, and would be called `exe`.
pub fn take_name() {
    // It is for people alone.
    let _ = nix::sys::prctl::set_name(c"podstrap");
}

/// Marks every inherited descriptor above 2 as close-on-exec, and opens /dev/null where 0, 1 or 2 are missing. To be
/// called first thing in `main`, before anything opens a file.
#[allow(unsafe_code)]
pub fn sanitize_descriptors() -> io::Result<()> {
    loop {
        // Descriptors are given lowest first: as long as this gets one below 3, that one was missing.
        let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        if null.as_raw_fd() > 2 {
            break;
        }
        // Stays open for good; std opened it close-on-exec, which `spawn` undoes by setting up 0, 1 and 2 itself.
        std::mem::forget(null);
    }
    // SAFETY: close_range with CLOEXEC closes nothing; it only sets a flag on descriptors from 3 up.
    let r = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives memory that was freed back to the kernel. For a process that has done its large work and will wait for long.
#[allow(unsafe_code)]
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer, and touches only memory that the allocator holds as free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the pages of our program's own file back, until they are needed again: the kernel maps sixteen for every one that is
/// touched, and keeps all that was needed to start. For a process that will wait for long. What lies in the page cache comes
/// back without being read.
#[allow(unsafe_code)]
pub fn give_back_program() {
    // SAFETY: the callback has the type that dl_iterate_phdr(3) wants, and does not use its last argument.
    unsafe {
        libc::dl_iterate_phdr(Some(give_back_segments), std::ptr::null_mut());
    }
}

/// For the first object, which is the program itself, and no other: a library could have had its code relocated, and what is
/// written to a page is lost when it is given back. No linker of Rust's makes a program whose code is.
#[allow(unsafe_code)]
unsafe extern "C" fn give_back_segments(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr gives a pointer to its own description of the object, whose headers are as many as it says.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr as usize, std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
    };
    // SAFETY: sysconf takes an integer.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16);
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let begin = base.saturating_add(header.p_vaddr as usize);
        // A page that is shared with another segment stays.
        let (end, begin) =
            (begin.saturating_add(header.p_memsz as usize) / page * page, begin.next_multiple_of(page));
        if begin < end {
            // SAFETY: the range is whole pages of a segment of this program that is mapped from its file and that nobody
            // has ever been able to write to: what comes back is what was there.
            unsafe {
                libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED);
            }
        }
    }
    1
}

/// When the process started, in clock ticks after boot (field 22 of /proc/PID/stat), or `None` when it is gone.
pub fn start_ticks(pid: i32) -> io::Result<Option<u64>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(parse_start_ticks(&stat)),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The pid of our parent.
pub fn parent() -> i32 {
    nix::unistd::getppid().as_raw()
}

/// Whether a process of this number runs: it is there, and no zombie.
pub fn is_running(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()))
        .is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The first process of this name that is no container's: one of our own pid namespace.
pub fn named(name: &str) -> Option<i32> {
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
            && fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|other| other == namespace)
            && is_running(*pid)
    })
}

/// The command name may hold spaces and parentheses, so fields are counted after the last `)`.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The id of this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The host's name in lower case.
pub fn host_name() -> io::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().to_lowercase())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn start_ticks_survive_odd_command_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_start_ticks(stat), Some(4242));
        assert_eq!(parse_start_ticks("garbage"), None);
        assert!(start_ticks(std::process::id() as i32).unwrap().is_some());
        assert_eq!(start_ticks(i32::MAX).unwrap(), None);
    }

    /// Kilobytes of this program's file that are mapped, without what has been written to.
    fn resident_of_program() -> u64 {
        let program = fs::read_link("/proc/self/exe").unwrap();
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut sum, mut counts) = (0, false);
        for line in smaps.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["Rss:", kb, _] if counts => sum += kb.parse::<u64>().unwrap(),
                [_, permissions, _, _, _, path] if permissions.len() == 4 => {
                    counts = Path::new(path) == program && !permissions.contains('w');
                }
                _ => {}
            }
        }
        sum
    }

    #[test]
    fn the_program_goes_on_when_its_pages_were_given_back() {
        let before = resident_of_program();
        give_back_program();
        let after = resident_of_program();
        assert!(after < before, "{before} kB, then {after} kB");
        assert_eq!(parse_start_ticks("7 (a) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0"), Some(4242));
    }

    #[test]
    fn a_pidfd_names_one_process() {
        let me = pidfd_open(std::process::id() as i32).unwrap();
        use std::os::fd::AsFd;
        pidfd_signal(me.as_fd(), 0).unwrap();
        assert!(pidfd_open(i32::MAX).is_err());
    }
}
