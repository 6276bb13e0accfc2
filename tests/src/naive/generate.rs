//! Random worlds and requests over alphabets so small that collisions and ties are frequent.

use super::{
    Asker, Call, Field, GATEWAY_NAMESPACE, GroupMatch, Kind, Listener, Match, Parent, Path,
    Pattern, Request, Route, Rule, Service, Split, Told, Value, World,
};

/// SplitMix64: what it throws depends on nothing but the seed.
pub struct Dice(u64);

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
/// `shop-a/b` is before `shop/a`, for '-' is before '/'.
const NAMESPACES: [&str; 2] = ["shop", "shop-a"];
const HEADERS: [&str; 4] = ["x-a", "X-B", "x-c", "host"];
const VALUES: [&str; 5] = ["1", "2", "12", "1,2", "a b"];
const QUERIES: [&str; 4] = ["x", "y", "X", "a-b"];

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `sides`.
    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.throw() >> 33).unwrap_or(0) % sides
    }

    /// True once in `sides` throws.
    pub(super) fn once_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    pub(super) fn one_of<T: Clone>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())].clone()
    }

    pub(super) fn text(&mut self, things: &[&str]) -> String {
        self.one_of(things).to_owned()
    }

    /// From `least` to `most` things.
    pub(super) fn several<T>(
        &mut self,
        least: usize,
        most: usize,
        one: impl Fn(&mut Dice) -> T,
    ) -> Vec<T> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| one(self)).collect()
    }

    pub fn world(&mut self) -> World {
        let mut listeners = Vec::new();
        for name in ["l", "m", "n", "o"].into_iter().take(1 + self.below(4)) {
            let hostname = match self.once_in(2) {
                true => None,
                false => Some(self.text(&HOSTNAMES)),
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
        let mut routes: Vec<Route> = self.several(1, 5, Dice::route);
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
        let mut splits = self.several(0, 3, Dice::split);
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
            groups: match self.once_in(3) {
                true => Vec::new(),
                false => self.several(1, 2, |dice| dice.several(1, 2, Dice::group_match)),
            },
        }
    }

    pub(super) fn group_match(&mut self) -> GroupMatch {
        let mut headers = match self.once_in(2) {
            true => self.several(1, 2, |dice| (dice.text(&HEADERS), dice.pattern(2))),
            false => Vec::new(),
        };
        headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        headers.dedup_by(|(a, _), (b, _)| a == b);
        GroupMatch {
            path: self.once_in(2).then(|| self.pattern_of_path()),
            methods: match self.once_in(3) {
                true => self.several(1, 2, |dice| dice.text(&["GET", "POST", "PUT", "*"])),
                false => Vec::new(),
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
            parents: self.several(1, 2, |dice| dice.parent(linkerd)),
            hostnames: match self.once_in(2) {
                true => Vec::new(),
                false if linkerd => self.several(1, 2, |dice| {
                    dice.text(&["web.shop", "web", "*.shop", "*.shop.svc", "api.shop.svc"])
                }),
                false => self.several(1, 2, |dice| dice.text(&HOSTNAMES)),
            },
            rules: self.several(1, 3, |dice| Rule {
                backend: String::new(),
                matches: dice.several(0, 3, |dice| match kind {
                    Grpc => dice.call(),
                    Http | Linkerd => dice.wanted(),
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

    fn wanted(&mut self) -> Match {
        let path = match self.below(6) {
            0 | 1 => None,
            2 => Some(Path::Exact(self.text(&PATHS))),
            3 | 4 => Some(Path::Prefix(self.text(&PATHS))),
            _ => Some(Path::Regex(self.pattern_of_path())),
        };
        Match {
            path,
            method: match self.once_in(4) {
                true => Some(self.text(&METHODS)),
                false => None,
            },
            headers: self.fields(&HEADERS),
            query: self.fields(&QUERIES),
            call: None,
        }
    }

    /// A match of a GRPCRoute.
    fn call(&mut self) -> Match {
        let is_regex = self.once_in(2);
        let mut part = |others: bool| {
            let is_there = !others || self.once_in(2);
            is_there.then(|| match is_regex {
                true => Value::Regex(self.pattern_of_name()),
                false => Value::Exact(self.text(&["a", "b", "ab"])),
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

    /// Mostly none; names differ.
    fn fields(&mut self, names: &[&str]) -> Vec<Field> {
        if !self.once_in(3) {
            return Vec::new();
        }
        let mut fields = self.several(1, 2, |dice| Field {
            name: dice.text(names),
            value: match dice.once_in(3) {
                true => Value::Regex(dice.pattern_of_name()),
                false => Value::Exact(dice.text(&VALUES)),
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
        match self.once_in(4) {
            true => Pattern::Anchored(whole.into()),
            false => whole,
        }
    }

    fn pattern_of_name(&mut self) -> Pattern {
        let pattern = self.pattern(2);
        match self.once_in(4) {
            true => Pattern::Anchored(pattern.into()),
            false => pattern,
        }
    }

    fn pattern(&mut self, depth: usize) -> Pattern {
        let sides = if depth == 0 { 4 } else { 8 };
        match self.below(sides) {
            0 | 1 => Pattern::Character(self.one_of(&['a', 'b', '/', '1', '2', ','])),
            2 => Pattern::Any,
            3 => Pattern::OneOf(vec![self.one_of(&['a', '1']), self.one_of(&['b', '2'])]),
            4 => Pattern::Either(self.several(2, 2, |dice| dice.pattern(depth - 1))),
            5 => {
                let parts = self.several(1, 3, |dice| dice.pattern(depth - 1));
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

    /// Proxies that may ask in this world.
    pub fn askers(&mut self, world: &World) -> Vec<Asker> {
        let listener = |dice: &mut Dice| dice.one_of(&world.listeners).name;
        let one = listener(self);
        let sockets = self.several(1, 3, |dice| dice.several(1, 2, listener));
        let via = self.below(sockets.len() + 1);
        let via = (via < sockets.len()).then_some(via);
        let client = |namespace: &str| Asker::Client(Some(namespace.to_owned()));
        vec![
            Asker::Gateway(Told::Nothing),
            Asker::Gateway(Told::Listener(one)),
            Asker::Gateway(Told::Sockets(sockets, via)),
            client("shop"),
            client("shop-a"),
            Asker::Client(None),
        ]
    }

    pub fn request(&mut self, asker: &Asker) -> Request {
        let host = match asker {
            Asker::Gateway(_) => self.text(&HOSTS),
            Asker::Client(_) => {
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
            let pairs = self.several(1, 3, |dice| {
                dice.text(&[
                    "x=1", "x=2", "x=%31", "y=1", "y=2", "X=1", "x", "a-b=1", "y=a+b", "a%2Db=12",
                ])
            });
            path = format!("{path}?{}", pairs.join("&"));
        }
        Request {
            method: self.text(&METHODS),
            host,
            path,
            headers: match self.once_in(2) {
                true => Vec::new(),
                false => self.several(1, 3, |dice| {
                    let name = dice.text(&["x-a", "x-b", "X-A", "x-c"]);
                    (name, dice.text(&["1", "2", "12", "a b", ""]))
                }),
            },
        }
    }
}
