//! A broadcast: one process tells prices, and each of several others hears every one of them, or the latest if it is slow.
//!
//! ```text
//! cargo run --release --example news
//! ```
//!
//! The listeners are functions in processes of their own, to which the broadcast travels as an argument. A faithful one gets every price, and the
//! teller waits for it. A hasty one reads some, dawdles, and is told how many it missed. A third is killed under way; nobody waits for the dead.

use bytemuck::{Pod, Zeroable};
use commonhold::process::{self, Process};
use commonhold::{Broadcast, Error, Segment, Semaphore};
use std::time::{Duration, Instant};

/// What is broadcast: the same type, by name, size and alignment, in every process.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Price {
    number: u64,
    cents: u64,
}

const PRICES: u64 = 1_000_000;
const CAPACITY: usize = 1024;
/// Nobody waits longer for anybody.
const PATIENCE: Duration = Duration::from_secs(20);

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    process::init();

    let seg = Segment::anonymous(1 << 20)?;
    let prices = Broadcast::<Price>::create(&seg, "prices", CAPACITY)?;
    let ready = Semaphore::create(&seg, "ready", 0)?;
    let start = |how: &str| {
        // None of them outlives this.
        Process::builder(listen, (how.to_owned(), prices.clone(), ready.clone()))
            .daemon(true)
            .spawn()
    };
    let listeners = ["faithful", "faithful", "hasty", "doomed"].map(start);
    let listeners = listeners.into_iter().collect::<Result<Vec<_>, Error>>()?;
    for _ in &listeners {
        ready.acquire_timeout(PATIENCE)?.forget();
    }

    let began = Instant::now();
    let publisher = prices.publisher()?;
    for number in 0..PRICES {
        if number == PRICES / 2 {
            listeners[3].kill()?;
        }
        let cents = 10_000 + number % 777;
        publisher.send_timeout(Price { number, cents }, PATIENCE)?;
    }
    prices.close();
    let took = began.elapsed().as_secs_f64();
    println!(
        "told      {PRICES} prices, {:.1} million a second",
        PRICES as f64 / took / 1e6
    );
    for listener in &listeners[..3] {
        let [heard, missed] = listener.join()?;
        if heard + missed != PRICES {
            return Err("prices were lost".into());
        }
    }
    let end = listeners[3].join().err().ok_or("doomed lives")?;
    println!("doomed    {end}: nobody waited for it");
    Ok(())
}

/// In a process of its own: how many prices it heard, and how many it missed.
fn listen((how, prices, ready): (String, Broadcast<Price>, Semaphore)) -> [u64; 2] {
    let subscribed = match &how[..] {
        "hasty" => prices.subscribe_lossy(),
        _ => prices.subscribe(),
    };
    let mut mine = subscribed.expect("there is room for all");
    ready.add_permits(1).expect("few permits");
    let (mut heard, mut missed, mut sum) = (0, 0, 0);
    loop {
        match mine.recv_timeout(PATIENCE) {
            Ok(price) => {
                heard += 1;
                sum += price.cents;
                if how == "hasty" && price.number % 10_000 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Err(Error::Lagged(n)) => missed += n,
            Err(Error::Closed) => break,
            Err(e) => panic!("{e}"),
        }
    }
    println!("{how:<9} heard {heard}, missed {missed}, sum {sum}");
    assert!(how == "hasty" || missed == 0);
    [heard, missed]
}
