//! A directory and what happens to it, with literal times: nothing here waits.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::*;
use crate::source::{Merged, merge_files};

fn document(name: &str, command: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  containers:\n  \
         - name: c\n    image: img\n    command: [\"{command}\"]\n"
    )
}

/// A source, its directory and a clock.
struct Place {
    root: PathBuf,
    source: DirSource,
    watcher: Option<Watcher>,
    now: u64,
}

impl Place {
    fn new(name: &str, on_missing: MissingDir) -> Self {
        let root = std::env::temp_dir().join(format!("podstrap-dir-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("m")).unwrap();
        fs::create_dir_all(root.join("keep")).unwrap();
        let source = Self::source(&root, "m", on_missing);
        Self { root, source, watcher: Some(Watcher::new().unwrap()), now: 1_000_000 }
    }

    fn source(root: &Path, directory: &str, on_missing: MissingDir) -> DirSource {
        let rules = Rules {
            node: NodeName::new("n"),
            limits: Limits { max_bytes: 4096, ..Limits::default() },
            runtime: Runtime::default(),
            rescan_ms: 20_000,
            on_missing,
            allow_foreign: false,
            keep_dir: root.join("keep"),
        };
        DirSource::new(root.join(directory), Rc::new(rules))
    }

    /// A later daemon on the same disk.
    fn again(&mut self) {
        let on_missing = self.source.rules.on_missing;
        self.source = DirSource::new(self.source.path.clone(), self.source.rules.clone());
        assert_eq!(self.source.rules.on_missing, on_missing);
        self.watcher = Some(Watcher::new().unwrap());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.source.path.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let part = self.root.join("part");
        fs::write(&part, content).unwrap();
        fs::rename(part, self.path(name)).unwrap();
    }

    /// Lets so many milliseconds pass, hears the events and looks.
    fn pass(&mut self, ms: u64) -> bool {
        self.now += ms;
        let changes = self.watcher.as_mut().map(Watcher::drain).unwrap_or_default();
        for change in &changes {
            self.source.notice(change, self.now);
        }
        self.source.turn(self.now, &mut self.watcher)
    }

    fn scan(&mut self) {
        self.source.next_scan = self.now;
        self.pass(0);
    }

    fn merged(&self) -> Merged {
        merge_files([(self.source.standing.is_synced(), self.source.files().collect())])
    }

    /// Name, command, and whether it is kept in spite of the file.
    fn good(&self) -> Vec<(String, String, bool)> {
        let show = |(key, g): (&crate::pod::PodKey, &crate::source::Good)| {
            (key.name.to_string(), g.pod.containers[0].command[0].clone(), g.kept_for.is_some())
        };
        self.merged().good.iter().map(show).collect()
    }

    fn names(&self) -> Vec<String> {
        self.good().into_iter().map(|(name, ..)| name).collect()
    }

    /// What the child does with what is to be kept.
    fn keep(&mut self) {
        for keep in self.source.standing.take_keeps() {
            keep.carry_out(crate::sys::atomic::Durability::Process).unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn kept(name: &str, command: &str) -> (String, String, bool) {
    (name.to_owned(), command.to_owned(), true)
}

fn fine(name: &str, command: &str) -> (String, String, bool) {
    (name.to_owned(), command.to_owned(), false)
}

#[test]
fn a_new_file_counts_at_once_and_a_change_settles() {
    let mut p = Place::new("settle", MissingDir::Remove);
    assert!(p.pass(0), "the first scan is news, even of nothing");
    assert!(p.merged().complete);
    p.write("a.yaml", &document("a", "one"));
    assert!(p.pass(0));
    assert_eq!(p.good(), [fine("a-n", "one")]);
    p.write("a.yaml", &document("a", "two"));
    assert!(!p.pass(0));
    assert_eq!(p.source.deadline(), p.now + CHANGE_SETTLES_MS);
    assert!(!p.pass(CHANGE_SETTLES_MS - 1));
    assert!(p.pass(1));
    assert_eq!(p.good(), [fine("a-n", "two")]);
    assert!(!p.pass(19_000), "nothing happens, nothing changes");
    assert!(p.source.deadline() > p.now);
}

#[test]
fn a_removal_settles_and_a_return_is_a_replacement() {
    let mut p = Place::new("removal", MissingDir::Remove);
    p.write("a.yaml", &document("a", "one"));
    p.pass(0);
    fs::remove_file(p.path("a.yaml")).unwrap();
    p.pass(0);
    p.pass(CHANGE_SETTLES_MS);
    p.pass(REMOVAL_SETTLES_MS - CHANGE_SETTLES_MS - 1);
    assert_eq!(p.names(), ["a-n"]);
    p.write("a.yaml", &document("a", "two"));
    p.pass(0);
    p.pass(CHANGE_SETTLES_MS);
    assert_eq!(p.good(), [fine("a-n", "two")]);
    fs::remove_file(p.path("a.yaml")).unwrap();
    p.pass(0);
    p.pass(REMOVAL_SETTLES_MS);
    assert_eq!(p.good(), []);
    assert!(p.source.deadline() > p.now);
}

#[test]
fn a_removal_that_no_event_told_is_seen_by_the_scan() {
    let mut p = Place::new("silent", MissingDir::Remove);
    p.watcher = None;
    p.write("a.yaml", &document("a", "one"));
    p.pass(0);
    fs::remove_file(p.path("a.yaml")).unwrap();
    assert!(!p.pass(19_999));
    p.pass(1);
    assert_eq!(p.names(), ["a-n"]);
    p.pass(REMOVAL_SETTLES_MS);
    assert_eq!(p.good(), []);
}

#[test]
fn a_renamed_file_is_no_second_definition() {
    for (from, to) in [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")] {
        let mut p = Place::new("rename", MissingDir::Remove);
        p.write(from, &document("a", "one"));
        p.pass(0);
        fs::rename(p.path(from), p.path(to)).unwrap();
        for _ in 0..20 {
            p.pass(20);
            let merged = p.merged();
            assert_eq!(merged.refused, [], "{from} to {to}");
            assert_eq!(p.good(), [fine("a-n", "one")]);
        }
        assert!(p.merged().good.values().next().unwrap().pod.origin.path.ends_with(to));
    }
}

#[test]
fn of_two_files_the_first_in_byte_order_wins() {
    let mut p = Place::new("twice", MissingDir::Remove);
    p.write("b.yaml", &document("a", "b"));
    p.write("B.yaml", &document("a", "B"));
    p.pass(0);
    assert_eq!(p.good(), [fine("a-n", "B")]);
    let refused = p.merged().refused;
    assert!(refused[0].problems[0].contains("B.yaml"), "{refused:?}");
    fs::remove_file(p.path("B.yaml")).unwrap();
    p.pass(0);
    p.pass(REMOVAL_SETTLES_MS);
    assert_eq!(p.good(), [fine("a-n", "b")]);
    assert_eq!(p.merged().refused, []);
}

#[test]
fn a_file_that_is_open_for_writing_is_not_read() {
    let mut p = Place::new("busy", MissingDir::Remove);
    p.write("a.yaml", &document("a", "one"));
    p.pass(0);
    let mut writer = OpenOptions::new().write(true).truncate(true).open(p.path("a.yaml")).unwrap();
    writer.write_all(document("a", "two").as_bytes()).unwrap();
    p.scan();
    assert_eq!(p.good(), [fine("a-n", "one")]);
    assert_eq!(p.source.deadline(), p.now + BUSY_AGAIN_MS);
    drop(writer);
    p.pass(0);
    p.pass(CHANGE_SETTLES_MS);
    assert_eq!(p.good(), [fine("a-n", "two")]);
}

#[test]
fn a_source_is_not_read_while_a_file_of_it_has_never_been() {
    let mut p = Place::new("unsynced", MissingDir::Remove);
    p.write("a.yaml", &document("a", "one"));
    p.write("b.yaml", &document("b", "one"));
    let writer = OpenOptions::new().append(true).open(p.path("a.yaml")).unwrap();
    p.pass(0);
    assert_eq!(p.names(), ["b-n"]);
    assert!(!p.merged().complete, "its Pod may be one that runs");
    for _ in 0..BUSY_TOLD {
        p.pass(BUSY_AGAIN_MS);
    }
    assert!(p.source.standing.take_news().concat().contains("a.yaml: is open for writing"));
    drop(writer);
    p.pass(0);
    assert!(p.pass(BUSY_AGAIN_MS) || p.merged().complete);
    assert_eq!(p.names(), ["a-n", "b-n"]);
    assert!(p.merged().complete);
}

#[test]
fn files_that_cannot_be_used_keep_what_they_said_also_after_a_restart() {
    let good = document("a", "one");
    let world_writable = |p: &Place| {
        p.write("a.yaml", &document("a", "two"));
        fs::set_permissions(p.path("a.yaml"), Permissions::from_mode(0o646)).unwrap();
    };
    let too_big = |p: &Place| p.write("a.yaml", &format!("{}#{}", document("a", "two"), "x".repeat(5000)));
    let dangling = |p: &Place| {
        fs::remove_file(p.path("a.yaml")).unwrap();
        symlink("nothing", p.path("a.yaml")).unwrap();
    };
    let endless = |p: &Place| {
        fs::remove_file(p.path("a.yaml")).unwrap();
        symlink("a.yaml", p.path("a.yaml")).unwrap();
    };
    let refused = |p: &Place| p.write("a.yaml", "{");
    type Spoil<'a> = (&'a dyn Fn(&Place), &'a str);
    let spoil: [Spoil<'_>; 5] = [
        (&world_writable, "everybody may write"),
        (&too_big, "the bound is 4096"),
        (&dangling, "leads nowhere"),
        (&endless, "cannot be read"),
        (&refused, "error"),
    ];
    for (spoil, says) in spoil {
        let mut p = Place::new("unusable", MissingDir::Remove);
        p.write("a.yaml", &good);
        p.pass(0);
        p.keep();
        spoil(&p);
        for restarted in [false, true] {
            if restarted {
                p.again();
            }
            p.pass(0);
            p.pass(CHANGE_SETTLES_MS);
            p.pass(REMOVAL_SETTLES_MS);
            assert_eq!(p.good(), [kept("a-n", "one")], "{says}, restarted: {restarted}");
            let merged = p.merged();
            let told = merged.good.values().next().unwrap().kept_for.clone().unwrap().concat();
            assert!(told.contains(says), "{told}");
            assert!(merged.complete);
            assert!(p.source.deadline() > p.now);
        }
        let _ = fs::remove_file(p.path("a.yaml"));
        p.write("a.yaml", &document("a", "three"));
        p.scan();
        p.pass(CHANGE_SETTLES_MS);
        assert_eq!(p.good(), [fine("a-n", "three")], "{says}");
    }
}

#[test]
fn what_was_kept_goes_with_its_file_also_while_no_daemon_looks() {
    let mut p = Place::new("forget", MissingDir::Remove);
    p.write("a.yaml", &document("a", "one"));
    p.write("b.yaml", &document("b", "one"));
    p.pass(0);
    p.keep();
    assert_eq!(fs::read_dir(p.root.join("keep")).unwrap().count(), 2);
    fs::remove_file(p.path("a.yaml")).unwrap();
    p.again();
    p.pass(0);
    p.keep();
    assert_eq!(fs::read_dir(p.root.join("keep")).unwrap().count(), 1);
    p.write("a.yaml", "{");
    p.pass(0);
    assert_eq!(p.names(), ["b-n"], "a broken file does not bring back what was there once");
    fs::remove_file(p.path("b.yaml")).unwrap();
    p.pass(0);
    p.pass(REMOVAL_SETTLES_MS);
    p.keep();
    assert_eq!(fs::read_dir(p.root.join("keep")).unwrap().count(), 0);
}

#[test]
fn odd_names_and_kinds_are_passed_over_and_named_once() {
    let mut p = Place::new("odd", MissingDir::Remove);
    for name in ["notes.txt", "a.yaml~", "a.yaml.bak", ".hidden.yaml"] {
        p.write(name, &document("a", "one"));
    }
    fs::create_dir(p.path("sub.yaml")).unwrap();
    nix::unistd::mkfifo(&p.path("fifo.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", p.path("zero.yaml")).unwrap();
    p.pass(0);
    assert_eq!(p.good(), []);
    assert_eq!(p.merged().refused, []);
    let ignored = p.source.ignored().join("\n");
    assert_eq!(ignored.lines().count(), 6, "{ignored}");
    for part in ["notes.txt", "a.yaml~", "sub.yaml: passed over: it is a directory", "a fifo", "a device"] {
        assert!(ignored.contains(part), "{part}: {ignored}");
    }
    assert_eq!(p.source.standing.take_news().len(), 6);
    p.scan();
    assert_eq!(p.source.standing.take_news(), [""; 0]);
    fs::remove_file(p.path("notes.txt")).unwrap();
    p.scan();
    assert_eq!(p.source.ignored().len(), 5);
}

#[test]
fn a_swap_behind_links_is_seen() {
    let mut p = Place::new("data", MissingDir::Remove);
    for (version, command) in [("..one", "one"), ("..two", "two")] {
        fs::create_dir(p.path(version)).unwrap();
        fs::write(p.path(version).join("a.yaml"), document("a", command)).unwrap();
    }
    symlink("..one", p.path("..data")).unwrap();
    symlink("..data/a.yaml", p.path("a.yaml")).unwrap();
    p.pass(0);
    assert_eq!(p.good(), [fine("a-n", "one")]);
    symlink("..two", p.path("..tmp")).unwrap();
    fs::rename(p.path("..tmp"), p.path("..data")).unwrap();
    p.pass(0);
    assert_eq!(p.good(), [fine("a-n", "two")]);
}

#[test]
fn a_directory_is_gone_when_it_was_absent_twice() {
    for (on_missing, left) in [(MissingDir::Remove, 0), (MissingDir::Keep, 1)] {
        let mut p = Place::new("missing", on_missing);
        p.write("a.yaml", &document("a", "one"));
        p.pass(0);
        let aside = p.root.join("aside");
        fs::rename(p.root.join("m"), &aside).unwrap();
        p.pass(0);
        assert_eq!(p.source.standing.error(), Some("does not exist"));
        assert_eq!(p.names(), ["a-n"]);
        p.pass(ABSENT_AGAIN_MS);
        assert_eq!(p.names().len(), left, "{on_missing:?}");
        p.pass(ABSENT_AGAIN_MS);
        assert!(p.source.deadline() >= p.now + ABSENT_AGAIN_MS, "no more often than that");
        fs::rename(&aside, p.root.join("m")).unwrap();
        p.pass(ABSENT_AGAIN_MS);
        assert_eq!(p.source.standing.error(), None);
        assert_eq!(p.names(), ["a-n"]);
    }
}

#[test]
fn a_file_that_goes_just_before_its_directory_does_not_keep_the_loop_awake() {
    let mut p = Place::new("awake", MissingDir::Keep);
    p.write("a.yaml", &document("a", "one"));
    p.pass(0);
    fs::remove_dir_all(p.root.join("m")).unwrap();
    for _ in 0..10 {
        p.pass(ABSENT_AGAIN_MS);
    }
    assert_eq!(p.names(), ["a-n"], "--on-missing-dir keep");
    assert!(p.source.deadline() >= p.now + ABSENT_AGAIN_MS);
}

#[test]
fn a_directory_that_is_made_anew_is_watched_anew() {
    let mut p = Place::new("anew", MissingDir::Remove);
    p.pass(0);
    // The new one may well get the old one's inode number.
    for n in 0..5 {
        fs::remove_dir_all(p.root.join("m")).unwrap();
        fs::create_dir(p.root.join("m")).unwrap();
        p.pass(0);
        p.write("a.yaml", &document("a", &n.to_string()));
        p.pass(0);
        p.pass(CHANGE_SETTLES_MS);
        assert_eq!(p.good(), [fine("a-n", &n.to_string())]);
    }
}

/// In a process and mount namespace of its own: what it mounts ends with it.
#[test]
fn an_unmounted_file_system_takes_no_pod_with_it() {
    use nix::sched::{CloneFlags, unshare};
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    if std::env::var_os("MOUNT_TEST").is_none() {
        let name = "source::dir::tests::an_unmounted_file_system_takes_no_pod_with_it";
        let own = std::env::current_exe().unwrap();
        let output = std::process::Command::new(own).args(["--exact", name]).env("MOUNT_TEST", "1").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        return;
    }
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    for below in ["mounted", "mounted/manifests"] {
        let mut p = Place::new("mount", MissingDir::Remove);
        let point = p.root.join("mounted");
        fs::create_dir(&point).unwrap();
        mount(Some("none"), &point, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs::create_dir_all(p.root.join(below)).unwrap();
        p.source = Place::source(&p.root, below, MissingDir::Remove);
        fs::write(p.path("a.yaml"), document("a", "one")).unwrap();
        p.pass(0);
        assert_eq!(p.names(), ["a-n"]);
        umount2(&point, MntFlags::MNT_DETACH).unwrap();
        for _ in 0..5 {
            p.pass(ABSENT_AGAIN_MS);
            assert_eq!(p.names(), ["a-n"], "{below}");
            assert!(p.source.standing.error().is_some());
        }
        mount(Some("none"), &point, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs::create_dir_all(p.root.join(below)).unwrap();
        fs::write(p.path("a.yaml"), document("a", "two")).unwrap();
        p.pass(ABSENT_AGAIN_MS);
        p.pass(CHANGE_SETTLES_MS);
        assert_eq!(p.good(), [fine("a-n", "two")]);
        umount2(&point, MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_single_file_is_a_source_and_its_neighbours_are_not() {
    let mut p = Place::new("single", MissingDir::Remove);
    p.source = Place::source(&p.root, "m/one.yaml", MissingDir::Remove);
    assert!(p.pass(0));
    assert!(p.merged().complete, "that it is not there yet is known");
    assert!(p.source.ignored()[0].ends_with("m/one.yaml: does not exist"), "{:?}", p.source.ignored());
    p.write("two.yaml", &document("b", "x"));
    p.write("one.yaml", &document("a", "x"));
    p.pass(0);
    assert_eq!(p.names(), ["a-n"]);
    assert!(p.source.ignored().is_empty());
    p.keep();
    p.write("one.yaml", "{");
    p.pass(CHANGE_SETTLES_MS);
    p.scan();
    p.pass(CHANGE_SETTLES_MS);
    assert_eq!(p.good(), [kept("a-n", "x")]);
    fs::remove_file(p.path("one.yaml")).unwrap();
    p.pass(0);
    p.pass(REMOVAL_SETTLES_MS);
    p.pass(REMOVAL_SETTLES_MS);
    assert!(p.names().is_empty());
    p.scan();
    assert_eq!(p.source.ignored().len(), 1);
}

#[test]
fn a_single_file_need_not_be_named_as_a_manifest() {
    let mut p = Place::new("named", MissingDir::Remove);
    p.write("pod", &document("a", "x"));
    p.source = Place::source(&p.root, "m/pod", MissingDir::Remove);
    p.pass(0);
    assert_eq!(p.names(), ["a-n"]);
}
