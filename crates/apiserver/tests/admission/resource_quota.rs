//! Quotas, with several servers charging them at once.

use crate::world::{World, refusal};
use serde_json::{Value, json};

const ROOM: usize = 7;

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}})
}

async fn with_quota(world: &World, hard: Value) {
    let quota = json!({
        "metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard},
    });
    let admin = world.admin();
    admin.make("v1/resourcequotas", quota).await;
    let none: serde_json::Map<String, Value> = hard
        .as_object()
        .expect("a map")
        .keys()
        .map(|name| (name.clone(), "0".into()))
        .collect();
    let status = json!({"status": {"hard": hard, "used": none}});
    admin
        .patch_status("v1/resourcequotas", "default/q", status)
        .await
        .expect("a status");
}

async fn used(world: &World, name: &str) -> String {
    let quota = world.admin().get("v1/resourcequotas", "default/q").await;
    let used = quota.get(&["status", "used", name]);
    used.and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_charge_at_once_never_give_the_same_room_twice() {
    let first = World::start().await;
    with_quota(&first, json!({"configmaps": ROOM.to_string()})).await;
    let second = first.another();
    second
        .server
        .registry()
        .cache()
        .wait_for(1, std::time::Duration::from_secs(10))
        .await;
    let attempts = (0..4 * ROOM).map(|at| {
        let world = if at % 2 == 0 { &first } else { &second };
        let admin = world.admin();
        tokio::spawn(async move {
            let made = admin
                .create("v1/configmaps", config_map(&format!("c{at}")))
                .await;
            made.map(|_| ())
        })
    });
    let mut made = 0;
    for outcome in futures::future::join_all(attempts).await {
        match outcome.expect("no panic") {
            Ok(()) => made += 1,
            refused => {
                let why = refusal(refused);
                let wanted = "exceeded quota: q, requested: configmaps=1, used: configmaps=7, limited: configmaps=7";
                assert!(why.ends_with(wanted), "{why}");
            }
        }
    }
    assert_eq!(made, ROOM);
    assert_eq!(used(&first, "configmaps").await, ROOM.to_string());
}

#[tokio::test]
async fn nothing_is_charged_for_a_dry_run_or_what_is_refused() {
    let world = World::start().await;
    with_quota(&world, json!({"configmaps": "3", "count/configmaps": "1"})).await;
    let admin = world.admin();
    let nameless = json!({"metadata": {"name": "Not a name", "namespace": "default"}});
    admin
        .create("v1/configmaps", nameless)
        .await
        .expect_err("invalid");
    assert_eq!(used(&world, "configmaps").await, "0");
    admin.make("v1/configmaps", config_map("a")).await;
    refusal(admin.create("v1/configmaps", config_map("b")).await);
    assert_eq!(used(&world, "configmaps").await, "1");
}
