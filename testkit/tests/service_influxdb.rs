//! The real InfluxDB starts set up, answers, keeps its data over a crash, and ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidewatch_testkit::{Service, influxdb::Influx, require, unique};

fn values(influx: &Influx, bucket: &str) -> String {
    let flux = format!(
        r#"from(bucket: "{bucket}") |> range(start: 0) |> keep(columns: ["_time", "_value", "host"])"#
    );
    influx.query_csv(&flux).unwrap().replace("\r\n", "\n").trim().to_owned()
}

#[test]
fn points_are_written_and_read_in_a_bucket_of_their_own() {
    let Some(influx) = Influx::shared() else { return };
    let bucket = unique("metrics");
    influx.create_bucket(&bucket).unwrap();
    influx.write(&bucket, "cpu,host=web-1 usage=87.5 1795375196000").unwrap();
    let expected = ",result,table,_time,_value,host\n,_result,0,2026-11-22T19:19:56Z,87.5,web-1";
    assert_eq!(values(influx, &bucket), expected);
    assert_eq!(values(influx, Influx::BUCKET), "");
}

#[test]
fn refusals_carry_the_words_of_the_server() {
    let Some(influx) = Influx::shared() else { return };
    let bad_line = influx.write(Influx::BUCKET, "cpu usage=").unwrap_err().to_string();
    assert!(bad_line.contains("missing field value"), "{bad_line}");
    let no_bucket = influx.write("nowhere", "cpu usage=1").unwrap_err().to_string();
    assert!(no_bucket.contains("404"), "{no_bucket}");
    assert!(influx.query_csv("no flux").is_err());
}

#[test]
fn acknowledged_points_survive_a_crash_and_the_end_is_the_end() {
    if require(Service::InfluxDb).is_none() {
        return;
    }
    let mut influx = Influx::start().unwrap();
    influx.write(Influx::BUCKET, "cpu,host=a usage=1 1795375196000").unwrap();
    influx.kill();
    assert!(influx.write(Influx::BUCKET, "cpu,host=a usage=2 1795375197000").is_err());
    influx.restart().unwrap();
    assert!(values(&influx, Influx::BUCKET).contains("2026-11-22T19:19:56Z,1,a"));
    let address = influx.url().replace("http://", "");
    drop(influx);
    assert!(std::net::TcpStream::connect(address).is_err(), "it still listens");
}
