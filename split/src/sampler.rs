//! Chooses backends by weight. After every pick the counts are close to the weights. The order of the picks is random,
//! so that a client cannot synchronize with it. [`crate::Live`] keeps one sampler and its seed for each rule.
//!
//! A choice between two sides is a stratified sample. Imagine a line of weight units. The line is cut into pieces
//! (strata), and the length of each piece is the total weight. Each request covers the next part of the line, and the
//! length of this part is the weight of the lighter side. Each stratum has one random point with uniform distribution.
//! The request that covers the point goes to the lighter side. If one request covers two points, the next request goes
//! to the lighter side too, for the second point.
//!
//! For more than two backends there is a Huffman tree of such choices. The heaviest backends are nearest to the root.
//!
//! The share of a backend is its weight divided by the total weight. The error after N picks is the difference between
//! the count of a backend and N x share. With two backends, the error is less than one. It is zero if N x share is
//! whole. With more than two backends, the error is less than the depth of the backend's leaf. It is zero if N is a
//! multiple of the reduced total (the total divided by the greatest common divisor of the weights).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The weights of one rule must add up to less than this number.
pub const MAX_TOTAL: u64 = 1 << 63;

/// Produces the sequence of picks of one rule on one worker.
#[derive(Clone, Debug)]
pub struct Sampler {
    tree: Tree,
    rng: Xoshiro256PlusPlus,
}

#[derive(Clone, Debug)]
enum Tree {
    /// Index of the backend.
    Leaf(usize),
    Fork(Box<Fork>),
}

#[derive(Clone, Debug)]
struct Fork {
    lighter: Tree,
    heavier: Tree,
    /// Weight of the lighter side, at most half of the total. One request covers this many units of a stratum.
    light: u64,
    /// Weight of both sides, which is the length of a stratum.
    total: u64,
    /// The position in the current stratum at which the next request begins; below the total.
    offset: u64,
    /// The random point of the current stratum; None after a request has covered the point.
    point: Option<u64>,
    /// True if the next request goes to the lighter side because the last request covered two points.
    owed: bool,
}

impl Sampler {
    /// Returns a sampler for backends with these weights. Returns None if all weights are zero, or if their total is
    /// not below [`MAX_TOTAL`].
    pub fn new(weights: impl IntoIterator<Item = u64>, seed: u64) -> Option<Sampler> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        // The heap is ordered by weight, then by the index of the tree, so that equal weights always build the same
        // tree.
        let mut heap = BinaryHeap::new();
        let mut trees: Vec<Option<Tree>> = Vec::new();
        for (backend, weight) in weights.into_iter().enumerate() {
            if weight > 0 {
                heap.push(Reverse((weight, trees.len())));
                trees.push(Some(Tree::Leaf(backend)));
            }
        }
        loop {
            let Reverse((light, lighter)) = heap.pop()?;
            let lighter = trees.get_mut(lighter)?.take()?;
            let Some(Reverse((heavy, heavier))) = heap.pop() else {
                return (light < MAX_TOTAL).then_some(Sampler { tree: lighter, rng });
            };
            let heavier = trees.get_mut(heavier)?.take()?;
            let total = light
                .checked_add(heavy)
                .filter(|total| *total < MAX_TOTAL)?;
            heap.push(Reverse((total, trees.len())));
            trees.push(Some(Tree::Fork(Box::new(Fork {
                lighter,
                heavier,
                light,
                total,
                offset: 0,
                point: Some(below(total, &mut rng)),
                owed: false,
            }))));
        }
    }

    /// Returns the index of the backend for the next request.
    pub fn pick(&mut self) -> usize {
        let mut tree = &mut self.tree;
        loop {
            match tree {
                Tree::Leaf(backend) => return *backend,
                Tree::Fork(fork) => {
                    tree = if fork.next_is_lighter(&mut self.rng) {
                        &mut fork.lighter
                    } else {
                        &mut fork.heavier
                    };
                }
            }
        }
    }

    /// Returns the number of choices between the root of the tree and the leaf of this backend. With more than two
    /// backends, the count of the backend after N picks differs from N x share by less than this number. Returns None
    /// for a backend that is never picked.
    pub fn depth(&self, backend: usize) -> Option<u32> {
        fn search(tree: &Tree, backend: usize, depth: u32) -> Option<u32> {
            match tree {
                Tree::Leaf(leaf) => (*leaf == backend).then_some(depth),
                Tree::Fork(fork) => {
                    let below = depth.saturating_add(1);
                    search(&fork.lighter, backend, below)
                        .or_else(|| search(&fork.heavier, backend, below))
                }
            }
        }
        search(&self.tree, backend, 0)
    }
}

impl Fork {
    fn next_is_lighter(&mut self, rng: &mut Xoshiro256PlusPlus) -> bool {
        // The sum is below 1.5 totals, and a total is below 2^63, so the sum does not overflow.
        let mut end = self.offset.wrapping_add(self.light);
        let mut due = self.owed;
        let mut covers = |point: &mut Option<u64>, end: u64, owed: &mut bool| {
            if point.take_if(|point| *point < end).is_some() {
                *owed = due;
                due = true;
            }
        };
        self.owed = false;
        covers(&mut self.point, end, &mut self.owed);
        if end >= self.total {
            end = end.wrapping_sub(self.total);
            self.point = Some(below(self.total, rng));
            covers(&mut self.point, end, &mut self.owed);
        }
        self.offset = end;
        due
    }
}

/// Returns a random number with uniform distribution in `0..bound`; `bound` must be at least 1. To avoid a division,
/// the function draws numbers with as many bits as `bound - 1` needs, until a number is below `bound`.
fn below(bound: u64, rng: &mut Xoshiro256PlusPlus) -> u64 {
    let mask = u64::MAX
        .checked_shr(bound.wrapping_sub(1).leading_zeros())
        .unwrap_or(0);
    // The probability that one draw succeeds is more than one half. The limit makes the loop finite.
    for _ in 0..128 {
        let drawn = rng.next_u64() & mask;
        if drawn < bound {
            return drawn;
        }
    }
    0
}
