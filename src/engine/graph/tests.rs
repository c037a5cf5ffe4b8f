//! Small graphs, and what is asked of them.

use super::*;
use crate::check::Respect;
use crate::unit::JobKind;

fn unit(name: &str) -> UnitName {
    UnitName::new(&format!("{name}.service")).unwrap()
}

fn now(seconds: u64) -> Now {
    Now { mono: at(seconds), wall: crate::time::Wall::default() }
}

fn at(seconds: u64) -> Mono {
    Mono(Duration::from_secs(seconds))
}

fn state(active: ActiveState, requires: &[&str], conflicts: &[&str]) -> Arc<UnitState> {
    let names = |names: &[&str]| names.iter().map(|name| unit(name)).collect();
    let relations = Relations {
        binds_to: names(requires),
        requires: names(requires),
        conflicts: names(conflicts),
        ..Relations::default()
    };
    let relations = (!relations.is_empty()).then(|| Arc::new(relations));
    Arc::new(UnitState { active, relations, ..UnitState::default() })
}

fn with_job(state: Arc<UnitState>, kind: JobKind) -> Arc<UnitState> {
    let job = Some(crate::unit::Job { id: 1, kind, ours: false });
    Arc::new(UnitState { job, ..(*state).clone() })
}

fn set_monitored(graph: &mut Graph, names: &[&str]) {
    graph.set_monitored(
        Now::default(),
        &names.iter().map(|name| (unit(name), false)).collect(),
        BTreeMap::new(),
    );
}

fn graph(monitored: &[&str]) -> Graph {
    let mut graph = Graph::default();
    set_monitored(&mut graph, monitored);
    graph
}

fn wanted(graph: &mut Graph) -> Option<Vec<String>> {
    let texts = |names: BTreeSet<UnitName>| names.iter().map(ToString::to_string).collect();
    graph.take_changed().then(|| texts(graph.wanted().cloned().collect()))
}

use ActiveState::{Active, Inactive};

#[test]
fn wanted_units_follow_edges() {
    let mut graph = graph(&["app"]);
    assert_eq!(wanted(&mut graph).unwrap(), ["app.service"]);
    assert_eq!(wanted(&mut graph), None, "told once");
    graph.read(now(1), &unit("app"), &state(Active, &["pool"], &["renew"]));
    assert_eq!(wanted(&mut graph).unwrap(), ["app.service", "pool.service", "renew.service"]);
    assert!(!graph.is_known(&unit("app")));
    // Through a unit that nobody guards; what conflicts with what is needed; but not what the others' rivals need.
    graph.read(now(1), &unit("pool"), &state(Active, &["db"], &["rival"]));
    graph.read(now(1), &unit("renew"), &state(Inactive, &["network"], &["app"]));
    assert_eq!(
        wanted(&mut graph).unwrap(),
        ["app.service", "db.service", "pool.service", "renew.service", "rival.service"]
    );
    for name in ["db", "rival"] {
        graph.read(now(1), &unit(name), &state(Active, &[], &[]));
    }
    assert!(graph.is_known(&unit("app")));
    assert_eq!(graph.requiring(&unit("db")), [unit("app")]);
    assert_eq!(graph.requiring(&unit("rival")), []);
    graph.read(now(2), &unit("app"), &state(Active, &[], &["renew"]));
    assert_eq!(wanted(&mut graph).unwrap(), ["app.service", "renew.service"]);
    assert_eq!(graph.requiring(&unit("db")), []);
    set_monitored(&mut graph, &[]);
    assert_eq!(wanted(&mut graph).unwrap(), Vec::<String>::new());
}

#[test]
fn circle_of_requirements_ends() {
    let mut graph = graph(&["a", "b"]);
    graph.read(now(1), &unit("a"), &state(Active, &["b"], &[]));
    graph.read(now(1), &unit("b"), &state(Active, &["c"], &[]));
    graph.read(now(1), &unit("c"), &state(Active, &["a"], &[]));
    assert_eq!(graph.required(&unit("a")), BTreeSet::from([unit("b"), unit("c")]));
    assert_eq!(graph.required(&unit("b")), BTreeSet::from([unit("a"), unit("c")]));
    assert_eq!(graph.requiring(&unit("a")), [unit("b")]);
}

#[test]
fn conflicting_unit_up_or_queued_is_in_the_way() {
    let mut graph = graph(&["web"]);
    graph.read(now(1), &unit("web"), &state(Inactive, &["base"], &["renew"]));
    let way = |graph: &Graph| graph.in_the_way_of(&unit("web")).map(|(by, since)| (by, since.0.as_secs()));
    assert_eq!(way(&graph), None, "not read yet");
    graph.read(now(2), &unit("renew"), &state(Inactive, &[], &["web"]));
    assert_eq!(way(&graph), None);
    graph.read(now(3), &unit("renew"), &with_job(state(Inactive, &[], &["web"]), JobKind::Start));
    assert_eq!(way(&graph), Some((unit("renew"), 3)));
    graph.read(now(4), &unit("renew"), &state(ActiveState::Activating, &[], &["web"]));
    graph.read(now(5), &unit("renew"), &state(ActiveState::Deactivating, &[], &["web"]));
    assert_eq!(way(&graph), Some((unit("renew"), 3)), "since it was announced");
    graph.read(now(6), &unit("renew"), &state(ActiveState::Failed, &[], &["web"]));
    assert_eq!(way(&graph), None);
    // What is needed would be started as well, if it is down.
    graph.read(now(7), &unit("base"), &state(Inactive, &[], &["rival"]));
    graph.read(now(8), &unit("rival"), &state(Active, &[], &["base"]));
    assert_eq!(way(&graph), Some((unit("rival"), 8)));
    graph.read(now(9), &unit("base"), &state(Active, &[], &["rival"]));
    assert_eq!(way(&graph), None);
}

#[test]
fn fall_together_is_seen_in_any_order() {
    for app_first in [true, false] {
        let mut graph = graph(&["app"]);
        graph.read(now(1), &unit("app"), &state(Active, &["db"], &[]));
        graph.read(now(1), &unit("db"), &state(Active, &[], &[]));
        let falling = with_job(state(ActiveState::Deactivating, &["db"], &[]), JobKind::Stop);
        if app_first {
            graph.read(now(10), &unit("app"), &falling);
            assert!(graph.fell_with(&unit("app")).is_none());
            graph.read(now(12), &unit("db"), &state(ActiveState::Failed, &[], &[]));
        } else {
            graph.read(now(10), &unit("db"), &state(ActiveState::Failed, &[], &[]));
            graph.read(now(12), &unit("app"), &falling);
        }
        assert!(graph.fell_with(&unit("app")).is_some());
        graph.read(now(13), &unit("app"), &state(Active, &["db"], &[]));
        graph.read(now(60), &unit("app"), &falling);
        assert!(graph.fell_with(&unit("app")).is_none(), "that is another story");
        // Somebody restarts the one and stops the other.
        graph.read(now(70), &unit("app"), &state(Active, &["db"], &[]));
        graph.read(now(70), &unit("db"), &state(Active, &[], &[]));
        graph.read(now(80), &unit("db"), &with_job(state(Active, &[], &[]), JobKind::Restart));
        graph.read(now(80), &unit("app"), &falling);
        assert!(graph.fell_with(&unit("app")).is_none(), "a restart leaves nothing stopped");
    }
}

#[test]
fn start_would_start_wanted_unit_that_operator_stopped() {
    let wants = |active: ActiveState| {
        let relations = Relations { wants: vec![unit("db")], ..Relations::default() };
        Arc::new(UnitState { active, relations: Some(Arc::new(relations)), ..UnitState::default() })
    };
    let mut graph = graph(&["shop"]);
    graph.read(now(1), &unit("shop"), &wants(Active));
    graph.read(now(1), &unit("db"), &state(Active, &[], &[]));
    assert_eq!(graph.would_start(now(0).mono, &unit("shop"), false, Respect::Forever), None);
    graph.read(now(2), &unit("db"), &state(Inactive, &[], &[]));
    assert_eq!(
        graph.would_start(now(0).mono, &unit("shop"), false, Respect::Forever),
        None,
        "it ended by itself"
    );
    graph.read(now(3), &unit("db"), &state(Active, &[], &[]));
    let stop = Some(crate::unit::Job { id: 1, kind: JobKind::Stop, ours: false });
    let stopped = UnitState { stopped_by: stop, ..(*state(Inactive, &[], &[])).clone() };
    graph.read(now(4), &unit("db"), &Arc::new(stopped));
    assert_eq!(graph.would_start(now(0).mono, &unit("shop"), false, Respect::Forever), Some(unit("db")));
}
