//! What cannot be honoured, and what makes no sense: refused, by name.

use crate::case::{Case, case, part};

fn spec(field: &'static str, what: &'static str, line: &str, words: &'static [&'static str]) -> Case {
    case(field, what).spec(line).main("say main", "").refused(words)
}

fn container(field: &'static str, what: &'static str, line: &str, words: &'static [&'static str]) -> Case {
    case(field, what).main("say main", line).refused(words)
}

fn volume(field: &'static str, source: &str, words: &'static [&'static str]) -> Case {
    case(field, "refused: it takes what only a cluster has")
        .volume(&format!("{{name: v, {source}}}"))
        .container(part("main", "say main").mount("{name: v, mountPath: /v}"))
        .refused(words)
}

pub fn cases() -> Vec<Case> {
    const SERVER: &str = "refused: it takes an API server";
    const SENSE: &str = "refused: it makes no sense";
    vec![
        spec("spec.serviceAccountName", SERVER, "serviceAccountName: robot", &["serviceAccountName"]),
        spec("spec.imagePullSecrets", SERVER, "imagePullSecrets: [{name: registry}]", &["imagePullSecrets"]),
        spec(
            "spec.resourceClaims",
            SERVER,
            "resourceClaims: [{name: gpu, resourceClaimName: gpu}]",
            &["resourceClaims"],
        ),
        spec(
            "spec.ephemeralContainers",
            SERVER,
            "ephemeralContainers: [{name: debug, image: busybox}]",
            &["ephemeralContainers"],
        ),
        spec(
            "spec.runtimeClassName",
            "refused: there are no runtime classes",
            "runtimeClassName: kata",
            &["runtimeClassName"],
        ),
        volume(
            "spec.volumes.persistentVolumeClaim",
            "persistentVolumeClaim: {claimName: data}",
            &["persistentVolumeClaim"],
        ),
        volume(
            "spec.volumes.ephemeral",
            "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}",
            &["ephemeral"],
        ),
        volume("spec.volumes.csi", "csi: {driver: csi.example.org}", &["csi"]),
        volume("spec.volumes.nfs", "nfs: {server: nfs.example.org, path: /x}", &["nfs"]),
        volume(
            "spec.volumes.iscsi",
            "iscsi: {targetPortal: 192.0.2.1, iqn: 'iqn.2000-01.org.example:x', lun: 0}",
            &["iscsi"],
        ),
        volume(
            "spec.volumes.projected.sources.serviceAccountToken",
            "projected: {sources: [{serviceAccountToken: {path: token}}]}",
            &["serviceAccountToken"],
        ),
        volume(
            "spec.volumes.projected.sources.clusterTrustBundle",
            "projected: {sources: [{clusterTrustBundle: {name: x, path: ca}}]}",
            &["clusterTrustBundle"],
        ),
        container(
            "spec.containers.volumeDevices",
            "refused: it takes a claim",
            "volumeDevices: [{name: v, devicePath: /dev/x}]",
            &["volumeDevices"],
        ),
        spec("spec.os.name", "refused: this is Linux", "os: {name: windows}", &["os"]),
        spec("spec.activeDeadlineSeconds", SENSE, "activeDeadlineSeconds: 0", &["activeDeadlineSeconds"]),
        spec("spec.restartPolicy", SENSE, "restartPolicy: Sometimes", &["restartPolicy", "Sometimes"]),
        spec("spec.dnsPolicy", SENSE, "dnsPolicy: Cluster", &["dnsPolicy", "Cluster"]),
        spec(
            "spec.hostAliases.ip",
            SENSE,
            "hostAliases: [{ip: not-an-address, hostnames: [x]}]",
            &["hostAliases[0].ip", "not-an-address"],
        ),
        container(
            "spec.containers.image",
            "refused: it cannot be a reference",
            "image: 'Not A Reference'",
            &["image", "Not A Reference"],
        ),
        container(
            "spec.containers.imagePullPolicy",
            SENSE,
            "imagePullPolicy: Maybe",
            &["imagePullPolicy", "Maybe"],
        ),
        container(
            "spec.containers.env.name",
            SENSE,
            "env: [{name: 'A=B', value: x}]",
            &["env[0].name", "A=B"],
        ),
        container(
            "spec.containers.env",
            "refused: value and valueFrom",
            "env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
            &["env[0]"],
        ),
        container(
            "spec.containers.ports.containerPort",
            SENSE,
            "ports: [{containerPort: 70000}]",
            &["containerPort", "70000"],
        ),
        container(
            "spec.containers.ports.name",
            SENSE,
            "ports: [{name: far-too-long-a-name, containerPort: 80}]",
            &["ports[0].name"],
        ),
        container(
            "spec.containers.livenessProbe.httpGet.scheme",
            SENSE,
            "livenessProbe: {httpGet: {port: 80, scheme: GOPHER}}",
            &["scheme", "GOPHER"],
        ),
        container(
            "spec.containers.livenessProbe.periodSeconds",
            SENSE,
            "livenessProbe: {tcpSocket: {port: 80}, periodSeconds: -1}",
            &["periodSeconds"],
        ),
        container(
            "spec.containers.livenessProbe.grpc.port",
            "refused: a number alone",
            "livenessProbe: {grpc: {port: web}}",
            &["grpc.port"],
        ),
        container(
            "spec.containers.workingDir",
            "refused unless absolute",
            "workingDir: relative",
            &["workingDir"],
        ),
        container("spec.containers.command", "a number is no string", "args: [8080]", &["args[0]"]),
        container(
            "spec.containers.resources.limits.cpu",
            "refused when negative",
            "resources: {limits: {cpu: '-1'}}",
            &["resources.limits", "cpu"],
        ),
        container(
            "spec.containers.lifecycle.stopSignal",
            SENSE,
            "lifecycle: {stopSignal: SIGNONE}",
            &["stopSignal"],
        ),
        case("spec.containers.name", "refused twice in one Pod")
            .container(part("main", "say main"))
            .container(part("main", "say main"))
            .refused(&["containers[1].name"]),
        case("spec.volumes", "refused: two sources in one")
            .volume("{name: v, emptyDir: {}, hostPath: {path: /tmp}}")
            .container(part("main", "say main").mount("{name: v, mountPath: /v}"))
            .refused(&["volumes"]),
        case("spec.containers.colour", "an unknown field is no refusal: it is warned about")
            .main("echo started", "colour: red")
            .says("started")
            .then(|t| {
                let status = t.status().unwrap();
                let podstrap::report::ManifestState::Current { warnings } = status.manifest else {
                    panic!("{:?}", status.manifest)
                };
                assert!(warnings.iter().any(|w| w.contains("colour")), "{warnings:?}");
            }),
    ]
}
