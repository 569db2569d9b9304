//! One panel of a picture, by its kind.

use plotters::prelude::*;

use super::{
    album::{Panel, Series},
    draw::{Area, INK, SERIES, SOFT, font},
};

/// Why nothing can be drawn; in practice nothing, since it is drawn into memory.
pub(super) type Fault = DrawingAreaErrorKind<std::io::Error>;

/// Height of a panel's title.
const TITLE: u32 = 24;
/// Height of a line of text.
const LINE: u32 = 17;
/// Pixels of a character, about.
const CHARACTER: u32 = 7;
/// Names in a legend; more would hide the numbers.
const LEGEND_MAX: usize = 6;

/// Draws `panel` onto all of `area`.
pub(super) fn draw(area: &Area<'_>, panel: &Panel) -> Result<(), Fault> {
    area.fill(&WHITE)?;
    area.draw_text(&panel.title, &font(13, INK), (8, 6))?;
    let (width, height) = area.dim_in_pixel();
    let inside = area.clone().shrink((8, TITLE.cast_signed()), (width - 16, height - TITLE - 4));
    if panel.series.is_empty() && panel.rows.is_empty() {
        return inside.draw_text("no data", &font(12, SOFT), (0, 4));
    }
    match panel.kind.as_str() {
        "stat" | "metric" => stat(&inside, panel),
        "status-history" | "state-timeline" => cells(&inside, panel),
        "heatmap" => heat(&inside, panel),
        "bargauge" | "pie" | "piechart" if !panel.rows.is_empty() => bars(&inside, panel),
        _ if panel.series.is_empty() => table(&inside, panel),
        _ => lines(&inside, panel),
    }
}

/// One number, large.
fn stat(area: &Area<'_>, panel: &Panel) -> Result<(), Fault> {
    let mut points = panel.series.iter().flat_map(|series| &series.points).map(|point| point.1);
    let number = match panel.reduce.as_str() {
        "sum" => Some(points.sum()),
        _ => points.next_back(),
    };
    let number = number.filter(|_| !panel.series.is_empty());
    let cell = panel.rows.last().and_then(|row| row.iter().rev().find_map(|c| c.parse().ok()));
    let number = number.or(cell).or(panel.hits.map(|hits| hits as f64));
    let text = number.map_or_else(|| "-".to_owned(), |number| panel.number(number));
    area.draw_text(&text, &font(34, SERIES[0]), (0, 12))
}

/// Numbers over time as lines, with a legend.
fn lines(area: &Area<'_>, panel: &Panel) -> Result<(), Fault> {
    let (Some((from, to)), Some((least, most))) = (panel.times(), panel.values()) else {
        return Ok(());
    };
    let (least, most) = (least.min(0.0), if most > least { most * 1.05 } else { least + 1.0 });
    let (width, height) = area.dim_in_pixel();
    let legend = area.clone().shrink((0, (height - LINE).cast_signed()), (width, LINE));
    let plot = area.clone().shrink((0, 0), (width, height - LINE));
    let mut chart = ChartBuilder::on(&plot)
        .x_label_area_size(20)
        .y_label_area_size(58)
        .build_cartesian_2d(from..to.max(from + 1.0), least..most)?;
    chart
        .configure_mesh()
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&|millis| clock(*millis))
        .y_label_formatter(&|value| panel.number(*value))
        .label_style(font(11, SOFT))
        .axis_style(RGBColor(208, 215, 222))
        .bold_line_style(RGBColor(230, 233, 237))
        .light_line_style(WHITE)
        .draw()?;
    for (series, color) in panel.series.iter().zip(SERIES.iter().cycle()) {
        chart.draw_series(LineSeries::new(series.points.iter().copied(), color.stroke_width(2)))?;
    }
    let mut left = 58;
    for (series, color) in panel.series.iter().zip(SERIES.iter().cycle()).take(LEGEND_MAX) {
        let name: String = series.name.chars().take(24).collect();
        let beyond = left + (name.chars().count() as u32 * CHARACTER + 24).cast_signed();
        if name.is_empty() || beyond > width.cast_signed() {
            break;
        }
        legend.draw(&Rectangle::new([(left, 5), (left + 10, 10)], color.filled()))?;
        legend.draw_text(&name, &font(11, SOFT), (left + 14, 1))?;
        left = beyond;
    }
    Ok(())
}

/// Numbers over time as coloured cells, a row for each series.
fn cells(area: &Area<'_>, panel: &Panel) -> Result<(), Fault> {
    let Some((from, _)) = panel.times() else { return table(area, panel) };
    let to = panel.to;
    let (width, height) = area.dim_in_pixel();
    let names = 230.min(width / 3);
    let rows = (height / 22).max(1) as usize;
    let room = f64::from(width - names);
    for (at, series) in (0i32..).zip(panel.series.iter().take(rows)) {
        let top = at * 22;
        let name: String = series.name.chars().take((names / CHARACTER) as usize).collect();
        area.draw_text(&name, &font(11, INK), (0, top + 4))?;
        let ends = series.points.iter().skip(1).map(|point| point.0).chain([to]);
        for ((time, value), end) in series.points.iter().zip(ends) {
            let place = |time: f64| {
                let share = (time - from) / (to - from).max(1.0);
                names.cast_signed() + (share * room) as i32
            };
            let cell = [(place(*time), top), (place(end).max(place(*time) + 2), top + 18)];
            area.draw(&Rectangle::new(cell, shade(panel, *value).filled()))?;
        }
    }
    Ok(())
}

/// How dark a number is: green to red for percentages, otherwise by the greatest number.
fn shade(panel: &Panel, value: f64) -> RGBColor {
    let most = match panel.unit.as_str() {
        "percent" => 100.0,
        _ => panel.values().map_or(1.0, |(_, most)| most.max(1e-9)),
    };
    let share = (value / most).clamp(0.0, 1.0);
    let mix = |from: f64, to: f64| (from + (to - from) * share * share) as u8;
    RGBColor(mix(198.0, 207.0), mix(228.0, 34.0), mix(219.0, 46.0))
}

/// How many series are at which height, over time.
fn heat(area: &Area<'_>, panel: &Panel) -> Result<(), Fault> {
    const STEPS: usize = 10;
    let (Some((from, to)), Some((_, most))) = (panel.times(), panel.values()) else {
        return Ok(());
    };
    let (width, height) = area.dim_in_pixel();
    let columns = (width / 14).max(1) as usize;
    let mut counts = vec![[0u32; STEPS]; columns];
    for (time, value) in panel.series.iter().flat_map(|series: &Series| &series.points) {
        let column = ((time - from) / (to - from).max(1.0) * columns as f64) as usize;
        let step = (value / most.max(1e-9) * STEPS as f64) as usize;
        if let Some(column) = counts.get_mut(column.min(columns - 1)) {
            column[step.min(STEPS - 1)] += 1;
        }
    }
    let greatest = counts.iter().flatten().copied().max().unwrap_or(1).max(1);
    let row = (height / STEPS as u32).cast_signed();
    for (left, column) in (0i32..).step_by(14).zip(&counts) {
        for (step, count) in (0i32..).zip(column).filter(|(_, count)| **count > 0) {
            let top = height.cast_signed() - (step + 1) * row;
            let share = f64::from(*count) / f64::from(greatest);
            let mix = |from: f64, to: f64| (from + (to - from) * share) as u8;
            let color = RGBColor(mix(222.0, 0.0), mix(235.0, 68.0), mix(247.0, 136.0));
            area.draw(&Rectangle::new([(left, top), (left + 13, top + row - 1)], color.filled()))?;
        }
    }
    Ok(())
}

/// A bar for each row with a number.
fn bars(area: &Area<'_>, panel: &Panel) -> Result<(), Fault> {
    let rows: Vec<(String, f64)> = panel.rows.iter().filter_map(|row| bar(row)).collect();
    let most = match panel.unit.as_str() {
        "percent" => 100.0,
        _ => rows.iter().map(|row| row.1).fold(1e-9, f64::max),
    };
    let (width, height) = area.dim_in_pixel();
    let names = width / 3;
    for (at, (name, value)) in (0i32..).zip(rows.iter().take((height / 24) as usize)) {
        let top = at * 24;
        let name: String = name.chars().take((names / CHARACTER) as usize).collect();
        area.draw_text(&name, &font(12, INK), (0, top + 4))?;
        let room = f64::from(width - names) - 80.0;
        let length = (value / most * room).max(1.0) as i32;
        let left = names.cast_signed();
        let color = shade(panel, *value);
        area.draw(&Rectangle::new([(left, top), (left + length, top + 19)], color.filled()))?;
        area.draw_text(&panel.number(*value), &font(12, INK), (left + length + 6, top + 4))?;
    }
    Ok(())
}

/// Name and number of a row: its first text and its last number.
fn bar(row: &[String]) -> Option<(String, f64)> {
    let number = row.iter().rev().find_map(|cell| cell.parse().ok())?;
    let name = row.iter().find(|cell| cell.parse::<f64>().is_err() && !cell.contains("T0"));
    Some((name.cloned().unwrap_or_default(), number))
}

/// Rows of text below their columns.
fn table(area: &Area<'_>, panel: &Panel) -> Result<(), Fault> {
    let (width, height) = area.dim_in_pixel();
    let columns = panel.columns.len().max(1) as u32;
    let each = width / columns;
    let room = (each / CHARACTER).saturating_sub(1) as usize;
    let left = |at: usize| (at as u32 * each).cast_signed();
    for (at, column) in panel.columns.iter().enumerate() {
        area.draw_text(column, &font(11, SOFT), (left(at), 0))?;
    }
    let fitting = (height / LINE).saturating_sub(1) as usize;
    for (top, row) in
        (LINE.cast_signed()..).step_by(LINE as usize).zip(panel.rows.iter().take(fitting))
    {
        for (at, cell) in row.iter().enumerate() {
            let is_last = at + 1 == row.len();
            let room =
                if is_last { ((width - at as u32 * each) / CHARACTER) as usize } else { room };
            let text: String = cell.chars().take(room).collect();
            area.draw_text(&text, &font(11, INK), (left(at), top))?;
        }
    }
    Ok(())
}

/// A time of the day in UTC.
fn clock(millis: f64) -> String {
    let seconds = (millis / 1e3) as u64 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}
