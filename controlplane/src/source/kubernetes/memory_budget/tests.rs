use std::time::{Duration, Instant};

use super::*;

fn key(name: &str) -> Key {
    ("shop".to_owned(), name.to_owned())
}

fn age(name: &str, day: u8) -> ObjectAge {
    ObjectAge::new(Some(&format!("2026-01-{day:02}T00:00:00Z")), name)
}

fn put(
    budget: &mut MemoryBudget,
    name: &str,
    day: u8,
    weight: usize,
) -> (Vec<String>, Vec<String>) {
    let changes = budget.put(&key(name), age(name, day), weight);
    names(budget, changes)
}

/// Returns the names of the objects that become stubs, and the names of the objects that must be read again.
fn names(budget: &mut MemoryBudget, changes: Changes) -> (Vec<String>, Vec<String>) {
    assert!(changes.hidden.is_empty());
    let stubs = changes.stubs.into_iter().map(|((_, name), _)| name);
    let to_read = std::iter::from_fn(|| budget.to_read.take());
    (stubs.collect(), to_read.map(|(_, name)| name).collect())
}

fn expected(stubs: &[&str], to_read: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
    (owned(stubs), owned(to_read))
}

#[test]
fn oldest_objects_are_kept() {
    let mut budget = MemoryBudget::of(100);
    assert_eq!(put(&mut budget, "b", 2, 50), expected(&[], &[]));
    assert_eq!(put(&mut budget, "c", 3, 50), expected(&[], &[]));
    // An older object takes the place of the youngest object.
    assert_eq!(put(&mut budget, "a", 1, 10), expected(&["c"], &[]));
    // An object that is younger than a stub is a stub too, even if it is small.
    assert_eq!(put(&mut budget, "d", 4, 1), expected(&["d"], &[]));
    // The object d is written again, and stays a stub.
    assert_eq!(put(&mut budget, "d", 4, 2), expected(&["d"], &[]));
    let changes = budget.remove(&key("b"));
    assert_eq!(names(&mut budget, changes), expected(&[], &["c", "d"]));
    assert_eq!(put(&mut budget, "c", 3, 60), expected(&[], &[]));
    assert_eq!(put(&mut budget, "c", 3, 89), expected(&["d"], &[]));
    assert_eq!(put(&mut budget, "c", 3, 88), expected(&[], &["d"]));
}

#[test]
fn objects_without_budget_are_not_reread() {
    let mut budget = MemoryBudget::of(100);
    put(&mut budget, "a", 1, 90);
    put(&mut budget, "b", 2, 20);
    budget.put(&key("a"), age("a", 1), 10);
    let changes = budget.put(&key("a"), age("a", 1), 90);
    assert_eq!(names(&mut budget, changes), expected(&["b"], &[]));
    budget.put(&key("a"), age("a", 1), 10);
    // The event of the write contains the new text, so the object need not be read again.
    assert_eq!(put(&mut budget, "b", 2, 21), expected(&[], &[]));
    budget.remove(&key("b"));
    assert!(budget.to_read.is_empty());
}

#[test]
fn namespaces_have_separate_budgets() {
    let mut budget = MemoryBudget::of(100);
    assert_eq!(put(&mut budget, "a", 1, 100), expected(&[], &[]));
    let other = ("other".to_owned(), "a".to_owned());
    assert_eq!(
        budget.put(&other, ObjectAge::new(None, "a"), 100),
        Changes::default()
    );
    assert_eq!(budget.remove(&other), Changes::default());
    assert_eq!(budget.remove(&other), Changes::default());
}

#[test]
fn many_small_objects_take_linear_time() {
    let start = Instant::now();
    let mut budget = MemoryBudget::of(1 << 20);
    let (mut stubs, mut hidden) = (0, 0);
    for number in 0..60_000 {
        let name = format!("s{number:05}");
        let changes = budget.put(&key(&name), age(&name, 1), 300);
        stubs += changes.stubs.len();
        hidden += changes.hidden.len();
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let kept = (1 << 20) / 300;
    assert_eq!(hidden, 60_000 - kept - MOST_STUBS);
    // The oldest stub is written each time that the number of hidden objects has doubled.
    assert_eq!(stubs, MOST_STUBS + 16);
}

/// The result depends only on the objects that exist, not on the order of earlier writes and deletions.
#[test]
fn kept_objects_are_independent_of_order() {
    const LIMIT: usize = 400;
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut budget = MemoryBudget::of(LIMIT);
    let mut objects = BTreeMap::<ObjectAge, usize>::new();
    // A kept object has the value None. A stub has the number of hidden objects that it reports.
    let mut shown = BTreeMap::<String, Option<usize>>::new();
    for step in 0..4_000 {
        let name = format!("o{}", random(300));
        let day = u8::try_from(name.len() % 3 + usize::from(name.as_bytes()[1]) % 5).unwrap();
        let own = age(&name, day);
        let changes = if random(if step % 1_000 < 600 { 5 } else { 2 }) == 0 {
            objects.remove(&own);
            shown.remove(&name);
            budget.remove(&key(&name))
        } else {
            // Sometimes one object takes up nearly all of the budget.
            let weight = if random(40) == 0 { 380 } else { random(10) };
            objects.insert(own.clone(), weight);
            shown.insert(name.clone(), None);
            budget.put(&key(&name), own, weight)
        };
        for ((_, name), count) in changes.stubs {
            shown.insert(name, Some(count));
        }
        for (_, name) in changes.hidden {
            shown.remove(&name);
        }
        while let Some((_, name)) = budget.to_read.take() {
            let before = shown.insert(name, None);
            assert_ne!(before, Some(None), "a kept object is not read again");
        }

        let mut sum = 0;
        let prefix = objects.iter().take_while(|(_, weight)| {
            sum += **weight;
            sum <= LIMIT
        });
        let kept = prefix.count();
        let hidden = objects.len().saturating_sub(kept + MOST_STUBS);
        let count = hidden.checked_ilog2().map_or(0, |power| 1 << power);
        let expected = objects.keys().enumerate().take(kept + MOST_STUBS);
        let expected = expected.map(|(index, age)| {
            let of_stub = (index >= kept).then_some(if index == kept { count } else { 0 });
            (age.name.clone(), of_stub)
        });
        let expected: BTreeMap<_, _> = expected.collect();
        assert_eq!(shown, expected, "step {step}");
    }
}
