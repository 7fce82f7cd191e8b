//! `sabir serve`: from settings to a running server and to its end.

use std::fs::DirBuilder;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use sabir_broker::Broker;
use sabir_broker::caller::Caller;
use sabir_broker::clock::{Clock, Now};
use sabir_broker::namespace::{self, DEFAULT_NAME};
use sabir_broker::policy::Identity;
use sabir_broker::quota::Quota;
use sabir_net::clock::SystemClock;
use sabir_net::gate::{Gate, GateSettings, connections_by_descriptors};
use sabir_net::listener::{Listener, Parts, STALL_MAX, bind_all};
use sabir_net::random::SystemRandom;

use crate::admin::shapes::Exposed;
use crate::admin::{self, Admin};
use crate::config::settings::{ListenerSettings, Settings};
use crate::config::{Config, Inputs};
use crate::exposure;
use crate::logging::{self, LogLevel};
use crate::metrics::Source;
use crate::protocols::{self, Serve};
use crate::shutdown::{Signals, Wish};
use crate::{herald, holder, ready, ticker};

/// How long connections may take to finish once the server stops; it has to be gone after 5 s.
const DRAIN_MAX: Duration = Duration::from_secs(4);

/// Sockets of one listener, bound but not yet accepted from.
struct Bound {
    settings: ListenerSettings,
    sockets: Vec<TcpListener>,
}

/// Serves until told to stop.
pub fn run(inputs: &Inputs, ready_file: Option<PathBuf>) -> Result<()> {
    let began = Instant::now();
    let config = Config::load(inputs)?;
    let settings = Settings::new(&config);
    exposure::check(&settings.listeners)?;
    let level = logging::start(settings.log_format, settings.log_level);
    for name in &config.ignored {
        tracing::warn!(name, "the environment has a name that is no setting");
    }
    let bound = bind(&settings.listeners)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve(inputs, &config, settings, bound, level, ready_file, began));
    // Whoever has not left by now is cut off.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn serve(
    inputs: &Inputs,
    config: &Config,
    settings: Settings,
    bound: Vec<Bound>,
    level: LogLevel,
    ready_file: Option<PathBuf>,
    began: Instant,
) -> Result<()> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let broker = open_broker(&settings)?;
    let heralding = herald::start(&broker);
    broker.start(clock.clone()).context("cannot start the threads of the broker")?;
    let ticking = ticker::start(broker.clone(), clock.clone());
    let admin = Admin::new(broker.clone(), clock.clone(), settings.kafka.default_partitions);
    let listeners = start(&settings, bound, &broker, &clock, &admin)?;
    let rows = exposed(&settings, &listeners);
    admin.set_ready(listeners.iter().map(source).collect(), rows.clone());
    announce(&settings, &rows, ready_file.as_deref(), began)?;
    while signals.next().await == Wish::Reload {
        reload(inputs, config, &level);
    }
    tracing::info!("stopping");
    admin.set_stopping();
    tokio::select! {
        () = drain(listeners) => {}
        () = signals.stop() => {
            tracing::warn!("stopping at once");
            std::process::exit(1);
        }
    }
    ticking.abort();
    broker.close();
    heralding.abort();
    tracing::info!("stopped");
    Ok(())
}

fn open_broker(settings: &Settings) -> Result<Arc<Broker>> {
    let data = &settings.data_dir;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let broker = Broker::open(data, settings.broker(), &mut SystemRandom::default());
    broker.map_err(|error| {
        let at = data.display();
        let hint = if error.is_damage() {
            format!(
                "\n`sabir repair {at}` says what can be saved and what is lost; it changes nothing \
                 unless it is told to"
            )
        } else {
            String::new()
        };
        anyhow!("cannot open the data directory {at}: {error}{hint}")
    })
}

/// Takes every port before anything else begins: most mistakes show here.
fn bind(listeners: &[ListenerSettings]) -> Result<Vec<Bound>> {
    listeners
        .iter()
        .map(|listener| {
            let mut sockets = Vec::new();
            for address in &listener.addresses {
                let taken = bind_all(&address.ips, address.port);
                sockets.extend(taken.map_err(|(at, error)| cannot_bind(listener, at, &error))?);
            }
            Ok(Bound { settings: listener.clone(), sockets })
        })
        .collect()
}

fn cannot_bind(
    listener: &ListenerSettings,
    at: SocketAddr,
    error: &std::io::Error,
) -> anyhow::Error {
    let (name, port) = (&listener.name, at.port());
    let free = SocketAddr::new(at.ip(), 0);
    if error.kind() != std::io::ErrorKind::AddrInUse {
        return anyhow!("cannot listen on {at} (listener {name}): {error}");
    }
    let by = holder::of(at).unwrap_or_else(|| "another process".to_owned());
    anyhow!(
        "cannot listen on {at} (listener {name}): port {port} is taken by {by}; stop it, or choose \
         another port with --listen {name}=IP:PORT ({name}={free} picks a free one)"
    )
}

fn start(
    settings: &Settings,
    bound: Vec<Bound>,
    broker: &Arc<Broker>,
    clock: &Arc<dyn Clock>,
    admin: &Arc<Admin>,
) -> Result<Vec<Listener>> {
    let by_descriptors = connections_by_descriptors();
    let gate = Gate::new(GateSettings {
        connections_max: settings.connections_max.unwrap_or(by_descriptors).min(by_descriptors),
        connections_per_address_max: settings.connections_per_address_max,
    });
    let mut listeners = Vec::new();
    for Bound { settings: listener, sockets } in bound {
        let parts = Parts {
            name: listener.name.clone(),
            broker: broker.clone(),
            clock: clock.clone(),
            gate: gate.clone(),
            advertise: listener.advertise,
            stall_max: STALL_MAX,
        };
        let protocol = protocols::find(listener.protocol).expect("settings name a known one");
        listeners.push(match protocol.serve {
            Serve::Stream(make) => {
                let namespace = listener.namespace.as_deref().unwrap_or(DEFAULT_NAME);
                make_namespace(broker, clock.now(), &listener.name, namespace)?;
                Listener::start(sockets, parts, make(settings, broker, namespace))?
            }
            Serve::Admin => sabir_net::http::start(sockets, parts, admin::router(admin))?,
        });
    }
    Ok(listeners)
}

/// Makes the namespace of a listener unless it is there. Refusing the start instead would have a
/// new server started twice: namespaces are otherwise made through its admin API.
fn make_namespace(broker: &Arc<Broker>, now: Now, listener: &str, name: &str) -> Result<()> {
    if broker.namespace(name).is_some() {
        return Ok(());
    }
    let caller = Caller::new(broker.clone(), Identity::anonymous(), namespace::DEFAULT);
    // Whoever is told of something in it waits for a later effect, and so for this one.
    caller
        .declare_namespace(now, name, Quota::default())
        .with_context(|| format!("cannot make the namespace {name:?} of listener {listener}"))?;
    tracing::info!(listener, namespace = name, "made a namespace that was not there");
    Ok(())
}

fn source(listener: &Listener) -> Source {
    Source { listener: listener.name().clone(), counters: listener.counters().clone() }
}

fn exposed(settings: &Settings, listeners: &[Listener]) -> Vec<Exposed> {
    let mut rows = Vec::new();
    for (listener, settings) in listeners.iter().zip(&settings.listeners) {
        let advertise = settings.advertise.as_deref();
        let row = |address: &SocketAddr| Exposed {
            namespace: settings.namespace.as_deref().map(str::to_owned),
            ..exposure::row(listener.name(), settings.protocol, *address, advertise)
        };
        rows.extend(listener.addresses().iter().map(row));
    }
    rows
}

/// Tells people and programs where the server listens.
fn announce(
    settings: &Settings,
    rows: &[Exposed],
    ready_file: Option<&Path>,
    began: Instant,
) -> Result<()> {
    print!("{}", exposure::table(rows));
    let took = began.elapsed().as_secs_f64() * 1000.0;
    let data = settings.data_dir.display();
    println!("sabir {} ready in {took:.1} ms, data in {data}", env!("CARGO_PKG_VERSION"));
    if let Some(path) = ready_file {
        let addresses: Vec<(&str, &str)> =
            rows.iter().map(|row| (&*row.listener, &*row.address)).collect();
        ready::write(path, &addresses)
            .with_context(|| format!("cannot write the ready file {}", path.display()))?;
    }
    Ok(())
}

/// Reads the settings again, takes over what can be, and says what cannot.
fn reload(inputs: &Inputs, running: &Config, level: &LogLevel) {
    let config = match Config::load(inputs) {
        Ok(config) => config,
        Err(problems) => {
            tracing::error!(%problems, "settings not reloaded, the old ones stay");
            return;
        }
    };
    level.set(Settings::new(&config).log_level);
    for change in crate::config::changes(running, &config) {
        let key = change.path;
        match change.reload {
            true => tracing::info!(key, "setting reloaded"),
            false => tracing::warn!(key, "setting changed, but takes effect at the next start"),
        }
    }
    tracing::info!("settings reloaded");
}

async fn drain(listeners: Vec<Listener>) {
    let draining: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let name = listener.name().clone();
            let left = tokio::spawn(listener.drain(DRAIN_MAX));
            (name, left)
        })
        .collect();
    for (listener, left) in draining {
        if !left.await.unwrap_or(false) {
            tracing::warn!(%listener, "connections were cut off");
        }
    }
}
