//! Bar charts as SVG, drawn by hand: small, the same bytes for the same numbers, legible on light and dark pages.
//!
//! The chart brings its own ground, and both ground and ink follow the reader's colour scheme; a viewer that
//! knows of none shows it dark on white.

use std::fmt::Write as _;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// What stands behind the value: `wrong answers`.
    pub(super) note: String,
    /// Whether it stands out.
    pub(super) is_ours: bool,
}

/// A chart of horizontal bars.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What the numbers are, and which is better.
    pub(super) subtitle: String,
    pub(super) bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
/// Where bars begin, and the most that they and what stands behind them may take.
const LEFT: f64 = 150.0;
const LENGTH: f64 = 370.0;
const TOP: f64 = 74.0;
const ROW: f64 = 30.0;
const BOTTOM: f64 = 34.0;

/// Where the greatest bar is so many times the least, lengths are logarithms: the least would be a hair.
const LOG_FROM: f64 = 30.0;

/// How lengths stand for numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// Up to the number.
    Linear(f64),
    /// From one power of ten to another.
    Log(i32, i32),
}

impl Scale {
    fn of(bars: &[Bar]) -> Self {
        let values = bars.iter().map(|bar| bar.value).filter(|value| *value > 0.0);
        let (least, most) = values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        if most > least * LOG_FROM {
            // A decade below the least, where it would be no bar at all.
            let from = least.log10().floor() as i32;
            let from = if least < 10f64.powi(from) * 1.5 { from - 1 } else { from };
            Scale::Log(from, most.log10().ceil() as i32)
        } else {
            Scale::Linear(if most > 0.0 { most } else { 1.0 })
        }
    }

    /// The share of the whole length, from 0 to 1.
    fn share(self, value: f64) -> f64 {
        let share = match self {
            Scale::Linear(most) => value / most,
            Scale::Log(from, to) => {
                (value.max(f64::MIN_POSITIVE).log10() - f64::from(from)) / f64::from(to - from)
            }
        };
        share.clamp(0.0, 1.0)
    }

    /// Where lines stand, with what they say.
    fn marks(self) -> Vec<(f64, String)> {
        match self {
            Scale::Linear(most) => {
                let step = round_step(most / 4.0);
                let count = (most / step).floor() as u32;
                (0..=count).map(|at| f64::from(at) * step).map(|v| (v, mark(v))).collect()
            }
            Scale::Log(from, to) => {
                (from..=to).map(|power| 10f64.powi(power)).map(|v| (v, mark(v))).collect()
            }
        }
    }
}

/// The greatest of 1, 2, 5 times a power of ten that is at most `wanted`.
fn round_step(wanted: f64) -> f64 {
    let base = 10f64.powf(wanted.log10().floor());
    [5.0, 2.0].into_iter().map(|factor| factor * base).find(|step| *step <= wanted).unwrap_or(base)
}

/// A round number: as [`number`], without zeros at the end.
fn mark(value: f64) -> String {
    let text = number(value);
    let (digits, unit) = text.split_once(' ').map_or((&*text, ""), |(digits, unit)| (digits, unit));
    let short = if digits.contains('.') { digits.trim_end_matches('0') } else { digits };
    let short = short.trim_end_matches('.');
    if unit.is_empty() { short.to_owned() } else { format!("{short} {unit}") }
}

/// A number with about three digits, and thousands and millions by letter.
pub(super) fn number(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 || size == size.trunc() => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{unit}")
}

/// Text between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const STYLE: &str = "\
<style>
text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 } .soft { fill: #59636e; font-size: 12px }
.ground { fill: #ffffff; stroke: #d1d9e0 } .line { stroke: #d1d9e0 }
.ours { fill: #0969da } .theirs { fill: #8c959f } .us { font-weight: 600 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .soft { fill: #9198a1 }
.ground { fill: #0d1117; stroke: #3d444d } .line { stroke: #3d444d }
.ours { fill: #4493f8 } .theirs { fill: #656c76 }
}
</style>
";

impl Chart {
    /// The chart as a file.
    pub(super) fn svg(&self) -> String {
        let (scale, rows) = (Scale::of(&self.bars), self.bars.len() as f64);
        let height = TOP + rows * ROW + BOTTOM;
        let foot = TOP + rows * ROW;
        let mut svg = String::new();
        let mut put = |text: &str| svg.push_str(text);
        put(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\">\n<title>{0}</title>\n",
            escaped(&self.title).replace('"', "&quot;")
        ));
        put(STYLE);
        put(&format!(
            "<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n",
            WIDTH - 1.0,
            height - 1.0
        ));
        put(&format!("<text class=\"title\" x=\"16\" y=\"28\">{}</text>\n", escaped(&self.title)));
        let how = if matches!(scale, Scale::Log(..)) { "; logarithmic" } else { "" };
        put(&format!(
            "<text class=\"soft\" x=\"16\" y=\"48\">{}{how}</text>\n",
            escaped(&self.subtitle)
        ));
        for (value, text) in scale.marks() {
            let x = LEFT + scale.share(value) * LENGTH;
            put(&format!(
                "<line class=\"line\" x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{foot}\"/>\n<text class=\"soft\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>\n",
                TOP - 8.0,
                foot + 18.0
            ));
        }
        for (at, bar) in self.bars.iter().enumerate() {
            put(&row(bar, TOP + at as f64 * ROW, scale));
        }
        put("</svg>\n");
        svg
    }
}

/// A bar with its name before it and its number behind it; `y` is its upper edge.
fn row(bar: &Bar, y: f64, scale: Scale) -> String {
    let length = (scale.share(bar.value) * LENGTH).max(1.0);
    let (fill, weight) = if bar.is_ours { ("ours", " class=\"us\"") } else { ("theirs", "") };
    let middle = y + ROW / 2.0;
    let mut text = number(bar.value);
    if !bar.note.is_empty() {
        let _ = write!(text, " ({})", bar.note);
    }
    format!(
        "<text{weight} x=\"{}\" y=\"{middle}\" text-anchor=\"end\" dominant-baseline=\"middle\">{}</text>\n<rect class=\"{fill}\" x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"18\" rx=\"2\"/>\n<text{weight} x=\"{:.1}\" y=\"{middle}\" dominant-baseline=\"middle\">{}</text>\n",
        LEFT - 10.0,
        escaped(&bar.label),
        y + 6.0,
        LEFT + length + 8.0,
        escaped(&text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64) -> Bar {
        Bar { label: label.to_owned(), value, note: String::new(), is_ours: label == "tidewatch" }
    }

    fn chart(bars: Vec<Bar>) -> Chart {
        Chart { title: "CPU <s>".to_owned(), subtitle: "less & less".to_owned(), bars }
    }

    /// The least that makes text well-formed XML: every tag is closed in order, and no mark stands alone.
    fn assert_well_formed(svg: &str) {
        let (mut open, mut rest) = (Vec::new(), svg);
        while let Some((text, after)) = rest.split_once('<') {
            assert!(!text.contains('>'), "a `>` alone in {text:?}");
            for entity in text.split('&').skip(1) {
                assert!(["lt;", "gt;", "amp;", "quot;"].iter().any(|e| entity.starts_with(e)));
            }
            let (tag, after) = after.split_once('>').expect("a tag that ends");
            assert!(!tag.contains('<') && tag.matches('"').count() % 2 == 0, "{tag}");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split_whitespace().next().unwrap().to_owned()),
            }
            rest = after;
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} is open");
    }

    #[test]
    fn charts_are_well_formed_whatever_they_say() {
        for bars in [
            vec![],
            vec![bar("tidewatch", 0.0)],
            vec![bar("tidewatch", 0.98), bar("a<b>&\"c\"", 173.0)],
            vec![bar("tidewatch", 1e6), bar("spark", 4e4)],
        ] {
            let svg = chart(bars.clone()).svg();
            assert_well_formed(&svg);
            assert_eq!(svg.matches("height=\"18\"").count(), bars.len());
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn lengths_are_logarithms_where_numbers_are_far_apart() {
        assert_eq!(Scale::of(&[bar("a", 1.0), bar("b", 20.0)]), Scale::Linear(20.0));
        let log = Scale::of(&[bar("a", 0.98), bar("b", 173.0)]);
        assert_eq!(log, Scale::Log(-1, 3));
        assert_eq!((log.share(0.1), log.share(10.0), log.share(1e9)), (0.0, 0.5, 1.0));
        assert_eq!(Scale::of(&[bar("a", 1.0), bar("b", 100.0)]), Scale::Log(-1, 2));
    }

    #[test]
    fn bars_grow_with_their_numbers() {
        let svg = chart(vec![bar("tidewatch", 1.0), bar("flink", 4.0)]).svg();
        let width = |class: &str| -> f64 {
            let (_, rest) = svg.split_once(&format!("<rect class=\"{class}\"")).unwrap();
            rest.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert_eq!(width("ours") * 4.0, width("theirs"));
        assert!(!svg.contains("logarithmic"));
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.984, 12.34, 353.4, 9_999.0, 40_000.0, 1_023_000.0, 2.0].map(number);
        assert_eq!(shown, ["0.98", "12.3", "353", "9999", "40 k", "1.02 M", "2"]);
        assert_eq!(
            [0.2, 0.0, 1_500_000.0, 20.0, 0.25].map(mark),
            ["0.2", "0", "1.5 M", "20", "0.25"]
        );
        assert_eq!([0.3, 1.0, 7.0, 26.0].map(round_step), [0.2, 1.0, 5.0, 20.0]);
    }
}
