use super::*;
use serde_json::json;
use std::sync::Arc;

fn node(name: &str, address: &str, range: &str) -> SharedObject {
    let tree = json!({
        "metadata": {"name": name},
        "spec": {"podCIDR": range, "podCIDRs": [range]},
        "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]},
    });
    Arc::new(Object::from_value(tree).expect("a map"))
}

fn facts() -> Facts {
    Facts {
        networks: vec!["192.0.2.0/24".parse().expect("a network")],
    }
}

fn desired(nodes: &[SharedObject]) -> Desired {
    Desired::build(&peers(nodes, "a"), &facts())
}

#[test]
fn neighbours_are_reached_directly_and_others_through_the_tunnel() {
    let nodes = [
        node("a", "192.0.2.1", "10.244.0.0/24"),
        node("b", "192.0.2.2", "10.244.1.0/24"),
        node("c", "198.51.100.3", "10.244.2.0/24"),
        node("new", "192.0.2.4", ""),
        node("odd", "nonsense", "10.244.9.0/24"),
        node("twin", "192.0.2.5", "10.244.1.0/24"),
    ];
    let actions = plan(&Desired::default(), &desired(&nodes));
    let route = |destination: &str, gateway: &str, tunnel| {
        Action::AddRoute(Route {
            destination: destination.parse().expect("a range"),
            gateway: gateway.parse().expect("an address"),
            tunnel,
        })
    };
    assert_eq!(
        actions,
        [
            Action::AddTunnel(Tunnel {
                node: "198.51.100.3".parse().expect("an address"),
                inner: "10.244.2.0".parse().expect("an address"),
            }),
            route("10.244.1.0/24", "192.0.2.2", false),
            route("10.244.2.0/24", "10.244.2.0", true),
        ]
    );
}

#[test]
fn a_plan_carried_out_leaves_nothing_to_do() {
    let a = node("a", "192.0.2.1", "10.244.0.0/24");
    let states = [
        vec![a.clone()],
        vec![a.clone(), node("b", "192.0.2.2", "10.244.1.0/24")],
        vec![a.clone(), node("b", "192.0.2.3", "10.244.1.0/24")],
        vec![a.clone(), node("b", "198.51.100.3", "10.244.1.0/24")],
        vec![a, node("c", "198.51.100.4", "10.244.1.0/24")],
    ];
    for from in &states {
        for to in &states {
            let (mut there, wanted) = (desired(from), desired(to));
            for action in plan(&there, &wanted) {
                match action {
                    Action::AddRoute(route) => {
                        // The kernel replaces the route to the same destination.
                        there
                            .routes
                            .retain(|old| old.destination != route.destination);
                        there.routes.insert(route);
                    }
                    Action::RemoveRoute(route) => assert!(there.routes.remove(&route)),
                    Action::AddTunnel(tunnel) => assert!(there.tunnels.insert(tunnel)),
                    Action::RemoveTunnel(tunnel) => assert!(there.tunnels.remove(&tunnel)),
                }
            }
            assert_eq!(there, wanted);
        }
    }
}
