//! What a lock must be.

use commonhold::Error;
use std::rc::{Rc, Weak};

/// Items behind each lock.
pub const ITEMS: usize = 3;

/// A member lives as long as any of its handles.
pub struct Life;

pub struct Model {
    /// Whose name the word bears. Its guard may be forgotten.
    owner: Option<Weak<Life>>,
    pub poisoned: bool,
    pub items: [u32; ITEMS],
}

impl Model {
    pub fn new(items: [u32; ITEMS]) -> Model {
        Model {
            owner: None,
            poisoned: false,
            items,
        }
    }

    pub fn is_held(&self) -> bool {
        self.owner.as_ref().is_some_and(|w| w.strong_count() > 0)
    }

    /// `Err`: with what a call ends that does not take poisoned locks; `None`: it would wait.
    pub fn lock(&mut self, me: &Rc<Life>) -> Option<Result<(), Error>> {
        if self.is_held() {
            return None;
        }
        // Whoever meets a dead holder says so to all.
        self.poisoned |= self.owner.take().is_some();
        if self.poisoned {
            return Some(Err(Error::Poisoned));
        }
        self.owner = Some(Rc::downgrade(me));
        Some(Ok(()))
    }

    /// `None`: it would wait.
    pub fn recover(&mut self, me: &Rc<Life>) -> Option<()> {
        if self.is_held() {
            return None;
        }
        self.poisoned |= self.owner.is_some();
        self.owner = Some(Rc::downgrade(me));
        Some(())
    }

    pub fn unlock(&mut self, poisoned: bool) {
        self.owner = None;
        self.poisoned = poisoned;
    }
}
