//! Events of both kinds.

use commonhold::{Event, Result, Segment};
use std::time::Duration;

/// An event that stays set and one that resets itself, with the inherent verbs of an event type.
macro_rules! events {
    ($event:ty, $home:ty, $manual:ident, $automatic:ident) => {
        events!(@one $manual, $event, $home, false, create, open_or_create);
        events!(@one $automatic, $event, $home, true, create_auto_reset, open_or_create_auto_reset);
    };
    (@one $name:ident, $event:ty, $home:ty, $resets:literal, $create:ident, $open_or_create:ident) => {
        #[derive(Clone)]
        pub(crate) struct $name($event);

        impl crate::stage::Object for $name {
            type Home = $home;
            fn create(home: &$home, name: &str) -> Result<Self> {
                <$event>::$create(home, name).map($name)
            }
            fn open(home: &$home, name: &str) -> Result<Self> {
                let event = <$event>::open(home, name)?;
                assert_eq!(event.is_auto_reset(), $resets);
                Ok($name(event))
            }
            fn open_or_create(home: &$home, name: &str) -> Result<Self> {
                <$event>::$open_or_create(home, name).map($name)
            }
        }

        impl crate::bodies::events::EventLike for $name {
            const RESETS: bool = $resets;
            fn set(&self) {
                self.0.set();
            }
            fn clear(&self) {
                self.0.clear();
            }
            fn is_set(&self) -> bool {
                self.0.is_set()
            }
            fn wait(&self) -> Result<()> {
                self.0.wait()
            }
            fn try_wait(&self) -> Result<()> {
                self.0.try_wait()
            }
            fn wait_timeout(&self, timeout: Duration) -> Result<()> {
                self.0.wait_timeout(timeout)
            }
        }

        impl crate::bodies::Waits for $name {
            type Obstacle<'a> = ();
            fn obstruct(&self) {
                self.0.clear();
            }
            fn let_through(&self, (): ()) {
                self.0.set();
            }
            fn wait(&self) -> Result<()> {
                self.0.wait()
            }
            fn wait_timeout(&self, timeout: Duration) -> Result<()> {
                self.0.wait_timeout(timeout)
            }
        }
    };
}

events!(Event, Segment, ManualEvent, AutoEvent);
