use std::time::{Duration, Instant};

use super::*;

fn key(name: &str) -> Key {
    ("shop".to_owned(), name.to_owned())
}

fn age(name: &str, day: u8) -> Age {
    Age::new(Some(&format!("2026-01-{day:02}T00:00:00Z")), name)
}

fn put(room: &mut Room, name: &str, day: u8, weight: usize) -> (Vec<String>, Vec<String>) {
    let changes = room.put(&key(name), age(name, day), weight);
    names(room, changes)
}

/// The objects that become stubs, and the objects to read again.
fn names(room: &mut Room, changes: Changes) -> (Vec<String>, Vec<String>) {
    assert!(changes.hidden.is_empty());
    let stubs = changes.stubs.into_iter().map(|((_, name), _)| name);
    let wanted = std::iter::from_fn(|| room.wanted.take());
    (stubs.collect(), wanted.map(|(_, name)| name).collect())
}

fn said(dropped: &[&str], wanted: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
    (owned(dropped), owned(wanted))
}

#[test]
fn the_oldest_are_kept() {
    let mut room = Room::of(100);
    assert_eq!(put(&mut room, "b", 2, 50), said(&[], &[]));
    assert_eq!(put(&mut room, "c", 3, 50), said(&[], &[]));
    // An older one takes the place of the youngest.
    assert_eq!(put(&mut room, "a", 1, 10), said(&["c"], &[]));
    // An object that is younger than a stub is a stub, however small it is.
    assert_eq!(put(&mut room, "d", 4, 1), said(&["d"], &[]));
    // It is written again, and stays a stub.
    assert_eq!(put(&mut room, "d", 4, 2), said(&["d"], &[]));
    let changes = room.remove(&key("b"));
    assert_eq!(names(&mut room, changes), said(&[], &["c", "d"]));
    assert_eq!(put(&mut room, "c", 3, 60), said(&[], &[]));
    assert_eq!(put(&mut room, "c", 3, 89), said(&["d"], &[]));
    assert_eq!(put(&mut room, "c", 3, 88), said(&[], &["d"]));
}

#[test]
fn what_loses_its_room_is_not_read_again() {
    let mut room = Room::of(100);
    put(&mut room, "a", 1, 90);
    put(&mut room, "b", 2, 20);
    room.put(&key("a"), age("a", 1), 10);
    let changes = room.put(&key("a"), age("a", 1), 90);
    assert_eq!(names(&mut room, changes), said(&["b"], &[]));
    room.put(&key("a"), age("a", 1), 10);
    // It was written, so that its text is known.
    assert_eq!(put(&mut room, "b", 2, 21), said(&[], &[]));
    room.remove(&key("b"));
    assert!(room.wanted.is_empty());
}

#[test]
fn each_namespace_has_room_of_its_own() {
    let mut room = Room::of(100);
    assert_eq!(put(&mut room, "a", 1, 100), said(&[], &[]));
    let other = ("other".to_owned(), "a".to_owned());
    assert_eq!(
        room.put(&other, Age::new(None, "a"), 100),
        Changes::default()
    );
    assert_eq!(room.remove(&other), Changes::default());
    assert_eq!(room.remove(&other), Changes::default());
}

#[test]
fn many_small_objects_take_time_in_proportion() {
    let start = Instant::now();
    let mut room = Room::of(1 << 20);
    let (mut stubs, mut hidden) = (0, 0);
    for number in 0..60_000 {
        let name = format!("s{number:05}");
        let changes = room.put(&key(&name), age(&name, 1), 300);
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

/// What follows from changes, in any order of writes and deletions, is what follows from the objects alone.
#[test]
fn the_objects_that_are_kept_do_not_depend_on_the_order() {
    const LIMIT: usize = 400;
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut room = Room::of(LIMIT);
    let mut objects = BTreeMap::<Age, usize>::new();
    // None for an object that is kept, else how many hidden objects its stub mentions.
    let mut shown = BTreeMap::<String, Option<usize>>::new();
    for step in 0..4_000 {
        let name = format!("o{}", random(300));
        let day = u8::try_from(name.len() % 3 + usize::from(name.as_bytes()[1]) % 5).unwrap();
        let own = age(&name, day);
        let changes = if random(if step % 1_000 < 600 { 5 } else { 2 }) == 0 {
            objects.remove(&own);
            shown.remove(&name);
            room.remove(&key(&name))
        } else {
            // Sometimes one object takes up nearly all of the room.
            let weight = if random(40) == 0 { 380 } else { random(10) };
            objects.insert(own.clone(), weight);
            shown.insert(name.clone(), None);
            room.put(&key(&name), own, weight)
        };
        for ((_, name), count) in changes.stubs {
            shown.insert(name, Some(count));
        }
        for (_, name) in changes.hidden {
            shown.remove(&name);
        }
        while let Some((_, name)) = room.wanted.take() {
            assert_ne!(shown.insert(name, None), Some(None), "its text is known");
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
