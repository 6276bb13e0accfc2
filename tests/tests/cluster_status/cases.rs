//! Routes that users wrote, with their expected status.

pub struct Case {
    pub namespace: &'static str,
    /// The listeners of the Gateway `g`.
    pub listeners: &'static str,
    /// Each text is `KIND NAME: SPEC`. The test creates the routes in this order, at least a second apart. In a spec,
    /// `A` and `B` stand for the field backendRefs with the backend `a` or `b`.
    pub routes: &'static [&'static str],
    pub expected: &'static [ExpectedCondition],
}

pub struct ExpectedCondition {
    pub route: &'static str,
    pub kind: &'static str,
    /// Status and reason; None if the route must not have the condition.
    pub says: Option<[&'static str; 2]>,
    /// The whole message, or the beginning of the message and `...`.
    pub message: &'static str,
}

const fn expected(
    route: &'static str,
    kind: &'static str,
    says: [&'static str; 2],
    message: &'static str,
) -> ExpectedCondition {
    ExpectedCondition {
        route,
        kind,
        says: Some(says),
        message,
    }
}

/// The route is accepted, without a message.
pub const fn accepted(route: &'static str) -> ExpectedCondition {
    noted(route, "")
}

/// The route is accepted, with this message.
const fn noted(route: &'static str, message: &'static str) -> ExpectedCondition {
    expected(route, "Accepted", ["True", "Accepted"], message)
}

const fn refused(
    route: &'static str,
    reason: &'static str,
    message: &'static str,
) -> ExpectedCondition {
    expected(route, "Accepted", ["False", reason], message)
}

/// The reason is always UnsupportedValue, because Gateway API has no other reason for PartiallyInvalid.
const fn partly(route: &'static str, message: &'static str) -> ExpectedCondition {
    expected(
        route,
        "PartiallyInvalid",
        ["True", "UnsupportedValue"],
        message,
    )
}

/// The route has no condition PartiallyInvalid.
pub const fn entire(route: &'static str) -> ExpectedCondition {
    ExpectedCondition {
        route,
        kind: "PartiallyInvalid",
        says: None,
        message: "",
    }
}

const HTTP: &str = "{ name: http, port: 80, protocol: HTTP }";

pub const CASES: [Case; 19] = [
    Case {
        namespace: "cors",
        listeners: HTTP,
        routes: &[
            "HTTPRoute r: rules: [{ matches: [{ path: { value: /copied } }], filters: [{ type: CORS, cors: { allowOrigins: ['https://a.example'] } }], A }, { A }]",
        ],
        expected: &[
            accepted("r"),
            partly(
                "r",
                "Dropped Rule 0: spec.rules[0].filters[0].type: the filter CORS is not supported: requests of this rule are answered 500; take the filter CORS out, and use the CORS filter of the proxy",
            ),
        ],
    },
    Case {
        namespace: "look-around",
        listeners: HTTP,
        routes: &[
            "HTTPRoute r: rules: [{ matches: [{ path: { type: RegularExpression, value: '/(?!admin).*' } }], A }, { matches: [{ path: { value: /admin } }], B }]",
        ],
        expected: &[
            accepted("r"),
            partly(
                "r",
                "Dropped Rule 0 in part: spec.rules[0].matches[0].path.value: \"/(?!admin).*\" is not a regular expression that a proxy can run: ...",
            ),
        ],
    },
    // Weir ignores the backoff and applies the rest of the rule. Gateway API has no condition for this, so the
    // condition Accepted has the message.
    Case {
        namespace: "backoff",
        listeners: HTTP,
        routes: &[
            "HTTPRoute r: rules: [{ matches: [{ path: { value: /flaky } }], retry: { codes: [503], attempts: 3, backoff: 1s }, A }, { matches: [{ path: { value: /plain } }], A }]",
        ],
        expected: &[
            noted(
                "r",
                "spec.rules[0].retry.backoff: backoff is not supported: the proxy retries with its own pauses; take backoff out, and set the pauses in the proxy's retry policy",
            ),
            entire("r"),
        ],
    },
    Case {
        namespace: "redirect",
        listeners: HTTP,
        routes: &[
            "HTTPRoute r: rules: [{ matches: [{ path: { value: /old } }], filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: '/new?from=old' } } }] }, { A }]",
        ],
        expected: &[
            accepted("r"),
            partly(
                "r",
                "Dropped Rule 0: spec.rules[0].filters[0].requestRedirect.path.replaceFullPath: /new?from=old has a query, but a filter cannot change the query of a request: requests of this rule are answered 500; write the path alone: /new",
            ),
        ],
    },
    Case {
        namespace: "edited-twice",
        listeners: HTTP,
        routes: &[
            "HTTPRoute r: rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-One, value: s }], add: [{ name: x-one, value: a }] } }], A }]",
        ],
        expected: &[
            accepted("r"),
            partly(
                "r",
                "Dropped Rule 0: spec.rules[0].filters[0].requestHeaderModifier.add[0].name: the header x-one has two actions, set and add: ...",
            ),
        ],
    },
    // The route `all` serves all other hosts, but must not serve the requests of the unsupported rule in `app`.
    Case {
        namespace: "with-catch-all",
        listeners: HTTP,
        routes: &[
            "HTTPRoute all: rules: [{ B }]",
            "HTTPRoute app: hostnames: [app.example.com], rules: [{ A }, { matches: [{ path: { value: /kept } }], sessionPersistence: { sessionName: s }, A }]",
        ],
        expected: &[
            accepted("all"),
            entire("all"),
            accepted("app"),
            partly(
                "app",
                "Dropped Rule 1: spec.rules[1].sessionPersistence: sessionPersistence is not supported: requests of this rule are answered 500; ...",
            ),
        ],
    },
    Case {
        namespace: "more-specific",
        listeners: HTTP,
        routes: &[
            "HTTPRoute old: hostnames: ['*.example.com'], rules: [{ A }]",
            "HTTPRoute new: hostnames: [www.example.com], rules: [{ B }]",
        ],
        expected: &[accepted("old"), accepted("new")],
    },
    // The listener has one hostname, and the route `api` names it. So the older route `all` gets no request.
    Case {
        namespace: "more-specific-alone",
        listeners: "{ name: http, port: 80, protocol: HTTP, hostname: api.example.com }",
        routes: &[
            "HTTPRoute all: rules: [{ A }]",
            "HTTPRoute api: hostnames: [api.example.com], rules: [{ B }]",
        ],
        expected: &[
            noted(
                "all",
                "spec.parentRefs[0]: at Gateway more-specific-alone/g every request that fits this route goes by precedence to spec.rules[0] of HTTPRoute more-specific-alone/api: this route gets no request there; ...",
            ),
            accepted("api"),
        ],
    },
    Case {
        namespace: "other-listener",
        listeners: "{ name: wide, port: 80, protocol: HTTP, hostname: '*.example.com' }, { name: narrow, port: 80, protocol: HTTP, hostname: api.example.com }",
        routes: &[
            "HTTPRoute r: parentRefs: [{ name: g, sectionName: wide }], hostnames: [api.example.com], rules: [{ A }]",
        ],
        expected: &[noted(
            "r",
            "spec.parentRefs[0]: at listener wide of Gateway other-listener/g every host of this route belongs to another listener, which has a more specific hostname: this route gets no request there; write sectionName: narrow, or other hostnames",
        )],
    },
    Case {
        namespace: "two-listeners",
        listeners: "{ name: web, port: 80, protocol: HTTP, hostname: '*.example.test' }, { name: rpc, port: 50051, protocol: HTTP, hostname: '*.example.test' }",
        routes: &[
            "HTTPRoute web: parentRefs: [{ name: g, sectionName: web }], hostnames: [api.example.test], rules: [{ A }]",
            "GRPCRoute rpc: parentRefs: [{ name: g, sectionName: rpc }], hostnames: [api.example.test], rules: [{ B }]",
        ],
        expected: &[accepted("web"), accepted("rpc")],
    },
    // The older route wins, although the name of the younger route comes first.
    Case {
        namespace: "one-listener",
        listeners: HTTP,
        routes: &[
            "HTTPRoute web: hostnames: ['*.example.com'], rules: [{ A }]",
            "GRPCRoute rpc: hostnames: [rpc.example.com], rules: [{ B }]",
        ],
        expected: &[
            accepted("web"),
            refused(
                "rpc",
                "Conflicted",
                "spec.parentRefs[0]: HTTPRoute one-listener/web, which is older or first by name, already routes rpc.example.com at listener http of Gateway one-listener/g: the route is not in force at this parent; ...",
            ),
        ],
    },
    Case {
        namespace: "one-listener-reversed",
        listeners: HTTP,
        routes: &[
            "GRPCRoute rpc: hostnames: [rpc.example.com], rules: [{ B }]",
            "HTTPRoute any: hostnames: ['*.example.com'], rules: [{ A }]",
        ],
        expected: &[
            accepted("rpc"),
            refused(
                "any",
                "Conflicted",
                "spec.parentRefs[0]: GRPCRoute one-listener-reversed/rpc, which is older or first by name, already routes ...",
            ),
        ],
    },
    Case {
        namespace: "wrong-section",
        listeners: "{ name: http, port: 80, protocol: HTTP }, { name: internal, port: 8080, protocol: HTTP }",
        routes: &[
            "HTTPRoute r: parentRefs: [{ name: g, sectionName: https-gateway }], rules: [{ A }]",
        ],
        expected: &[refused(
            "r",
            "NoMatchingParent",
            "spec.parentRefs[0]: Gateway wrong-section/g has no listener named https-gateway: the route is not in force at this parent; write sectionName: one of http, internal",
        )],
    },
    Case {
        namespace: "broken-listener",
        listeners: "{ name: good, port: 80, protocol: HTTP }, { name: broken, port: 8080, protocol: http }",
        routes: &[
            "HTTPRoute r: parentRefs: [{ name: g, sectionName: broken }], rules: [{ A }]",
            "HTTPRoute s: parentRefs: [{ name: g, sectionName: good }], rules: [{ A }]",
        ],
        expected: &[
            refused(
                "r",
                "NoMatchingParent",
                "spec.parentRefs[0]: Gateway broken-listener/g has the listener broken, but this listener is not in force because of its own problem: the route is not in force at this parent; correct the listener broken of the Gateway; a separate problem describes its mistake",
            ),
            accepted("s"),
        ],
    },
    Case {
        namespace: "no-common-host",
        listeners: "{ name: http, port: 80, protocol: HTTP, hostname: '*.example.com' }",
        routes: &["HTTPRoute r: hostnames: [shop.example.org], rules: [{ A }]"],
        expected: &[refused(
            "r",
            "NoMatchingListenerHostname",
            "spec.parentRefs[0]: no listener of Gateway no-common-host/g has a hostname of this route: the route is not in force at this parent; write a hostname that a listener has (*.example.com), ...",
        )],
    },
    Case {
        namespace: "same-rules",
        listeners: HTTP,
        routes: &[
            "HTTPRoute r: rules: [{ matches: [{ path: { value: /same } }], A }, { matches: [{ path: { value: /same } }], B }]",
        ],
        expected: &[
            noted(
                "r",
                "spec.rules[1]: spec.rules[0] comes before this rule and has the same matches: this rule gets no request; delete one of the two rules, or give them different matches",
            ),
            entire("r"),
        ],
    },
    Case {
        namespace: "shadowed-rule",
        listeners: HTTP,
        routes: &[
            "HTTPRoute old: rules: [{ matches: [{ path: { value: /cart } }], A }]",
            "HTTPRoute new: rules: [{ matches: [{ path: { value: /cart } }], B }, { matches: [{ path: { value: /pay } }], B }]",
        ],
        expected: &[
            accepted("old"),
            noted(
                "new",
                "spec.rules[0]: at Gateway shadowed-rule/g every request that fits this rule goes by precedence to spec.rules[0] of HTTPRoute shadowed-rule/old: this rule gets no request there; ...",
            ),
            entire("new"),
        ],
    },
    Case {
        namespace: "shadowed-match",
        listeners: HTTP,
        routes: &[
            "HTTPRoute old: rules: [{ matches: [{ path: { value: /cart } }], A }]",
            "HTTPRoute new: rules: [{ matches: [{ path: { value: /cart } }, { path: { value: /pay } }], B }]",
        ],
        expected: &[
            accepted("old"),
            noted(
                "new",
                "spec.rules[0].matches[0]: at Gateway shadowed-match/g every request that fits this match goes by precedence to spec.rules[0] of HTTPRoute shadowed-match/old: this match gets no request there; ...",
            ),
            entire("new"),
        ],
    },
    Case {
        namespace: "star",
        listeners: HTTP,
        routes: &["HTTPRoute r: rules: [{ matches: [{ path: { value: '/img/*' } }], A }]"],
        expected: &[
            noted(
                "r",
                "spec.rules[0].matches[0].path.value: the * in /img/* is an ordinary character in a path of type PathPrefix: a request matches only if its path contains the character *; ...",
            ),
            entire("r"),
        ],
    },
];

/// Specs that the released schemas of Gateway API refuse, with words of the refusal. The test installs no admission
/// policies. In a folder, Weir itself reports these values as problems.
pub const REFUSED: [(&str, &str); 6] = [
    (
        "rules: [{ timeouts: { request: 30 }, A }]",
        "timeouts.request: Invalid value: \"integer\"",
    ),
    (
        "rules: [{ timeouts: { request: '30' }, A }]",
        "timeouts.request",
    ),
    (
        "rules: [{ backendRefs: [{ name: a, port: http }] }]",
        "port: Invalid value: \"string\"",
    ),
    (
        "rules: [{ matches: [{ path: { value: '/a%2Fb' } }], A }]",
        "must not contain '%2F' when type one of",
    ),
    ("hostnames: ['*'], rules: [{ A }]", "spec.hostnames[0]"),
    (
        "rules: [{ filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replacePrefixMatch: /new } } }], A }]",
        "replacePrefixMatch",
    ),
];
