//! Namespaces that are lost again and again: they are made anew at once at first, and then with a back-off of their own.

use super::*;
use crate::core::Life;
use crate::core::life::Opened;

fn life<'a>(s: &'a Script, pod: &Pod) -> &'a Life {
    s.world.slot(&pod.key).and_then(|slot| slot.life.as_ref()).expect("it lives")
}

/// Loses them, ends the container, and gives how long it takes until they are there again.
fn lose(s: &mut Script, pod: &Pod) -> u64 {
    let attempt = life(s, pod).containers[0].next_attempt;
    s.event(Event::SandboxLost { generation: pod.generation.clone() });
    let lost_at = s.now;
    s.ended(&run("g1", "c", attempt), 137);
    while life(s, pod).opened != Opened::Yes {
        let next = s.deadline().expect("they are made anew at some time");
        assert!(next > s.now);
        s.pass(next - s.now);
    }
    s.now - lost_at
}

#[test]
fn namespaces_that_do_not_last_are_made_anew_with_back_off() {
    let mut s = Script::new();
    let p = Pod { host_network: false, ..pod("web", "g1", &["c"]) };
    s.want(&[&p]);
    let waits: Vec<u64> = (0..9).map(|_| lose(&mut s, &p)).collect();
    assert_eq!(waits, [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
    // Those that have lasted are made anew at once.
    s.pass(600_000);
    assert_eq!([lose(&mut s, &p), lose(&mut s, &p)], [0, 500]);
}
