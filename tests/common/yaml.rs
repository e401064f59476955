//! Manifests for the tests.

use super::image::BUSYBOX;

/// A container of the busybox image, `name` and a shell script; `extra` holds further fields, one a line, in flow style
/// where they nest. /shared is the instance's shared directory.
pub fn container(name: &str, script: &str, extra: &[&str]) -> String {
    // A JSON string is a YAML string.
    let script = serde_json::to_string(script).unwrap();
    let mut lines = vec![
        format!("  - name: {name}"),
        format!("    command: [sh, -c, {script}]"),
        "    volumeMounts: [{name: shared, mountPath: /shared}]".to_owned(),
    ];
    if !extra.iter().any(|e| e.starts_with("image:")) {
        lines.push(format!("    image: {BUSYBOX}"));
    }
    if !extra.iter().any(|e| e.starts_with("imagePullPolicy:")) {
        lines.push("    imagePullPolicy: IfNotPresent".to_owned());
    }
    lines.extend(extra.iter().map(|e| format!("    {e}")));
    lines.join("\n")
}

/// A Pod of these containers; `extra` holds further fields of its spec.
pub fn pod(instance: &super::Instance, name: &str, extra: &[&str], containers: &[String]) -> String {
    let mut lines = vec![
        "apiVersion: v1".to_owned(),
        "kind: Pod".to_owned(),
        format!("metadata: {{name: {name}}}"),
        "spec:".to_owned(),
        "  hostNetwork: true".to_owned(),
    ];
    if !extra.iter().any(|e| e.starts_with("terminationGracePeriodSeconds:")) {
        lines.push("  terminationGracePeriodSeconds: 2".to_owned());
    }
    lines.extend(extra.iter().map(|e| format!("  {e}")));
    lines.push("  containers:".to_owned());
    lines.extend(containers.iter().cloned());
    lines.push("  volumes:".to_owned());
    lines.push(format!(
        "  - {{name: shared, hostPath: {{path: {}, type: Directory}}}}",
        instance.shared.display()
    ));
    lines.join("\n") + "\n"
}

/// A Pod of one container, `main`.
pub fn one(instance: &super::Instance, name: &str, script: &str, extra: &[&str]) -> String {
    pod(instance, name, &[], &[container("main", script, extra)])
}

/// What stands in a canary's script before the name of its file.
pub const CANARY_WRITES: &str = "echo \"$1 $up\" >>/shared/";

/// Runs until TERM, and ends with 0 then. Appends `start` and `term` to /shared/FILE, each with the time since boot.
pub fn canary(file: &str) -> String {
    format!(
        "say() {{ read up _ </proc/uptime; {CANARY_WRITES}{file}; }}\n\
         trap 'say term; exit 0' TERM\n\
         say start\n\
         while :; do sleep 1000 & wait $!; done"
    )
}
