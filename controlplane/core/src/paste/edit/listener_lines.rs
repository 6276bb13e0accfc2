//! Finds the HTTP connection managers of listeners and of files with resources.

use std::rc::Rc;

use super::Editor;
use crate::manifest::problem::messages::{bootstrap as messages, list};
use crate::paste::yaml_tree::YamlNode;

impl Editor<'_> {
    /// Adds the lines to the listeners of a configuration.
    pub(super) fn listeners(&mut self, root: &YamlNode) {
        let from_elsewhere = self.discovered_listeners(root);
        let listeners = root.at(&["static_resources", "listeners"]);
        let listeners = listeners.map(YamlNode::items).unwrap_or_default();
        for listener in listeners {
            self.keep_skipped(&listener.value);
        }
        for listener in listeners {
            self.listener(&listener.value);
        }
        if self.managers > 0 || from_elsewhere {
            return;
        }
        let names = listeners.iter().map(|it| it.value.text_of("name"));
        let message = match &self.options.listener {
            Some(name) => messages::listener_not_there(name, list(names)),
            None => messages::no_connection_manager(),
        };
        self.remark_file(message);
    }

    /// Adds a remark about the source of the listeners of `lds_config`. Returns true if there are such listeners.
    fn discovered_listeners(&mut self, root: &YamlNode) -> bool {
        let Some(config) = root.at(&["dynamic_resources", "lds_config"]) else {
            return false;
        };
        let message = match path_of(config) {
            Some(path) => messages::listeners_in_file(path),
            None => messages::listeners_from_server(),
        };
        self.remark(config.start, "", message);
        // The stream and the cluster are for these listeners too.
        self.managers += 1;
        true
    }

    /// Adds the lines to a file with listeners or route configurations.
    pub(super) fn resources(&mut self, root: &YamlNode) {
        let resources = root.get("resources").map(|it| it.items());
        let mut found = false;
        for resource in resources.unwrap_or_default() {
            if resource.value.text_of("@type").ends_with(".Listener") {
                self.keep_skipped(&resource.value);
            }
        }
        for resource in resources.unwrap_or_default() {
            let resource = &resource.value;
            let kind = resource.text_of("@type");
            if kind.ends_with(".RouteConfiguration") {
                self.route_configuration(resource);
                found = true;
            } else if kind.ends_with(".Listener") {
                self.listener(resource);
                found = true;
            }
        }
        if !found {
            let why = "its resources are neither listeners nor route configurations";
            self.remark_file(messages::not_a_configuration(why));
        } else if self.managers == 0 {
            self.remark_file(messages::no_connection_manager());
        }
    }

    /// Keeps the values of a skipped listener as they are. Another listener may share them by an anchor.
    fn keep_skipped(&mut self, listener: &YamlNode) {
        let is_skipped = match &self.options.listener {
            Some(name) => name != listener.text_of("name"),
            None => listener.text_of("traffic_direction") == "INBOUND",
        };
        if is_skipped {
            self.draft.keep(listener);
        }
    }

    fn listener(&mut self, listener: &YamlNode) {
        let name = listener.text_of("name");
        let place = format!("listener {name}");
        if self
            .options
            .listener
            .as_deref()
            .is_some_and(|it| it != name)
        {
            return;
        }
        let is_inbound = listener.text_of("traffic_direction") == "INBOUND";
        let managers = managers(listener);
        let mut managers = managers.iter().filter(|it| self.has_routes(it)).peekable();
        if is_inbound && self.options.listener.is_none() && managers.peek().is_some() {
            self.remark(listener.start, &place, messages::listener_for_inbound());
            return;
        }
        let managers: Vec<_> = managers.cloned().collect();
        for manager in managers {
            self.managers += 1;
            self.manager(&place, &manager);
        }
    }

    /// True if the routes of a connection manager lead to clusters, and not only to the admin interface.
    fn has_routes(&self, manager: &YamlNode) -> bool {
        let Some(routes) = manager.get("route_config") else {
            return ["rds", "scoped_routes"]
                .iter()
                .any(|it| manager.get(it).is_some());
        };
        let hosts = routes.get("virtual_hosts").map(|it| it.items());
        let routes = hosts.unwrap_or_default().iter().flat_map(|host| {
            let routes = host.value.get("routes").map(|it| it.items());
            routes.unwrap_or_default()
        });
        let mut actions = routes.filter_map(|it| it.value.get("route"));
        let is_admin = |action: &YamlNode| {
            let cluster = action.text_of("cluster");
            self.admin_clusters.iter().any(|it| it == cluster)
        };
        actions.any(|it| !is_admin(it))
    }
}

/// Returns the configurations of the HTTP connection managers of a listener.
fn managers(listener: &YamlNode) -> Vec<Rc<YamlNode>> {
    let chains = listener.get("filter_chains").map(|it| it.items());
    let chains = chains.unwrap_or_default().iter().map(|it| &it.value);
    let chains = chains.chain(listener.get("default_filter_chain"));
    let filters = chains.flat_map(|chain| {
        let filters = chain.get("filters").map(|it| it.items());
        filters.unwrap_or_default()
    });
    let configs = filters.filter_map(|it| it.value.get("typed_config"));
    let is_manager = |it: &&Rc<YamlNode>| it.text_of("@type").ends_with(".HttpConnectionManager");
    configs.filter(is_manager).cloned().collect()
}

/// Returns the path of a configuration source, if it is a file.
pub(super) fn path_of(source: &YamlNode) -> Option<&str> {
    let new = source.at(&["path_config_source", "path"]);
    let path = new.or_else(|| source.at(&["path"]));
    path.and_then(YamlNode::text)
}
