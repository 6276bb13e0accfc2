//! The samplers of a rule's mirrors.

use crate::matching::request_view::RequestView;
use crate::rule::Rule;
use crate::sampler::Sampler;

/// For each mirror of one rule, the sampler that draws the copied requests.
#[derive(Debug)]
pub(super) struct MirrorSamplers(Vec<Option<Sampler>>);

impl MirrorSamplers {
    /// Different mirrors of a rule have different sequences.
    pub(super) fn new(rule: &Rule, seed: u64) -> MirrorSamplers {
        let samplers = rule.mirrors.iter().zip(1_u64..).map(|(mirror, number)| {
            let seed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Sampler::new(mirror.weights(), seed)
        });
        MirrorSamplers(samplers.collect())
    }

    /// Returns the clusters of the mirrors that get a copy of the request. `indexes` are the mirrors of the picked
    /// backend in the list of the rule. A mirror for which the client has no permission gets no copy.
    pub(super) fn draw<'r: 'v, 'v>(
        &mut self,
        rule: &'r Rule,
        indexes: &[usize],
        view: &mut RequestView<'v>,
    ) -> Vec<&'r str> {
        let mut clusters = Vec::new();
        for index in indexes {
            let sampler = self.0.get_mut(*index).and_then(Option::as_mut);
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
