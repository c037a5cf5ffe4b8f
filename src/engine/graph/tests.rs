//! Small graphs, and what is asked of them.

use super::*;
use crate::time::Wall;

fn unit(name: &str) -> UnitName {
    UnitName::new(&format!("{name}.service")).unwrap()
}

fn at(seconds: u64) -> Now {
    Now { mono: Mono(Duration::from_secs(seconds)), wall: Wall(0) }
}

fn state(active: ActiveState, requires: &[&str], conflicts: &[&str]) -> UnitState {
    let names = |names: &[&str]| names.iter().map(|name| unit(name)).collect();
    let relations =
        Relations { requires: names(requires), conflicts: names(conflicts), ..Relations::default() };
    let relations = (!relations.is_empty()).then(|| Arc::new(relations));
    UnitState { active, relations, ..UnitState::default() }
}

fn graph(guarded: &[&str]) -> Graph {
    let mut graph = Graph::default();
    graph.guard(guarded.iter().map(|name| unit(name)));
    graph
}

fn wanted(graph: &mut Graph) -> Option<Vec<String>> {
    let texts = |names: BTreeSet<UnitName>| names.iter().map(ToString::to_string).collect();
    graph.take_changed().then(|| texts(graph.wanted().cloned().collect()))
}

use ActiveState::{Active, Inactive};

#[test]
fn what_is_wanted_grows_along_the_edges_and_shrinks_with_them() {
    let mut graph = graph(&["app"]);
    assert_eq!(wanted(&mut graph).unwrap(), ["app.service"]);
    assert_eq!(wanted(&mut graph), None, "told once");
    graph.read(at(1), &unit("app"), &state(Active, &["pool"], &["renew"]));
    assert_eq!(wanted(&mut graph).unwrap(), ["app.service", "pool.service", "renew.service"]);
    assert!(!graph.is_known(&unit("app")));
    // Through a unit that nobody guards; what conflicts with what is needed; but not what the others' rivals need.
    graph.read(at(1), &unit("pool"), &state(Active, &["db"], &["rival"]));
    graph.read(at(1), &unit("renew"), &state(Inactive, &["network"], &["app"]));
    assert_eq!(
        wanted(&mut graph).unwrap(),
        ["app.service", "db.service", "pool.service", "renew.service", "rival.service"]
    );
    for name in ["db", "rival"] {
        graph.read(at(1), &unit(name), &state(Active, &[], &[]));
    }
    assert!(graph.is_known(&unit("app")));
    assert_eq!(graph.requiring(&unit("db")), [unit("app")]);
    assert_eq!(graph.requiring(&unit("rival")), []);
    graph.read(at(2), &unit("app"), &state(Active, &[], &["renew"]));
    assert_eq!(wanted(&mut graph).unwrap(), ["app.service", "renew.service"]);
    assert_eq!(graph.requiring(&unit("db")), []);
    graph.guard([].into_iter());
    assert_eq!(wanted(&mut graph).unwrap(), Vec::<String>::new());
}

#[test]
fn a_circle_ends_and_nobody_needs_himself() {
    let mut graph = graph(&["a", "b"]);
    graph.read(at(1), &unit("a"), &state(Active, &["b"], &[]));
    graph.read(at(1), &unit("b"), &state(Active, &["c"], &[]));
    graph.read(at(1), &unit("c"), &state(Active, &["a"], &[]));
    assert_eq!(graph.required(&unit("a")), BTreeSet::from([unit("b"), unit("c")]));
    assert_eq!(graph.required(&unit("b")), BTreeSet::from([unit("a"), unit("c")]));
    assert_eq!(graph.requiring(&unit("a")), [unit("b")]);
}

#[test]
fn what_is_up_or_about_to_be_stands_in_the_way() {
    let mut graph = graph(&["web"]);
    graph.read(at(1), &unit("web"), &state(Inactive, &["base"], &["renew"]));
    let way = |graph: &Graph| graph.in_the_way_of(&unit("web")).map(|(by, since)| (by, since.0.as_secs()));
    assert_eq!(way(&graph), None, "not read yet");
    graph.read(at(2), &unit("renew"), &state(Inactive, &[], &["web"]));
    assert_eq!(way(&graph), None);
    let job = Some(crate::unit::Job { id: 1, kind: JobKind::Start, ours: false });
    graph.read(at(3), &unit("renew"), &UnitState { job, ..state(Inactive, &[], &["web"]) });
    assert_eq!(way(&graph), Some((unit("renew"), 3)));
    graph.read(at(4), &unit("renew"), &state(ActiveState::Activating, &[], &["web"]));
    graph.read(at(5), &unit("renew"), &state(ActiveState::Deactivating, &[], &["web"]));
    assert_eq!(way(&graph), Some((unit("renew"), 3)), "since it was announced");
    graph.read(at(6), &unit("renew"), &state(ActiveState::Failed, &[], &["web"]));
    assert_eq!(way(&graph), None);
    // What is needed would be started as well, if it is down.
    graph.read(at(7), &unit("base"), &state(Inactive, &[], &["rival"]));
    graph.read(at(8), &unit("rival"), &state(Active, &[], &["base"]));
    assert_eq!(way(&graph), Some((unit("rival"), 8)));
    graph.read(at(9), &unit("base"), &state(Active, &[], &["rival"]));
    assert_eq!(way(&graph), None);
}

#[test]
fn what_falls_together_is_known_in_any_order_of_readings() {
    let job = Some(crate::unit::Job { id: 1, kind: JobKind::Stop, ours: false });
    for app_first in [true, false] {
        let mut graph = graph(&["app"]);
        graph.read(at(1), &unit("app"), &state(Active, &["db"], &[]));
        graph.read(at(1), &unit("db"), &state(Active, &[], &[]));
        let falling = UnitState { job, ..state(ActiveState::Deactivating, &["db"], &[]) };
        if app_first {
            graph.read(at(10), &unit("app"), &falling);
            assert!(!graph.fell_with_required(&unit("app")));
            graph.read(at(12), &unit("db"), &state(ActiveState::Failed, &[], &[]));
        } else {
            graph.read(at(10), &unit("db"), &state(ActiveState::Failed, &[], &[]));
            graph.read(at(12), &unit("app"), &falling);
        }
        assert!(graph.fell_with_required(&unit("app")));
        graph.read(at(13), &unit("app"), &state(Active, &["db"], &[]));
        graph.read(at(60), &unit("app"), &falling);
        assert!(!graph.fell_with_required(&unit("app")), "that is another story");
        // Somebody restarts the one and stops the other.
        graph.read(at(70), &unit("app"), &state(Active, &["db"], &[]));
        graph.read(at(70), &unit("db"), &state(Active, &[], &[]));
        let restart = Some(crate::unit::Job { id: 2, kind: JobKind::Restart, ours: false });
        graph.read(at(80), &unit("db"), &UnitState { job: restart, ..state(Active, &[], &[]) });
        graph.read(at(80), &unit("app"), &falling);
        assert!(!graph.fell_with_required(&unit("app")), "a restart leaves nothing stopped");
    }
}
