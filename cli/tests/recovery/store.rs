//! A state store that dies, hangs or stumbles at a chosen operation of one run.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tidewatch_dataflow::checkpoint::{ObjectInfo, StateStore, StoreError};
use tidewatch_dataflow::testing::MemoryStore;

/// What happens at the chosen operation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before it.
    Before,
    /// The process dies after it.
    After,
    /// It hangs until [`Gate::thaw`], and is then carried out, as are all that follow.
    Freeze,
    /// It fails and is not carried out; the next one works.
    Refused,
    /// It seems to fail and is carried out; the next one works.
    Unsure,
}

struct State {
    left: Option<(u64, Fault)>,
    operations: u64,
    dead: bool,
    frozen: bool,
    blown: bool,
}

struct Inner {
    store: MemoryStore,
    state: Mutex<State>,
    thawed: Condvar,
    on_death: Box<dyn Fn() + Send + Sync>,
}

/// One run's way to the store.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

/// A run that nobody thaws is a fault of the test.
const FROZEN_MAX: Duration = Duration::from_secs(20);

impl Gate {
    /// A way to `store` on which the operation after the first `n` meets `fault`; `on_death` is called when the
    /// process is to die.
    pub fn new(
        store: &MemoryStore,
        fault: Option<(u64, Fault)>,
        on_death: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let state = State { left: fault, operations: 0, dead: false, frozen: false, blown: false };
        Gate(Arc::new(Inner {
            store: store.clone(),
            state: Mutex::new(state),
            thawed: Condvar::new(),
            on_death: Box::new(on_death),
        }))
    }

    /// From now on nothing reaches the store.
    pub fn kill(&self) {
        let mut state = self.0.state.lock().unwrap();
        state.dead = true;
        state.frozen = false;
        drop(state);
        self.0.thawed.notify_all();
        (self.0.on_death)();
    }

    /// What hangs is carried out.
    pub fn thaw(&self) {
        self.0.state.lock().unwrap().frozen = false;
        self.0.thawed.notify_all();
    }

    /// Whether the fault has happened.
    pub fn is_blown(&self) -> bool {
        self.0.state.lock().unwrap().blown
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.0.state.lock().unwrap().dead
    }

    /// How many operations have begun.
    pub fn operations(&self) -> u64 {
        self.0.state.lock().unwrap().operations
    }

    fn pass<T>(
        &self,
        action: &'static str,
        name: &str,
        work: impl FnOnce(&MemoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = || StoreError::Failed {
            action,
            name: name.to_owned(),
            source: "the process is dead, or the store is".into(),
        };
        let mut state = self.0.state.lock().unwrap();
        if state.dead {
            return Err(failed());
        }
        state.operations += 1;
        let fault = match &mut state.left {
            Some((0, fault)) => Some(*fault),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        if fault.is_some() {
            state.left = None;
            state.blown = true;
        }
        match fault {
            None => {
                drop(state);
                work(&self.0.store)
            }
            Some(Fault::Before) => {
                state.dead = true;
                drop(state);
                (self.0.on_death)();
                Err(failed())
            }
            Some(Fault::After) => {
                state.dead = true;
                drop(state);
                (self.0.on_death)();
                let _ = work(&self.0.store);
                Err(failed())
            }
            Some(Fault::Freeze) => {
                state.frozen = true;
                let deadline = Instant::now() + FROZEN_MAX;
                while state.frozen {
                    assert!(Instant::now() < deadline, "nobody thaws the store");
                    state = self.0.thawed.wait_timeout(state, FROZEN_MAX).unwrap().0;
                }
                if state.dead {
                    return Err(failed());
                }
                drop(state);
                work(&self.0.store)
            }
            Some(Fault::Refused) => Err(failed()),
            Some(Fault::Unsure) => {
                drop(state);
                let _ = work(&self.0.store);
                Err(failed())
            }
        }
    }
}

impl StateStore for Gate {
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.pass("create", name, |store| store.create(name, content))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.pass("read", name, |store| store.read(name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.pass("list", prefix, |store| store.list(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.pass("delete", name, |store| store.delete(name))
    }
}
