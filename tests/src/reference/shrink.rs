//! Removes objects and parts of objects from a failing test, as long as the test still fails.

use super::World;

/// Removes routes, splits, rules, matches and their parts, one at a time, while `fails` returns true.
pub fn shrink(mut world: World, fails: impl Fn(&World) -> bool) -> World {
    while let Some(smaller) = smaller(&world).into_iter().find(&fails) {
        world = smaller;
    }
    world
}

/// Returns every world that lacks one part of this world. Worlds without a large part come first.
fn smaller(world: &World) -> Vec<World> {
    let mut worlds = Vec::new();
    let mut without = |change: &dyn Fn(&mut World)| {
        let mut smaller = world.clone();
        change(&mut smaller);
        worlds.push(smaller);
    };
    for r in 0..world.routes.len() {
        without(&|it| drop(it.routes.remove(r)));
    }
    for (s, split) in world.splits.iter().enumerate() {
        without(&|it| drop(it.splits.remove(s)));
        for (g, group) in split.groups.iter().enumerate() {
            without(&|it| drop(it.splits[s].groups.remove(g)));
            for m in 0..group.len() {
                without(&|it| drop(it.splits[s].groups[g].remove(m)));
            }
        }
    }
    for l in 0..world.listeners.len().saturating_sub(1) {
        without(&|it| drop(it.listeners.remove(l)));
    }
    for (r, route) in world.routes.iter().enumerate() {
        for n in 0..route.rules.len() {
            if route.rules.len() > 1 {
                without(&|it| drop(it.routes[r].rules.remove(n)));
            }
        }
        for n in 0..route.parents.len() {
            if route.parents.len() > 1 {
                without(&|it| drop(it.routes[r].parents.remove(n)));
            }
        }
        for n in 0..route.hostnames.len() {
            without(&|it| drop(it.routes[r].hostnames.remove(n)));
        }
        if route.created.is_some() {
            without(&|it| it.routes[r].created = None);
        }
        for (n, rule) in route.rules.iter().enumerate() {
            for (m, one_match) in rule.matches.iter().enumerate() {
                without(&|it| drop(it.routes[r].rules[n].matches.remove(m)));
                if one_match.path.is_some() {
                    without(&|it| it.routes[r].rules[n].matches[m].path = None);
                }
                if one_match.method.is_some() {
                    without(&|it| it.routes[r].rules[n].matches[m].method = None);
                }
                for f in 0..one_match.headers.len() {
                    without(&|it| drop(it.routes[r].rules[n].matches[m].headers.remove(f)));
                }
                for f in 0..one_match.query.len() {
                    without(&|it| drop(it.routes[r].rules[n].matches[m].query.remove(f)));
                }
            }
        }
    }
    worlds
}
