//! The seccomp profile `RuntimeDefault`: an allow-list of our own.
//!
//! What is allowed: everything that works on the process's own files, memory, threads, signals, timers, sockets and IPC
//! objects. What is left out needs a privilege anyway, is a known way out of a container, or is obsolete: mounting, new
//! namespaces, modules, kexec, keyrings, bpf, perf, userfaultfd, io_uring, clocks, swap, quotas, raw I/O ports. A container
//! that was given the capability for such a thing gets its system calls too, or the capability would be of no use.
//!
//! Names that a kernel or libseccomp does not know are passed over by runc, so the list holds those of all architectures.

use serde_json::{Value, json};

use super::capabilities::Set;

/// Reading and writing, by descriptor.
const IO: &str = "\
    close close_range copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 fadvise64 fadvise64_64 fallocate \
    fcntl fcntl64 fdatasync flock fsync ftruncate ftruncate64 io_cancel io_destroy io_getevents \
    io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl _llseek lseek _newselect pipe pipe2 poll \
    ppoll ppoll_time64 pread64 preadv preadv2 pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read \
    readahead readv select sendfile sendfile64 splice sync sync_file_range arm_sync_file_range \
    sync_file_range2 syncfs tee truncate truncate64 vmsplice write writev";

/// Names, directories, attributes and notices of change.
const FILES: &str = "\
    access cachestat chdir chmod chown chown32 creat faccessat faccessat2 fchdir fchmod fchmodat fchmodat2 \
    fchown fchown32 fchownat fgetxattr file_getattr file_setattr flistxattr fremovexattr fsetxattr fstat \
    fstat64 fstatat64 fstatfs fstatfs64 futimesat getcwd getdents getdents64 getxattr getxattrat \
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lchown32 lgetxattr link linkat \
    listmount listxattr listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 mkdir mkdirat mknod \
    mknodat newfstatat open openat openat2 readlink readlinkat removexattr removexattrat rename renameat \
    renameat2 rmdir setxattr setxattrat stat stat64 statfs statfs64 statmount statx symlink symlinkat umask \
    unlink unlinkat utime utimensat utimensat_time64 utimes fanotify_mark";

/// Address space.
const MEMORY: &str = "\
    brk get_mempolicy madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 \
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free \
    pkey_mprotect process_madvise process_mrelease remap_file_pages";

/// Processes, threads, identities, limits and scheduling.
const PROCESSES: &str = "\
    arch_prctl arm_fadvise64_64 cacheflush breakpoint set_tls capget capset execve execveat exit exit_group \
    fork getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp \
    getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit \
    get_robust_list getrusage getsid get_thread_area gettid getuid getuid32 ioprio_get ioprio_set kcmp \
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules \
    lsm_set_self_attr modify_ldt pidfd_getfd pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv \
    process_vm_writev ptrace restart_syscall rseq sched_getaffinity sched_getattr sched_getparam \
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval \
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler \
    sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 \
    setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 \
    setrlimit set_robust_list setsid set_thread_area set_tid_address setuid setuid32 sysinfo times \
    ugetrlimit uname vfork wait4 waitid waitpid";

/// Signals, time and locks.
const SIGNALS: &str = "\
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 futex futex_requeue futex_time64 futex_wait \
    futex_waitv futex_wake getitimer gettimeofday kill nanosleep pause rt_sigaction rt_sigpending \
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo setitimer sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask \
    sigreturn sigsuspend tgkill time timer_create timer_delete timer_getoverrun timer_gettime \
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 \
    timerfd_settime timerfd_settime64 tkill";

/// Sockets and System V and POSIX IPC.
const COMMUNICATION: &str = "\
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg \
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair ipc \
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 \
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl \
    shmdt shmget";

/// What a capability opens beside.
const BY_CAPABILITY: &[(&str, &str)] = &[
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree open_tree_attr perf_event_open pivot_root quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("DAC_READ_SEARCH", "name_to_handle_at open_by_handle_at"),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_NICE", "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node"),
    ("SYS_PACCT", "acct"),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: with none of these flags `clone` makes a thread or a process, no namespace.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// AF_VSOCK reaches the hypervisor past every network namespace.
const AF_VSOCK: u64 = 40;
/// `personality` values that change nothing of weight: Linux, with a 32-bit uname, with a 2.6 uname, both, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The profile as `linux.seccomp` of config.json, for a container that has these capabilities.
pub fn runtime_default(capabilities: Set) -> Value {
    let mut names: Vec<&str> = [IO, FILES, MEMORY, PROCESSES, SIGNALS, COMMUNICATION]
        .iter()
        .flat_map(|list| list.split(' '))
        .collect();
    for (_, opened) in BY_CAPABILITY.iter().filter(|(capability, _)| capabilities.has(capability)) {
        names.extend(opened.split(' '));
    }
    names.sort_unstable();
    names.dedup();
    let mut rules = vec![
        json!({ "names": names, "action": "SCMP_ACT_ALLOW" }),
        json!({
            "names": ["socket"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE" }],
        }),
    ];
    rules.extend(PERSONALITIES.map(|value| {
        json!({
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }],
        })
    }));
    if !capabilities.has("SYS_ADMIN") {
        rules.push(json!({
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
        }));
        // Its flags lie in memory, where a filter cannot look; C libraries fall back to clone when it is not there.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

/// This machine's architecture and those whose programs it runs too.
fn architectures() -> &'static [&'static str] {
    if cfg!(target_arch = "aarch64") {
        &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    } else {
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(profile: &Value, name: &str) -> Vec<Value> {
        let rules = profile["syscalls"].as_array().unwrap().iter();
        rules.filter(|r| r["names"].as_array().unwrap().iter().any(|n| n == name)).cloned().collect()
    }

    #[test]
    fn what_leads_out_is_shut() {
        let profile = runtime_default(Set(0));
        for name in [
            "mount",
            "unshare",
            "setns",
            "bpf",
            "kexec_load",
            "init_module",
            "add_key",
            "keyctl",
            "userfaultfd",
            "io_uring_setup",
            "open_by_handle_at",
            "pivot_root",
            "reboot",
            "swapon",
            "perf_event_open",
            "settimeofday",
        ] {
            assert!(allowed(&profile, name).is_empty(), "{name}");
        }
        assert_eq!(allowed(&profile, "clone3")[0]["errnoRet"], ENOSYS);
        assert_eq!(allowed(&profile, "clone")[0]["args"][0]["op"], "SCMP_CMP_MASKED_EQ");
        assert_eq!(allowed(&profile, "socket")[0]["args"][0]["value"], AF_VSOCK);
        for name in ["read", "execve", "futex", "epoll_pwait", "fdatasync", "openat2", "fchmodat2", "rseq"] {
            assert_eq!(allowed(&profile, name).len(), 1, "{name}");
        }
    }

    #[test]
    fn capabilities_open_their_calls() {
        let admin = runtime_default(Set(1 << 21));
        assert_eq!(allowed(&admin, "mount").len(), 1);
        assert_eq!(allowed(&admin, "clone").len(), 1);
        assert_eq!(allowed(&admin, "clone")[0]["args"], Value::Null);
        assert_eq!(allowed(&admin, "clone3")[0]["action"], "SCMP_ACT_ALLOW");
        assert!(allowed(&admin, "reboot").is_empty());
        assert_eq!(allowed(&runtime_default(Set(1 << 22)), "reboot").len(), 1);
    }

    #[test]
    fn no_name_stands_twice() {
        let lists = [IO, FILES, MEMORY, PROCESSES, SIGNALS, COMMUNICATION];
        let mut all: Vec<_> = lists.iter().flat_map(|list| list.split(' ')).collect();
        assert!(
            all.iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        );
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(count > 300);
    }
}
