//! A curve as an SVG, by hand: both axes logarithmic, as 1 and 500 Pods are to be seen on one picture.

use crate::sample::Curve;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
/// Room for numbers and names around the plot.
const LEFT: f64 = 90.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Told apart by people who do not see red and green as others do.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A logarithmic axis over these numbers: its ends are powers of ten.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(numbers: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for n in numbers.filter(|n| *n > 0.0) {
            low = low.min(n.log10());
            high = high.max(n.log10());
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let (low, high) = (low.floor(), high.ceil());
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to }
    }

    /// Where a number lies; what is not above zero, at the very end.
    fn at(&self, n: f64) -> f64 {
        let log = if n > 0.0 { n.log10().max(self.low) } else { self.low };
        self.from + (self.to - self.from) * (log - self.low) / (self.high - self.low)
    }

    /// Its powers of ten.
    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power))
    }
}

/// The whole file.
pub fn svg(curve: &Curve) -> String {
    let points = || curve.series.iter().flat_map(|(_, points)| points);
    let x = Axis::over(points().map(|p| p.0), LEFT, WIDTH - RIGHT);
    let y = Axis::over(points().map(|p| p.1), HEIGHT - BOTTOM, TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{}</text>\n",
        escaped(&curve.title)
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in x.ticks() {
        let at = x.at(tick);
        out += &format!(
            "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>\n",
            bottom + 18.0
        );
    }
    for tick in y.ticks() {
        let at = y.at(tick);
        out += &format!(
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8.0,
            at + 4.0,
            curve.unit.show(tick)
        );
    }
    out += &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">Pods</text>\n",
        (LEFT + right) / 2.0,
        HEIGHT - 12.0
    );
    for (n, ((name, points), colour)) in curve.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let places: Vec<String> =
            points.iter().map(|(px, py)| format!("{:.1},{:.1}", x.at(*px), y.at(*py))).collect();
        out += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            places.join(" ")
        );
        for place in &places {
            let (cx, cy) = place.split_once(',').unwrap_or_default();
            out += &format!("<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>\n");
        }
        let line = TOP + 16.0 + 16.0 * n as f64;
        out += &format!(
            "<text x=\"{:.1}\" y=\"{line:.1}\" fill=\"{colour}\">{}</text>\n",
            LEFT + 12.0,
            escaped(name)
        );
    }
    out + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
