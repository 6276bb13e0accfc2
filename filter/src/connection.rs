//! One TCP connection. The filter chooses the cluster of a new outbound connection. It checks the client of an inbound
//! connection at the first byte, when the TLS handshake is done.

use std::rc::Rc;

use proxy_wasm::traits::{Context, StreamContext};
use proxy_wasm::types::Action;
use weir_split::{Decided, Decision, Direction};

use crate::host;
use crate::shared::Shared;

pub struct Connection {
    shared: Rc<Shared>,
    /// True if the filter lets bytes pass; None before the decision.
    #[cfg(feature = "full")]
    is_open: Option<bool>,
}

impl Connection {
    pub fn new(shared: Rc<Shared>) -> Connection {
        Connection {
            shared,
            #[cfg(feature = "full")]
            is_open: None,
        }
    }

    /// Applies a decision. Returns false if the decision closes the connection.
    fn apply(&self, decided: Decided<'_>) -> bool {
        let rule = decided.rule.unwrap_or_default();
        if self.shared.plugin.log_rule {
            host::set_log_properties(&decided);
        }
        let reason = match decided.decision {
            Decision::Ordinary => return true,
            Decision::Cluster(cluster) if host::set_tcp_cluster(cluster) => return true,
            Decision::Cluster(_) => {
                format!("{rule}: this proxy cannot choose a cluster for a connection")
            }
            Decision::Denied(missing) => format!("denied: {missing}"),
            Decision::Answer(503) if rule.is_empty() => "there is no configuration yet".into(),
            // A connection has no redirect and no host, so only the status of a broken backend is possible.
            Decision::Answer(_) | Decision::Redirect(..) | Decision::UnknownListener(_) => {
                format!("{rule}: the picked backend cannot be used")
            }
        };
        self.shared
            .log
            .warn(|| format!("connection closed: {reason}"));
        host::close();
        false
    }

    fn choose(&self) -> bool {
        let site = &self.shared.plugin.site;
        // If the plugin configuration names the root or the listener, the destination is not needed.
        let has_one_destination = site.root.is_some() || site.listeners.one().is_some();
        let destination = if has_one_destination {
            None
        } else {
            host::destination()
        };
        let destination = destination
            .as_ref()
            .map(|(address, port)| (address.as_str(), *port));
        match self.shared.live.try_borrow_mut() {
            Ok(mut live) => self.apply(live.connect(destination)),
            // This cannot happen, because no other code runs on this thread at the same time.
            Err(_) => self.apply(Decision::Answer(503).into()),
        }
    }

    /// Checks the peer once, when the handshake is done.
    #[cfg(feature = "full")]
    fn admit(&mut self) -> Action {
        let is_open = self.is_open.unwrap_or_else(|| {
            let site = &self.shared.plugin.site;
            let port = match &site.root {
                Some(root) => root.port,
                None => host::destination().map_or(0, |(_, port)| port),
            };
            let peer = host::peer(site);
            match self.shared.live.try_borrow() {
                Ok(live) => self.apply(live.admit_connection(peer.as_deref(), port)),
                Err(_) => false,
            }
        });
        self.is_open = Some(is_open);
        if is_open {
            Action::Continue
        } else {
            Action::Pause
        }
    }
}

impl Context for Connection {}

impl StreamContext for Connection {
    fn on_new_connection(&mut self) -> Action {
        if self.shared.plugin.direction == Direction::Inbound {
            return Action::Continue;
        }
        let is_open = self.choose();
        #[cfg(feature = "full")]
        {
            self.is_open = Some(is_open);
        }
        // While the stream is paused, the proxy does not connect to a backend.
        if is_open {
            Action::Continue
        } else {
            Action::Pause
        }
    }

    #[cfg(feature = "full")]
    fn on_downstream_data(&mut self, _: usize, _: bool) -> Action {
        self.admit()
    }

    /// The first bytes may come from the server. The filter must check the peer before it gets these bytes.
    #[cfg(feature = "full")]
    fn on_upstream_data(&mut self, _: usize, _: bool) -> Action {
        self.admit()
    }
}
