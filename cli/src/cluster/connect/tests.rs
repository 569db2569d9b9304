//! Tests of connecting the processes of a cluster.

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

use super::*;
use crate::cluster::ports;

/// Free addresses of this machine.
fn hosts(count: usize) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts");
    ports::write_hostfile(&path, count).unwrap();
    crate::cluster::Hostfile::read(&path, count).unwrap().0
}

fn member(hosts: &[String], process: usize) -> Membership {
    Membership { workers: NonZeroUsize::MIN, hosts: hosts.to_vec(), process }
}

type Outcome = Result<Vec<Option<TcpStream>>, ConnectError>;

fn start(membership: Membership, stop: &Arc<AtomicBool>) -> JoinHandle<Outcome> {
    let stop = Arc::clone(stop);
    spawn(move || sockets(&membership, &stop))
}

/// Whether what one writes for the other arrives there.
fn connected(from: &[Option<TcpStream>], to: &[Option<TcpStream>], ends: (usize, usize)) -> bool {
    let (mut from, mut to) = (from[ends.1].as_ref().unwrap(), to[ends.0].as_ref().unwrap());
    let mut byte = [0; 1];
    from.write_all(&[7]).unwrap();
    to.read_exact(&mut byte).unwrap();
    byte == [7]
}

#[test]
fn all_find_each_other_quickly_in_whatever_order_they_come() {
    let hosts = hosts(3);
    let stop = Arc::default();
    let began = Instant::now();
    let last = start(member(&hosts, 2), &stop);
    std::thread::sleep(Duration::from_millis(50));
    let middle = start(member(&hosts, 1), &stop);
    std::thread::sleep(Duration::from_millis(50));
    let first = start(member(&hosts, 0), &stop);
    let all = [first, middle, last].map(|thread| thread.join().unwrap().unwrap());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        assert!(connected(&all[a], &all[b], (a, b)), "{a} to {b}");
    }
    assert!((0..3).all(|index| all[index][index].is_none()));
}

#[test]
fn a_dataflow_runs_over_the_connections() {
    use timely::dataflow::operators::{Exchange, Input, Inspect, Probe};
    let hosts = hosts(2);
    let run = |process: usize| {
        let membership =
            Membership { workers: NonZeroUsize::new(2).unwrap(), ..member(&hosts, process) };
        spawn(move || {
            let (builders, others) =
                connect(&membership, &AtomicBool::new(false), &Arc::default()).unwrap();
            let worker = |worker: &mut timely::worker::Worker| {
                let sum = Arc::new(std::sync::atomic::AtomicU64::new(0));
                let seen = Arc::clone(&sum);
                let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
                    let (input, numbers) = scope.new_input::<Vec<u64>>();
                    let numbers = numbers.exchange(|number| *number);
                    let add = move |number: &u64| {
                        seen.fetch_add(*number, Ordering::Relaxed);
                    };
                    (input, numbers.inspect(add).probe().0)
                });
                for number in 0..100 {
                    input.send(number);
                }
                input.close();
                while !probe.done() {
                    worker.step();
                }
                sum.load(Ordering::Relaxed)
            };
            let config = timely::WorkerConfig::default();
            let guards = timely::execute::execute_from(builders, others, config, worker);
            guards.unwrap().join().into_iter().map(Result::unwrap).sum::<u64>()
        })
    };
    let [first, second] = [run(0), run(1)].map(|thread| thread.join().unwrap());
    assert_eq!(first + second, 4 * (0..100).sum::<u64>());
    assert!(first > 0 && second > 0);
}

#[test]
fn strangers_and_processes_of_another_cluster_are_hung_up_on() {
    let hosts = hosts(2);
    let stop = Arc::default();
    let first = start(member(&hosts, 0), &stop);
    let knock = |bytes: &[u8]| loop {
        if let Ok(mut socket) = TcpStream::connect(&hosts[0]) {
            socket.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer);
            return answer.len();
        }
    };
    assert_eq!(knock(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n........................"), 0);
    let two_workers = Membership { workers: NonZeroUsize::new(2).unwrap(), ..member(&hosts, 1) };
    let error = call(&hosts[0], Hello::new(&two_workers, 0)).unwrap_err().to_string();
    assert!(error.contains("process 0 of 2 with 1 workers each"), "{error}");
    // Its own line in somebody else's host file.
    let error = call(&hosts[0], Hello::new(&member(&hosts, 0), 1)).unwrap_err().to_string();
    assert!(error.contains("give all the same host file"), "{error}");
    let second = start(member(&hosts, 1), &stop);
    let (first, second) = (first.join().unwrap().unwrap(), second.join().unwrap().unwrap());
    assert!(connected(&first, &second, (0, 1)));
}

#[test]
fn one_that_came_and_died_may_come_again() {
    let hosts = hosts(3);
    let stop = Arc::default();
    let first = start(member(&hosts, 0), &stop);
    let dead = loop {
        if let Ok(socket) = call(&hosts[0], Hello::new(&member(&hosts, 1), 0)) {
            break socket;
        }
    };
    drop(dead);
    let others = [start(member(&hosts, 1), &stop), start(member(&hosts, 2), &stop)];
    let first = first.join().unwrap().unwrap();
    let [second, _third] = others.map(|thread| thread.join().unwrap().unwrap());
    assert!(connected(&second, &first, (1, 0)) && connected(&first, &second, (0, 1)));
}

#[test]
fn a_stop_ends_the_waiting_and_a_taken_port_is_an_error() {
    let hosts = hosts(2);
    let stop = Arc::new(AtomicBool::new(false));
    let first = start(member(&hosts, 0), &stop);
    // Only once it listens can the port be taken.
    while call(&hosts[0], Hello::new(&member(&hosts, 0), 1))
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {}
    let error = connect(&member(&hosts, 0), &stop, &Arc::default()).err().unwrap().to_string();
    assert!(error.starts_with("could not listen for other processes on `127.0.0.1:"), "{error}");
    stop.store(true, Ordering::Relaxed);
    assert!(matches!(first.join().unwrap(), Err(ConnectError::Stopped)));
}
