//! A virtual machine: the Debian that `tests/tools/vm` makes, in qemu, with a disk of its own and a shell in it.
//!
//! What the test wants to know it asks that shell, which is root's and on a virtio port; nothing of it goes through the
//! network. The machine ends with the test, however the test ends: a bash holds it, and kills it at the end of its standard
//! input.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{describe, host, text};

/// The machine's address, in the network that qemu makes; of that network nothing leads to any other.
pub const ADDRESS: &str = "10.0.2.15";

/// Where the machine finds a web server: qemu starts one for each connection, and there is none for anybody else.
pub const SERVER: &str = "http://10.0.2.100";

/// $1 is the directory of the machine, the rest is qemu's command line. The number of the process is told; the end of
/// standard input is the end of both.
const KEEP: &str = r#"
dir=$1
shift
"$@" </dev/null >"$dir/qemu.log" 2>&1 &
echo $!
cat >/dev/null
kill -9 %1 2>/dev/null
wait
"#;

/// A line for whoever waits for the test: not one that cargo keeps until its end.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "fresh host: {line}");
}

/// Runs a command of the host to its end, which has to be a good one.
pub fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", describe(&output));
    output
}

/// What one of the programs in tests/tools has printed: lines of `key=value`.
#[derive(Debug)]
pub struct Tool(String);

impl Tool {
    /// Runs it; an error tells why it has nothing.
    pub fn run(name: &str, arguments: &[&str]) -> Result<Self, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(name);
        let output = Command::new("sh").arg(path).args(arguments).stdin(Stdio::null()).output().unwrap();
        match output.status.success() {
            true => Ok(Self(text(&output.stdout))),
            false => Err(format!("no {name}: {}", text(&output.stderr).trim())),
        }
    }

    /// One of the values.
    pub fn value(&self, key: &str) -> &str {
        let found = self.0.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("`{key}` is not told:\n{}", self.0))
    }
}

/// A machine that is switched on.
pub struct Vm {
    dir: PathBuf,
    keeper: Child,
    lives: Option<ChildStdin>,
    /// qemu's.
    pid: i32,
    shell: UnixStream,
    /// The number of the last command.
    number: u64,
    /// How much of the console was shown.
    shown: usize,
}

impl Vm {
    /// Makes the disk, on which the first boot is to find a fresh host.
    pub fn make_disk(dir: &Path, base: &Tool) {
        run(Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base.value("image")])
            .arg(dir.join("disk.qcow2")));
    }

    /// Switches it on. `dir` has the disk, `seed.iso` for cloud-init, and `bundle`, what the web server has.
    pub fn start(dir: &Path, base: &Tool) -> Self {
        let at = |name: &str| dir.join(name).display().to_string();
        let _ = fs::remove_file(dir.join("shell.sock"));
        let mut command = Command::new("bash");
        command.args(["-c", KEEP, "bash"]).arg(dir).arg("qemu-system-x86_64");
        match base.value("accel") {
            "kvm" => command.args(["-accel", "kvm"]),
            _ => command.args(["-accel", "tcg,thread=multi"]),
        };
        command.args(["-cpu", "max", "-smp", "2", "-m", "4096"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-kernel", base.value("kernel"), "-initrd", base.value("initrd")]);
        command.args(["-append", "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=true"]);
        // A disk with a cache that loses what was not flushed: qcow2's own tables wait in qemu until then.
        let disk = format!("file={},if=virtio,format=qcow2,cache=writeback", at("disk.qcow2"));
        let seed = format!("file={},if=virtio,format=raw,readonly=on", at("seed.iso"));
        command.args(["-drive", &disk, "-drive", &seed]);
        let server = format!("tcp:10.0.2.100:80-cmd:busybox httpd -i -h {}", at("bundle"));
        command.args(["-netdev", &format!("user,id=net,restrict=on,guestfwd={server}")]);
        command.args(["-device", "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:12:34:56"]);
        command.args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
        let shell = format!("socket,id=shell,path={},server=on,wait=off", at("shell.sock"));
        command.args(["-chardev", &shell, "-device", "virtserialport,chardev=shell,name=podstrap.shell"]);
        let acks = format!("file,id=acks,path={},append=on", at("acks"));
        command.args(["-chardev", &acks, "-device", "virtserialport,chardev=acks,name=podstrap.acks"]);
        let console = format!("file,id=console,path={},append=on", at("console"));
        command.args(["-chardev", &console, "-serial", "chardev:console"]);
        // A terminal's Ctrl-C ends the test; the end of its pipe ends this.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = command.spawn().expect("bash can be run");
        let lives = keeper.stdin.take();
        let mut pid = String::new();
        BufReader::new(keeper.stdout.take().expect("a pipe was asked for")).read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().expect("the number of a process");
        let end = Instant::now() + Duration::from_secs(30);
        let shell = loop {
            match UnixStream::connect(dir.join("shell.sock")) {
                Ok(shell) => break shell,
                Err(e) if Instant::now() > end || !host::alive(pid) => {
                    drop(lives);
                    let _ = keeper.wait();
                    panic!("qemu: {e}: {}", fs::read_to_string(dir.join("qemu.log")).unwrap_or_default());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        shell.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let shown = fs::read(dir.join("console")).map_or(0, |c| c.len());
        Self { dir: dir.to_owned(), keeper, lives, pid, shell, number: 0, shown }
    }

    /// Runs a command in the machine, to its end: its exit code, and what it wrote on both outputs. `None` when there was
    /// no answer in time.
    pub fn try_sh(&mut self, command: &str, limit: Duration) -> Option<(i32, String)> {
        self.number += 1;
        let quoted = command.replace('\'', r"'\''");
        // Between two control characters that no output here has.
        let line = format!(
            "o=$(sh -c '{quoted}' 2>&1 </dev/null); s=$?; printf '\\035%s\\036%s\\036%s\\035' {} $s \"$o\"\n",
            self.number
        );
        self.shell.write_all(line.as_bytes()).expect("qemu takes what is written");
        let end = Instant::now() + limit;
        let mut said = Vec::new();
        let mut buffer = [0; 65536];
        let opening = format!("\u{1d}{}\u{1e}", self.number);
        loop {
            match self.shell.read(&mut buffer) {
                Ok(0) => panic!("qemu has ended: {}", self.story()),
                Ok(n) => said.extend_from_slice(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => self.progress(),
                Err(e) => panic!("{e}: {}", self.story()),
            }
            // Answers of before are passed over: to a command whose shell was late, or has ended with its boot.
            let all = text(&said);
            if let Some((_, answer)) = all.split_once(&opening)
                && let Some((answer, _)) = answer.split_once('\u{1d}')
                && let Some((code, output)) = answer.split_once('\u{1e}')
            {
                return Some((code.parse().unwrap(), output.to_owned()));
            }
            if Instant::now() > end {
                return None;
            }
        }
    }

    /// The same, and it has to end with 0 in two minutes.
    pub fn sh(&mut self, command: &str) -> String {
        self.sh_within(Duration::from_secs(120), command)
    }

    /// The same in another time.
    pub fn sh_within(&mut self, limit: Duration, command: &str) -> String {
        match self.try_sh(command, limit) {
            Some((0, output)) => output,
            Some((code, output)) => {
                panic!("in the machine: {command}\nexit code {code}: {output}\n{}", self.story())
            }
            None => panic!("in the machine: {command}\nno answer within {limit:?}\n{}", self.story()),
        }
    }

    /// Asks until the command ends with 0.
    pub fn until(&mut self, what: &str, limit: Duration, command: &str) -> String {
        let end = Instant::now() + limit;
        loop {
            let last = self.try_sh(command, Duration::from_secs(60));
            if let Some((0, output)) = last {
                return output;
            }
            assert!(Instant::now() < end, "not within {limit:?}: {what}: {last:?}\n{}", self.story());
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits for the shell of another boot than this one (none: of any), and gives that boot's id.
    pub fn until_booted(&mut self, former: &str) -> String {
        let end = Instant::now() + Duration::from_secs(300);
        loop {
            let answer = self.try_sh("cat /proc/sys/kernel/random/boot_id", Duration::from_secs(5));
            match answer {
                Some((0, id)) if id != former => return id,
                _ => assert!(Instant::now() < end, "it does not boot: {}", self.story()),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Puts a file into the machine, by rename.
    pub fn write(&mut self, path: &str, content: &str) {
        let quoted = content.replace('\'', r"'\''");
        self.sh(&format!("printf '%s' '{quoted}' >/root/part && mv /root/part {path}"));
    }

    /// Takes its power away.
    pub fn power_cut(mut self) {
        host::signal(self.pid, nix::sys::signal::Signal::SIGKILL);
        drop(self.lives.take());
        self.keeper.wait().unwrap();
        assert!(!host::alive(self.pid));
    }

    /// Shows what is new on the console, as far as it is about the control plane.
    pub fn progress(&mut self) {
        let Ok(console) = fs::read(self.dir.join("console")) else { return };
        let new = &console[self.shown.min(console.len())..];
        let Some(whole) = new.iter().rposition(|b| *b == b'\n') else { return };
        for line in text(&new[..whole]).lines() {
            if let Some((at, line)) = line.split_once("cloud-init[")
                && ["control-plane-up", " running '", " ready)", "kube-system/"]
                    .iter()
                    .any(|w| line.contains(w))
            {
                let line = line.split_once("]: ").map_or(line, |(_, line)| line);
                say(&format!("{at}{line}"));
            }
        }
        self.shown += whole + 1;
    }

    /// The end of the console, and qemu's own words.
    pub fn story(&self) -> String {
        let console = text(&fs::read(self.dir.join("console")).unwrap_or_default());
        let lines: Vec<&str> = console.lines().collect();
        let qemu = fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default();
        format!("--- console:\n{}\n--- qemu: {qemu}", lines[lines.len().saturating_sub(60)..].join("\n"))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        drop(self.lives.take());
        let _ = self.keeper.wait();
    }
}
