//! One run: all members of this machine, from their common start until none is left.

use std::ffi::OsString;
use std::future::{pending, poll_fn};
use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::member::{Launch, Member, Sign};
use super::watch::{Event, Limits, Outcome, Step, Watch, Why};
use super::{Folder, Members};
use crate::cluster::{exit, ports};

/// The members of a run, in order of their index.
pub(super) struct Run(Vec<Member>);

/// How a run ended.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// For how long all members were up.
    pub(super) healthy: Duration,
    /// The places of those that crashed or hung, as opposed to those that we have killed.
    pub(super) crashed: Vec<usize>,
}

impl Run {
    /// Starts all members; none is left when one cannot be started.
    pub(super) fn start(members: &Members, folder: Option<&Folder>) -> anyhow::Result<Self> {
        let hosts = folder.map(Folder::hosts).filter(|_| members.count > 1);
        if let Some(hosts) = &hosts {
            ports::write_hostfile(hosts, members.count)?;
        }
        let crumbs = folder.map(Folder::crumbs);
        let start = |place: usize| {
            let mut args = members.args.clone();
            if let Some(hosts) = &hosts {
                let index = OsString::from((members.first + place).to_string());
                args.extend(["--process".into(), index]);
                args.extend(["--hostfile".into(), hosts.as_os_str().to_owned()]);
            }
            Member::start(Launch { program: &members.program, args, crumbs: crumbs.as_deref() })
        };
        (0..members.count).map(start).collect::<anyhow::Result<_>>().map(Run)
    }

    /// Watches over the members until the run is over, and ends what is left of them.
    pub(super) async fn finish(
        mut self,
        limits: &Limits,
        stops: &mut mpsc::Receiver<()>,
    ) -> anyhow::Result<Ended> {
        let mut watch = Watch::new(limits.clone(), self.0.len(), Instant::now());
        let outcome = loop {
            let event = tokio::select! {
                // What the members did counts before the conclusion that they did nothing.
                biased;
                () = asked(stops) => Event::Stop,
                event = self.next() => event.context("could not watch a member")?,
                () = until(watch.deadline()) => Event::Time,
            };
            let was_up = watch.up().is_some();
            match watch.on(event, Instant::now()) {
                Step::Wait => {}
                Step::Terminate => self.0.iter().for_each(Member::terminate),
                Step::Over(outcome) => break outcome,
            }
            if !was_up && watch.up().is_some() {
                tracing::info!(processes = self.0.len(), "all members are up");
            }
        };
        let healthy = watch.up().map_or(Duration::ZERO, |since| since.elapsed());
        let crashed = self.crashed(&outcome);
        let outcome = self.end(outcome).await;
        Ok(Ended { outcome, healthy, crashed })
    }

    /// The next thing that any of them does.
    async fn next(&mut self) -> io::Result<Event> {
        poll_fn(|cx| {
            for (place, member) in self.0.iter_mut().enumerate() {
                if let Poll::Ready(sign) = member.poll(cx) {
                    return Poll::Ready(sign.map(|sign| match sign {
                        Sign::Beat => Event::Beat(place),
                        Sign::Ended(status) => Event::Ended(place, status),
                    }));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Who has crashed, or hangs, before anybody is killed.
    fn crashed(&mut self, outcome: &Outcome) -> Vec<usize> {
        let hangs = |place| matches!(outcome, Outcome::Failed(hung, Why::Silent(_) | Why::NotUp(_)) if *hung == place);
        let members = self.0.iter_mut().enumerate();
        let crashed = members.filter_map(|(place, member)| {
            let ended = member.status();
            (hangs(place) || ended.is_some_and(exit::is_crash)).then_some(place)
        });
        crashed.collect()
    }

    /// Kills what is left and waits for all. The outcome is another one when a member turns out to have ended
    /// for good: the failure that was seen first came of that.
    async fn end(mut self, outcome: Outcome) -> Outcome {
        self.0.iter_mut().for_each(Member::kill);
        let mut for_good = None;
        for (place, member) in self.0.iter_mut().enumerate() {
            let status = member.ended().await;
            let code = status.and_then(exit::for_good);
            for_good = for_good.or(code.map(|code| Outcome::ForGood(place, code)));
        }
        match (outcome, for_good) {
            (Outcome::Failed(..), Some(for_good)) => for_good,
            (outcome, _) => outcome,
        }
    }
}

/// Returns once somebody asks to stop.
pub(super) async fn asked(stops: &mut mpsc::Receiver<()>) {
    if stops.recv().await.is_none() {
        // Nobody is left who could ask.
        pending::<()>().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
