//! The sequence of picks and the counts of each rule, for all tables of one worker and scope.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::live::mirror_samplers::MirrorSamplers;
use crate::rule::Rule;
use crate::sampler::Sampler;

/// The states of the rules of one worker and scope. Every [`crate::Live`] of the worker and scope shares them. So a
/// rule continues its sequence of picks in the table of a new plugin configuration, and no count is lost with a table.
#[derive(Debug)]
pub struct RuleStates {
    /// All random numbers come from the seed.
    seed: u64,
    /// How many tables were installed.
    install_count: u64,
    by_identity: HashMap<Box<str>, Vec<Rc<RuleState>>>,
}

/// The state of a rule with these backends and weights.
#[derive(Debug)]
pub(super) struct RuleState {
    /// None for a rule without backends. Such a rule redirects each request.
    sampler: RefCell<Option<Sampler>>,
    backends: Vec<CountedBackend>,
    /// The samplers of the mirrors. Current tables may have different mirrors for the same rule.
    mirrors: RefCell<Vec<Rc<MirrorSamplers>>>,
}

/// The state of a rule in one table.
#[derive(Clone, Debug)]
pub(super) struct TableRuleState {
    pub picks: Rc<RuleState>,
    pub mirrors: Rc<MirrorSamplers>,
}

#[derive(Debug)]
struct CountedBackend {
    weight: u64,
    label: Box<str>,
    /// Picks since the last [`RuleStates::take_picks`].
    picks: Cell<u64>,
}

impl RuleStates {
    /// Workers with different seeds have different sequences of picks.
    pub fn new(seed: u64) -> RuleStates {
        RuleStates {
            seed,
            install_count: 0,
            by_identity: HashMap::new(),
        }
    }

    /// Returns the states of these rules for a new table. A rule with the same identity, backends and weights as in
    /// another table continues its sequence of picks, and equal mirrors continue their draws.
    pub(super) fn of_table(&mut self, rules: &[Rule]) -> Vec<TableRuleState> {
        self.install_count = self.install_count.wrapping_add(1);
        rules.iter().map(|rule| self.of_rule(rule)).collect()
    }

    fn of_rule(&mut self, rule: &Rule) -> TableRuleState {
        // The seed does not depend on other rules, so other rules do not change this sequence. The seed contains the
        // number of installs, so a rule that gets its old weights back starts a new sequence.
        let seed = self.seed ^ super::fnv1a(&rule.identity) ^ self.install_count.rotate_left(40);
        let same_identity = self.by_identity.entry(rule.identity.clone()).or_default();
        // A state that no table uses is kept only for its counts, until they are taken.
        let used = same_identity
            .iter()
            .find(|state| Rc::strong_count(state) > 1 && state.is_of(rule));
        let picks = match used {
            Some(state) => state.clone(),
            None => {
                let state = Rc::new(RuleState::new(rule, seed));
                same_identity.push(state.clone());
                state
            }
        };
        let mirrors = picks.mirrors(rule, seed);
        TableRuleState { picks, mirrors }
    }

    /// Calls `each` for each backend with picks since the last call. The arguments are the identity of the rule, the
    /// backend (`SERVICE.NAMESPACE:PORT`, or a status), and the number of picks (at least 1).
    pub fn take_picks(&mut self, mut each: impl FnMut(&str, &str, u64)) {
        self.by_identity.retain(|identity, states| {
            for backend in states.iter().flat_map(|state| &state.backends) {
                let picks = backend.picks.take();
                if picks > 0 {
                    each(identity, &backend.label, picks);
                }
            }
            states.retain(|state| Rc::strong_count(state) > 1);
            !states.is_empty()
        });
    }
}

impl RuleState {
    fn new(rule: &Rule, seed: u64) -> RuleState {
        let weights = rule.backends.iter().map(|backend| backend.weight);
        RuleState {
            sampler: RefCell::new(Sampler::new(weights, seed)),
            backends: rule
                .backends
                .iter()
                .map(|backend| CountedBackend {
                    weight: backend.weight,
                    label: backend.label.clone(),
                    picks: Cell::new(0),
                })
                .collect(),
            mirrors: RefCell::default(),
        }
    }

    /// Returns the samplers of the rule's mirrors. Equal mirrors share their samplers.
    fn mirrors(&self, rule: &Rule, seed: u64) -> Rc<MirrorSamplers> {
        let new = || Rc::new(MirrorSamplers::new(rule, seed));
        let Ok(mut all) = self.mirrors.try_borrow_mut() else {
            return new();
        };
        all.retain(|it| Rc::strong_count(it) > 1);
        if let Some(mirrors) = all.iter().find(|it| it.is_of(rule)) {
            return mirrors.clone();
        }
        let mirrors = new();
        all.push(mirrors.clone());
        mirrors
    }

    /// True if the rule has the backends and weights of this state. The filters of the rule do not matter.
    fn is_of(&self, rule: &Rule) -> bool {
        let own = self.backends.iter().map(|it| (it.weight, &it.label));
        own.eq(rule.backends.iter().map(|it| (it.weight, &it.label)))
    }

    /// Picks a backend, counts the pick, and returns the index of the backend.
    pub(super) fn pick(&self) -> Option<usize> {
        // Only one pick runs on a worker at any time, so this borrow cannot fail.
        let pick = self.sampler.try_borrow_mut().ok()?.as_mut()?.pick();
        if let Some(CountedBackend { picks, .. }) = self.backends.get(pick) {
            picks.set(picks.get().wrapping_add(1));
        }
        Some(pick)
    }
}
