//! What is paid though nothing happens, and how it grows: the bytes that things take, the processor's time that those who wait take, and
//! what attaching, opening, sending and waking cost when there is more of everything.
//!
//! ```text
//! cargo bench --bench costs                                       prints the tables
//! cargo bench --bench costs -- --markdown docs/performance.md     and writes them there, between their marks
//! cargo bench --bench costs -- --quick                            shows that everything works, and says little else
//! ```

mod growth;
mod idle;
mod memory;
mod table;
mod waiters;

use table::Table;

/// Between them stands what this program wrote.
const BEGIN: &str = "<!-- costs: written by benches/costs with --markdown -->";
const END: &str = "<!-- end of the costs -->";

fn main() {
    commonhold::process::init();

    let args: Vec<String> = std::env::args().collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let mut grown = Table::new(["as things grow", "", "median", "quartiles"]);
    growth::tell(&mut grown, quick);
    waiters::tell(&mut grown, quick);
    let mut idle = Table::new(["while nothing happens", "% of one processor"]);
    idle::tell(&mut idle, quick);
    let mut bytes = Table::new(["bytes of the region", ""]);
    memory::tell(&mut bytes);

    let text = format!("{grown}\n{idle}\n{bytes}");
    print!("{text}");
    if let Some(place) = args.iter().position(|arg| arg == "--markdown") {
        let path = args.get(place + 1).expect("--markdown needs a file");
        let old = std::fs::read_to_string(path).expect("there is such a file");
        let (before, rest) = old.split_once(BEGIN).expect("it has the first mark");
        let (_, after) = rest.split_once(END).expect("it has the second mark");
        let new = format!("{before}{BEGIN}\n\n{text}\n{END}{after}");
        std::fs::write(path, new).expect("it can be written");
    }
}
