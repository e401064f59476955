//! Ports of the host: who has which, and who has to wait for one.
//!
//! The kubelet refuses a Pod whose port is taken when it admits it (`NodePorts`), and does not look again. Here it waits, and
//! begins when the port is free. What runs is never stopped for the sake of a port: a new version that wants one which
//! another Pod has waits, and the old one goes on.
//!
//! A Pod has the ports of what lives of it; of what is to take the place of a life that is being stopped; and, between the two,
//! those that it had. So nobody takes a port away from a Pod that is only being replaced. Among those that come at one time the
//! first by name has it.

use std::collections::BTreeMap;

use super::depends::Wait;
use super::life::Life;
use super::plan::is_over;
use super::world::{Slot, World};
use crate::pod::host_ports::HostPort;
use crate::pod::{Pod, PodKey};

type Table<'a> = BTreeMap<u16, Vec<(HostPort, &'a PodKey)>>;

/// Who has which port.
#[derive(Debug, Default)]
pub(super) struct Claims<'a> {
    had: Table<'a>,
    /// For the new versions of Pods that run, which may have to wait for something else still.
    wished: Table<'a>,
}

impl<'a> Claims<'a> {
    /// Who else has a port of this Pod: the first one in its order.
    pub(super) fn conflict(&self, key: &PodKey, pod: &Pod, lives: bool) -> Option<Wait> {
        let tables = [Some(&self.had), lives.then_some(&self.wished)];
        pod.host_ports().find_map(|port| {
            let holder = tables.into_iter().flatten().find_map(|table| holder(table, key, &port))?;
            Some(Wait::HostPort { port, holder: holder.clone() })
        })
    }

    /// It has them from now on. `lives`: only when its present life ends.
    pub(super) fn take(&mut self, key: &'a PodKey, pod: &Pod, lives: bool) {
        let table = if lives { &mut self.wished } else { &mut self.had };
        pod.host_ports().for_each(|port| add(table, key, port));
    }
}

fn add<'a>(table: &mut Table<'a>, key: &'a PodKey, port: HostPort) {
    table.entry(port.port).or_default().push((port, key));
}

/// Who else than this one has a port that cannot be had beside it.
fn holder<'a>(table: &Table<'a>, key: &PodKey, port: &HostPort) -> Option<&'a PodKey> {
    let all = table.get(&port.port)?;
    all.iter().find(|(other, owner)| *owner != key && other.conflicts(port)).map(|(_, owner)| *owner)
}

/// Whether a life has its ports still: one that has come to its own end has them as long as its network is there.
fn holds_ports(life: &Life) -> bool {
    let is_finished = life.stop.is_some_and(|stop| !stop.why.removes()) && is_over(life);
    !is_finished || !life.pod.host_network
}

/// What takes the place of what lives, or lived, by all that is known now.
fn successor(slot: &Slot) -> Option<&Pod> {
    slot.want.as_deref().filter(|want| slot.held.as_ref() != Some(&want.generation))
}

impl World {
    /// Who has which port now.
    pub(super) fn claims(&self) -> Claims<'_> {
        let mut claims = Claims::default();
        for (key, slot) in &self.slots {
            match &slot.life {
                Some(life) if holds_ports(life) => claims.take(key, &life.pod, false),
                Some(_) => {}
                // All or nothing: two that each keep what the other lacks would wait for each other for ever.
                None => {
                    let is_kept = |port| slot.kept_ports.contains(&port);
                    if let Some(want) = successor(slot)
                        && !slot.kept_ports.is_empty()
                        && want.host_ports().all(is_kept)
                    {
                        claims.take(key, want, false);
                    }
                }
            }
        }
        for (key, slot) in &self.slots {
            if slot.life.as_ref().is_some_and(|life| life.leaving().is_some())
                && let Some(want) = successor(slot)
            {
                for port in want.host_ports() {
                    if holder(&claims.had, key, &port).is_none() {
                        add(&mut claims.had, key, port);
                    }
                }
            }
        }
        claims
    }

    /// The ports that a Pod keeps for its next life, now that the present one is over.
    pub(super) fn ports_to_keep(&self, key: &PodKey) -> Vec<HostPort> {
        let Some(want) = self.slots.get(key).and_then(successor) else { return Vec::new() };
        if want.host_ports().next().is_none() {
            return Vec::new();
        }
        let all = self.claims().had.into_values().flatten();
        all.filter(|(_, owner)| *owner == key).map(|(port, _)| port).collect()
    }
}
