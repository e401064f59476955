use super::*;
use crate::manifest::{Context, Limits, Runtime};
use crate::pod::NodeName;
use crate::source::merge_with;

fn pod(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n{rest}spec:\n  hostNetwork: true\n  containers: [{{name: c, \
         image: i}}]\n"
    )
}

fn facts(text: &str) -> Facts {
    let node = NodeName::new("n");
    let context =
        Context { node: &node, path: "/m/a.yaml", limits: Limits::default(), runtime: Runtime::default() };
    Facts {
        sources: vec!["/m".into()],
        merged: merge_with(&[], Some((text.as_bytes(), &context))),
        ..Facts::default()
    }
}

#[test]
fn what_kubeadm_writes_is_handed_over_without_a_word() {
    assert_eq!(judge(&facts(&pod("etcd", ""))), Judgement::default());
}

#[test]
fn what_a_kubelet_cannot_run_is_refused() {
    let refusals = |f: &Facts| judge(f).refusals.join("\n");
    let two = facts(&format!("{}---\n{}", pod("a", ""), pod("b", "")));
    assert!(refusals(&two).contains("/m/a.yaml: holds 2 documents"), "{}", refusals(&two));
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";
    let refers = pod("a", "").replace("image: i}", "image: i, envFrom: [{configMapRef: {name: m}}]}");
    let refers = facts(&format!("{refers}{map}"));
    let said = refusals(&refers);
    assert!(
        said.contains("holds 2 documents") && said.contains("default/a-n (/m/a.yaml): refers to ConfigMap m"),
        "{said}"
    );
    let mut list = facts(&pod("a", ""));
    list.lists = vec!["/m/a.yaml".into()];
    assert!(refusals(&list).contains("is a list"), "{}", refusals(&list));
    let mut backup = facts(&pod("a", ""));
    backup.passed_over = vec!["/m/a.yaml.bak".into()];
    assert!(refusals(&backup).contains("/m/a.yaml.bak: is passed over here"), "{}", refusals(&backup));
    let mut many = facts(&pod("a", ""));
    many.sources.push("http://h/".into());
    assert_eq!(refusals(&many), "", "a kubelet reads one of each");
    many.sources.push("/n".into());
    assert_eq!(refusals(&many), "a kubelet reads one staticPodPath, and there are 2: /m, /n");
    let mut unread = facts(&pod("a", ""));
    unread.unread = Some("/m: cannot be read: EIO".into());
    assert!(refusals(&unread).contains("EIO: what is to run"), "{}", refusals(&unread));
}

#[test]
fn what_will_be_different_is_told() {
    let depends = pod("a", "  annotations: {podstrap.io/depends-on: b}\n");
    let depends =
        depends.replace("hostNetwork: true", "hostNetwork: true\n  volumes: [{name: v, emptyDir: {}}]");
    let Judgement { refusals, warnings } = judge(&facts(&depends));
    assert_eq!(refusals, [""; 0]);
    let warnings = warnings.join("\n");
    assert!(
        warnings.contains("podstrap.io/depends-on over") && warnings.contains("emptyDir volumes is lost"),
        "{warnings}"
    );
}

#[test]
fn of_a_url_a_kubelet_takes_a_pod_list() {
    let two = format!("{}---\n{}", pod("a", ""), pod("b", ""));
    let mut facts = facts(&two);
    let path = facts.merged.good.values().next().unwrap().pod.origin.path.clone();
    facts.pod_lists = vec![path];
    assert_eq!(judge(&facts).refusals, [""; 0]);
    facts.lists = vec!["http://h/pods".into()];
    assert!(judge(&facts).refusals.concat().contains("one Pod or a PodList from a URL"));
    for (text, kind) in [
        ("apiVersion: v1\nkind: \"PodList\" # all\nitems: []\n", Some("PodList")),
        ("{\"items\": [{\"kind\": \"Pod\"}], \"kind\": \"List\"}", Some("List")),
        ("items:\n- kind: Pod\n", None),
    ] {
        assert_eq!(kind_of(text.as_bytes()).as_deref(), kind, "{text}");
    }
}

#[test]
fn a_pod_that_was_stopped_by_hand_is_told_of() {
    let mut facts = facts(&pod("a", ""));
    facts.held = vec!["default/a-n".into()];
    assert!(judge(&facts).warnings.concat().contains("default/a-n: was stopped by `podstrap down`"));
}
