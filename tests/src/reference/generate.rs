//! Random objects and requests. The alphabets are small, so that collisions and ties are frequent.

use super::{
    Call, Field, GATEWAY_NAMESPACE, GroupMatch, Kind, Listener, ListenerNames, Match, Parent, Path,
    Pattern, Proxy, Request, Route, Rule, Service, Split, Value, World,
};

/// SplitMix64: equal seeds give equal values.
pub struct Random(u64);

const HOSTNAMES: [&str; 6] = ["a.x", "b.a.x", "c.x", "*.x", "*.a.x", "*.y"];
const HOSTS: [&str; 8] = [
    "a.x",
    "A.X:81",
    "b.a.x",
    "c.b.a.x",
    "c.x",
    "d.x:80",
    "x",
    "y.example",
];
const PATHS: [&str; 10] = [
    "/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "/a/b/a", "/b", "/A", "/b/a",
];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const NAMES: [&str; 3] = ["a", "b", "a-b"];
/// `shop-a/b` sorts before `shop/a`, because '-' sorts before '/'.
const NAMESPACES: [&str; 2] = ["shop", "shop-a"];
const HEADERS: [&str; 4] = ["x-a", "X-B", "x-c", "host"];
const VALUES: [&str; 5] = ["1", "2", "12", "1,2", "a b"];
const QUERIES: [&str; 4] = ["x", "y", "X", "a-b"];

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number less than `sides`.
    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % sides
    }

    /// True with the probability 1 / `sides`.
    pub(super) fn once_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    pub(super) fn one_of<T: Clone>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())].clone()
    }

    pub(super) fn text(&mut self, things: &[&str]) -> String {
        self.one_of(things).to_owned()
    }

    /// Returns a list of `least` to `most` values.
    pub(super) fn several<T>(
        &mut self,
        least: usize,
        most: usize,
        one: impl Fn(&mut Random) -> T,
    ) -> Vec<T> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| one(self)).collect()
    }

    pub fn world(&mut self) -> World {
        let mut listeners = Vec::new();
        for name in ["l", "m", "n", "o"].into_iter().take(1 + self.below(4)) {
            let hostname = if self.once_in(2) {
                None
            } else {
                Some(self.text(&HOSTNAMES))
            };
            listeners.push(Listener {
                name: name.into(),
                port: self.one_of(&[80, 81]),
                hostname,
                from_all: !self.once_in(3),
            });
        }
        let ports = [vec![80], vec![81], vec![80, 81], vec![81, 82]];
        let services = ["web", "api"].map(|name| Service {
            namespace: GATEWAY_NAMESPACE.into(),
            name: name.into(),
            ports: self.one_of(&ports),
        });
        let mut routes: Vec<Route> = self.several(1, 5, Random::route);
        let mut seen = Vec::new();
        routes.retain(|route| {
            let key = (route.kind, route.namespace.clone(), route.name.clone());
            let new = !seen.contains(&key);
            seen.push(key);
            new
        });
        let rules = routes.iter_mut().flat_map(|route| &mut route.rules);
        for (number, rule) in rules.enumerate() {
            rule.backend = format!("r{number}");
        }
        let mut splits = self.several(0, 3, Random::split);
        splits.sort_by(|a, b| a.name.cmp(&b.name));
        splits.dedup_by(|a, b| a.name == b.name);
        for (number, split) in splits.iter_mut().enumerate() {
            split.backend = format!("s{number}");
        }
        World {
            listeners,
            services: services.into(),
            routes,
            splits,
        }
    }

    fn split(&mut self) -> Split {
        Split {
            name: self.text(&NAMES),
            created: self.one_of(&[None, Some(0), Some(1)]),
            service: self.text(&["web", "api", "api"]),
            port: self.one_of(&[None, None, None, Some(80), Some(81)]),
            backend: String::new(),
            groups: if self.once_in(3) {
                Vec::new()
            } else {
                self.several(1, 2, |random| random.several(1, 2, Random::group_match))
            },
        }
    }

    pub(super) fn group_match(&mut self) -> GroupMatch {
        let mut headers = if self.once_in(2) {
            self.several(1, 2, |random| (random.text(&HEADERS), random.pattern(2)))
        } else {
            Vec::new()
        };
        headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        headers.dedup_by(|(a, _), (b, _)| a == b);
        GroupMatch {
            path: self.once_in(2).then(|| self.pattern_of_path()),
            methods: if self.once_in(3) {
                self.several(1, 2, |random| random.text(&["GET", "POST", "PUT", "*"]))
            } else {
                Vec::new()
            },
            headers,
        }
    }

    fn route(&mut self) -> Route {
        use Kind::{Grpc, Http, Linkerd};
        let kind = self.one_of(&[Http, Http, Http, Http, Linkerd, Grpc]);
        let linkerd = kind == Linkerd;
        Route {
            kind,
            namespace: self.text(&NAMESPACES),
            name: self.text(&NAMES),
            created: self.one_of(&[None, Some(0), Some(1)]),
            parents: self.several(1, 2, |random| random.parent(linkerd)),
            hostnames: match self.once_in(2) {
                true => Vec::new(),
                false if linkerd => self.several(1, 2, |random| {
                    random.text(&["web.shop", "web", "*.shop", "*.shop.svc", "api.shop.svc"])
                }),
                false => self.several(1, 2, |random| random.text(&HOSTNAMES)),
            },
            rules: self.several(1, 3, |random| Rule {
                backend: String::new(),
                matches: random.several(0, 3, |random| match kind {
                    Grpc => random.call(),
                    Http | Linkerd => random.random_match(),
                }),
            }),
        }
    }

    fn parent(&mut self, linkerd: bool) -> Parent {
        if linkerd || self.once_in(2) {
            return Parent::Service {
                namespace: GATEWAY_NAMESPACE.into(),
                name: self.text(&["web", "web", "api"]),
                port: self.one_of(&[None, None, Some(80), Some(81)]),
            };
        }
        let section = self.one_of(&[None, None, Some("l"), Some("m")]);
        Parent::Gateway {
            section: section.map(str::to_owned),
            port: self.one_of(&[None, None, None, Some(80), Some(81)]),
        }
    }

    fn random_match(&mut self) -> Match {
        let path = match self.below(6) {
            0 | 1 => None,
            2 => Some(Path::Exact(self.text(&PATHS))),
            3 | 4 => Some(Path::Prefix(self.text(&PATHS))),
            _ => Some(Path::Regex(self.pattern_of_path())),
        };
        Match {
            path,
            method: if self.once_in(4) {
                Some(self.text(&METHODS))
            } else {
                None
            },
            headers: self.fields(&HEADERS),
            query: self.fields(&QUERIES),
            call: None,
        }
    }

    /// Returns a match of a GRPCRoute.
    fn call(&mut self) -> Match {
        let is_regex = self.once_in(2);
        let mut part = |others: bool| {
            let is_there = !others || self.once_in(2);
            is_there.then(|| {
                if is_regex {
                    Value::Regex(self.pattern_of_name())
                } else {
                    Value::Exact(self.text(&["a", "b", "ab"]))
                }
            })
        };
        let service = part(true);
        let method = part(service.is_some());
        Match {
            call: (!self.once_in(4)).then_some(Call { service, method }),
            headers: self.fields(&HEADERS),
            ..Match::default()
        }
    }

    /// Returns fields with unique names. The list is empty in two of three cases.
    fn fields(&mut self, names: &[&str]) -> Vec<Field> {
        if !self.once_in(3) {
            return Vec::new();
        }
        let mut fields = self.several(1, 2, |random| Field {
            name: random.text(names),
            value: if random.once_in(3) {
                Value::Regex(random.pattern_of_name())
            } else {
                Value::Exact(random.text(&VALUES))
            },
        });
        let mut seen = Vec::new();
        fields.retain(|field| {
            let new = !seen.contains(&field.name);
            seen.push(field.name.clone());
            new
        });
        for field in &mut fields {
            if field.name == "host" && self.once_in(2) {
                field.value = Value::Exact(self.text(&HOSTS));
            }
        }
        fields
    }

    fn pattern_of_path(&mut self) -> Pattern {
        let rest = self.pattern(2);
        let whole = Pattern::Sequence(vec![Pattern::Character('/'), rest]);
        if self.once_in(4) {
            Pattern::Anchored(whole.into())
        } else {
            whole
        }
    }

    fn pattern_of_name(&mut self) -> Pattern {
        let pattern = self.pattern(2);
        if self.once_in(4) {
            Pattern::Anchored(pattern.into())
        } else {
            pattern
        }
    }

    fn pattern(&mut self, depth: usize) -> Pattern {
        let sides = if depth == 0 { 4 } else { 8 };
        match self.below(sides) {
            0 | 1 => Pattern::Character(self.one_of(&['a', 'b', '/', '1', '2', ','])),
            2 => Pattern::Any,
            3 => Pattern::OneOf(vec![self.one_of(&['a', '1']), self.one_of(&['b', '2'])]),
            4 => Pattern::Either(self.several(2, 2, |random| random.pattern(depth - 1))),
            5 => {
                let parts = self.several(1, 3, |random| random.pattern(depth - 1));
                Pattern::Sequence(parts)
            }
            _ => {
                let inner = match self.pattern(depth - 1) {
                    Pattern::Repeated(inner, _) => inner,
                    other => other.into(),
                };
                Pattern::Repeated(inner, self.one_of(&['*', '+', '?']))
            }
        }
    }

    /// Returns proxies that may send requests in this world.
    pub fn proxies(&mut self, world: &World) -> Vec<Proxy> {
        let listener = |random: &mut Random| random.one_of(&world.listeners).name;
        let one = listener(self);
        let sockets = self.several(1, 3, |random| random.several(1, 2, listener));
        let via = self.below(sockets.len() + 1);
        let via = (via < sockets.len()).then_some(via);
        let client = |namespace: &str| Proxy::Client(Some(namespace.to_owned()));
        vec![
            Proxy::Gateway(ListenerNames::Unset),
            Proxy::Gateway(ListenerNames::Listener(one)),
            Proxy::Gateway(ListenerNames::Sockets(sockets, via)),
            client("shop"),
            client("shop-a"),
            Proxy::Client(None),
        ]
    }

    pub fn request(&mut self, proxy: &Proxy) -> Request {
        let host = match proxy {
            Proxy::Gateway(_) => self.text(&HOSTS),
            Proxy::Client(_) => {
                let name = self.text(&["web", "web", "api"]);
                let tail = [
                    "",
                    ".shop",
                    ".shop",
                    ".Shop.svc",
                    ".shop.svc.cluster.local",
                    ".shop.",
                ];
                let port = self.one_of(&["", "", ":80", ":81", ":82"]);
                format!("{name}{}{port}", self.one_of(&tail))
            }
        };
        let mut path = self.text(&PATHS);
        if self.once_in(3) {
            let pairs = self.several(1, 3, |random| {
                random.text(&[
                    "x=1", "x=2", "x=%31", "y=1", "y=2", "X=1", "x", "a-b=1", "y=a+b", "a%2Db=12",
                ])
            });
            path = format!("{path}?{}", pairs.join("&"));
        }
        Request {
            method: self.text(&METHODS),
            host,
            path,
            headers: if self.once_in(2) {
                Vec::new()
            } else {
                self.several(1, 3, |random| {
                    let name = random.text(&["x-a", "x-b", "X-A", "x-c"]);
                    (name, random.text(&["1", "2", "12", "a b", ""]))
                })
            },
        }
    }
}
