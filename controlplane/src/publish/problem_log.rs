//! Writes log lines about problems: one line when a problem appears, and one line when the problem is resolved.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::manifest::problem::Problem;

#[derive(Default)]
pub(super) struct ProblemLog {
    /// The key is the logged line of a present problem. The value is its head: the part of the line that is logged when
    /// the problem is resolved.
    present: BTreeMap<String, String>,
}

impl ProblemLog {
    pub(super) fn update(&mut self, problems: &[Problem]) {
        let present = lines(problems);
        for line in present.keys() {
            if !self.present.contains_key(line) {
                tracing::warn!("problem: {line}");
            }
        }
        for head in resolved(&self.present, &present) {
            tracing::info!("resolved: {head}");
        }
        self.present = present;
    }
}

fn lines(problems: &[Problem]) -> BTreeMap<String, String> {
    let lines = problems.iter().map(|it| (it.to_string(), it.head()));
    lines.collect()
}

/// Returns the heads of resolved problems. A problem is not resolved if only its effect or its remedy has changed.
fn resolved<'b>(
    before: &'b BTreeMap<String, String>,
    present: &BTreeMap<String, String>,
) -> BTreeSet<&'b str> {
    let present: BTreeSet<&str> = present.values().map(String::as_str).collect();
    let before = before.values().map(String::as_str);
    before.filter(|head| !present.contains(head)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::manifest::problem::{Effect, ObjectRef, messages};

    #[test]
    fn changed_effect_does_not_resolve_problem() {
        let object = ObjectRef {
            source: "a.yaml".into(),
            kind: "TrafficSplit".into(),
            namespace: "shop".into(),
            name: "web".into(),
        };
        let problem = object.problem("spec", messages::split::split_no_weight("web"));
        let other_effect = problem.clone().with_effect(Effect::not_in_force());
        let before = lines(std::slice::from_ref(&problem));
        assert_eq!(
            Vec::from_iter(resolved(&before, &lines(&[]))),
            ["a.yaml: TrafficSplit shop/web spec: NoTraffic: no backend has a weight above 0"]
        );
        assert!(resolved(&before, &lines(&[problem])).is_empty());
        assert!(resolved(&before, &lines(&[other_effect])).is_empty());
    }
}
