//! The wait before a process can be put into a control group, begun early.
//!
//! For the first such move after a quiet moment the kernel waits until every processor has once been at rest (an RCU grace
//! period, on behalf of `cgroup_threadgroup_rwsem`): 5 to 20 ms. Moves that follow within some milliseconds find that done.
//! runc moves each container's first process, and does nothing else meanwhile; what is to be prepared before runc is called
//! can as well be prepared while the kernel waits.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, fork, write};

use super::Cgroups;

impl Cgroups {
    /// Has a child ask for a move that changes nothing, to where it already is. The child is the caller's to reap; nothing
    /// depends on what becomes of it. To be called in a process with one thread, and after groups were made: until the kernel
    /// has waited, it makes none.
    #[allow(unsafe_code)]
    pub fn expect_a_move(&self) {
        let own = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| self.of_process(&text));
        let Some(file) =
            own.and_then(|group| CString::new(group.join("cgroup.procs").as_os_str().as_bytes()).ok())
        else {
            return;
        };
        // SAFETY: this process has one thread, and until it exits the child makes system calls only.
        if let Ok(ForkResult::Child) = unsafe { fork() } {
            // SAFETY: the child uses none of these descriptors. It would hold the locks that some of them stand for.
            unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
            if let Ok(procs) = open(file.as_c_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()) {
                let _ = write(&procs, b"0");
            }
            // SAFETY: _exit touches no memory, and runs nothing that the parent registered.
            unsafe { libc::_exit(0) };
        }
    }

    /// The group of a process, by what /proc says of it, in any of the hierarchies.
    fn of_process(&self, proc: &str) -> Option<PathBuf> {
        proc.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let mut hierarchies = self.hierarchies.iter();
            let hierarchy = match controllers {
                "" => hierarchies.find(|h| h.unified),
                some => hierarchies.find(|h| !h.unified && some.split(',').all(|c| h.has(c))),
            };
            Some(hierarchy?.mount.join(Path::new(path).strip_prefix("/").ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::mount;
    use super::*;

    #[test]
    fn the_group_of_a_process_in_some_hierarchy() {
        let mounts = b"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let cgroups = Cgroups::of(&mount::parse(mounts));
        let of = |text| cgroups.of_process(text);
        let expected = PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/a/b:c");
        assert_eq!(of("9:name=systemd:/s\n2:cpu,cpuacct:/a/b:c\n0::/u\n"), Some(expected));
        assert_eq!(of("9:name=systemd:/s\n0::/u\n"), Some(PathBuf::from("/sys/fs/cgroup/unified/u")));
        assert_eq!(of("9:name=systemd:/s\nnothing"), None);
    }

    #[test]
    fn the_own_group_is_one_that_takes_processes() {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let group = Cgroups::detect().unwrap().of_process(&own).unwrap();
        let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert!(listed.lines().any(|pid| pid == std::process::id().to_string()));
    }
}
