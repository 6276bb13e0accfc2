//! One TCP connection: where it goes is decided when it is new, who may come in at its first byte.

use std::rc::Rc;

use proxy_wasm::traits::{Context, StreamContext};
use proxy_wasm::types::Action;
use weir_split::{Decided, Decision, Direction};

use crate::host;
use crate::shared::Shared;

pub struct Connection {
    shared: Rc<Shared>,
    /// None until it is decided whether bytes go through.
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

    /// False where the connection is closed.
    fn obey(&self, decided: Decided<'_>) -> bool {
        let rule = decided.rule.unwrap_or_default();
        if self.shared.plugin.log_rule && decided.rule.is_some() {
            host::set_stream_property("weir_rule", rule);
        }
        let reason = match decided.decision {
            Decision::Ordinary => return true,
            Decision::Cluster(cluster) if host::set_tcp_cluster(cluster) => return true,
            Decision::Cluster(_) => {
                format!("{rule}: this proxy has no way to choose a cluster for a connection")
            }
            Decision::Denied(missing) => format!("denied: {missing}"),
            Decision::Answer(503) if rule.is_empty() => "there is no configuration yet".into(),
            // No connection is redirected, nor has it a host.
            Decision::Answer(_) | Decision::Redirect(..) | Decision::UnknownListener(_) => {
                format!("{rule}: the backend that this share goes to cannot be used")
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
        // Where the plugin configuration says whose connections these are, nothing has to be read.
        let is_told = site.root.is_some() || site.listeners.one().is_some();
        let destination = if is_told { None } else { host::destination() };
        let destination = destination
            .as_ref()
            .map(|(address, port)| (address.as_str(), *port));
        match self.shared.live.try_borrow_mut() {
            Ok(mut live) => self.obey(live.connect(destination)),
            // Cannot be: nothing else runs on this thread meanwhile.
            Err(_) => self.obey(Decision::Answer(503).into()),
        }
    }

    /// Decides once, when the handshake is done and the peer is known.
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
                Ok(live) => self.obey(live.admit_connection(peer.as_deref(), port)),
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
        // A pause keeps the proxy from connecting to a backend.
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

    /// A server that speaks first says nothing to a peer that is not known.
    #[cfg(feature = "full")]
    fn on_upstream_data(&mut self, _: usize, _: bool) -> Action {
        self.admit()
    }
}
