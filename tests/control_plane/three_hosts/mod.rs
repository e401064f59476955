//! etcd on three hosts, each with a podstrap of its own: a host that loses its power takes no acknowledged write with it,
//! and comes back by itself.
//!
//! The hosts are network and mount namespaces on a bridge. The manifests are what kubeadm writes for an etcd of three
//! members (its guide to highly available etcd), not a byte of them changed. It is here, and not a program of its own,
//! because all of it fits in the time in which another test waits for the liveness of an apiserver.

mod cluster;
mod writer;

use std::time::Instant;

use crate::common::host;
use cluster::cluster;
use writer::Writer;

/// How many writes have to be acknowledged for others to count as going on.
const SOME: usize = 20;

#[test]
fn no_acknowledged_write_is_lost_with_the_power_of_a_host() {
    let Some(mut c) = cluster() else { return };
    let began = Instant::now();
    for n in 0..3 {
        c.members[n].power_on(&c.network);
    }
    // Their Pods will be ready only when their startup probes have asked, 10 s later: the first power cut does not wait.
    (0..3).for_each(|n| c.until_healthy(n));
    eprintln!("three members are healthy after {:.1?}", began.elapsed());
    let members = c.etcdctl(&c.all(), &["member", "list"]);
    assert_eq!(members.lines().filter(|l| l.contains("started")).count(), 3, "{members}");
    let writer = Writer::start(c.client(&c.all()));
    writer.until_more(SOME, "all are there");

    // One that follows, then the leader, and then the third.
    let mut left = vec![0, 1, 2];
    for turn in ["follower", "leader", "third"] {
        let leader = c.leader();
        let victim = match turn {
            "follower" => *left.iter().find(|n| **n != leader).unwrap(),
            // It has not been off yet, unless an election came in between.
            "leader" if left.contains(&leader) => leader,
            "leader" => c.let_lead(leader, left[0]),
            _ => left[0],
        };
        left.retain(|n| *n != victim);
        let others: Vec<usize> = (0..3).filter(|n| *n != victim).collect();
        let pids: Vec<i32> = others.iter().map(|n| c.members[*n].pid()).collect();

        let cut = Instant::now();
        c.members[victim].power_cut(&c.network);
        let off = Instant::now();
        writer.until_more(SOME, "two of three are there");
        let went_on = writer.first_after(off).duration_since(off);
        assert!(c.leader_of(others[0]).is_some(), "the others have a leader of their own");
        assert_eq!(others.iter().map(|n| c.members[*n].pid()).collect::<Vec<_>>(), pids);

        let on = Instant::now();
        c.members[victim].power_on(&c.network);
        c.until_member(victim, &writer.acknowledged());
        let caught_up = on.elapsed();
        c.until_healthy(victim);
        writer.until_more(SOME, "all are there again");
        eprintln!(
            "{turn}: gone within {:.1?}, the others went on after {went_on:.1?}; back {caught_up:.1?} after its start",
            off.duration_since(cut)
        );
        // Its startup probe needs 10 s; the third is not given them before its power goes again.
        for n in (0..3).filter(|_| turn != "third") {
            c.until_ready(n);
        }
        let now: Vec<i32> = others.iter().map(|n| c.members[*n].pid()).collect();
        assert_eq!(now, pids, "nobody else ended");
        assert_eq!(c.etcdctl(&c.all(), &["member", "list"]), members, "it is the same member");
    }

    // All at once: what was acknowledged lies on the disks of two at least.
    let before = writer.acknowledged();
    c.members.iter_mut().for_each(|m| m.power_cut(&c.network));
    let on = Instant::now();
    for n in 0..3 {
        c.members[n].power_on(&c.network);
    }
    (0..3).for_each(|n| c.until_member(n, &before));
    writer.until_more(SOME, "all are back");
    eprintln!(
        "all three: {:.1?} after their start the writes went on",
        writer.first_after(on).duration_since(on)
    );
    for n in 0..3 {
        c.until_ready(n);
    }

    let acknowledged = writer.stop();
    let held: Vec<_> = (0..3)
        .map(|n| {
            c.until_member(n, &acknowledged);
            c.held(n)
        })
        .collect();
    eprintln!("{} writes were acknowledged, {} are held", acknowledged.len(), held[0].len());
    assert!(acknowledged.len() >= 8 * SOME);
    assert_eq!(held[0], held[1]);
    assert_eq!(held[0], held[2]);
    let hashes = c.hashes();
    assert!(hashes.iter().all(|h| *h == hashes[0]), "{hashes:?}");
    for member in &c.members {
        assert_eq!(member.i.restarts("etcd", "etcd"), 2, "two power cuts, and nothing else, have ended it");
        let layers = host::entries(&member.i.state.join("containers"));
        assert_eq!(layers.len(), 1, "nothing of other boots is kept: {layers:?}");
    }
}
