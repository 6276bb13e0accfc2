//! The objects whose rules need given clusters.

use std::collections::{BTreeMap, BTreeSet};

use super::backends::cluster_name;
use super::needed_clusters::needed_services;
use super::{Plan, RuleId};
use crate::manifest::problem::ObjectRef;
use weir_split::wire::Service;

/// The clusters that rules need, by the identity of the rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterUsers(BTreeMap<RuleId, BTreeSet<String>>);

impl Plan {
    /// Returns the rules that need the cluster of a Service for which `is_missing` is true.
    pub fn cluster_users(&self, is_missing: impl Fn(&Service) -> bool) -> ClusterUsers {
        let mut users = BTreeMap::new();
        for (identity, rule) in &self.rules {
            let services = needed_services(rule).filter(|it| is_missing(it));
            let names: BTreeSet<String> = services.map(cluster_name).collect();
            if let (Some(id), false) = (RuleId::parse(identity), names.is_empty()) {
                users.insert(id, names);
            }
        }
        ClusterUsers(users)
    }
}

impl ClusterUsers {
    /// Returns the clusters that the rules of this object need.
    pub fn of(&self, object: &ObjectRef) -> BTreeSet<&str> {
        let of_object = self
            .0
            .range(RuleId::first_of(object)..)
            .take_while(|(id, _)| id.is_of(object));
        of_object
            .flat_map(|(_, names)| names)
            .map(String::as_str)
            .collect()
    }
}
