//! Making and finding.

use crate::stage::{Home, Object, Own, Place, Working};
use commonhold::Error;
use std::sync::{Arc, Barrier};

pub(crate) fn it_is_made_once_and_found_often<A: Object>() {
    let own = Own::<A>::new();
    let home = &own.place.home;
    assert!(matches!(
        A::create(home, "it").map(drop),
        Err(Error::AlreadyExists)
    ));
    A::open(home, "it").unwrap();
    A::open_or_create(home, "it").unwrap();
    let again = A::Home::open(own.place.name()).unwrap();
    A::open(&again, "it").unwrap();
    A::open_or_create(&again, "another").unwrap();
    A::open(home, "another").unwrap();
}

pub(crate) fn what_is_not_there_is_not_found<A: Object>() {
    let place = Place::<A::Home>::new();
    assert!(matches!(
        A::open(&place.home, "it").map(drop),
        Err(Error::NotFound)
    ));
    assert!(matches!(
        A::Home::open("conformance-nobody-made-this").map(drop),
        Err(Error::NotFound)
    ));
    assert!(matches!(
        A::create(&place.home, "").map(drop),
        Err(Error::InvalidName)
    ));
}

pub(crate) fn of_racing_makers_all_get_the_same_one<A: Object>() {
    for _ in 0..50 {
        let place = Place::<A::Home>::new();
        let start = Arc::new(Barrier::new(4));
        let makers: Vec<_> = (0..4)
            .map(|_| {
                let home = A::Home::open(place.name()).unwrap();
                let start = start.clone();
                Working::start(move || {
                    start.wait();
                    A::create(&home, "it").is_ok()
                })
            })
            .collect();
        let made = makers.into_iter().filter_map(|m| m.done().then_some(()));
        assert_eq!(made.count(), 1);
        A::open(&place.home, "it").unwrap();
    }
}

pub(crate) fn an_object_of_another_kind_is_refused<A: Object>() {
    let place = Place::<A::Home>::new();
    A::Home::put_something_else(&place.home, "it");
    for found in [
        A::open(&place.home, "it"),
        A::open_or_create(&place.home, "it"),
    ] {
        assert!(matches!(
            found.map(drop),
            Err(Error::TypeMismatch { name, .. }) if name == "it"
        ));
    }
}
