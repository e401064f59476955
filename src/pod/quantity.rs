//! Kubernetes quantities: amounts of cpu and memory in units that cannot be mixed up.

use serde::{Deserialize, Serialize};

/// Thousandths of a cpu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCpu(pub u64);

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);
