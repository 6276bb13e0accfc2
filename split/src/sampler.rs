//! The weighted choice: exact in every prefix, and without a rhythm that a client could synchronize with.
//!
//! A choice between two sides walks the weight line in strata of one total each. A request covers as many
//! units as the lighter side weighs, and one point drawn uniformly in each stratum says which request goes
//! to that side. Where a request covers two points, the second is owed to the next request.
//! More than two backends are a tree of such choices, the heaviest nearest the root (a Huffman tree).
//!
//! From the first pick on, with two backends every prefix of N picks is less than one away from N x share
//! and exact where that is whole; with more it is less than the depth of the backend's leaf away, and exact
//! at multiples of the reduced total.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The weights of one rule add up to less than this.
pub const MAX_TOTAL: u64 = 1 << 63;

/// The sequence of picks of one rule on one worker.
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
    /// Weight of the lighter side, which is what one request covers; at most half of the total.
    light: u64,
    total: u64,
    /// Where the next request begins in the present stratum; below the total.
    offset: u64,
    /// The stratum's point; None once a request has covered it.
    point: Option<u64>,
    /// True if the next request goes to the lighter side because the last one covered two points.
    owed: bool,
}

impl Sampler {
    /// A sequence over backends with these weights. None if they are all zero, or too large to add up
    /// below [`MAX_TOTAL`].
    pub fn new(weights: impl IntoIterator<Item = u64>, seed: u64) -> Option<Sampler> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        // Ordered by weight, then by age in the heap, so that equal weights always build the same tree.
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

    /// Index of the backend that the next request goes to.
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

    /// Choices between the root and this backend's leaf: the bound of law 8 on how far its count may be
    /// from its share. None for a backend that is never picked.
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
        // Below 1.5 totals, and a total is below 2^63: these never wrap.
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

/// Uniform in `0..bound` for a bound of at least 1, without a division: random bits of the bound's width
/// until they fall below it.
fn below(bound: u64, rng: &mut Xoshiro256PlusPlus) -> u64 {
    let mask = u64::MAX
        .checked_shr(bound.wrapping_sub(1).leading_zeros())
        .unwrap_or(0);
    // Each draw succeeds with more than a half; the limit only makes the loop provably finite.
    for _ in 0..128 {
        let drawn = rng.next_u64() & mask;
        if drawn < bound {
            return drawn;
        }
    }
    0
}
