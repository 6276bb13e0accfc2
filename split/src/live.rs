//! A table in force, with the sequences of picks that its rules are in the middle of.

use std::collections::HashMap;
use std::sync::Arc;

use crate::plugin::UntilConfigured;
use crate::sampler::Sampler;
use crate::table::{Destination, Table, Verdict};
use crate::wire::Unmatched;

/// One worker's table and its samplers. Everything random comes from the seed.
#[derive(Debug)]
pub struct Live {
    table: Table,
    /// One for each of the table's rules, in their order.
    running: Vec<Running>,
    seed: u64,
    until_configured: UntilConfigured,
    installed: u64,
}

#[derive(Debug)]
struct Running {
    sampler: Sampler,
    /// Picks of each backend since they were last taken.
    picked: Vec<u64>,
}

/// What becomes of a request or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Not ours, or the ordinary route leads to the same cluster: no routing header.
    Ordinary,
    /// The cluster that the routing header has to name.
    Cluster(&'a str),
    /// Answered by the proxy with this HTTP status; a connection is closed.
    Answer(u16),
    /// Answered by the proxy with this HTTP status and `location`.
    Redirect(u16, String),
    /// Answered 403 by the proxy, a connection is closed: the permission that is missing, in words.
    Denied(String),
}

/// A decision, and what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided<'a> {
    pub decision: Decision<'a>,
    /// Identity of the rule that it comes from; None where no rule fits.
    pub rule: Option<&'a str>,
    /// What to do to the request's headers, `:authority` and `:path` among them, in this order.
    pub request: Vec<Edit>,
    /// What to do to the response's headers, in this order; None where nothing is to be done.
    pub response: Option<Arc<[Edit]>>,
}

/// One change of a header. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    Set(Box<str>, Box<[u8]>),
    Add(Box<str>, Box<[u8]>),
    Remove(Box<str>),
}

impl<'a> From<Decision<'a>> for Decided<'a> {
    fn from(decision: Decision<'a>) -> Self {
        Decided {
            decision,
            rule: None,
            request: Vec::new(),
            response: None,
        }
    }
}

impl Live {
    /// Nothing in force. Workers with different seeds draw different sequences.
    pub fn new(seed: u64, until_configured: UntilConfigured) -> Live {
        Live {
            table: Table::default(),
            running: Vec::new(),
            seed,
            until_configured,
            installed: 0,
        }
    }

    /// Puts a table in force. A rule whose identity, backends and weights are unchanged goes on with its
    /// sequence; [`Live::take_picks`] first, or the picks of rules that go are lost.
    pub fn install(&mut self, table: Table) {
        let previous = std::mem::take(&mut self.table);
        let mut kept: HashMap<_, _> = previous
            .rules
            .iter()
            .zip(std::mem::take(&mut self.running))
            .map(|(rule, running)| (rule.identity.clone(), (rule, running)))
            .collect();
        self.installed = self.installed.wrapping_add(1);
        for rule in &table.rules {
            let running = match kept.remove(&rule.identity) {
                Some((before, running)) if before.has_backends_of(rule) => running,
                _ => {
                    let weights = rule.backends.iter().map(|backend| backend.weight);
                    // Depends on nothing but the seed and the rule, so that other rules never show;
                    // the count keeps a rule that comes back to old weights from repeating itself.
                    let seed = self.seed ^ fnv1a(&rule.identity) ^ self.installed.rotate_left(40);
                    match Sampler::new(weights, seed) {
                        Some(sampler) => Running {
                            sampler,
                            picked: vec![0; rule.backends.len()],
                        },
                        // Compiling has checked the weights. Stopping here keeps rule and sampler in step.
                        None => break,
                    }
                }
            };
            self.running.push(running);
        }
        self.table = table;
    }

    /// Decides one request. `read` gives the value of a header (`:path`, `x-user`) and is asked only for
    /// what the host's rules need, once for each name.
    pub fn decide(
        &mut self,
        authority: &[u8],
        mut read: impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Decided<'_> {
        if self.installed == 0 && self.until_configured == UntilConfigured::Unavailable {
            return Decision::Answer(503).into();
        }
        let Some(host) = self.table.host(authority) else {
            return Decision::Ordinary.into();
        };
        let rule = match host.verdict(|| read(":path")) {
            Verdict::Rule(rule) => rule,
            Verdict::Unmatched(Unmatched::Pass) => return Decision::Ordinary.into(),
            Verdict::Unmatched(Unmatched::NotFound) => return Decision::Answer(404).into(),
        };
        let (Some(running), Some(rule)) = (self.running.get_mut(rule), self.table.rules.get(rule))
        else {
            return Decision::Ordinary.into();
        };
        let pick = running.sampler.pick();
        if let Some(picked) = running.picked.get_mut(pick) {
            *picked = picked.wrapping_add(1);
        }
        let decision = match rule.backends.get(pick).map(|backend| &backend.to) {
            Some(Destination::Cluster(cluster))
                if host.ordinary_cluster.as_ref() == Some(cluster) =>
            {
                Decision::Ordinary
            }
            Some(Destination::Cluster(cluster)) => Decision::Cluster(cluster),
            Some(Destination::Status(status)) => Decision::Answer(*status),
            None => Decision::Ordinary,
        };
        Decided {
            rule: Some(&rule.identity),
            ..decision.into()
        }
    }

    /// Hands over what was picked since the last call: rule, backend as `SERVICE.NAMESPACE:PORT` or a
    /// status, and how often (at least 1).
    pub fn take_picks(&mut self, mut each: impl FnMut(&str, &str, u64)) {
        for (rule, running) in self.table.rules.iter().zip(&mut self.running) {
            for (backend, picked) in rule.backends.iter().zip(&mut running.picked) {
                if *picked > 0 {
                    each(&rule.identity, &backend.label, *picked);
                    *picked = 0;
                }
            }
        }
    }

    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// FNV-1a, 64 bit: a spread of identities over seeds that is the same on every build.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
