//! `Value`.

use super::Victim;
use crate::types::{Grade, Judged, Long, MIXED, Mixed, check};
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Result, Segment, Value};
use std::fmt::Debug;

pub(super) struct Values {
    number: Value<u64>,
    flag: Value<bool>,
    letter: Value<char>,
    grade: Value<Grade>,
    mixed: Value<Mixed>,
    long: Value<Long>,
}

impl Victim for Values {
    fn create(seg: &Segment) -> Result<Self> {
        Ok(Values {
            number: Value::create(seg, "number", 1)?,
            flag: Value::create(seg, "flag", true)?,
            letter: Value::create(seg, "letter", 'a')?,
            grade: Value::create(seg, "grade", Grade::Low)?,
            mixed: Value::create(seg, "mixed", MIXED)?,
            long: Value::create(seg, "long", [5; 512])?,
        })
    }

    fn open(seg: &Segment) -> Result<Self> {
        Ok(Values {
            number: Value::open(seg, "number")?,
            flag: Value::open(seg, "flag")?,
            letter: Value::open(seg, "letter")?,
            grade: Value::open(seg, "grade")?,
            mixed: Value::open(seg, "mixed")?,
            long: Value::open(seg, "long")?,
        })
    }

    fn round(&self, watch: &Watch) {
        use_value(&self.number, watch, "number", 7);
        use_value(&self.flag, watch, "flag", false);
        use_value(&self.letter, watch, "letter", '\u{10FFFF}');
        use_value(&self.grade, watch, "grade", Grade::Middle);
        use_value(&self.mixed, watch, "mixed", MIXED);
        use_value(&self.long, watch, "long", [6; 512]);
    }
}

fn use_value<T: Judged + Debug>(v: &Value<T>, w: &Watch, name: &str, other: T) {
    // Without a deadline: it ends when the writers leave it a moment, and these do not.
    w.untimed("Value::get", name, || v.get()).inspect(check);
    w.timed("Value::wait_until_timeout, at once", |soon| {
        v.wait_until_timeout(soon, |value| {
            check(value);
            true
        })
    })
    .inspect(check);
    w.timed("Value::wait_until_timeout", |soon| {
        v.wait_until_timeout(soon, |value| {
            check(value);
            *value == other
        })
    })
    .inspect(check);
    w.op("Value::try_update", AT_ONCE, || {
        v.try_update(|value| check(value))
    });
    w.timed("Value::update_timeout", |soon| {
        v.update_timeout(soon, |value| {
            check(value);
            *value = other;
        })
    });
    w.op("Value::try_set", AT_ONCE, || v.try_set(other));
    w.timed("Value::set_timeout", |soon| v.set_timeout(other, soon));
    w.untimed("Value::set", name, || v.set(other));
    w.untimed("Value::update", name, || v.update(|value| check(value)));
    if let Some(mut watch) = w.op("Value::watch", AT_ONCE, || v.watch()) {
        w.timed("Watch::recv_timeout", |soon| watch.recv_timeout(soon))
            .inspect(check);
        w.op("Value::try_set", AT_ONCE, || v.try_set(other));
        w.op("Watch::has_changed", AT_ONCE, || watch.has_changed());
        w.timed("Watch::recv_timeout", |soon| watch.recv_timeout(soon))
            .inspect(check);
        w.untimed("Watch::try_recv", name, || watch.try_recv())
            .inspect(check);
    }
    w.untimed("Value::wait_until", name, || v.wait_until(|_| true));
}
