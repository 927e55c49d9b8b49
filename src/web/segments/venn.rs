//! Two circles whose areas and common area stand for two groups of people and those in both.

/// Width and height of the drawing.
const SIZE: (f64, f64) = (320.0, 150.0);
const LARGEST: f64 = 62.0;

/// The area that two circles have in common, by the distance of their centres.
fn lens(r: f64, s: f64, d: f64) -> f64 {
    if d >= r + s {
        return 0.0;
    }
    if d <= (r - s).abs() {
        return std::f64::consts::PI * r.min(s).powi(2);
    }
    let a = ((d * d + r * r - s * s) / (2.0 * d * r)).clamp(-1.0, 1.0).acos();
    let b = ((d * d + s * s - r * r) / (2.0 * d * s)).clamp(-1.0, 1.0).acos();
    let triangle = ((-d + r + s) * (d + r - s) * (d - r + s) * (d + r + s)).max(0.0).sqrt();
    r * r * a + s * s * b - triangle / 2.0
}

/// The distance at which they have `common` in common: the lens shrinks as the distance grows, so halving finds it.
fn distance(r: f64, s: f64, common: f64) -> f64 {
    let (mut near, mut far) = ((r - s).abs(), r + s);
    for _ in 0..60 {
        let middle = (near + far) / 2.0;
        if lens(r, s, middle) > common { near = middle } else { far = middle }
    }
    (near + far) / 2.0
}

/// The drawing, or `None` where either group is empty. The figures stand beside it as text.
pub(super) fn draw(first: i64, second: i64, both: i64) -> Option<String> {
    if first <= 0 || second <= 0 {
        return None;
    }
    let largest = first.max(second) as f64;
    // A tiny group is still a dot that can be seen.
    let radius = |n: i64| (LARGEST * (n as f64 / largest).sqrt()).max(4.0);
    let (r, s) = (radius(first), radius(second));
    let unit = std::f64::consts::PI * LARGEST * LARGEST / largest;
    let apart = if both == 0 { r + s + 6.0 } else { distance(r, s, both as f64 * unit) };
    // How far the two reach to the left and to the right of the first centre.
    let (before, behind) = (r.max(s - apart), r.max(apart + s));
    let x = (SIZE.0 - before - behind) / 2.0 + before;
    let (z, y) = (x + apart, SIZE.1 / 2.0);
    Some(format!(
        "<svg class=\"venn\" viewBox=\"0 0 {} {}\" aria-hidden=\"true\"><circle cx=\"{x:.1}\" cy=\"{y}\" r=\"{r:.1}\" fill=\"var(--series-1)\" \
         fill-opacity=\"0.28\" stroke=\"var(--series-1)\" stroke-width=\"2\"/><circle cx=\"{z:.1}\" cy=\"{y}\" r=\"{s:.1}\" \
         fill=\"var(--series-2)\" fill-opacity=\"0.28\" stroke=\"var(--series-2)\" stroke-width=\"2\" stroke-dasharray=\"6 3\"/></svg>",
        SIZE.0, SIZE.1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_area_is_right_and_everything_stays_inside() {
        let (r, s) = (60.0, 30.0);
        for share in [0.01, 0.3, 0.9] {
            let common = std::f64::consts::PI * s * s * share;
            assert!((lens(r, s, distance(r, s, common)) - common).abs() < 0.5, "{share}");
        }
        let pattern = regex::Regex::new(r#"cx="([-0-9.]+)" cy="75" r="([0-9.]+)""#).expect("pattern");
        for (a, b, both) in [(100, 100, 0), (100, 100, 100), (1000, 3, 3), (3, 1000, 1), (500, 400, 100)] {
            let svg = draw(a, b, both).expect("a drawing");
            for circle in pattern.captures_iter(&svg) {
                let (x, r): (f64, f64) = (circle[1].parse().expect("x"), circle[2].parse().expect("r"));
                assert!(x - r >= -0.1 && x + r <= SIZE.0 + 0.1, "{a} {b} {both}: {svg}");
            }
        }
        assert!(draw(0, 5, 0).is_none());
    }
}
