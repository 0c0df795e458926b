//! Nobody shares a counter with anybody, whatever they are called.

use super::{
    StoreUnderTest,
    ask::{Ask, at_most, commit, messages, read, requester, tenant_messages, units, value},
};
use crate::Requester;

/// The same user id in two tenants and in none is three users.
pub async fn tenants_never_share_a_counter(under: impl StoreUnderTest) {
    let users = [
        requester(None, "ama"),
        requester(Some("acme"), "ama"),
        requester(Some("umbrella"), "ama"),
        requester(None, "acme"),
        requester(Some("ama"), "acme"),
    ];
    charge_each(&under, &users).await;
}

/// Ids with quotes, line ends, braces, separators and any script are told apart.
pub async fn hostile_ids_do_not_collide(under: impl StoreUnderTest) {
    let long = "x".repeat(256);
    let longer = format!("{}y", &long[1..]);
    let ids = [
        "a", "A", "a ", " a", "a:b", "a}b", "{a}", "{}", "}", "%", "%7D", "%2525", "a%3Ab", "'",
        "\"", "\\", "\\n", "\n", "\r\n", "\t", "\0", "é", "e\u{301}", "🦀", "*", "?", "[a]", "/",
        "..", "null", "nil", "0", "00", "-", "_", "|", ",", ";", "$", "\u{202e}", &long, &longer,
    ];
    let mut users: Vec<_> = ids.iter().map(|id| requester(None, id)).collect();
    users.extend(ids.iter().map(|id| requester(Some("a"), id)));
    users.extend(ids.iter().map(|id| requester(Some(id), "b")));
    // The same text, cut at another place.
    users.push(requester(Some("a:b"), "c"));
    users.push(requester(Some("a"), "b:c"));
    users.push(requester(None, "a:b:c"));
    charge_each(&under, &users).await;
}

/// Charges each user another amount, and looks whether each has just its own.
async fn charge_each(under: &impl StoreUnderTest, users: &[Requester]) {
    for (user, amount) in users.iter().zip(1..) {
        let held = Ask::of(under, user)
            .hold(&messages(), at_most(amount), amount)
            .allowed(under)
            .await;
        commit(under, &held, &[amount]).await;
    }
    for (user, amount) in users.iter().zip(1..) {
        assert_eq!(
            read(under, user, &messages()).await,
            value(amount, 0),
            "user {amount}"
        );
    }
    let mut tenants: Vec<_> = users.iter().filter(|user| user.tenant.is_some()).collect();
    tenants.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    tenants.dedup_by(|a, b| a.tenant == b.tenant);
    for (user, amount) in tenants.iter().zip(1..) {
        let act = crate::Act::SetUsed(tenant_messages(), units(amount));
        super::ask::administer(under, user, act).await;
    }
    for (user, amount) in tenants.iter().zip(1..) {
        let tenant = read(under, user, &tenant_messages()).await;
        assert_eq!(tenant, value(amount, 0), "tenant {amount}");
    }
}
