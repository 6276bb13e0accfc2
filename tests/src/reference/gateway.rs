//! Finds the listener of a request at the Gateway (GatewaySpec.listeners, 1.6), and the routes that apply to the
//! request at this listener (HTTPRouteSpec.hostnames, 1.3).

use super::{
    Answer, GATEWAY_NAMESPACE, Kind, Listener, ListenerNames, Parent, Path, Request, Route, World,
    candidates, covers, decide, is_meant, specificity, without_port,
};

/// The routes that apply to requests for a host at a socket.
enum Outcome<'w> {
    Untouched,
    /// These routes, each with its matching hostname. Without a route the answer is 404.
    Routes(Vec<(&'w Route, Option<String>)>),
    UnknownListener,
}

impl PartialEq for Outcome<'_> {
    /// True if every request gets the same answer from both outcomes.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Outcome::Untouched, Outcome::Untouched) => true,
            (Outcome::UnknownListener, Outcome::UnknownListener) => true,
            (Outcome::Routes(a), Outcome::Routes(b)) => reachable(a) == reachable(b),
            _ => false,
        }
    }
}

/// Returns the matches of these routes in the order of precedence, up to the first match that fits every request. The
/// list has the backend of each match, and the position of the match in its rule.
fn reachable(routes: &[(&Route, Option<String>)]) -> Vec<(String, usize)> {
    let routes = routes.iter().map(|(route, own)| (*route, own.as_deref()));
    let mut reachable = Vec::new();
    for candidate in candidates(routes.collect()) {
        let rule = &candidate.route.rules[candidate.rule];
        reachable.push((rule.backend.clone(), candidate.position));
        let conditions = candidate.conditions;
        let is_any = match &conditions.path {
            None => true,
            Some(Path::Prefix(prefix)) => prefix == "/",
            Some(Path::Exact(_) | Path::Regex(_)) => false,
        };
        let has_more = conditions.method.is_some() || conditions.call.is_some();
        if is_any && !has_more && conditions.headers.is_empty() && conditions.query.is_empty() {
            break;
        }
    }
    reachable
}

pub fn answer(world: &World, names: &ListenerNames, request: &Request) -> Answer {
    let host = without_port(&request.host).to_ascii_lowercase();
    let of = |names: &[String]| outcome(world, &host, &|name| names.iter().any(|it| it == name));
    let outcome = match names {
        ListenerNames::Unset => outcome(world, &host, &|_| true),
        ListenerNames::Listener(name) => of(std::slice::from_ref(name)),
        ListenerNames::Sockets(sockets, Some(via)) => of(&sockets[*via]),
        // The socket does not matter if the host has the same routes at all sockets.
        ListenerNames::Sockets(sockets, None) => {
            let mut outcomes: Vec<Outcome> = sockets.iter().map(|socket| of(socket)).collect();
            // The request may also have arrived at a port of the Gateway that is missing in `sockets`.
            let is_named = |it: &&Listener| sockets.iter().flatten().any(|name| *name == it.name);
            let named = world.listeners.iter().filter(is_named);
            let named: Vec<u16> = named.map(|it| it.port).collect();
            let others = world
                .listeners
                .iter()
                .filter(|it| !named.contains(&it.port));
            let others: Vec<String> = others.map(|it| it.name.clone()).collect();
            let elsewhere = of(&others);
            if elsewhere != Outcome::Untouched {
                outcomes.insert(0, elsewhere);
            }
            let last = outcomes.pop().expect("a socket");
            if outcomes.iter().all(|other| *other == last) {
                last
            } else {
                Outcome::UnknownListener
            }
        }
    };
    match outcome {
        Outcome::Untouched => Answer::Untouched,
        Outcome::UnknownListener => Answer::UnknownListener,
        Outcome::Routes(routes) => {
            let routes = routes.iter().map(|(route, own)| (*route, own.as_deref()));
            decide(routes.collect(), request)
        }
    }
}

/// Returns the routes that apply to requests for `host`. Only listeners for which `is_selected` is true get requests.
fn outcome<'w>(world: &'w World, host: &str, is_selected: &dyn Fn(&str) -> bool) -> Outcome<'w> {
    let selected = world.listeners.iter().filter(|it| is_selected(&it.name));
    let mut ports: Vec<u16> = selected.map(|listener| listener.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut is_of_another = false;
    for port in ports {
        let all = || world.listeners.iter().filter(|it| it.port == port);
        let takes = |it: &&Listener| it.hostname.as_ref().is_none_or(|own| is_meant(own, host));
        // Ignore a port without a listener for the host.
        let of_listener = |it: &Listener| specificity(it.hostname.as_deref());
        let Some(most) = all().filter(takes).map(of_listener).max() else {
            continue;
        };
        let owners: Vec<&Listener> = all()
            .filter(takes)
            .filter(|it| of_listener(it) == most)
            .collect();
        // Weir leaves a host alone if no route at any listener of the port has this host.
        let mut near = all().filter(takes).flat_map(|it| in_force(world, it));
        let is_ours = near.any(|route| !fitting(&world.routes[route], host).is_empty());
        if !owners.iter().any(|owner| is_selected(&owner.name)) {
            is_of_another |= is_ours;
            continue;
        }
        if !is_ours {
            outcomes.push(Outcome::Untouched);
            continue;
        }
        // Each hostname of a route has an intersection with the listener's hostname. Only routes with the most specific
        // intersection apply, even if no match of these routes fits the request.
        let hosts = owners[0].hostname.as_deref();
        let in_common = |own: &Option<String>| {
            let both = common(own.as_deref(), hosts);
            both.map_or((false, 0), |both| specificity(both.as_deref()))
        };
        let all = owners.iter().flat_map(|owner| in_force(world, owner));
        let all = all.flat_map(|route| fitting(&world.routes[route], host));
        let best = all.map(|own| in_common(&own)).max();
        // The precedence of a route depends on its most specific hostname with this intersection.
        let selected = owners.iter().filter(|owner| is_selected(&owner.name));
        let mut routes = Vec::new();
        for route in selected.flat_map(|owner| in_force(world, owner)) {
            let own = fitting(&world.routes[route], host);
            let own = own.into_iter().filter(|own| Some(in_common(own)) == best);
            let own = own.max_by_key(|own| specificity(own.as_deref()));
            routes.extend(own.map(|own| (route, own)));
        }
        routes.sort_unstable();
        routes.dedup();
        let routes = routes
            .into_iter()
            .map(|(route, own)| (&world.routes[route], own));
        let routes = routes.collect();
        outcomes.push(Outcome::Routes(routes));
    }
    let Some(last) = outcomes.pop() else {
        return if is_of_another {
            Outcome::Routes(Vec::new())
        } else {
            Outcome::Untouched
        };
    };
    if outcomes.iter().all(|other| *other == last) {
        last
    } else {
        Outcome::UnknownListener
    }
}

/// Returns the hostnames of the route that match the host. The hostname None matches every host.
fn fitting(route: &Route, host: &str) -> Vec<Option<String>> {
    if route.hostnames.is_empty() {
        return vec![None];
    }
    let own = route.hostnames.iter().filter(|own| is_meant(own, host));
    own.cloned().map(Some).collect()
}

/// Returns the accepted routes of a listener. If an HTTPRoute and a GRPCRoute have a host in common, the younger route
/// is not accepted. This is also true if they are at two listeners with the same port and hostname.
fn in_force(world: &World, listener: &Listener) -> Vec<usize> {
    let alike = world
        .listeners
        .iter()
        .filter(|it| (it.port, &it.hostname) == (listener.port, &listener.hostname));
    let alike: Vec<&Listener> = alike.collect();
    let mut by_age: Vec<usize> = (0..world.routes.len()).collect();
    by_age.sort_by_key(|route| {
        let route = &world.routes[*route];
        let name = format!("{}/{}", route.namespace, route.name);
        (route.created.unwrap_or(u8::MAX), name, route.kind)
    });
    let mut accepted: Vec<usize> = Vec::new();
    for route in by_age {
        let it = &world.routes[route];
        if !alike.iter().any(|listener| attaches(it, listener)) {
            continue;
        }
        let is_call = |route: &Route| route.kind == Kind::Grpc;
        let mut others = accepted.iter().map(|other| &world.routes[*other]);
        let meets = others.any(|other| is_call(other) != is_call(it) && meet(it, other, listener));
        if !meets {
            accepted.push(route);
        }
    }
    accepted.retain(|route| attaches(&world.routes[*route], listener));
    accepted
}

/// True if two routes have a host of the listener in common.
fn meet(a: &Route, b: &Route, listener: &Listener) -> bool {
    let hosts = |route: &Route| -> Vec<Option<String>> {
        let own: Vec<Option<String>> = if route.hostnames.is_empty() {
            vec![None]
        } else {
            route.hostnames.iter().cloned().map(Some).collect()
        };
        let own = own.iter();
        own.filter_map(|own| common(own.as_deref(), listener.hostname.as_deref()))
            .collect()
    };
    let (of_a, of_b) = (hosts(a), hosts(b));
    let mut pairs = of_a.iter().flat_map(|a| of_b.iter().map(move |b| (a, b)));
    pairs.any(|(a, b)| common(a.as_deref(), b.as_deref()).is_some())
}

/// Returns the intersection of two hostnames. The outer None means that they have no host in common, and the inner None
/// means every host.
fn common(a: Option<&str>, b: Option<&str>) -> Option<Option<String>> {
    match (a, b) {
        (None, other) | (other, None) => Some(other.map(str::to_owned)),
        (Some(a), Some(b)) if a == b || covers(a, b) => Some(Some(b.to_owned())),
        (Some(a), Some(b)) => covers(b, a).then(|| Some(a.to_owned())),
    }
}

/// Section 1.6: the section name, the port and the namespace must match.
fn attaches(route: &Route, listener: &Listener) -> bool {
    route.parents.iter().any(|parent| match parent {
        Parent::Service { .. } => false,
        Parent::Gateway { section, port } => {
            section.as_ref().is_none_or(|name| *name == listener.name)
                && port.is_none_or(|port| port == listener.port)
                && (listener.from_all || route.namespace == GATEWAY_NAMESPACE)
        }
    })
}
