use super::*;

fn list_pods(user: &str, namespace: &str) -> Attributes {
    Attributes {
        user: Arc::new(UserInfo::new(user, &[])),
        verb: "list".into(),
        version: "v1".into(),
        resource: "pods".into(),
        namespace: namespace.into(),
        is_resource: true,
        ..Attributes::default()
    }
}

#[test]
fn a_refusal_says_who_may_not_do_what_where() {
    let cases = [
        (
            list_pods("x", "y"),
            "",
            "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"y\"",
        ),
        (
            Attributes {
                verb: "get".into(),
                group: "apps".into(),
                resource: "deployments".into(),
                subresource: "scale".into(),
                name: "d".into(),
                ..list_pods("x", "")
            },
            "because",
            "deployments.apps \"d\" is forbidden: User \"x\" cannot get resource \"deployments/scale\" in API group \"apps\" at the cluster scope: because",
        ),
        (
            Attributes {
                verb: "get".into(),
                is_resource: false,
                path: "/metrics".into(),
                ..list_pods("system:anonymous", "")
            },
            "",
            "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"",
        ),
    ];
    for (attributes, reason, expected) in cases {
        let status = attributes.forbidden(reason);
        assert_eq!(status.message, expected);
        assert_eq!((status.code, &*status.reason), (403, "Forbidden"));
    }
}

struct Fixed(Decision);

#[async_trait]
impl Authorizer for Fixed {
    async fn authorize(&self, _attributes: &Attributes) -> Decision {
        self.0.clone()
    }
}

#[tokio::test]
async fn the_first_opinion_decides() {
    let ask = async |decisions: Vec<Decision>| {
        let members = decisions
            .into_iter()
            .map(|decision| Arc::new(Fixed(decision)) as Arc<dyn Authorizer>)
            .collect();
        Union::new(members).authorize(&list_pods("x", "y")).await
    };
    let (yes, no, unsure) = (
        Decision::allow("yes"),
        Decision::deny("no"),
        Decision::no_opinion("unsure"),
    );
    assert_eq!(
        ask(vec![unsure.clone(), yes.clone(), no.clone()]).await,
        yes
    );
    assert_eq!(ask(vec![no.clone(), yes]).await, no);
    assert_eq!(
        ask(vec![unsure.clone(), unsure]).await.reason(),
        "unsure\nunsure"
    );
    assert!(!ask(Vec::new()).await.is_allowed());
}

#[tokio::test]
async fn masters_may_do_everything() {
    let mut attributes = list_pods("x", "y");
    assert!(
        !PrivilegedGroups::default()
            .authorize(&attributes)
            .await
            .is_allowed()
    );
    attributes.user = Arc::new(UserInfo::new("x", &[MASTERS]));
    assert!(
        PrivilegedGroups::default()
            .authorize(&attributes)
            .await
            .is_allowed()
    );
}
