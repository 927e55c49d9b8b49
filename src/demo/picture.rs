//! Draws a product of the simulated shop: a plain shape per category in the product's colour on a soft ground, as PNG.

use resvg::tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform};

use super::world::Product;
use super::world::words::{LEAVES, Shape};

/// Width and height in pixels.
pub const SIZE: u32 = 400;

/// A drawing in progress: units are 100 × 100 with the origin at the upper left.
struct Canvas {
    pixels: Pixmap,
    main: Color,
    dark: Color,
    light: Color,
    place: Transform,
}

fn shade(rgb: [u8; 3], by: f32) -> Color {
    let part = |c: u8| if by < 0.0 { f32::from(c) * (1.0 + by) } else { f32::from(c) + (255.0 - f32::from(c)) * by };
    Color::from_rgba8(part(rgb[0]) as u8, part(rgb[1]) as u8, part(rgb[2]) as u8, 255)
}

/// The product's picture as PNG bytes, a few kilobytes. `None` only where memory for the canvas is lacking.
pub fn png(product: &Product) -> Option<Vec<u8>> {
    let rgb = product.rgb;
    // Size, side and ground differ between products of one shape and colour.
    let draw = product.sku.bytes().fold(7_u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
    let scale = 3.3 + (draw % 97) as f32 / 97.0 * 0.8;
    let side = if draw % 2 == 0 { scale } else { -scale };
    let pale = [[244, 240, 232], [238, 242, 240], [242, 238, 240], [240, 241, 246], [246, 242, 238]][(draw / 97 % 5) as usize];
    let mut canvas = Canvas {
        pixels: Pixmap::new(SIZE, SIZE)?,
        main: shade(rgb, 0.0),
        dark: shade(rgb, -0.32),
        light: shade(rgb, 0.38),
        place: Transform::from_row(side, 0.0, 0.0, scale, 200.0 - 50.0 * side, 200.0 - 52.0 * scale),
    };
    canvas.pixels.fill(shade(pale, 0.0));
    let (x, y) = (30.0 + (draw / 500 % 41) as f32, 34.0 + (draw / 20_500 % 23) as f32);
    canvas.oval(x, y, 30.0, 30.0, shade(pale, -0.035));
    canvas.oval(50.0, 85.0, 34.0, 4.0, shade(pale, -0.1));
    canvas.draw(LEAVES[product.leaf].shape);
    canvas.pixels.encode_png().ok()
}

impl Canvas {
    fn fill(&mut self, path: Option<Path>, colour: Color) {
        let mut paint = Paint::default();
        paint.set_color(colour);
        if let Some(path) = path {
            self.pixels.fill_path(&path, &paint, FillRule::Winding, self.place, None);
        }
    }
    fn oval(&mut self, x: f32, y: f32, rx: f32, ry: f32, colour: Color) {
        let path = Rect::from_ltrb(x - rx, y - ry, x + rx, y + ry).and_then(PathBuilder::from_oval);
        self.fill(path, colour);
    }
    fn bar(&mut self, x: f32, y: f32, w: f32, h: f32, colour: Color) {
        let path = Rect::from_xywh(x, y, w, h).map(PathBuilder::from_rect);
        self.fill(path, colour);
    }
    fn shape(&mut self, points: &[(f32, f32)], colour: Color) {
        let mut path = PathBuilder::new();
        for (i, (x, y)) in points.iter().enumerate() {
            if i == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
        }
        path.close();
        self.fill(path.finish(), colour);
    }
    /// A smooth outline: a quadratic through each pair of (control, end).
    fn curve(&mut self, from: (f32, f32), turns: &[(f32, f32, f32, f32)], colour: Color) {
        let mut path = PathBuilder::new();
        path.move_to(from.0, from.1);
        for (cx, cy, x, y) in turns {
            path.quad_to(*cx, *cy, *x, *y);
        }
        path.close();
        self.fill(path.finish(), colour);
    }
    fn line(&mut self, from: (f32, f32), turns: &[(f32, f32, f32, f32)], width: f32, colour: Color) {
        let mut path = PathBuilder::new();
        path.move_to(from.0, from.1);
        for (cx, cy, x, y) in turns {
            path.quad_to(*cx, *cy, *x, *y);
        }
        let mut paint = Paint::default();
        paint.set_color(colour);
        let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
        if let Some(path) = path.finish() {
            self.pixels.stroke_path(&path, &paint, &stroke, self.place, None);
        }
    }

    fn draw(&mut self, shape: Shape) {
        let (main, dark, light) = (self.main, self.dark, self.light);
        match shape {
            Shape::Cushion => {
                self.curve(
                    (20.0, 24.0),
                    &[(50.0, 30.0, 80.0, 24.0), (75.0, 52.0, 80.0, 82.0), (50.0, 76.0, 20.0, 82.0), (25.0, 52.0, 20.0, 24.0)],
                    main,
                );
                self.line((28.0, 32.0), &[(50.0, 37.0, 72.0, 32.0)], 1.2, dark);
                self.oval(50.0, 54.0, 2.5, 2.5, dark);
            }
            Shape::Sheet => {
                for (i, colour) in [dark, main, light].into_iter().enumerate() {
                    let y = 64.0 - 16.0 * i as f32;
                    self.curve(
                        (18.0, y),
                        &[
                            (16.0, y + 8.0, 18.0, y + 18.0),
                            (50.0, y + 20.0, 82.0, y + 18.0),
                            (84.0, y + 8.0, 82.0, y),
                            (50.0, y - 2.0, 18.0, y),
                        ],
                        colour,
                    );
                }
            }
            Shape::Lamp | Shape::Pendant => self.lamp(shape),
            Shape::Candle => {
                self.bar(36.0, 40.0, 28.0, 44.0, light);
                self.oval(50.0, 40.0, 14.0, 3.0, main);
                self.bar(36.0, 56.0, 28.0, 14.0, main);
                self.line((50.0, 40.0), &[(50.0, 37.0, 50.0, 34.0)], 1.0, dark);
                self.curve((50.0, 20.0), &[(57.0, 30.0, 50.0, 35.0), (43.0, 30.0, 50.0, 20.0)], Color::from_rgba8(240, 176, 72, 255));
            }
            Shape::Vase => {
                self.line((50.0, 34.0), &[(44.0, 22.0, 40.0, 12.0)], 1.2, Color::from_rgba8(96, 118, 76, 255));
                self.line((52.0, 34.0), &[(56.0, 22.0, 62.0, 14.0)], 1.2, Color::from_rgba8(96, 118, 76, 255));
                self.curve(
                    (42.0, 30.0),
                    &[
                        (44.0, 40.0, 34.0, 52.0),
                        (28.0, 72.0, 40.0, 84.0),
                        (50.0, 86.0, 60.0, 84.0),
                        (72.0, 72.0, 66.0, 52.0),
                        (56.0, 40.0, 58.0, 30.0),
                    ],
                    main,
                );
                self.oval(50.0, 30.0, 8.0, 2.2, dark);
            }
            Shape::Frame => {
                self.bar(24.0, 14.0, 52.0, 68.0, dark);
                self.bar(28.0, 18.0, 44.0, 60.0, Color::from_rgba8(250, 248, 244, 255));
                self.oval(50.0, 42.0, 13.0, 13.0, main);
                self.curve((32.0, 72.0), &[(42.0, 50.0, 52.0, 64.0), (60.0, 56.0, 68.0, 72.0)], light);
            }
            Shape::Disc => {
                self.oval(50.0, 50.0, 33.0, 33.0, dark);
                self.oval(50.0, 50.0, 29.0, 29.0, light);
                self.line((50.0, 50.0), &[(50.0, 40.0, 50.0, 29.0)], 2.0, dark);
                self.line((50.0, 50.0), &[(57.0, 54.0, 64.0, 58.0)], 2.0, dark);
            }
            Shape::Basket | Shape::Planter => self.vessel(shape),
            Shape::Shelf => {
                self.bar(16.0, 40.0, 68.0, 5.0, main);
                self.bar(16.0, 68.0, 68.0, 5.0, main);
                self.bar(22.0, 24.0, 4.0, 60.0, dark);
                self.bar(74.0, 24.0, 4.0, 60.0, dark);
                self.bar(34.0, 26.0, 8.0, 14.0, light);
                self.bar(44.0, 22.0, 6.0, 18.0, dark);
                self.oval(62.0, 61.0, 7.0, 7.0, light);
            }
            Shape::Mug => {
                self.line((64.0, 42.0), &[(84.0, 42.0, 80.0, 58.0), (76.0, 68.0, 63.0, 68.0)], 5.0, dark);
                self.curve((28.0, 32.0), &[(27.0, 60.0, 33.0, 82.0), (48.0, 86.0, 62.0, 82.0), (68.0, 60.0, 67.0, 32.0)], main);
                self.oval(47.5, 32.0, 19.5, 4.5, dark);
                self.line((34.0, 44.0), &[(34.0, 58.0, 37.0, 72.0)], 2.0, light);
            }
            Shape::Plate => {
                self.oval(50.0, 54.0, 36.0, 29.0, dark);
                self.oval(50.0, 52.0, 36.0, 29.0, main);
                self.oval(50.0, 52.0, 23.0, 18.0, light);
            }
            Shape::Bowl => {
                self.curve((16.0, 46.0), &[(22.0, 84.0, 50.0, 84.0), (78.0, 84.0, 84.0, 46.0)], main);
                self.oval(50.0, 46.0, 34.0, 8.0, dark);
                self.oval(50.0, 47.0, 29.0, 6.0, light);
            }
            _ => self.draw_more(shape),
        }
    }

    fn draw_more(&mut self, shape: Shape) {
        let (main, dark, light) = (self.main, self.dark, self.light);
        match shape {
            Shape::Glass => {
                for x in [22.0, 54.0] {
                    self.curve(
                        (x, 32.0),
                        &[(x + 1.0, 60.0, x + 4.0, 82.0), (x + 12.0, 85.0, x + 20.0, 82.0), (x + 23.0, 60.0, x + 24.0, 32.0)],
                        light,
                    );
                    self.curve(
                        (x + 2.0, 52.0),
                        &[(x + 3.0, 68.0, x + 5.0, 80.0), (x + 12.0, 82.0, x + 19.0, 80.0), (x + 21.0, 68.0, x + 22.0, 52.0)],
                        main,
                    );
                    self.oval(x + 12.0, 32.0, 12.0, 2.6, dark);
                }
            }
            Shape::Pan => {
                self.line((64.0, 56.0), &[(80.0, 52.0, 92.0, 46.0)], 5.0, dark);
                self.oval(42.0, 60.0, 32.0, 17.0, dark);
                self.oval(42.0, 57.0, 32.0, 16.0, main);
                self.oval(42.0, 58.0, 26.0, 12.0, light);
            }
            Shape::Pot => {
                self.bar(10.0, 50.0, 80.0, 5.0, dark);
                self.curve((22.0, 42.0), &[(21.0, 62.0, 24.0, 82.0), (50.0, 86.0, 76.0, 82.0), (79.0, 62.0, 78.0, 42.0)], main);
                self.oval(50.0, 42.0, 29.0, 6.0, light);
                self.oval(50.0, 35.0, 4.0, 4.0, dark);
            }
            Shape::Knife => {
                self.curve(
                    (16.0, 60.0),
                    &[(40.0, 30.0, 62.0, 40.0), (62.0, 46.0, 60.0, 50.0), (40.0, 58.0, 16.0, 60.0)],
                    Color::from_rgba8(188, 192, 196, 255),
                );
                self.line((62.0, 45.0), &[(74.0, 40.0, 86.0, 36.0)], 8.0, main);
                self.oval(70.0, 42.5, 1.4, 1.4, light);
                self.oval(79.0, 39.0, 1.4, 1.4, light);
            }
            Shape::Board => {
                self.bar(24.0, 30.0, 52.0, 52.0, main);
                self.bar(43.0, 14.0, 14.0, 18.0, main);
                self.oval(50.0, 20.0, 3.4, 3.4, light);
                for y in [42.0, 56.0, 70.0] {
                    self.line((28.0, y), &[(50.0, y + 3.0, 72.0, y)], 0.8, dark);
                }
            }
            Shape::Spoon => {
                for (x, colour) in [(34.0, dark), (50.0, main), (66.0, light)] {
                    self.line((x, 44.0), &[(x, 62.0, x, 82.0)], 3.4, colour);
                    self.oval(x, 30.0, 7.0, 13.0, colour);
                }
            }
            Shape::Teapot => {
                self.line((72.0, 60.0), &[(84.0, 56.0, 86.0, 42.0)], 5.0, dark);
                self.line((30.0, 48.0), &[(10.0, 44.0, 16.0, 64.0), (20.0, 72.0, 30.0, 70.0)], 4.0, dark);
                self.oval(50.0, 60.0, 26.0, 23.0, main);
                self.oval(50.0, 41.0, 14.0, 4.0, light);
                self.oval(50.0, 35.0, 4.0, 4.0, dark);
            }
            Shape::Packet => {
                self.bar(30.0, 18.0, 40.0, 64.0, light);
                self.bar(30.0, 18.0, 40.0, 12.0, main);
                self.line((50.0, 72.0), &[(50.0, 60.0, 50.0, 44.0)], 2.0, dark);
                self.curve((50.0, 54.0), &[(62.0, 38.0, 66.0, 46.0), (62.0, 56.0, 50.0, 54.0)], main);
                self.curve((50.0, 60.0), &[(38.0, 44.0, 34.0, 52.0), (38.0, 62.0, 50.0, 60.0)], dark);
            }
            Shape::Spade => {
                self.line((50.0, 20.0), &[(50.0, 36.0, 50.0, 54.0)], 4.0, main);
                self.line((42.0, 16.0), &[(50.0, 16.0, 58.0, 16.0)], 4.0, dark);
                self.curve(
                    (38.0, 52.0),
                    &[(50.0, 50.0, 62.0, 52.0), (64.0, 74.0, 50.0, 86.0), (36.0, 74.0, 38.0, 52.0)],
                    Color::from_rgba8(150, 156, 160, 255),
                );
            }
            Shape::Can => {
                self.line((34.0, 52.0), &[(20.0, 46.0, 10.0, 34.0)], 4.0, dark);
                self.line((66.0, 44.0), &[(90.0, 36.0, 86.0, 58.0), (82.0, 72.0, 72.0, 74.0)], 4.0, dark);
                self.bar(34.0, 42.0, 38.0, 42.0, main);
                self.oval(53.0, 42.0, 19.0, 4.5, light);
            }
            Shape::Chair => {
                self.line((30.0, 84.0), &[(50.0, 54.0, 68.0, 22.0)], 3.4, dark);
                self.line((72.0, 84.0), &[(52.0, 62.0, 32.0, 46.0)], 3.4, dark);
                self.curve((62.0, 24.0), &[(62.0, 50.0, 44.0, 60.0), (36.0, 60.0, 28.0, 54.0), (50.0, 58.0, 70.0, 26.0)], main);
            }
            _ => self.draw_rest(shape),
        }
    }

    fn draw_rest(&mut self, shape: Shape) {
        let (main, dark, light) = (self.main, self.dark, self.light);
        match shape {
            Shape::Parasol => {
                self.line((50.0, 24.0), &[(50.0, 50.0, 50.0, 86.0)], 2.4, dark);
                self.curve((12.0, 48.0), &[(24.0, 16.0, 50.0, 16.0), (76.0, 16.0, 88.0, 48.0), (50.0, 40.0, 12.0, 48.0)], main);
                self.curve((37.0, 44.0), &[(40.0, 22.0, 50.0, 16.0), (60.0, 22.0, 63.0, 44.0), (50.0, 42.0, 37.0, 44.0)], light);
            }
            Shape::House => {
                self.bar(30.0, 42.0, 40.0, 40.0, main);
                self.shape(&[(24.0, 44.0), (50.0, 18.0), (76.0, 44.0)], dark);
                self.oval(50.0, 58.0, 7.0, 7.0, dark);
                self.line((50.0, 70.0), &[(50.0, 72.0, 50.0, 75.0)], 2.4, light);
            }
            Shape::Tent => {
                self.shape(&[(8.0, 82.0), (50.0, 22.0), (92.0, 82.0)], main);
                self.shape(&[(38.0, 82.0), (50.0, 40.0), (62.0, 82.0)], dark);
                self.shape(&[(50.0, 22.0), (92.0, 82.0), (74.0, 82.0)], light);
            }
            Shape::Roll => {
                self.bar(20.0, 40.0, 54.0, 40.0, main);
                self.oval(74.0, 60.0, 10.0, 20.0, dark);
                self.oval(74.0, 60.0, 6.0, 13.0, light);
                self.bar(32.0, 40.0, 4.0, 40.0, dark);
                self.bar(56.0, 40.0, 4.0, 40.0, dark);
            }
            Shape::Bag => {
                self.line((38.0, 30.0), &[(50.0, 10.0, 62.0, 30.0)], 3.6, dark);
                self.curve(
                    (28.0, 36.0),
                    &[
                        (30.0, 24.0, 50.0, 24.0),
                        (70.0, 24.0, 72.0, 36.0),
                        (76.0, 62.0, 72.0, 84.0),
                        (50.0, 87.0, 28.0, 84.0),
                        (24.0, 62.0, 28.0, 36.0),
                    ],
                    main,
                );
                self.bar(34.0, 56.0, 32.0, 22.0, dark);
                self.bar(30.0, 44.0, 40.0, 4.0, light);
            }
            Shape::Flask => {
                self.bar(38.0, 28.0, 24.0, 56.0, main);
                self.bar(40.0, 14.0, 20.0, 14.0, dark);
                self.line((43.0, 36.0), &[(43.0, 56.0, 43.0, 76.0)], 2.4, light);
            }
            Shape::Jumper => {
                self.shape(
                    &[
                        (34.0, 24.0),
                        (66.0, 24.0),
                        (92.0, 66.0),
                        (80.0, 72.0),
                        (70.0, 54.0),
                        (70.0, 84.0),
                        (30.0, 84.0),
                        (30.0, 54.0),
                        (20.0, 72.0),
                        (8.0, 66.0),
                    ],
                    main,
                );
                self.oval(50.0, 24.0, 10.0, 6.0, dark);
                self.bar(30.0, 79.0, 40.0, 5.0, dark);
                self.line((34.0, 46.0), &[(50.0, 50.0, 66.0, 46.0)], 2.0, light);
            }
            Shape::Scarf => {
                self.curve((26.0, 22.0), &[(50.0, 34.0, 74.0, 22.0), (80.0, 44.0, 50.0, 46.0), (20.0, 44.0, 26.0, 22.0)], main);
                self.shape(&[(36.0, 42.0), (54.0, 44.0), (48.0, 84.0), (30.0, 82.0)], dark);
                self.shape(&[(52.0, 44.0), (66.0, 42.0), (70.0, 78.0), (54.0, 80.0)], main);
                self.line((32.0, 72.0), &[(40.0, 73.0, 49.0, 74.0)], 2.4, light);
            }
            Shape::Sock => {
                self.curve(
                    (40.0, 16.0),
                    &[
                        (50.0, 18.0, 62.0, 16.0),
                        (62.0, 42.0, 62.0, 56.0),
                        (74.0, 68.0, 84.0, 74.0),
                        (84.0, 86.0, 72.0, 85.0),
                        (46.0, 78.0, 40.0, 62.0),
                        (40.0, 40.0, 40.0, 16.0),
                    ],
                    main,
                );
                self.bar(40.0, 17.0, 22.0, 8.0, dark);
                self.line((42.0, 40.0), &[(51.0, 42.0, 61.0, 40.0)], 2.4, light);
            }
            _ => {
                self.curve(
                    (10.0, 66.0),
                    &[(14.0, 44.0, 40.0, 48.0), (70.0, 54.0, 90.0, 64.0), (94.0, 80.0, 84.0, 82.0), (40.0, 84.0, 12.0, 82.0)],
                    main,
                );
                self.oval(28.0, 60.0, 15.0, 6.0, dark);
                self.bar(12.0, 80.0, 76.0, 4.0, dark);
                self.oval(54.0, 62.0, 3.0, 3.0, light);
            }
        }
    }

    fn lamp(&mut self, shape: Shape) {
        let (main, dark, light) = (self.main, self.dark, self.light);
        if shape == Shape::Pendant {
            self.line((50.0, 4.0), &[(50.0, 20.0, 50.0, 36.0)], 1.4, dark);
            self.oval(50.0, 74.0, 7.0, 7.0, Color::from_rgba8(250, 226, 160, 255));
            self.curve(
                (46.0, 34.0),
                &[(50.0, 32.0, 54.0, 34.0), (82.0, 44.0, 84.0, 74.0), (50.0, 66.0, 16.0, 74.0), (18.0, 44.0, 46.0, 34.0)],
                main,
            );
            self.line((30.0, 52.0), &[(50.0, 46.0, 70.0, 52.0)], 1.2, light);
        } else {
            self.bar(48.0, 44.0, 4.0, 34.0, dark);
            self.oval(50.0, 80.0, 16.0, 5.0, dark);
            self.shape(&[(38.0, 16.0), (62.0, 16.0), (74.0, 48.0), (26.0, 48.0)], main);
            self.shape(&[(38.0, 16.0), (44.0, 16.0), (40.0, 48.0), (26.0, 48.0)], light);
        }
    }

    fn vessel(&mut self, shape: Shape) {
        let (main, dark, light) = (self.main, self.dark, self.light);
        self.curve((22.0, 44.0), &[(24.0, 64.0, 30.0, 82.0), (50.0, 86.0, 70.0, 82.0), (76.0, 64.0, 78.0, 44.0)], main);
        self.oval(50.0, 44.0, 28.0, 6.0, dark);
        if shape == Shape::Basket {
            self.line((24.0, 44.0), &[(50.0, 0.0, 76.0, 44.0)], 3.0, dark);
            for y in [54.0, 63.0, 72.0] {
                self.line((27.0, y), &[(50.0, y + 6.0, 73.0, y)], 1.4, light);
            }
        } else {
            let leaf = Color::from_rgba8(98, 128, 84, 255);
            self.curve((50.0, 44.0), &[(34.0, 34.0, 36.0, 14.0), (52.0, 24.0, 50.0, 44.0)], leaf);
            self.curve((50.0, 44.0), &[(68.0, 36.0, 68.0, 18.0), (50.0, 26.0, 50.0, 44.0)], leaf);
            self.curve((46.0, 44.0), &[(30.0, 44.0, 22.0, 30.0), (42.0, 28.0, 46.0, 44.0)], leaf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::world::noise::Noise;
    use crate::demo::world::{Catalogue, words};

    #[test]
    fn every_category_has_its_picture_small_and_distinct() {
        let catalogue = Catalogue::new(Noise::new(1), words::LEAVES.len() as u32);
        let mut seen = std::collections::HashSet::new();
        for product in &catalogue.products {
            let bytes = png(product).expect("drawn");
            assert!(bytes.starts_with(b"\x89PNG") && (600..15_000).contains(&bytes.len()), "{} bytes for {}", bytes.len(), product.title);
            seen.insert(bytes);
        }
        assert_eq!(seen.len(), catalogue.products.len());
    }
}
