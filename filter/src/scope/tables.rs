//! Installs the newest document of the fleet in all root contexts (here: roots) of a VM and scope.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use log::warn;
use weir_split::{Site, Table, wire};

use crate::shared::Shared;
use crate::{metrics, poll};

use super::{ConfiguredRoot, Scope};

impl Scope {
    /// Installs the newest document of the fleet in all roots that do not know its revision.
    pub(super) fn restore(&mut self) {
        let newest = self.keys.revision();
        if newest.is_empty() || self.all_know(&newest) {
            return;
        }
        self.share_tables(&newest);
        if self.all_know(&newest) {
            return;
        }
        if let Some((revision, body)) = self.keys.document() {
            self.apply(&revision, &poll::parse(&body));
        }
    }

    fn all_know(&self, revision: &str) -> bool {
        self.roots.iter().all(|root| root.knows(revision))
    }

    /// Installs this revision without compiling, if another root with the same site has its table.
    fn share_tables(&mut self, revision: &str) {
        let shared = self.shared();
        let users = self.roots.iter().zip(&shared);
        let users = users.filter(|(root, _)| root.revision == revision);
        let tables: HashMap<&Site, Rc<Table>> = users
            .filter_map(|(root, shared)| Some((&shared.plugin.site, root.table()?)))
            .collect();
        for (root, shared) in self.roots.iter_mut().zip(&shared) {
            if !root.knows(revision)
                && let Some(table) = tables.get(&shared.plugin.site)
            {
                root.install(revision, table.clone());
            }
        }
    }

    /// Compiles a document for the roots that do not know its revision, once for each site. A site is the part of a
    /// plugin configuration that changes the table. Returns true if a root uses the revision now.
    pub(super) fn apply(&mut self, revision: &str, config: &Result<wire::Config, String>) -> bool {
        let shared = self.shared();
        let mut compiled: HashMap<&Site, Result<Rc<Table>, String>> = HashMap::new();
        let mut reasons = BTreeSet::new();
        for (root, shared) in self.roots.iter_mut().zip(&shared) {
            if root.knows(revision) {
                continue;
            }
            let site = &shared.plugin.site;
            match compiled
                .entry(site)
                .or_insert_with(|| compile(config, site))
            {
                Ok(table) => root.install(revision, table.clone()),
                Err(reason) => {
                    reasons.insert(reason.clone());
                    root.refused = (revision.to_owned(), reason.clone());
                }
            }
        }
        if !reasons.is_empty() {
            metrics::count(metrics::CONFIG_REFUSED);
        }
        for reason in reasons {
            warn!(
                "weir: revision {revision} refused: {reason}; the proxy keeps its last good revision"
            );
        }
        let is_used = self.roots.iter().any(|root| root.revision == revision);
        if is_used && let Ok(config) = config {
            revision.clone_into(&mut self.revision);
            self.rules = config.rules.len();
            metrics::set_configured(self.query(), config.rules.len());
        }
        is_used
    }

    /// Returns the revision that all roots of this VM use; empty if they use different revisions or no revision.
    pub(super) fn common_revision(&self) -> &str {
        let is_common = self.roots.iter().all(|root| root.revision == self.revision);
        if is_common { &self.revision } else { "" }
    }

    /// Returns the refused revision of one root, with the reason; None if no root has refused its newest revision.
    pub(super) fn refused(&self) -> Option<&(String, String)> {
        let refused = self.roots.iter().map(|root| &root.refused);
        refused
            .into_iter()
            .find(|(revision, _)| !revision.is_empty())
    }

    /// Returns the state that each root shares with its requests, in the order of the roots.
    fn shared(&self) -> Vec<Rc<Shared>> {
        self.roots.iter().map(|root| root.shared.clone()).collect()
    }
}

impl ConfiguredRoot {
    fn knows(&self, revision: &str) -> bool {
        self.revision == revision || self.refused.0 == revision
    }

    fn table(&self) -> Option<Rc<Table>> {
        let live = self.shared.live.try_borrow().ok()?;
        Some(live.table().clone())
    }

    pub(super) fn install(&mut self, revision: &str, table: Rc<Table>) {
        if let Ok(mut live) = self.shared.live.try_borrow_mut() {
            live.install(table);
            revision.clone_into(&mut self.revision);
            self.refused = Default::default();
        }
    }
}

/// Compiles a document for one site. The error is the reason of the refusal.
fn compile(config: &Result<wire::Config, String>, site: &Site) -> Result<Rc<Table>, String> {
    let config = config.as_ref().map_err(Clone::clone)?;
    let table = Table::compile(config, site);
    table.map(Rc::new).map_err(|refusal| refusal.to_string())
}
