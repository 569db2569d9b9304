//! Line protocol: lines as Telegraf wrote them, the whole grammar, a round trip of generated lines, and the
//! codec with its memory against the one without.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod codec_util;

use codec_util::{KAFKA_TIME, Outcome, decode, decode_with, outcome_of, point, refusal};
use proptest::prelude::*;
use tidewatch_connectors::codec::influx_line::Precision;
use tidewatch_connectors::codec::{Format, SourceFormat, for_source, reference_for_source};
use tidewatch_dataflow::dead_letter::Reason;

const CPU: &str = "cpu,cpu=cpu0,dc=probe,host=probe-host-1 usage_user=87.56218905472701,usage_idle=0,usage_softirq=0.995024875621918 1795375196000000000";
const NET: &str = "net,dc=probe,host=probe-host-1,interface=eth0 packets_recv=36748i,speed=-1i,bytes_recv=588877741i 1795375194000000000";
const UPTIME: &str =
    r#"system,dc=probe,host=probe-host-1 uptime_format=" 0:11" 1795375194000000000"#;

fn fields(line: &str) -> Vec<(String, f64)> {
    point(Format::InfluxLine, line).fields
}

fn expected(fields: &[(&str, f64)]) -> Vec<(String, f64)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[test]
fn lines_as_telegraf_writes_them() {
    let cpu = point(Format::InfluxLine, CPU);
    assert_eq!((&*cpu.measurement, cpu.millis), ("cpu", 1_795_375_196_000));
    assert_eq!(cpu.labels, "cpu=cpu0,dc=probe,host=probe-host-1");
    let all = [
        ("usage_user", 87.56218905472701),
        ("usage_idle", 0.0),
        ("usage_softirq", 0.995024875621918),
    ];
    assert_eq!(cpu.fields, expected(&all));
    let net = [("packets_recv", 36748.0), ("speed", -1.0), ("bytes_recv", 588877741.0)];
    assert_eq!(fields(NET), expected(&net));
    // Only a text: no point, and nothing wrong.
    assert_eq!(decode(Format::InfluxLine, UPTIME), Outcome::default());
    // Several lines, comments, empty lines, both kinds of line breaks.
    let batch = format!("# a comment = 1\n{CPU}\r\n\n  {UPTIME}\n{NET}\n");
    let seen = decode(Format::InfluxLine, &batch);
    assert_eq!(seen.points, [cpu, point(Format::InfluxLine, NET)]);
    // Three metrics with one time and the same tags are three points.
    let load = "system,host=h load1=1 1795375194000000000\nsystem,host=h uptime=9i 1795375194000000000\nsystem,host=h uptime_format=\"x\" 1795375194000000000";
    assert_eq!(decode(Format::InfluxLine, load).points.len(), 2);
}

#[test]
fn every_kind_of_value() {
    let line = r#"m a=1,b=-2.5e-3,c=+.5,d=7.,e=1E9,f=-9223372036854775808i,g=18446744073709551615u,h=t,i=False,j="x, y=\"z\" \\",k=TRUE"#;
    let seen = point(Format::InfluxLine, line);
    assert_eq!(seen.millis, KAFKA_TIME, "without a time, Kafka's counts");
    let all = [
        ("a", 1.0),
        ("b", -0.0025),
        ("c", 0.5),
        ("d", 7.0),
        ("e", 1e9),
        ("f", -9223372036854775808.0),
        ("g", 18446744073709551615.0),
        ("h", 1.0),
        ("i", 0.0),
        ("k", 1.0),
    ];
    assert_eq!(seen.fields, expected(&all));
    assert_eq!(fields("m a=1,s=\"two\nlines\",a=3 5"), expected(&[("a", 3.0)]), "the last counts");
}

#[test]
fn escapes_are_undone() {
    let line =
        r#"my\,\ name\=x,ta\=g\,\ 1=va\ lu\,e\=,b=c\d fi\=e\,l\ d=1,x\y=2 1795375196000000000"#;
    let seen = point(Format::InfluxLine, line);
    assert_eq!(&*seen.measurement, r"my, name\=x", "in a name, `=` needs no escape");
    assert_eq!(&*seen.labels, r"b=c\d,ta=g, 1=va lu,e=");
    assert_eq!(seen.fields, expected(&[("fi=e,l d", 1.0), (r"x\y", 2.0)]));
    // A tag called `name`, text of other scripts, a repeated tag.
    let seen = point(Format::InfluxLine, "diskio,name=vda,ort=höst\\ 日,ort=x reads=1i");
    assert_eq!(&*seen.labels, "name=vda,ort=x");
}

#[test]
fn times_in_each_unit() {
    let at = |precision, time: &str| {
        let mut source = SourceFormat::new("t", Format::InfluxLine);
        source.precision = precision;
        let seen = decode_with(&source, format!("m a=1 {time}").as_bytes());
        seen.points.first().map(|point| point.millis)
    };
    for (precision, time, millis) in [
        (Precision::Auto, "1795375196", Some(1_795_375_196_000)),
        (Precision::Auto, "1795375196123", Some(1_795_375_196_123)),
        (Precision::Auto, "1795375196123456", Some(1_795_375_196_123)),
        (Precision::Auto, "1795375196123456789", Some(1_795_375_196_123)),
        (Precision::Nanoseconds, "1000000", Some(1)),
        (Precision::Microseconds, "1000", Some(1)),
        (Precision::Milliseconds, "1", Some(1)),
        (Precision::Seconds, "1", Some(1_000)),
        (Precision::Seconds, "-0", Some(0)),
        (Precision::Seconds, "-1", None),
        (Precision::Seconds, "253402300800", None),
        (Precision::Seconds, "18446744073709551615", None),
        (Precision::Milliseconds, "253402300800000", None),
    ] {
        assert_eq!(at(precision, time), millis, "{precision:?} {time}");
    }
}

#[test]
fn what_is_no_line_is_refused_with_its_place() {
    for (line, reason, said) in [
        ("m", Reason::Unparseable, "without fields at byte 1"),
        ("m ", Reason::Unparseable, "without `=`"),
        (",a=b c=1", Reason::Unparseable, "without a name at byte 0"),
        ("m,a c=1", Reason::Unparseable, "a tag"),
        ("m,=b c=1", Reason::Unparseable, "a tag"),
        ("m,a= c=1", Reason::Unparseable, "a tag without a value"),
        ("m,a=b=c d=1", Reason::Unparseable, "`=` in a tag"),
        ("m a=", Reason::Unparseable, "no value"),
        ("m =1", Reason::Unparseable, "a field without a name"),
        ("m a=1,", Reason::Unparseable, "without `=`"),
        ("m a=1, b=2", Reason::Unparseable, "without `=`"),
        ("m a=NaN", Reason::Unparseable, "`NaN` is no value"),
        ("m a=1.5i", Reason::Unparseable, "no value"),
        ("m a=-1u", Reason::Unparseable, "no value"),
        ("m a=yes", Reason::Unparseable, "no value"),
        ("m a=0x10", Reason::Unparseable, "no value"),
        ("m a=9223372036854775808i", Reason::NotANumber, "range of its type"),
        ("m a=1e999", Reason::NotANumber, "range of its type"),
        ("m a=\"x", Reason::Unparseable, "does not end"),
        ("m a=\"x\"y", Reason::Unparseable, "after a text"),
        ("m a=1 x", Reason::Unparseable, "no time"),
        ("m a=1 1.5", Reason::Unparseable, "no time"),
        ("m a=1 1 2", Reason::Unparseable, "after the time"),
        ("m a=1 99999999999999999999", Reason::TimeOutOfRange, "the time"),
    ] {
        let (found, detail) = refusal(Format::InfluxLine, line);
        assert_eq!(found, reason, "{line}: {detail}");
        assert!(detail.contains(said), "{line}: {detail}");
        // Whole or not at all.
        assert_eq!(
            refusal(Format::InfluxLine, &format!("{CPU}\n{line}\n{NET}")).0,
            reason,
            "{line}"
        );
    }
    let tags: String = (0..200).map(|i| format!(",t{i}=x")).collect();
    assert_eq!(refusal(Format::InfluxLine, &format!("m{tags} a=1")).0, Reason::TooLarge);
    let fields: Vec<String> = (0..5_000).map(|i| format!("f{i}=1")).collect();
    assert_eq!(refusal(Format::InfluxLine, &format!("m {}", fields.join(","))).0, Reason::TooLarge);
    assert_eq!(refusal(Format::InfluxLine, &"m a=1\n".repeat(10_001)).0, Reason::TooLarge);
    assert_eq!(
        refusal(Format::InfluxLine, &format!("m,a={} b=1", "x".repeat(5_000))).0,
        Reason::TooLarge
    );
}

/// Writes a word with its escapes.
fn escape(text: &str, special: &str) -> String {
    text.chars().flat_map(|c| special.contains(c).then_some('\\').into_iter().chain([c])).collect()
}

/// A word without a backslash before what it would escape, and without line breaks: all that can be written.
fn word() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!['a', 'ß', ',', ' ', '=', '"', '#', '日', '_', '1']),
        1..8,
    )
    .prop_map(|chars| chars.into_iter().collect::<String>())
    .prop_filter("a name begins with neither a space nor a comment", |text| {
        !text.starts_with([' ', '#'])
    })
}

proptest! {
    /// What is written by the rules is read as what it was.
    #[test]
    fn round_trip(
        name in word(),
        tags in prop::collection::btree_map(word(), word(), 0..5),
        numbers in prop::collection::btree_map(word(), prop::num::f64::NORMAL | prop::num::f64::ZERO, 1..6),
        whole in any::<i64>(),
        text in "[a-z\"\\\\ ,=\n]{0,12}",
        millis in 0_u64..9_000_000_000_000,
    ) {
        let mut line = escape(&name, ", ");
        for (key, value) in &tags {
            line += &format!(",{}={}", escape(key, ",= "), escape(value, ",= "));
        }
        let mut parts: Vec<String> =
            numbers.iter().map(|(key, value)| format!("{}={value:?}", escape(key, ",= "))).collect();
        parts.push(format!("whole={whole}i"));
        parts.push(format!("text=\"{}\"", escape(&text, "\"\\")));
        line += &format!(" {} {}", parts.join(","), millis * 1_000_000);
        let mut source = SourceFormat::new("t", Format::InfluxLine);
        source.precision = Precision::Nanoseconds;
        let seen = decode_with(&source, line.as_bytes());
        prop_assert_eq!(&seen.rejected, &[], "{}", line);
        prop_assert_eq!(&seen.points[0].measurement, &name);
        let labels: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        prop_assert_eq!(&seen.points[0].labels, &labels.join(","));
        let mut fields: Vec<(String, f64)> = numbers.into_iter().collect();
        fields.push(("whole".to_owned(), whole as f64));
        prop_assert_eq!(&seen.points[0].fields, &fields);
        prop_assert_eq!(seen.points[0].millis, millis);
    }

    /// Remembering the heads of lines changes nothing, whatever the lines, also with several tables.
    #[test]
    fn with_and_without_memory(lines in prop::collection::vec("(m|n|a b|m\\\\ x|m,t=1)[, ]?(a|h=1|t=2|\\\\)?( a=1| b=2i|,c=\"x\"|=| ){1,2}( 1795375196)?\n?", 1..30)) {
        let source = SourceFormat::new("t", Format::InfluxLine);
        let (mut one, mut other) = (for_source(&source), reference_for_source(&source));
        for _ in 0..2 {
            let values: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            prop_assert_eq!(outcome_of(&mut *one, &values), outcome_of(&mut *other, &values));
        }
    }

    /// No bytes make it panic, and every record ends as points or with a reason.
    #[test]
    fn any_bytes(value in prop::collection::vec(prop::sample::select(b"ma,= \\\"1ift\n\r#-.e\xc3".to_vec()), 0..60)) {
        decode_with(&SourceFormat::new("t", Format::InfluxLine), &value);
    }
}
