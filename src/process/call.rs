//! Functions of any number of arguments, as functions of one: a tuple.

/// What a function is to those who have forgotten its type.
pub(crate) type Erased = fn();

/// A pointer to a function. Not a closure: another process has the code, and not what a closure holds.
///
/// # Safety
/// `restore` gives back what `erase` was given.
pub(crate) unsafe trait Call: Copy + 'static {
    type Args;
    type Output;

    fn call(self, args: Self::Args) -> Self::Output;

    fn erase(self) -> Erased;

    /// # Safety
    /// `erased` must be what [`erase`](Self::erase) made of a function of this type.
    unsafe fn restore(erased: Erased) -> Self;
}

macro_rules! call {
    ($args:ty, $pattern:pat, ($($type:ident $name:ident),*)) => {
        // SAFETY: both directions are the same cast of a function pointer.
        unsafe impl<$($type: 'static,)* R: 'static> Call for fn($($type),*) -> R {
            type Args = $args;
            type Output = R;

            fn call(self, $pattern: $args) -> R {
                self($($name),*)
            }

            fn erase(self) -> Erased {
                // SAFETY: it is called as what it is only, after `restore`.
                unsafe { std::mem::transmute::<Self, Erased>(self) }
            }

            unsafe fn restore(erased: Erased) -> Self {
                // SAFETY: the caller vouches that it was one.
                unsafe { std::mem::transmute::<Erased, Self>(erased) }
            }
        }
    };
}

call!((), (), ());
call!(A, a, (A a));
call!((A, B), (a, b), (A a, B b));
call!((A, B, C), (a, b, c), (A a, B b, C c));
call!((A, B, C, D), (a, b, c, d), (A a, B b, C c, D d));
call!((A, B, C, D, E), (a, b, c, d, e), (A a, B b, C c, D d, E e));
call!((A, B, C, D, E, F), (a, b, c, d, e, f), (A a, B b, C c, D d, E e, F f));
