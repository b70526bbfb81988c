use commonhold::*;
use std::time::*;
fn main() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let n = 200_000u32;
    let s = Semaphore::create(&seg, "s", 2).unwrap();
    let mut best = f64::MAX;
    for _ in 0..30 {
        let t = Instant::now();
        for _ in 0..20_000 {
            drop(s.acquire().unwrap());
        }
        best = best.min(t.elapsed().as_nanos() as f64 / 20_000.0);
    }
    println!("semaphore acquire+release uncontended: {best:.1} ns");
    let m = Mutex::create(&seg, "m", 0u64).unwrap();
    let mut best = f64::MAX;
    for _ in 0..30 {
        let t = Instant::now();
        for _ in 0..20_000 {
            drop(m.lock().unwrap());
        }
        best = best.min(t.elapsed().as_nanos() as f64 / 20_000.0);
    }
    println!("mutex lock+unlock uncontended: {best:.1} ns");
    let b = Barrier::create(&seg, "b", 2).unwrap();
    let (mut best, mut worst) = (f64::MAX, 0f64);
    for r in 0..20 {
        let name = format!("x{r}");
        let _ = name;
        // SAFETY: the child only waits and exits.
        let pid = unsafe { libc_fork() };
        if pid == 0 {
            let b = b.clone();
            for _ in 0..n {
                b.wait().unwrap();
            }
            unsafe { exit_now(0) }
        }
        for _ in 0..1000 {
            b.wait().unwrap();
        }
        let t = Instant::now();
        for _ in 1000..n {
            b.wait().unwrap();
        }
        let ns = t.elapsed().as_nanos() as f64 / (n - 1000) as f64;
        best = best.min(ns);
        worst = worst.max(ns);
        unsafe { wait_for(pid) };
    }
    println!("barrier crossing, two processes: best {best:.1} ns, worst {worst:.1} ns");
    let (a, z) = (
        Semaphore::create(&seg, "a", 0).unwrap(),
        Semaphore::create(&seg, "z", 0).unwrap(),
    );
    let mut best = f64::MAX;
    for _ in 0..10 {
        let n = 20_000u32;
        let pid = unsafe { libc_fork() };
        if pid == 0 {
            for _ in 0..n {
                a.acquire().unwrap().forget();
                z.add_permits(1).unwrap();
            }
            unsafe { exit_now(0) }
        }
        let t = Instant::now();
        for _ in 0..n {
            a.add_permits(1).unwrap();
            z.acquire().unwrap().forget();
        }
        best = best.min(t.elapsed().as_nanos() as f64 / n as f64 / 2.0);
        unsafe { wait_for(pid) };
    }
    println!("semaphore hand-over, two processes: best {best:.1} ns");
}
unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(c: i32) -> !;
    fn waitpid(p: i32, s: *mut i32, o: i32) -> i32;
}
unsafe fn libc_fork() -> i32 {
    unsafe { fork() }
}
unsafe fn exit_now(c: i32) -> ! {
    unsafe { _exit(c) }
}
unsafe fn wait_for(p: i32) {
    let mut s = 0;
    unsafe {
        waitpid(p, &mut s, 0);
    }
}
