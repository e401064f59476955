//! The table's part for volumes.

use super::container::{FIELD_REF, RESOURCE_FIELD_REF};
use super::{Field, Kind, NEEDS_CLUSTER, NEEDS_SERVER, has, never, yes};

const OPTIONAL: Field = yes("optional", "a missing object or key is no error");
const DEFAULT_MODE: Field = yes("defaultMode", "0 to 0777; 0644 when absent");
const OBJECT_NAME: Field = yes("name", "DNS subdomain");
const ITEMS: Field = has("items", Kind::List(KEY_TO_PATH), "every key under its own name when absent");

pub(in super::super) const VOLUME: &[Field] = &[
    yes("name", "DNS label, unique in the Pod"),
    has("hostPath", Kind::Object(HOST_PATH), ""),
    has("emptyDir", Kind::Object(EMPTY_DIR), "also when no source is named; an unknown source is refused"),
    has("downwardAPI", Kind::Object(DOWNWARD), ""),
    has("configMap", Kind::Object(CONFIG_MAP), "a ConfigMap among the manifests"),
    has("secret", Kind::Object(SECRET), "a Secret among the manifests"),
    has("projected", Kind::Object(PROJECTED), ""),
    has("image", Kind::Object(IMAGE), "the files of an image, read-only"),
    never("nfs", "not supported; mount it on the node and use hostPath"),
    never("persistentVolumeClaim", NEEDS_SERVER),
    never("ephemeral", NEEDS_SERVER),
    never("csi", NEEDS_CLUSTER),
    never("flexVolume", NEEDS_CLUSTER),
    never("iscsi", NEEDS_CLUSTER),
    never("fc", NEEDS_CLUSTER),
    never("rbd", NEEDS_CLUSTER),
    never("cephfs", NEEDS_CLUSTER),
    never("cinder", NEEDS_CLUSTER),
    never("glusterfs", NEEDS_CLUSTER),
    never("quobyte", NEEDS_CLUSTER),
    never("flocker", NEEDS_CLUSTER),
    never("storageos", NEEDS_CLUSTER),
    never("portworxVolume", NEEDS_CLUSTER),
    never("scaleIO", NEEDS_CLUSTER),
    never("vsphereVolume", NEEDS_CLUSTER),
    never("photonPersistentDisk", NEEDS_CLUSTER),
    never("gcePersistentDisk", NEEDS_CLUSTER),
    never("awsElasticBlockStore", NEEDS_CLUSTER),
    never("azureDisk", NEEDS_CLUSTER),
    never("azureFile", NEEDS_CLUSTER),
    never("gitRepo", "removed from Kubernetes; clone into a hostPath"),
];

const HOST_PATH: &[Field] = &[
    yes("path", "absolute, without '..'"),
    yes("type", "DirectoryOrCreate, Directory, FileOrCreate, File, Socket, CharDevice, BlockDevice or empty"),
];

const EMPTY_DIR: &[Field] = &[
    yes(
        "medium",
        "empty: on disk; Memory; HugePages or HugePages-SIZE, for which a container must have a limit of that page size",
    ),
    yes("sizeLimit", "the size of a medium of memory; not enforced on disk, with a warning"),
];

const DOWNWARD: &[Field] = &[has("items", Kind::List(DOWNWARD_FILE), ""), DEFAULT_MODE];

const DOWNWARD_FILE: &[Field] = &[
    yes("path", "relative, without '..', unique in the volume"),
    has("fieldRef", Kind::ObjectLike(FIELD_REF), "as for env"),
    has("resourceFieldRef", Kind::ObjectLike(RESOURCE_FIELD_REF), "as for env, with containerName"),
    yes("mode", "0 to 0777; defaultMode when absent"),
];

const KEY_TO_PATH: &[Field] = &[
    yes("key", "letters, digits, '-', '_' and '.'"),
    yes("path", "relative, without '..', unique in the volume"),
    yes("mode", "0 to 0777; defaultMode when absent"),
];

const CONFIG_MAP: &[Field] = &[OBJECT_NAME, ITEMS, OPTIONAL, DEFAULT_MODE];

const SECRET: &[Field] = &[
    yes("secretName", "DNS subdomain"),
    has("items", Kind::ListLike(KEY_TO_PATH), "as for configMap"),
    OPTIONAL,
    DEFAULT_MODE,
];

const PROJECTED: &[Field] = &[has("sources", Kind::List(PROJECTION), "each has one source"), DEFAULT_MODE];

pub(in super::super) const PROJECTION: &[Field] = &[
    has("downwardAPI", Kind::Object(PROJECTED_DOWNWARD), ""),
    has("configMap", Kind::Object(PROJECTED_OBJECT), "a ConfigMap among the manifests"),
    has(
        "secret",
        Kind::ObjectLike(PROJECTED_OBJECT),
        "a Secret among the manifests; fields as for configMap",
    ),
    never("serviceAccountToken", NEEDS_SERVER),
    never("clusterTrustBundle", NEEDS_SERVER),
    never("podCertificate", NEEDS_SERVER),
];

const PROJECTED_DOWNWARD: &[Field] =
    &[has("items", Kind::ListLike(DOWNWARD_FILE), "as for the volume downwardAPI")];

const PROJECTED_OBJECT: &[Field] =
    &[OBJECT_NAME, has("items", Kind::ListLike(KEY_TO_PATH), "as for the volume configMap"), OPTIONAL];

const IMAGE: &[Field] =
    &[yes("reference", "as a container's image"), yes("pullPolicy", "as a container's imagePullPolicy")];
