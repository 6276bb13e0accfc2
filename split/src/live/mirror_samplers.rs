//! The samplers of a rule's mirrors.

use std::cell::RefCell;

use crate::matching::request_view::RequestView;
use crate::rule::Rule;
use crate::sampler::Sampler;

/// The samplers of one rule: one for each mirror. A sampler picks the requests that are copied.
#[derive(Debug)]
pub(super) struct MirrorSamplers {
    /// The cluster and the weights of each mirror.
    mirrors: Vec<(Box<str>, [u64; 2])>,
    samplers: RefCell<Vec<Option<Sampler>>>,
}

impl MirrorSamplers {
    /// Different mirrors of a rule have different sequences.
    pub(super) fn new(rule: &Rule, seed: u64) -> MirrorSamplers {
        let samplers = rule.mirrors.iter().zip(1_u64..).map(|(mirror, number)| {
            let seed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Sampler::new(mirror.weights(), seed)
        });
        let mirrors = rule.mirrors.iter();
        MirrorSamplers {
            samplers: RefCell::new(samplers.collect()),
            mirrors: mirrors
                .map(|it| (it.cluster.clone(), it.weights()))
                .collect(),
        }
    }

    /// True if the rule has these mirrors with these shares.
    pub(super) fn is_of(&self, rule: &Rule) -> bool {
        let own = self.mirrors.iter().map(|(name, weights)| (name, *weights));
        own.eq(rule.mirrors.iter().map(|it| (&it.cluster, it.weights())))
    }

    /// Returns the clusters of the mirrors that get a copy of the request. `indexes` are the mirrors of the picked
    /// backend in the list of the rule. A mirror for which the client has no permission gets no copy.
    pub(super) fn draw<'r: 'v, 'v>(
        &self,
        rule: &'r Rule,
        indexes: &[usize],
        view: &mut RequestView<'v>,
    ) -> Vec<&'r str> {
        // Only one request draws on a worker at any time, so this borrow cannot fail.
        let Ok(mut samplers) = self.samplers.try_borrow_mut() else {
            return Vec::new();
        };
        let mut clusters = Vec::new();
        for index in indexes {
            let sampler = samplers.get_mut(*index).and_then(Option::as_mut);
            let (Some(mirror), Some(sampler)) = (rule.mirrors.get(*index), sampler) else {
                continue;
            };
            let is_drawn = sampler.pick() == 0;
            if is_drawn && mirror.permits(view) {
                clusters.push(&*mirror.cluster);
            }
        }
        clusters
    }
}
