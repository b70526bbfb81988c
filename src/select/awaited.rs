//! What a select, or a future, waits for: an object, its signal, and a look at it.

use crate::raw::select::Source;
use crate::raw::signal::RawSignal;
use crate::raw::wait::Look;
use crate::segment::{Inner, Placed};
use crate::sys::map::InRegion;
use std::sync::Arc;

/// An object from which something can be received, for [`Select::recv`](crate::Select::recv).
///
/// Only this crate's types are such.
pub trait Receives {
    /// That something can be received, or never again.
    #[doc(hidden)]
    fn arrival(&self) -> Awaited;
}

/// An object to which something can be sent, for [`Select::send`](crate::Select::send).
///
/// Only this crate's types are such.
pub trait Sends {
    /// That something can be sent, or never again.
    #[doc(hidden)]
    fn room(&self) -> Awaited;
}

/// What is waited for. It keeps its segment mapped.
#[derive(Clone)]
pub struct Awaited {
    pub(crate) source: Arc<AnySource>,
}

pub(crate) type AnySource = dyn Source<Inner> + Send + Sync;

impl Awaited {
    /// `signal`: what is notified whenever it may have become ready. `is_ready`: whether the call that takes it would not be told to
    /// wait; it takes nothing.
    pub(crate) fn new<R: InRegion + 'static>(
        placed: &Placed<R>,
        signal: fn(&R) -> &RawSignal,
        is_ready: impl Fn(&Placed<R>, Look) -> bool + Send + Sync + 'static,
    ) -> Awaited {
        Awaited::of(Object {
            placed: placed.clone(),
            signal,
            is_ready,
        })
    }

    pub(crate) fn of(source: impl Source<Inner> + Send + Sync + 'static) -> Awaited {
        Awaited {
            source: Arc::new(source),
        }
    }
}

struct Object<R, F> {
    placed: Placed<R>,
    signal: fn(&R) -> &RawSignal,
    is_ready: F,
}

impl<R: InRegion, F: Fn(&Placed<R>, Look) -> bool> Source<Inner> for Object<R, F> {
    fn members(&self) -> &Inner {
        self.placed.inner()
    }

    fn signal(&self) -> &RawSignal {
        (self.signal)(self.placed.control())
    }

    fn is_ready(&self, look: Look) -> bool {
        (self.is_ready)(&self.placed, look)
    }
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaited").finish_non_exhaustive()
    }
}
