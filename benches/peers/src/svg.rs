//! Charts of lines, as SVG. By hand: a chart needs some rectangles, lines and words, and no dependency.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
/// Room for the names of the lines.
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
/// Between the names, at least.
const LINE: f64 = 15.0;

const OURS: [&str; 5] = ["#0b57d0", "#0097a7", "#5e35b1", "#1e88e5", "#00695c"];
const THEIRS: [&str; 10] = [
    "#c62828", "#ef6c00", "#6d4c41", "#ad1457", "#9e9d24", "#757575", "#d84315", "#827717",
    "#f9a825", "#37474f",
];

/// A chart, both axes logarithmic.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

pub(crate) struct Axis {
    pub(crate) label: String,
    /// Where it is marked, and with what.
    pub(crate) ticks: Vec<(f64, String)>,
}

pub(crate) struct Line {
    pub(crate) name: String,
    /// Drawn so that it stands out.
    pub(crate) ours: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Ticks around the values: at 1, 2 and 5 times the powers of ten, or only at the powers if that is enough.
pub(crate) fn decades(values: impl Iterator<Item = f64>) -> Vec<(f64, String)> {
    let (low, high) = values.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let steps: &[f64] = match last - first {
        ..=2 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let powers = (first..=last.max(first + 1)).map(|power| 10f64.powi(power));
    let ticks: Vec<f64> = powers
        .flat_map(|power| steps.iter().map(move |step| step * power))
        .collect();
    // From the last one below all values to the first one above.
    let from = ticks.iter().rposition(|&tick| tick <= low).unwrap_or(0);
    let to = ticks.iter().position(|&tick| tick >= high);
    let around = &ticks[from..=to.unwrap_or(ticks.len() - 1)];
    around.iter().map(|&tick| (tick, told(tick))).collect()
}

/// A number that is once, twice or five times a power of ten, as people write it.
fn told(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{} G", n / 1e9),
        n if n >= 1e6 => format!("{} M", n / 1e6),
        n if n >= 1e3 => format!("{} k", n / 1e3),
        n => format!("{n}"),
    }
}

impl Chart {
    pub(crate) fn draw(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        text(&mut svg, (middle, 22.0), "middle", "#111", &self.title);
        self.draw_axes(&mut svg, middle);
        let mut names = Vec::new();
        let (mut ours, mut theirs) = (OURS.iter().cycle(), THEIRS.iter().cycle());
        for line in &self.lines {
            let colour = if line.ours {
                ours.next()
            } else {
                theirs.next()
            };
            let colour = colour.copied().unwrap_or("#000");
            self.draw_line(&mut svg, line, colour);
            if let Some(&(_, y)) = line.points.last() {
                names.push((self.at_y(y), colour, line));
            }
        }
        self.draw_names(&mut svg, names);
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_axes(&self, svg: &mut String, middle: f64) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, word) in &self.x.ticks {
            let x = self.at_x(*value);
            rule(svg, (x, TOP), (x, bottom), "#e0e0e0", 1.0);
            text(svg, (x, bottom + 17.0), "middle", "#444", word);
        }
        for (value, word) in &self.y.ticks {
            let y = self.at_y(*value);
            rule(svg, (LEFT, y), (right, y), "#e0e0e0", 1.0);
            text(svg, (LEFT - 8.0, y + 4.0), "end", "#444", word);
        }
        rule(svg, (LEFT, bottom), (right, bottom), "#444", 1.0);
        rule(svg, (LEFT, TOP), (LEFT, bottom), "#444", 1.0);
        text(
            svg,
            (middle, HEIGHT - 14.0),
            "middle",
            "#111",
            &self.x.label,
        );
        text(svg, (8.0, TOP - 12.0), "start", "#111", &self.y.label);
    }

    fn draw_line(&self, svg: &mut String, line: &Line, colour: &str) {
        let width = if line.ours { 2.6 } else { 1.4 };
        let places = line
            .points
            .iter()
            .map(|&(x, y)| (self.at_x(x), self.at_y(y)));
        let mut path = String::new();
        for (x, y) in places.clone() {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let path = path.trim_end();
        let _ = writeln!(
            svg,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
        for (x, y) in places {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{width}\" fill=\"{colour}\"/>"
            );
        }
    }

    /// Beside the ends of the lines, in their order, none over another.
    fn draw_names(&self, svg: &mut String, mut names: Vec<(f64, &str, &Line)>) {
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut next = TOP;
        // Not so far down that the last ones have no room.
        let room = HEIGHT - BOTTOM + LINE;
        let count = names.len();
        for (i, (end, colour, line)) in names.into_iter().enumerate() {
            let lowest = room - LINE * (count - i) as f64;
            let y = end.min(lowest).max(next);
            next = y + LINE;
            let x = WIDTH - RIGHT;
            if let Some(&(last, _)) = line.points.last() {
                rule(svg, (self.at_x(last), end), (x + 14.0, y), colour, 0.5);
            }
            text(svg, (x + 18.0, y + 4.0), "start", colour, &line.name);
        }
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (WIDTH - RIGHT - LEFT)
    }

    fn at_y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - BOTTOM - TOP)
    }
}

impl Axis {
    /// How far along it a value stands, from the first tick to the last.
    fn share(&self, value: f64) -> f64 {
        let [first, last] = [self.ticks.first(), self.ticks.last()]
            .map(|tick| tick.map_or(1.0, |tick| tick.0).ln());
        (value.ln() - first) / (last - first).max(f64::MIN_POSITIVE)
    }
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"
    );
}
