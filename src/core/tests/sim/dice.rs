//! Chance that is the same on every machine.

use std::collections::{BTreeMap, BTreeSet};

/// A small generator (SplitMix64).
pub(in crate::core::tests) struct Dice(u64);

impl Dice {
    pub(in crate::core::tests) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::core::tests) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// Once in so many times.
    pub(in crate::core::tests) fn once_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    pub(in crate::core::tests) fn one_of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.roll(list.len() as u64) as usize].clone()
    }

    pub(in crate::core::tests) fn pick<T: Clone>(&mut self, set: &BTreeSet<T>) -> Option<T> {
        (!set.is_empty()).then(|| set.iter().nth(self.roll(set.len() as u64) as usize).cloned()).flatten()
    }

    /// A key of which the value fits.
    pub(in crate::core::tests) fn pick_key<K: Clone, V>(
        &mut self,
        map: &BTreeMap<K, V>,
        fits: impl Fn(&K, &V) -> bool,
    ) -> Option<K> {
        let count = map.iter().filter(|(k, v)| fits(k, v)).count();
        if count == 0 {
            return None;
        }
        let nth = self.roll(count as u64) as usize;
        map.iter().filter(|(k, v)| fits(k, v)).nth(nth).map(|(k, _)| k.clone())
    }
}
