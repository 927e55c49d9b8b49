//! Charts, drawn on the server as SVG by plotters. Series are told apart by dash, marker and hatching as well as by colour; colours are the
//! tokens of the style sheet, so that light and dark need one drawing; the numbers behind come along as a table.

use std::fmt::Write as _;

use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Serialize;

use super::format;
use crate::platform::http::ApiError;
use crate::platform::{Currency, Money};

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    /// Values are shares: 0.042 is 4.2 %.
    Share,
    /// Values are minor units.
    Money(Currency),
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Line,
    /// Grouped columns.
    Bars,
}

/// One series: a value per label, `None` where there is none.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// What to draw.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Unique on the page, `[a-z0-9-]`: names the title for screen readers.
    pub id: String,
    pub title: String,
    /// What it shows, in a sentence, for who cannot see it.
    pub description: String,
    pub kind: Kind,
    pub unit: Unit,
    /// What the labels are: “Day”. Heads the table's first column.
    pub axis: String,
    pub labels: Vec<String>,
    pub series: Vec<Series>,
}

/// A drawn chart, for the `chart` component.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    title: String,
    wide: String,
    narrow: String,
    legend: Vec<Legend>,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Debug, Serialize)]
struct Legend {
    name: String,
    sample: String,
}

/// Most series in one chart: beyond, nobody tells them apart.
const MAX_SERIES: usize = 6;
const DASHES: [&str; MAX_SERIES] = ["", "7 4", "2 3", "10 3 2 3", "5 2", "1 4"];

/// Colours that stand for tokens until the drawing is done: no real one is that dark.
fn series_ink(i: usize) -> RGBColor {
    RGBColor(1, 1 + i as u8, 1)
}
const TEXT_INK: RGBColor = RGBColor(2, 1, 1);
const GRID_INK: RGBColor = RGBColor(2, 2, 1);
const AXIS_INK: RGBColor = RGBColor(2, 3, 1);

fn hex(c: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2)
}

impl Unit {
    pub fn write(self, value: f64) -> String {
        match self {
            Self::Count => format::count(value.round() as i64),
            Self::Share => format::percent(value),
            Self::Money(currency) => format::money(Money::new(value.round() as i64, currency)),
            Self::Number => format!("{value:.2}").replace('-', "−"),
        }
    }
    /// As at an axis: short.
    fn brief(self, value: f64) -> String {
        let scaled = |v: f64| match v.abs() {
            a if a >= 1e9 => format!("{}bn", trim(v / 1e9)),
            a if a >= 1e6 => format!("{}m", trim(v / 1e6)),
            a if a >= 1e4 => format!("{}k", trim(v / 1e3)),
            _ => trim(v),
        };
        match self {
            Self::Money(currency) => {
                let unit = 10_f64.powi(currency.exponent() as i32);
                let symbol: String = Money::new(0, currency).to_string().chars().take_while(|c| !c.is_ascii_digit()).collect();
                format!("{symbol}{}", scaled(value / unit))
            }
            Self::Share => format!("{} %", trim(value * 100.0)),
            Self::Count | Self::Number => scaled(value),
        }
    }
}

fn trim(v: f64) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').replace('-', "−")
}

/// An axis with round steps: 1, 2 or 5 times a power of ten.
struct Rounded {
    low: f64,
    high: f64,
    step: f64,
    unit: Unit,
}

impl Rounded {
    fn over(values: impl Iterator<Item = f64>, unit: Unit) -> Self {
        let (mut low, mut high) = (0.0_f64, 0.0_f64);
        for v in values {
            (low, high) = (low.min(v), high.max(v));
        }
        if low == high {
            high = if unit == Unit::Share { 0.01 } else { 1.0 };
        }
        let rough = (high - low) / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let mut step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(power);
        if unit == Unit::Count {
            step = step.max(1.0);
        }
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step, unit }
    }
}

impl Ranged for Rounded {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }
    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        let steps = ((self.high - self.low) / self.step).round() as i32;
        (0..=steps.min(20)).map(|i| self.low + f64::from(i) * self.step).collect()
    }
    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Rounded {
    fn format(value: &f64) -> String {
        trim(*value)
    }
    fn format_ext(&self, value: &f64) -> String {
        self.unit.brief(*value)
    }
}

/// Draws. More series than six are refused: fold the small ones into “others” first.
pub fn draw(spec: &Spec) -> Result<Chart, ApiError> {
    draw_wide(spec, (860, 260))
}

/// Draws for half the width of a page: letters keep their size.
pub fn draw_half(spec: &Spec) -> Result<Chart, ApiError> {
    draw_wide(spec, (540, 240))
}

fn draw_wide(spec: &Spec, size: (u32, u32)) -> Result<Chart, ApiError> {
    let fault = |why: String| ApiError::internal(anyhow::anyhow!("chart {}: {why}", spec.id));
    if spec.series.len() > MAX_SERIES {
        return Err(fault(format!("{} series", spec.series.len())));
    }
    if spec.series.iter().any(|s| s.values.len() != spec.labels.len()) {
        return Err(fault("a series has another length than the labels".into()));
    }
    let wide = svg(spec, size, "wide").map_err(&fault)?;
    let narrow = svg(spec, (380, 240), "narrow").map_err(&fault)?;
    let legend = if spec.series.len() < 2 { Vec::new() } else { legend(spec) };
    let mut head = vec![spec.axis.clone()];
    head.extend(spec.series.iter().map(|s| s.name.clone()));
    let cell = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), |v| spec.unit.write(v));
    let rows = spec
        .labels
        .iter()
        .enumerate()
        .map(|(i, label)| std::iter::once(label.clone()).chain(spec.series.iter().map(|s| cell(s.values[i]))).collect())
        .collect();
    Ok(Chart { title: spec.title.clone(), wide, narrow, legend, head, rows })
}

fn svg(spec: &Spec, size: (u32, u32), class: &str) -> Result<String, String> {
    let mut out = String::new();
    paint(spec, size, &mut out).map_err(|e| e.to_string())?;
    Ok(dress(spec, out, class))
}

fn paint(spec: &Spec, size: (u32, u32), out: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(out, size).into_drawing_area();
    let n = spec.labels.len().max(1);
    let y = Rounded::over(spec.series.iter().flat_map(|s| s.values.iter().flatten().copied()), spec.unit);
    let base = y.low.max(0.0);
    // Half a place of air at both ends; columns need it, points like it.
    let mut chart = ChartBuilder::on(&root)
        .margin_top(10)
        .margin_right(12)
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d(-0.5_f64..(n as f64 - 0.5), y)?;
    let font = |ink: RGBColor| ("sans-serif", 14).into_font().color(&ink);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID_INK)
        .axis_style(TRANSPARENT)
        .label_style(font(TEXT_INK))
        .y_label_style(font(TEXT_INK))
        .draw()?;
    let area = chart.plotting_area();
    area.draw(&PathElement::new(vec![(-0.5, base), (n as f64 - 0.5, base)], AXIS_INK))?;
    // Labels by hand: plotters knows no words, and thins numbers out to where no label is.
    let room = (size.0 as usize - 64) / (spec.labels.iter().map(|l| l.chars().count()).max().unwrap_or(1).max(4) * 8 + 12);
    let every = n.div_ceil(room.max(1));
    for (i, label) in spec.labels.iter().enumerate().filter(|(i, _)| i % every == 0) {
        let (x, _) = area.map_coordinate(&(i as f64, base));
        let style = font(TEXT_INK).pos(Pos::new(HPos::Center, VPos::Top));
        root.draw_text(label, &style, (x, size.1 as i32 - 20))?;
    }
    let count = spec.series.len().max(1) as f64;
    for (k, series) in spec.series.iter().enumerate() {
        let ink = series_ink(k);
        let points = series.values.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i as f64, v)));
        match spec.kind {
            Kind::Bars => {
                let width = 0.72 / count;
                for (x, v) in points {
                    let left = x - 0.36 + width * k as f64;
                    let corners = [(left + width * 0.06, base), (left + width * 0.94, v)];
                    area.draw(&Rectangle::new(corners, ink.filled()))?;
                }
            }
            Kind::Line => {
                // A gap stays a gap.
                for run in runs(&series.values) {
                    if run.len() > 1 {
                        area.draw(&PathElement::new(run.clone(), ink.stroke_width(2)))?;
                    }
                }
                let sparse = n <= 40 || k > 0;
                for (x, v) in points.filter(|(x, _)| sparse && (n <= 40 || (*x as usize).is_multiple_of(n / 20))) {
                    match k % 3 {
                        0 => area.draw(&Circle::new((x, v), 3, ink.filled()))?,
                        1 => area.draw(&TriangleMarker::new((x, v), 5, ink.filled()))?,
                        _ => area.draw(&Cross::new((x, v), 4, ink.stroke_width(2)))?,
                    }
                }
            }
        }
    }
    root.present()?;
    drop(chart);
    Ok(())
}

/// The stretches of a series without gaps.
fn runs(values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for (i, value) in values.iter().enumerate() {
        match (value, runs.last_mut()) {
            (Some(v), Some(run)) => run.push((i as f64, *v)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|r| !r.is_empty());
    runs
}

/// Tokens for the stand-in colours, dashes and hatching, title and description.
fn dress(spec: &Spec, svg: String, class: &str) -> String {
    let id = format!("{}-{class}", spec.id);
    let mut svg =
        svg.replace(&hex(TEXT_INK), "var(--soft)").replace(&hex(GRID_INK), "var(--line)").replace(&hex(AXIS_INK), "var(--line-strong)");
    let mut defs = String::new();
    for (k, dash) in DASHES.iter().enumerate().take(spec.series.len()) {
        let (ink, token) = (hex(series_ink(k)), format!("var(--series-{})", k + 1));
        if spec.kind == Kind::Line && !dash.is_empty() {
            // Only the line is dashed; a marker's own strokes are single lines.
            svg = svg.replace(
                &format!("<polyline fill=\"none\" opacity=\"1\" stroke=\"{ink}\""),
                &format!("<polyline fill=\"none\" opacity=\"1\" stroke-dasharray=\"{}\" stroke=\"{token}\"", dash),
            );
        }
        if spec.kind == Kind::Bars && k > 0 {
            let pattern = format!("{id}-h{k}");
            let turn = 45 + 45 * k;
            let _ = write!(
                defs,
                "<pattern id=\"{pattern}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate({turn})\">\
                 <rect width=\"6\" height=\"6\" fill=\"var(--surface)\"/><rect width=\"{}\" height=\"6\" fill=\"{token}\"/></pattern>",
                if k % 2 == 1 { 3 } else { 4 }
            );
            svg = svg.replace(&format!("fill=\"{ink}\" stroke=\"none\""), &format!("fill=\"url(#{pattern})\" stroke=\"{token}\""));
        }
        svg = svg.replace(&ink, &token);
    }
    let title = html_escape::encode_text(&spec.title);
    let about = html_escape::encode_text(&spec.description);
    let inside = format!(
        "<title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{about}</desc>{}",
        if defs.is_empty() { String::new() } else { format!("<defs>{defs}</defs>") }
    );
    let open = svg.find('>').map_or(0, |at| at + 1);
    svg.insert_str(open, &inside);
    svg.replacen("<svg ", &format!("<svg class=\"{class}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" "), 1)
}

fn legend(spec: &Spec) -> Vec<Legend> {
    spec.series
        .iter()
        .enumerate()
        .map(|(k, series)| {
            let token = format!("var(--series-{})", k + 1);
            let shape = match (spec.kind, k % 3) {
                (Kind::Bars, _) if k == 0 => format!("<rect x=\"8\" width=\"14\" height=\"12\" fill=\"{token}\"/>"),
                (Kind::Bars, _) => {
                    format!("<rect x=\"8\" width=\"14\" height=\"12\" fill=\"url(#{}-wide-h{k})\" stroke=\"{token}\"/>", spec.id)
                }
                (_, 0) => format!("<circle cx=\"15\" cy=\"6\" r=\"3\" fill=\"{token}\"/>"),
                (_, 1) => format!("<path d=\"M15 1l4.4 8h-8.8z\" fill=\"{token}\"/>"),
                _ => format!("<path d=\"M11 2l8 8M19 2l-8 8\" stroke=\"{token}\" stroke-width=\"2\"/>"),
            };
            let line = match spec.kind {
                Kind::Line => format!("<path d=\"M0 6h30\" stroke=\"{token}\" stroke-width=\"2\" stroke-dasharray=\"{}\"/>", DASHES[k]),
                Kind::Bars => String::new(),
            };
            Legend { name: series.name.clone(), sample: format!("<svg viewBox=\"0 0 30 12\" aria-hidden=\"true\">{line}{shape}</svg>") }
        })
        .collect()
}

/// A line the size of a word, for table cells: `{{ <spark svg={row.spark} /> }}`. The numbers must stand beside it.
pub fn sparkline(values: &[f64]) -> String {
    let (w, h) = (96.0, 24.0);
    let top = values.iter().copied().fold(0.0_f64, f64::max);
    let step = if values.len() > 1 { w / (values.len() - 1) as f64 } else { 0.0 };
    let y = |v: f64| if top > 0.0 { h - 2.0 - v.max(0.0) / top * (h - 4.0) } else { h - 2.0 };
    let points: Vec<String> = values.iter().enumerate().map(|(i, v)| format!("{:.1},{:.1}", i as f64 * step, y(*v))).collect();
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 96 24\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><polyline points=\"{}\" fill=\"none\" \
         stroke=\"currentColor\" stroke-width=\"1.5\"/></svg>",
        points.join(" ")
    )
}

/// An interval beside zero, the size of a few words, for table cells: `{{ <spark svg={row.plot} /> }}`. `span`: the value at either end of the
/// scale. The numbers must stand beside it. Empty where there is no interval.
pub fn interval(low: f64, value: f64, high: f64, span: f64) -> String {
    if !(low.is_finite() && high.is_finite() && span > 0.0) {
        return String::new();
    }
    let (w, h) = (120.0, 18.0);
    let x = |v: f64| (w / 2.0) * (1.0 + (v / span).clamp(-1.0, 1.0) * 0.96);
    let (a, m, b) = (x(low), x(value), x(high));
    format!(
        "<svg class=\"plot\" viewBox=\"0 0 {w} {h}\" aria-hidden=\"true\"><path d=\"M{zero:.1} 0v{h}\" class=\"zero\"/>\
         <path d=\"M{a:.1} 9H{b:.1}M{a:.1} 5v8M{b:.1} 5v8\" class=\"span\"/><circle cx=\"{m:.1}\" cy=\"9\" r=\"3.5\" class=\"mid\"/></svg>",
        zero = w / 2.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: Kind) -> Spec {
        Spec {
            id: "sends".into(),
            title: "Sends & clicks <b>".into(),
            description: "Two weeks".into(),
            kind,
            unit: Unit::Count,
            axis: "Day".into(),
            labels: (1..=14).map(|d| format!("<i>{d}</i> Nov")).collect(),
            series: vec![
                Series { name: "Sent".into(), values: (0..14).map(|d| Some(f64::from(d) * 1500.0)).collect() },
                Series { name: "Clicked".into(), values: (0..14).map(|d| (d != 5).then(|| f64::from(d) * 40.0)).collect() },
            ],
        }
    }

    #[test]
    fn a_chart_is_readable_without_colour_and_escapes_what_it_is_given() {
        for kind in [Kind::Line, Kind::Bars] {
            let chart = draw(&spec(kind)).expect("draws");
            for svg in [&chart.wide, &chart.narrow] {
                assert!(svg.contains("var(--series-1)") && svg.contains("var(--series-2)"), "{svg}");
                assert!(!svg.contains("#01") && !svg.contains("#02"), "a stand-in colour is left: {svg}");
                assert!(!svg.contains("<b>") && !svg.contains("<i>"), "{svg}");
                assert!(svg.contains("<title") && svg.contains("<desc"));
                assert!(!svg.contains("style="));
                let apart = if kind == Kind::Line { "stroke-dasharray" } else { "url(#sends-" };
                assert!(svg.contains(apart), "{svg}");
            }
            assert_eq!(chart.rows.len(), 14);
            assert_eq!(chart.rows[5], ["<i>6</i> Nov", "7,500", "–"]);
            assert!(chart.wide.len() < 20_000, "{}", chart.wide.len());
        }
    }

    #[test]
    fn axes_are_round_and_empty_charts_draw() {
        let axis = Rounded::over([0.0, 19_500.0].into_iter(), Unit::Count);
        assert_eq!((axis.low, axis.high, axis.step), (0.0, 20_000.0, 5000.0));
        let axis = Rounded::over([-0.02, 0.031].into_iter(), Unit::Share);
        assert!(axis.low <= -0.02 && axis.high >= 0.031);
        let mut empty = spec(Kind::Line);
        empty.labels.clear();
        empty.series.iter_mut().for_each(|s| s.values.clear());
        assert!(draw(&empty).is_ok());
        assert_eq!(Unit::Money(Currency::EUR).brief(1_250_000.0), "€12.5k");
        assert!(sparkline(&[0.0, 2.0, 1.0]).contains("0.0,22.0 48.0,2.0"));
    }
}
