//! Environment, standard streams, names and last words, as a container finds them.

use super::*;
use podstrap::monitor::objects;
use podstrap::pod::objects::Object;

pub fn object(kind: ObjectKind, name: &str) -> ObjectRef {
    ObjectRef { kind, name: name.into() }
}

impl Stage {
    pub fn write_object(&self, reference: ObjectRef, data: &[(&str, &str)]) {
        let data = data.iter().map(|(k, v)| (k.to_string(), v.as_bytes().to_vec())).collect();
        let namespace = self.pod.key.namespace.clone();
        objects::write(&self.roots, &Object { namespace, reference, data }).unwrap();
    }

    /// Runs the container, which must end well, and gives the lines of its log.
    pub fn told(&mut self) -> Vec<String> {
        assert_eq!(self.run(), End::Exited { code: 0 }, "{}; {}", self.log(), self.stderr());
        self.lines()
    }
}

fn variable(name: &str, value: EnvValue) -> EnvVar {
    EnvVar { name: name.into(), value }
}

#[test]
fn the_environment_of_objects_fields_and_resources() {
    let mut stage = Stage::new("environment", "env; echo arg: $0");
    let map = object(ObjectKind::ConfigMap, "settings");
    let secret = object(ObjectKind::Secret, "keys");
    stage.write_object(map.clone(), &[("A", "1"), ("9lives", "x"), ("B", "2")]);
    stage.write_object(secret.clone(), &[("token", "s3cret")]);
    stage.pod.labels.insert("app".into(), "web".into());
    stage.pod.uid = Uid::new("fixed-uid");
    let key = |object: &ObjectRef, key: &str, optional| EnvValue::Key {
        object: object.clone(),
        key: key.into(),
        optional,
    };
    let resource = |resource: &str| {
        EnvValue::Field(FieldRef::Resource {
            container: None,
            resource: resource.into(),
            divisor_milli: 1000,
        })
    };
    let c = stage.container();
    c.env_from = vec![
        EnvFrom { prefix: "P_".into(), object: map.clone(), optional: false },
        EnvFrom { prefix: String::new(), object: map.clone(), optional: false },
    ];
    c.env = vec![
        variable("TOKEN", key(&secret, "token", false)),
        variable("NONE", key(&secret, "no", true)),
        variable("NAME", EnvValue::Field(FieldRef::Name)),
        variable("UID_", EnvValue::Field(FieldRef::Uid)),
        variable("LABEL", EnvValue::Field(FieldRef::Label("app".into()))),
        variable("POD_IP", EnvValue::Field(FieldRef::PodIp)),
        variable("HOST_IP", EnvValue::Field(FieldRef::HostIp)),
        variable("CPUS", resource("limits.cpu")),
        variable("MEMORY", resource("limits.memory")),
        variable("ASKED", resource("requests.memory")),
        variable("MIX", EnvValue::Text("$(A)-$(NAME)-$(B)-$(no)".into())),
    ];
    c.args = vec!["$(MIX)".into()];
    let lines = stage.told();
    let value = |name: &str| {
        let prefix = format!("{name}=");
        lines.iter().find_map(|l| l.strip_prefix(&prefix)).map(str::to_owned)
    };
    let wanted = [
        ("A", "1"),
        ("P_A", "1"),
        ("P_9lives", "x"),
        ("TOKEN", "s3cret"),
        ("NAME", "p-host1"),
        ("UID_", "fixed-uid"),
        ("LABEL", "web"),
        ("ASKED", "0"),
        ("MIX", "1-p-host1-2-$(no)"),
    ];
    for (name, text) in wanted {
        assert_eq!(value(name).as_deref(), Some(text), "{name}: {lines:?}");
    }
    assert_eq!((value("9lives"), value("NONE")), (None, None));
    assert_eq!(value("POD_IP"), value("HOST_IP"), "hostNetwork");
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap().matches("processor\t").count();
    assert_eq!(value("CPUS").unwrap(), cpus.to_string());
    assert!(value("MEMORY").unwrap().parse::<u64>().unwrap() > 1 << 28);
    assert!(lines.contains(&"arg: 1-p-host1-2-$(no)".to_owned()));
    let warnings = stage.record().unwrap().warnings;
    assert!(warnings.iter().any(|w| w.contains("keys [9lives]") && w.contains("settings")), "{warnings:?}");
}

#[test]
fn missing_objects_are_named_in_the_kubelets_words() {
    let mut stage = Stage::new("missing", "true");
    let map = object(ObjectKind::ConfigMap, "settings");
    let value = EnvValue::Key { object: map.clone(), key: "k".into(), optional: false };
    stage.container().env = vec![variable("A", value)];
    let config = |message: &str| ("CreateContainerConfigError".to_owned(), message.to_owned());
    assert_eq!(stage.refusal(), config("configmap \"settings\" not found"));
    stage.attempt = 1;
    stage.write_object(map, &[("other", "x")]);
    assert_eq!(stage.refusal(), config("couldn't find key k in ConfigMap ns/settings"));
    stage.attempt = 2;
    stage.container().env.clear();
    stage.container().env_from =
        vec![EnvFrom { prefix: String::new(), object: object(ObjectKind::Secret, "s"), optional: false }];
    assert_eq!(stage.refusal(), config("secret \"s\" not found"));
    stage.attempt = 3;
    stage.container().env_from[0].optional = true;
    stage.told();
}

#[test]
fn a_terminal_is_one_and_its_output_is_logged() {
    let mut stage =
        Stage::new("tty", "tty; [ -t 0 ] && [ -t 1 ] && echo terminal; echo $TERM >&2; seq 1 3000; exit 3");
    stage.container().tty = true;
    assert_eq!(stage.run(), End::Exited { code: 3 }, "{}; {}", stage.log(), stage.stderr());
    let lines: Vec<_> = stage.lines().iter().map(|l| l.trim_end_matches('\r').to_owned()).collect();
    assert_eq!(lines[..3], ["/dev/pts/0", "terminal", "xterm"]);
    assert_eq!(lines.len(), 3003);
    assert_eq!(lines[3002], "3000");
    assert!(stage.log().lines().all(|l| l.contains(" stdout F ")));
}

#[test]
fn standard_input_waits_when_it_is_asked_for() {
    let mut stage = Stage::new("stdin", "read line; echo got $line");
    assert_eq!(stage.told(), ["got"], "/dev/null ends at once");
    stage.attempt = 1;
    stage.container().stdin = true;
    stage.start();
    let init = stage.running().init.unwrap();
    let input = fs::read_link(format!("/proc/{}/fd/0", init.pid)).unwrap();
    assert!(input.to_string_lossy().starts_with("pipe:"), "{input:?}");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(stage.record().unwrap().end, None);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(init.pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(stage.finish(), End::Signaled { signal: 9, oom: false });
    assert!(stage.lines().is_empty());
}

#[test]
fn names_hosts_and_resolver() {
    let script = "hostname; cat /etc/hosts; echo --; cat /etc/resolv.conf; echo --; echo x >> /etc/hosts && echo writable";
    let mut stage = Stage::new("names", script);
    stage.pod.host_network = false;
    stage.pod.hostname = Some("web".into());
    stage.pod.subdomain = Some("sub".into());
    stage.pod.host_aliases =
        vec![HostAlias { ip: "192.0.2.7".into(), hostnames: vec!["x".into(), "y".into()] }];
    stage.cluster_dns = vec!["10.96.0.10".into()];
    stage.pod.dns.options = vec![("ndots".into(), Some("2".into()))];
    stage.sandbox(&[], vec!["10.1.2.3".parse().unwrap(), "fd00::3".parse().unwrap()]);
    let lines = stage.told();
    assert_eq!(lines[0], "web");
    for line in [
        "# Kubernetes-managed hosts file.",
        "10.1.2.3\tweb.sub.ns.svc.cluster.local\tweb",
        "fd00::3\tweb.sub.ns.svc.cluster.local\tweb",
        "192.0.2.7\tx\ty",
        "nameserver 10.96.0.10",
        "options ndots:2",
        "writable",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line}: {lines:?}");
    }
    let search = lines.iter().find(|l| l.starts_with("search ")).unwrap();
    assert!(search.starts_with("search ns.svc.cluster.local svc.cluster.local cluster.local"), "{search}");

    stage.attempt = 1;
    stage.pod.fqdn_as_hostname = true;
    stage.pod.dns = Dns { policy: DnsPolicy::None, nameservers: vec!["1.1.1.1".into()], ..Dns::default() };
    let lines = stage.told();
    assert_eq!(lines[0], "web.sub.ns.svc.cluster.local");
    let resolver: Vec<_> =
        lines.iter().skip_while(|l| *l != "--").skip(1).take_while(|l| *l != "--").collect();
    assert_eq!(resolver, ["nameserver 1.1.1.1"]);

    stage.attempt = 2;
    stage.pod.subdomain = Some("s".repeat(50));
    let (reason, message) = stage.refusal();
    assert_eq!(reason, "CreateContainerError");
    assert!(message.contains("64 characters is the max"), "{message}");
}

#[test]
fn the_pods_own_hosts_file_stands() {
    let mut stage = Stage::new("ownhosts", "cat /etc/hosts");
    let file = stage.base.join("hosts");
    fs::write(&file, "mine\n").unwrap();
    let path = file.to_string_lossy().into_owned();
    stage.volume("h", Volume::HostPath { path, kind: HostPathType::File }, "/etc/hosts", true);
    stage.pod.host_aliases = vec![HostAlias { ip: "192.0.2.7".into(), hostnames: vec!["x".into()] }];
    assert_eq!(stage.told(), ["mine"]);
}

#[test]
fn last_words() {
    let mut stage = Stage::new("words", "printf 'it was me' > /last; seq 1 200; exit 4");
    stage.container().termination_message_path = "/last".into();
    stage.container().termination_message_from_logs = true;
    stage.container().security.run_as_user = Some(33);
    assert_eq!(stage.run(), End::Exited { code: 4 }, "{}", stage.log());
    let words = |stage: &Stage| stage.record().unwrap().termination_message;
    assert_eq!(words(&stage).as_deref(), Some("it was me"));
    let run = |stage: &mut Stage, script: &str, code| {
        stage.attempt += 1;
        stage.container().command[2] = script.into();
        assert_eq!(stage.run(), End::Exited { code }, "{}", stage.log());
        words(stage)
    };
    let of_log = run(&mut stage, "seq 1 200; exit 4", 4).unwrap();
    assert!(of_log.starts_with("121\n") && of_log.ends_with("200\n"), "{of_log}");
    assert_eq!(run(&mut stage, "seq 1 200", 0), None);
    let long = run(&mut stage, "seq 1 5000 > /last; exit 1", 1).unwrap();
    assert!(long.len() == 4096 && long.ends_with("5000\n"));
    stage.container().termination_message_from_logs = false;
    assert_eq!(run(&mut stage, "seq 1 200; exit 4", 4), None);
}

#[test]
fn the_manifests_stop_signal_wins() {
    let mut stage = Stage::new("stopsignal", "true");
    stage.config = serde_json::json!({ "StopSignal": "SIGQUIT" });
    let _ = fs::remove_dir_all(stage.roots.images());
    stage.make_image();
    stage.told();
    assert_eq!(stage.record().unwrap().stop_signal, Some(3));
    stage.attempt = 1;
    stage.container().lifecycle.stop_signal = Some(10);
    stage.told();
    assert_eq!(stage.record().unwrap().stop_signal, Some(10));
}
