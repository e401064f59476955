//! A docker that is wrong about a container, or does not get done with one: a script stands before the real command line and
//! says or does so on demand.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::harness::load_busybox;
use super::stage::{all, before_docker, docker, instance, starts, the, until_restarted};
use crate::common::yaml::{canary, one};
use crate::common::{engine, host, image};

/// A process that has nothing to do with docker; it dies with this.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// docker is late to notice an end, and by then another process has the pid that the container's had.
#[test]
fn another_process_of_the_old_pid_is_not_the_container_started_anew() {
    let Some(mut i) = instance() else { return };
    before_docker(
        &mut i,
        r#"[ "$1" = inspect ] || exec $real "$@"
if [ -e $dir/stale ]; then echo asked >>$dir/asked; exec cat $dir/stale; fi
answer=$($real "$@"); status=$?
case $answer in *'"Status":"running"'*-main-*) printf '%s\n' "$answer" >$dir/last;; esac
printf '%s\n' "$answer"; exit $status"#,
    );
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    i.start();
    let pid = i.until_ready("web");
    let mut bystander = Bystander::new();
    let last = fs::read_to_string(i.dir.join("last")).unwrap();
    let stale = last.replace(&format!("\"Pid\":{pid},"), &format!("\"Pid\":{},", bystander.pid()));
    assert_ne!(stale, last);
    fs::write(i.dir.join("part"), stale).unwrap();
    fs::rename(i.dir.join("part"), i.dir.join("stale")).unwrap();
    host::signal(pid, nix::sys::signal::Signal::SIGKILL);
    i.until("docker was asked how it ended", |i| i.dir.join("asked").exists());
    i.holds_for(Duration::from_secs(2), "it is not taken for the container", |i| {
        i.running_pid("web", "main") != Some(bystander.pid())
    });
    fs::remove_file(i.dir.join("stale")).unwrap();
    until_restarted(&i, "web", 1);
    assert_eq!(i.container("web", "main").unwrap().last_state.terminated.unwrap().exit_code, 137);
    assert!(bystander.lives());
}

/// Nobody knows what was begun: it is ended, and what it said and how it ended is kept all the same.
#[test]
fn a_container_that_is_swept_alive_keeps_its_log_and_its_exit_code() {
    let Some(mut i) = instance() else { return };
    i.write_manifest("web.yaml", &one(&i, "web", &format!("echo last words; {}", canary("web")), &[]));
    i.start();
    let pid = i.until_ready("web");
    let old = the(&i, "web", "main");
    i.kill9();
    let (dir, _) = i.records("web", "main").pop().unwrap();
    fs::write(dir.join("record.json"), "{").unwrap();
    i.start();
    until_restarted(&i, "web", 1);
    i.until("it has begun again", |i| starts(i, "web") == 2);
    assert!(!host::alive(pid));
    assert!(!docker(&i, &["ps", "-aq", "--no-trunc"]).contains(&old), "and is removed");
    let previous = i.cli_ok("logs", &["web", "--previous"]);
    assert!(previous.contains("last words"), "{previous:?}");
    let last = i.container("web", "main").unwrap().last_state.terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_str()), (137, "Error"), "{last:?}");
}

/// A container of this instance that nobody knows, and that docker cannot get rid of, keeps nothing else from being begun.
#[test]
fn a_container_that_docker_does_not_get_done_with_holds_up_nothing_else() {
    let Some(mut i) = instance() else { return };
    load_busybox(i.docker.as_ref().unwrap());
    let label = format!("{}={}", engine::RUN_LABEL, i.run.display());
    let create = ["create", "--label", &label, "--label", "io.podstrap.id=stray-main-0", image::BUSYBOX];
    let stray = docker(&i, &create);
    before_docker(
        &mut i,
        &format!(r#"case "$1 $*" in rm*{stray}*) exec sleep 1000;; esac; exec $real "$@""#),
    );
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &[]));
    let began = Instant::now();
    i.start();
    i.until_within(Duration::from_secs(40), "it is begun", |i| i.ready("web"));
    eprintln!("begun after {:?}", began.elapsed());
    let told = fs::read_to_string(i.daemon_log()).unwrap();
    assert!(told.contains("stray-main-0, which nobody knows: did not end within"), "{told}");
    let real = fs::read_to_string(i.dir.join("docker")).unwrap();
    fs::write(i.dir.join("part"), real.replace("rm*", "not-any-more")).unwrap();
    fs::set_permissions(i.dir.join("part"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(i.dir.join("part"), i.dir.join("docker")).unwrap();
    i.until_within(Duration::from_secs(40), "it is removed at a later look", |i| !all(i).contains(&stray));
}

/// What happens to images while nobody listens is seen as soon as somebody does again.
#[test]
fn an_image_that_comes_while_nobody_listens_is_found() {
    let Some(mut i) = instance() else { return };
    load_busybox(i.docker.as_ref().unwrap());
    // It leaves its pid, and keeps it.
    before_docker(
        &mut i,
        r#"[ "$1" = events ] && echo $$ >$dir/pid && mv $dir/pid $dir/events; exec $real "$@""#,
    );
    let name = format!("localhost/tagged-{}:now", std::process::id());
    let fields = [format!("image: {name}"), "imagePullPolicy: Never".to_owned()];
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    i.write_manifest("web.yaml", &one(&i, "web", &canary("web"), &fields));
    i.args(&["--rescan", "1h"]).start();
    i.until("it waits for its image", |i| i.cli_ok("status", &[]).contains("ErrImageNeverPull"));
    let listener = fs::read_to_string(i.dir.join("events")).unwrap().trim().parse().unwrap();
    fs::remove_file(i.dir.join("events")).unwrap();
    host::signal(listener, nix::sys::signal::Signal::SIGKILL);
    i.until("nobody listens", |_| !host::alive(listener));
    docker(&i, &["tag", image::BUSYBOX, &name]);
    assert!(!i.dir.join("events").exists(), "nobody listened while the image came");
    i.until_ready("web");
    i.remove("web.yaml");
    i.until("it is gone", |i| i.pod("web").is_none());
    docker(&i, &["rmi", &name]);
}

/// Whoever started it was told that it had not been, and finds it under its name: it is taken up as if he had known.
#[test]
fn a_container_that_was_started_already_is_taken_up_with_its_log() {
    let Some(mut i) = instance() else { return };
    before_docker(
        &mut i,
        r#"[ "$1" = run ] && $real "$@" >/dev/null && for word; do
    [ "$last" = --cidfile ] && rm -f "$word"; last=$word
done; exec $real "$@""#,
    );
    i.write_manifest("web.yaml", &one(&i, "web", &format!("echo first words; {}", canary("web")), &[]));
    i.start();
    i.until_ready("web");
    i.until("its log is read while it runs", |i| {
        let logs = i.cli("logs", &["web"]);
        logs.status.success() && crate::common::text(&logs.stdout).contains("first words")
    });
    i.until("it has begun", |i| starts(i, "web") == 1);
    assert_eq!((all(&i).len(), i.restarts("web", "main")), (1, 0));
}
