//! The Pod's names: host name, /etc/hosts, resolv.conf.

use std::fs;

use crate::case::{Case, case, part};

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spec.hostname", "absent: the Pod's name")
            .own_network()
            .main("hostname; cat /proc/sys/kernel/hostname; cat /etc/hostname", "")
            .says("@NAME@-node1\n@NAME@-node1\n@NAME@-node1"),
        case("spec.hostname", "is the host name")
            .own_network()
            .spec("hostname: web")
            .main("hostname", "")
            .says("web"),
        case("spec.hostname", "the same in all containers")
            .own_network()
            .spec("hostname: web")
            .container(part("one", "hostname"))
            .container(part("two", "hostname"))
            .prints("one", "web")
            .prints("two", "web"),
        case("spec.hostNetwork", "the host name is the node's")
            .main("hostname", "")
            .output(|_, out| {
                assert_eq!(out.trim(), nix::unistd::gethostname().unwrap().to_string_lossy());
            }),
        case("spec.subdomain", "the full name is in /etc/hosts")
            .own_network()
            .spec("hostname: web")
            .spec("subdomain: shop")
            .main("hostname; grep web /etc/hosts | cut -f2-", "")
            .output(|_, out| {
                let lines: Vec<&str> = out.lines().collect();
                assert_eq!(lines[0], "web");
                if lines.len() > 1 {
                    assert!(lines[1].starts_with("web.shop.default.svc.") && lines[1].ends_with("\tweb"), "{out}");
                }
            }),
        case("spec.setHostnameAsFQDN", "the host name is the full one")
            .own_network()
            .spec("hostname: web")
            .spec("subdomain: shop")
            .spec("setHostnameAsFQDN: true")
            .main("cat /proc/sys/kernel/hostname", "")
            .output(|_, out| assert!(out.starts_with("web.shop.default.svc."), "{out}")),
        case("spec.hostname", "refused unless it is a DNS label")
            .own_network()
            .spec("hostname: Not_A.Label")
            .main("true", "")
            .refused(&["spec.hostname", "Not_A.Label"]),
        case("/etc/hosts", "of a Pod with a network of its own")
            .own_network()
            .main("tail -n +2 /etc/hosts | head -n 6; head -c1 /etc/hosts; ls -l /etc/hosts | cut -c1-10", "")
            .says(
                "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n#-rw-r--r--",
            ),
        case("/etc/hosts", "under hostNetwork: the node's")
            .main("cat /etc/hosts", "")
            .output(|_, out| {
                for line in fs::read_to_string("/etc/hosts").unwrap().lines() {
                    assert!(out.lines().any(|l| l == line), "`{line}` is missing: {out}");
                }
            }),
        case("spec.hostAliases", "stand in /etc/hosts, one address a line")
            .spec("hostAliases: [{ip: 192.0.2.1, hostnames: [one.test, uno.test]}, {ip: '2001:db8::2', hostnames: [two.test]}]")
            .main("tail -n 2 /etc/hosts", "")
            .says("192.0.2.1\tone.test\tuno.test\n2001:db8::2\ttwo.test"),
        case("spec.hostAliases", "with a network of its own, too")
            .own_network()
            .spec("hostAliases: [{ip: 192.0.2.1, hostnames: [one.test]}]")
            .main("grep one.test /etc/hosts; grep -c localhost /etc/hosts", "")
            .says("192.0.2.1\tone.test\n2"),
        case("/etc/hosts", "is made anew at each start of a container")
            .spec("restartPolicy: OnFailure")
            .spec("hostAliases: [{ip: 192.0.2.1, hostnames: [one.test]}]")
            .main("say main; grep -c spoilt /etc/hosts >>/out/spoilt; echo spoilt >>/etc/hosts; [ $(grep -c main /out/events) -ge 2 ]", "")
            .phase("Succeeded")
            .then(|t| assert_eq!(t.file("spoilt"), "0\n0\n")),
        case("/etc/hosts", "a mount of the manifest's wins")
            .spec("hostAliases: [{ip: 192.0.2.1, hostnames: [one.test]}]")
            .before(|t| t.write("hosts", "127.0.0.1 mine\n"))
            .volume("{name: hosts, hostPath: {path: '@DIR@/hosts', type: File}}")
            .container(part("main", "cat /etc/hosts").mount("{name: hosts, mountPath: /etc/hosts}"))
            .says("127.0.0.1 mine"),
    ];
    cases.extend(resolv());
    cases
}

/// The lines of the host's resolv.conf that say something.
fn host_resolv() -> Vec<String> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with(['#', ';']))
        .map(str::to_owned)
        .collect()
}

/// The words after a keyword, in all of its lines.
fn words(text: &str, keyword: &str) -> Vec<String> {
    let lines =
        text.lines().filter_map(|l| l.trim().strip_prefix(keyword)).filter(|l| l.starts_with([' ', '\t']));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

fn resolv() -> Vec<Case> {
    let as_host = |policy: &str, what| {
        case("spec.dnsPolicy", what).spec(policy).main("cat /etc/resolv.conf", "").output(|_, out| {
            let host = host_resolv().join("\n");
            for keyword in ["nameserver", "search", "options"] {
                assert_eq!(words(out, keyword), words(&host, keyword), "{keyword} in {out}");
            }
        })
    };
    vec![
        as_host("dnsPolicy: Default", "Default: the host's resolv.conf"),
        as_host("dnsPolicy: ClusterFirst", "ClusterFirst: without a cluster's name servers, the host's"),
        as_host("dnsPolicy: ClusterFirstWithHostNet", "ClusterFirstWithHostNet: likewise"),
        as_host("hostNetwork: false", "absent, with a network of its own: likewise"),
        case("spec.dnsPolicy=None", "dnsConfig alone")
            .spec("dnsPolicy: None")
            .spec("dnsConfig: {nameservers: [192.0.2.53, 192.0.2.54], searches: [one.test, two.test], options: [{name: ndots, value: '2'}, {name: edns0}]}")
            .main("cat /etc/resolv.conf", "")
            .output(|_, out| {
                assert_eq!(words(out, "nameserver"), ["192.0.2.53", "192.0.2.54"]);
                assert_eq!(words(out, "search"), ["one.test", "two.test"]);
                assert_eq!(words(out, "options"), ["ndots:2", "edns0"]);
            }),
        case("spec.dnsConfig", "is added to the host's, without doubles")
            .spec("dnsPolicy: Default")
            .before(|t| {
                let first = words(&host_resolv().join("\n"), "nameserver").into_iter().next();
                t.write("first", &first.unwrap_or_else(|| "192.0.2.53".to_owned()));
            })
            .spec("dnsConfig: {nameservers: [192.0.2.53], searches: [one.test, one.test], options: [{name: ndots, value: '7'}]}")
            .main("cat /etc/resolv.conf", "")
            .output(|_, out| {
                let host = host_resolv().join("\n");
                let mut servers = words(&host, "nameserver");
                servers.push("192.0.2.53".to_owned());
                servers.truncate(3);
                assert_eq!(words(out, "nameserver"), servers);
                assert_eq!(words(out, "search").iter().filter(|w| *w == "one.test").count(), 1, "{out}");
                assert!(words(out, "options").contains(&"ndots:7".to_owned()), "{out}");
            }),
        case("spec.dnsConfig.nameservers", "more than three are refused")
            .spec("dnsPolicy: None")
            .spec("dnsConfig: {nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]}")
            .main("true", "")
            .refused(&["dnsConfig.nameservers"]),
        case("spec.dnsPolicy=None", "refused without a name server")
            .spec("dnsPolicy: None")
            .main("true", "")
            .refused(&["dns", "nameserver"]),
        case("/etc/resolv.conf", "a mount of the manifest's wins")
            .before(|t| t.write("resolv", "nameserver 192.0.2.99\n"))
            .volume("{name: resolv, hostPath: {path: '@DIR@/resolv', type: File}}")
            .container(part("main", "cat /etc/resolv.conf").mount("{name: resolv, mountPath: /etc/resolv.conf}"))
            .says("nameserver 192.0.2.99"),
    ]
}
