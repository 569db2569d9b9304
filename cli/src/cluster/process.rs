//! Manners of a process: it stops on signals, dies with its parent, and aborts on a panic.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::exit;
use crate::crumb;

/// The environment variable by which a supervisor tells its members who it is.
pub(super) const PARENT: &str = "TIDEWATCH_PARENT";
/// The environment variable by which a supervisor tells its members where to lay their crumbs.
pub(super) const CRUMBS: &str = "TIDEWATCH_CRUMBS";

/// Whether a supervisor started this process.
pub fn is_member() -> bool {
    std::env::var_os(PARENT).is_some()
}

/// The folder for crumbs, shared by all members of this machine and kept over restarts; `None` without a
/// supervisor, or when that has no folder.
pub fn crumbs() -> Option<PathBuf> {
    std::env::var_os(CRUMBS).filter(|_| is_member()).map(PathBuf::from)
}

/// Makes every panic abort the process. A member first leaves word of the group that the thread evaluates, if it
/// does.
///
/// In a cluster of threads a panicking worker would leave the others waiting for ever with a frontier
/// that stands still; a dead process is noticed and restarted.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if let Some(Err(error)) = crumbs().map(|dir| crumb::leave_word(&dir)) {
            tracing::warn!(%error, "could not leave word of the panic: a group that crashes us stays unknown");
        }
        std::process::abort();
    }));
}

/// When a supervisor started this process, makes the kernel kill it when the supervisor dies, so that no
/// member outlives its cluster.
///
/// # Errors
/// When the kernel refuses, or the supervisor is gone already.
pub fn die_with_parent() -> anyhow::Result<()> {
    let Ok(parent) = std::env::var(PARENT) else { return Ok(()) };
    prctl::set_pdeathsig(Signal::SIGKILL).context("could not ask to die with the supervisor")?;
    // The parent may have died before the request: then nobody will send the signal.
    anyhow::ensure!(
        parent == getppid().to_string(),
        "the supervisor (process {parent}) is gone: start the run again"
    );
    Ok(())
}

/// Sets the returned flag on SIGTERM or Ctrl-C; a second one ends the process at once with code 130, unless
/// it has a supervisor, which kills it if need be.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop_on_signal(runtime: &tokio::runtime::Handle) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    set_on_signal(runtime, Arc::clone(&stop))?;
    Ok(stop)
}

/// As [`stop_on_signal`], for a flag that there is already. Until it is called a signal ends the process in
/// the middle of whatever it does, which a supervisor takes for a stop too.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn set_on_signal(
    runtime: &tokio::runtime::Handle,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let _guard = runtime.enter();
    let mut requests = stop_requests()?;
    runtime.spawn(async move {
        while requests.recv().await.is_some() {
            if stop.swap(true, Ordering::Relaxed) {
                if is_member() {
                    // The same wish over two ways: a service manager may signal all processes, of which
                    // the supervisor passes it on. It also does the killing if it comes to that.
                    continue;
                }
                tracing::warn!("asked twice to stop, leaving at once");
                std::process::exit(exit::FORCED.into());
            }
            tracing::info!("stopping: open windows are not fired");
        }
    });
    Ok(())
}

/// A message for each SIGTERM and each Ctrl-C. Must be called within a runtime.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop_requests() -> anyhow::Result<mpsc::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate()).context("could not handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not handle SIGINT")?;
    // Two say it all: stop, and stop at once.
    let (sender, requests) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "asked to stop");
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(requests)
}
