//! Acting as somebody else: the `Impersonate-*` headers.
//!
//! Each claimed name, group, UID and extra value is a question of its own to
//! the authorizer ("may this user impersonate that group?"); the request goes
//! on as the claimed user only if every answer is yes. Permissions may have
//! bounds: somebody may act as another for some deeds only (KEP-5284).

use crate::authz::{Attributes, Authorizer};
use crate::user::{AUTHENTICATED, Extra, UNAUTHENTICATED};
use crate::{UserInfo, user};
use http::HeaderMap;
use kontiki_object::Status;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Who the request claims to act as; `None` without such headers.
///
/// # Errors
/// 500, as upstream answers, if there are groups, a UID or extra without a user.
pub fn requested(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let one = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut extra = Extra::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let key = percent_decode(&key.to_ascii_lowercase());
            extra.entry(key).or_default().push(text(value));
        }
    }
    let claimed = UserInfo {
        name: one(USER),
        uid: one(UID),
        groups: headers.get_all(GROUP).iter().map(text).collect(),
        extra,
    };
    let has_rest =
        !claimed.groups.is_empty() || !claimed.extra.is_empty() || !claimed.uid.is_empty();
    match (claimed.name.is_empty(), has_rest) {
        (true, false) => Ok(None),
        (true, true) => Err(Status::internal(
            "requested impersonation without impersonating a user",
        )),
        (false, _) => Ok(Some(claimed)),
    }
}

/// Asks whether `actor` may act as `claimed` for `request` (which still names the
/// actor), and gives the user to go on as.
///
/// Constrained impersonation (KEP-5284) is asked for first: may the actor do
/// this as somebody else, and be this somebody? Whoever holds the older verb
/// `impersonate` may do anything as that user.
///
/// # Errors
/// 403 for the first question that was answered with no.
pub async fn impersonate(
    actor: &Arc<UserInfo>,
    claimed: UserInfo,
    request: &Attributes,
    authorizer: &dyn Authorizer,
) -> Result<UserInfo, Status> {
    let mut refused = None;
    for mode in Mode::of(&claimed) {
        let mut questions = Vec::new();
        if let Some(word) = mode.word() {
            let verb = format!("impersonate-on:{word}:{}", request.verb);
            questions.push(Attributes {
                user: actor.clone(),
                verb,
                ..request.clone()
            });
        }
        questions.extend(identity(actor, &claimed, *mode));
        match first_refusal(authorizer, questions).await {
            None => return Ok(complete(claimed)),
            Some(status) => refused = refused.or(Some(status)),
        }
    }
    Err(refused.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

async fn first_refusal(authorizer: &dyn Authorizer, questions: Vec<Attributes>) -> Option<Status> {
    for question in questions {
        let decision = authorizer.authorize(&question).await;
        if !decision.is_allowed() {
            return Some(question.forbidden(decision.reason()));
        }
    }
    None
}

/// A way to be allowed to act as somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    ServiceAccount,
    UserInfo,
    /// The verb `impersonate`, without bounds.
    Legacy,
}

impl Mode {
    /// Those that fit a claim, in the order in which they are asked for.
    fn of(claimed: &UserInfo) -> &'static [Self] {
        let is_bare =
            claimed.groups.is_empty() && claimed.uid.is_empty() && claimed.extra.is_empty();
        if claimed.service_account_name().is_some() {
            return match is_bare {
                true => &[Self::ServiceAccount, Self::Legacy],
                false => &[Self::Legacy],
            };
        }
        // Nodes and the all-powerful group are not to be had with bounds here.
        let is_node = claimed.name.starts_with("system:node:");
        if is_node || claimed.is_in(user::MASTERS) {
            return &[Self::Legacy];
        }
        &[Self::UserInfo, Self::Legacy]
    }

    /// As verbs name it.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::ServiceAccount => Some("serviceaccount"),
            Self::UserInfo => Some("user-info"),
            Self::Legacy => None,
        }
    }
}

/// May the actor be whom it claims to be?
fn identity(actor: &Arc<UserInfo>, claimed: &UserInfo, mode: Mode) -> Vec<Attributes> {
    const AUTHENTICATION: &str = "authentication.k8s.io";
    let (verb, group) = match mode.word() {
        Some(word) => (format!("impersonate:{word}"), AUTHENTICATION),
        None => ("impersonate".to_owned(), ""),
    };
    let ask =
        |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
            user: actor.clone(),
            verb: verb.clone(),
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            is_resource: true,
            ..Attributes::default()
        };
    let mut all = Vec::new();
    match claimed.service_account_name() {
        Some((namespace, name)) => all.push(ask(group, "serviceaccounts", "", namespace, name)),
        None => all.push(ask(group, "users", "", "", &claimed.name)),
    }
    for name in &claimed.groups {
        all.push(ask(group, "groups", "", "", name));
    }
    for (key, values) in &claimed.extra {
        for value in values {
            all.push(ask(AUTHENTICATION, "userextras", key, "", value));
        }
    }
    if !claimed.uid.is_empty() {
        all.push(ask(AUTHENTICATION, "uids", "", "", &claimed.uid));
    }
    all
}

/// Adds the groups that the claimed user's own credentials would have given.
fn complete(mut claimed: UserInfo) -> UserInfo {
    if claimed.groups.is_empty()
        && let Some((namespace, name)) = claimed.service_account_name()
    {
        claimed.groups = UserInfo::service_account(namespace, name, "").groups;
    }
    let everyone = if claimed.name == user::ANONYMOUS {
        UNAUTHENTICATED
    } else {
        AUTHENTICATED
    };
    if !claimed.is_in(AUTHENTICATED) && !claimed.is_in(UNAUTHENTICATED) {
        claimed.groups.push(everyone.to_owned());
    }
    claimed
}

/// Decodes `%2f` and the like; malformed escapes stay as they are.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Decision;
    use async_trait::async_trait;

    struct Only(&'static [(&'static str, &'static str)]);

    #[async_trait]
    impl Authorizer for Only {
        async fn authorize(&self, a: &Attributes) -> Decision {
            if a.verb == "impersonate" && self.0.contains(&(&*a.combined_resource(), &*a.name)) {
                return Decision::allow("");
            }
            Decision::no_opinion("")
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("a header value"));
        }
        map
    }

    #[tokio::test]
    async fn every_claim_is_asked_for() {
        let claimed = requested(&headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-extra-example.org%2fscope", "view"),
        ]))
        .expect("well-formed")
        .expect("claims somebody");
        assert_eq!(claimed.extra["example.org/scope"], ["view"]);
        let actor = Arc::new(UserInfo::new("boss", &[]));
        let all = Only(&[
            ("users", "jane"),
            ("groups", "dev"),
            ("userextras/example.org/scope", "view"),
        ]);
        let request = list_pods(&actor);
        let user = impersonate(&actor, claimed.clone(), &request, &all)
            .await
            .expect("allowed");
        assert_eq!(user.groups, ["dev", AUTHENTICATED]);
        let some = Only(&[("users", "jane"), ("userextras/example.org/scope", "view")]);
        let refused = impersonate(&actor, claimed, &request, &some)
            .await
            .expect_err("not the group");
        assert_eq!(
            refused.message,
            "pods is forbidden: User \"boss\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"ns\""
        );
    }

    fn list_pods(actor: &Arc<UserInfo>) -> Attributes {
        Attributes {
            user: actor.clone(),
            verb: "list".to_owned(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            namespace: "ns".to_owned(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    /// Allows one deed as one user, by the verbs of KEP-5284.
    struct Constrained;

    #[async_trait]
    impl Authorizer for Constrained {
        async fn authorize(&self, a: &Attributes) -> Decision {
            let is_deed = a.verb == "impersonate-on:user-info:list" && a.resource == "pods";
            let is_jane = a.verb == "impersonate:user-info"
                && a.group == "authentication.k8s.io"
                && (&*a.resource, &*a.name) == ("users", "jane");
            match is_deed || is_jane {
                true => Decision::allow(""),
                false => Decision::no_opinion(""),
            }
        }
    }

    #[tokio::test]
    async fn bounds_hold_for_the_deed_and_for_the_person() {
        let actor = Arc::new(UserInfo::new("boss", &[]));
        let list = list_pods(&actor);
        let get = Attributes {
            verb: "get".to_owned(),
            ..list.clone()
        };
        let as_whom = |name: &str| UserInfo::new(name, &[]);
        let rows = [
            (as_whom("jane"), &list, true),
            (as_whom("jane"), &get, false),
            (as_whom("john"), &list, false),
            (UserInfo::new("jane", &["dev"]), &list, false),
            (UserInfo::new("jane", &[user::MASTERS]), &list, false),
            (as_whom("system:node:n1"), &list, false),
            (as_whom("system:serviceaccount:ns:sa"), &list, false),
        ];
        for (claimed, request, allowed) in rows {
            let name = format!("{} {:?}", claimed.name, claimed.groups);
            let outcome = impersonate(&actor, claimed, request, &Constrained).await;
            assert_eq!(outcome.is_ok(), allowed, "{name} {}", request.verb);
        }
    }

    #[test]
    fn a_group_without_a_user_is_refused() {
        assert!(requested(&headers(&[("impersonate-group", "dev")])).is_err());
        assert_eq!(requested(&headers(&[])), Ok(None));
    }

    #[test]
    fn a_service_account_gets_its_groups() {
        let user = complete(UserInfo::new("system:serviceaccount:ns:sa", &[]));
        assert_eq!(
            user.groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:ns",
                AUTHENTICATED
            ]
        );
    }
}
